"""One engine for the whole run, chosen by an option; every case leaves it without containers of its own.

pytest tests/conformance [--engine skerry|dockerd] [--docker-host unix:///run/docker.sock]
"""

import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines import Engine, dockerd_engine, skerry_engine
from images.busybox import make_busybox

from .commands import EXPECTED, NOTES
from .registry import ADDRESS, Registry, registry
from .waiting import wait_until

_covered: set[str] = set()
_failed: set[str] = set()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=("skerry", "dockerd"), default="skerry", help="the engine that the cases start and drive")
    parser.addoption("--docker-host", default="", help="drive a running engine instead: unix://PATH, in this network namespace")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.root)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    # Travels with the report from a worker process to the one that sums up.
    report.user_properties.extend(("covers", entry) for mark in item.iter_markers("covers") for entry in mark.args)
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    named = {str(entry) for kind, entry in report.user_properties if kind == "covers"}
    if report.failed:
        _failed.update(named)
    elif report.when == "call" and report.passed:
        _covered.update(named)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _covered and not _failed:
        return
    unknown = (_covered | _failed) - set(EXPECTED)
    without = [entry for entry in EXPECTED if entry not in _covered and entry not in _failed]
    terminalreporter.section("docker commands and flags")
    terminalreporter.line(f"{len(EXPECTED)} named, {len(_covered - _failed)} pass, {len(_failed)} with a failing case")
    terminalreporter.line(f"without a case in this run: {', '.join(without) or 'none'}")
    if unknown:
        terminalreporter.line(f"more than is asked for: {', '.join(sorted(unknown))}")
    for note in NOTES:
        terminalreporter.line(note)


class _Running(Engine):
    """An engine that somebody else started, in this network namespace."""

    def nsenter(self) -> list[str]:
        return []


def _running(host: str) -> Engine:
    engine = _Running("skerry", "", "", [], dict(os.environ), host.removeprefix("unix://"))
    engine.api = f"v{engine.request('GET', '/version')[1]['ApiVersion']}"
    engine.name = "skerry" if "skerry" in json.dumps(engine.request("GET", "/version")[1]) else "dockerd"
    return engine


@pytest.fixture(scope="session")
def engine(pytestconfig: pytest.Config, busybox_archive: str) -> Iterator[Engine]:
    """The engine, with busybox:latest. 127.0.0.1:5000 is its mirror of Docker Hub; see registry."""
    host, name = pytestconfig.getoption("--docker-host", ""), pytestconfig.getoption("--engine", "skerry")
    if host:
        one = _running(host)
        one.docker("load", "-i", busybox_archive)
        yield one
    elif name == "dockerd":
        with dockerd_engine("--registry-mirror", f"http://{ADDRESS}") as one:
            one.docker("load", "-i", busybox_archive)
            yield one
    else:
        with skerry_engine(SKERRY_IMAGES_MIRRORS=f"http://{ADDRESS}") as one:
            wait_until(lambda: one.request("GET", "/info")[0] == 200, "every service answers")
            one.docker("load", "-i", busybox_archive)
            yield one


@pytest.fixture(scope="session")
def busybox_archive() -> Iterator[str]:
    with tempfile.NamedTemporaryFile(prefix="sk-busybox-", suffix=".tar") as file:
        make_busybox(file.name)
        yield file.name


@pytest.fixture(scope="session")
def hub(engine: Engine, busybox_archive: str) -> Iterator[Registry]:
    """A registry with busybox:latest, also under its Docker Hub name."""
    with tempfile.TemporaryDirectory(prefix="sk-reg-") as folder, registry(engine, folder) as one:
        one.push(busybox_archive, "busybox:latest")
        one.push(busybox_archive, "library/busybox:latest")
        yield one


@pytest.fixture
def name() -> str:
    """A name that no container has."""
    return f"c{secrets.token_hex(4)}"


def _containers(engine: Engine) -> set[str]:
    return {row["Id"] for row in engine.request("GET", "/containers/json?all=1")[1]}


@pytest.fixture(autouse=True)
def _no_containers_left(engine: Engine) -> Iterator[None]:
    before = _containers(engine)
    yield
    for one in _containers(engine) - before:
        engine.request("DELETE", f"/containers/{one}?force=1&v=1")
