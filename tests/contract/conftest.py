"""Servers that contract suites share: one MongoDB for all of them, a database for each test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from shared_store.servers import mongo


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Returns the URI of a server that is started when first asked for; skips where there is none."""
    with ExitStack() as stack:
        started: list[str] = []

        def uri() -> str:
            if not started:
                started.append(stack.enter_context(mongo(tmp_path_factory.mktemp("mongo"))))
            return started[0]

        yield uri


@pytest.fixture
def mongo_database(mongo_server: Callable[[], str], request: pytest.FixtureRequest) -> Callable[[], str]:
    """Returns the URI of a database of this test's own."""

    def uri() -> str:
        return mongo_server().replace("/?", f"/t{abs(hash(request.node.nodeid))}?")

    return uri
