"""The gateway's routes against the published definition of the API."""

import re
from pathlib import Path

import pytest

from skerry.gateway import app
from skerry.gateway.routes import ALL

DEFINITION = Path(app.__file__).with_name("docker_api_v1.50.yaml")


def operations() -> list[tuple[str, str]]:
    """Returns method and path of every operation of the definition."""
    found, path, inside = [], "", False
    for line in DEFINITION.read_text().splitlines():
        if re.match(r"\w", line):
            inside = line == "paths:"
        elif inside and (match := re.match(r"  (/\S+):$", line)):
            path = match[1]
        elif inside and (match := re.match(r"    (get|post|put|delete|head):$", line)):
            found.append((match[1].upper(), path))
    return found


def test_the_definition_is_read() -> None:
    assert len(operations()) > 100


@pytest.mark.parametrize(("method", "path"), operations(), ids=str)
def test_every_operation_has_a_route(method: str, path: str) -> None:
    """Those that this engine does not do yet are refused by name (501) or as an engine outside a swarm does, never as unknown."""
    assert app.Router(ALL).find(method, re.sub(r"\{\w+\}", "x", path)) is not None
