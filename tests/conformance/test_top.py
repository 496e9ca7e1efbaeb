"""docker top: ps(1) with options, its rows picked by the container."""

from typing import Any

import pytest

from engines import Engine

covers = pytest.mark.covers


def top(engine: Engine, name: str, arguments: str) -> tuple[int, Any]:
    query = f"?ps_args={arguments.replace(' ', '%20').replace('=', '%3D')}" if arguments else ""
    return engine.request("GET", f"/{engine.api}/containers/{name}/top{query}")


@pytest.fixture
def two(engine: Engine, name: str) -> str:
    """A container with two processes."""
    engine.docker("run", "-d", "--name", name, "--net", "none", "busybox", "sh", "-c", "sleep 1000 & sleep 2000")
    return name


@covers("top")
@pytest.mark.parametrize(
    ("arguments", "titles"),
    [
        ("", ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]),
        ("aux", ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"]),
        ("-o pid,comm", ["PID", "COMMAND"]),
        ("-eo user,pid,args", ["USER", "PID", "COMMAND"]),
    ],
)
def test_columns(engine: Engine, two: str, arguments: str, titles: list[str]) -> None:
    status, document = top(engine, two, arguments)
    assert (status, document["Titles"]) == (200, titles)
    last = [row[-1] for row in document["Processes"]]
    assert sorted(last) == (["sleep", "sleep"] if "comm" in arguments else ["sleep 1000", "sleep 2000"])


@covers("top")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("-o pid=FOO", "Couldn't find PID field in ps output"),
        ("-o comm", "Couldn't find PID field in ps output"),
        ("-eo user=PID", 'specifying "user=PID" is not allowed'),
        ("-o ppid=PID,pid", 'specifying "ppid=PID,pid" is not allowed'),
        ("--bogus", "ps: error: unknown gnu long option"),
    ],
)
def test_what_ps_cannot_do(engine: Engine, two: str, arguments: str, text: str) -> None:
    status, document = top(engine, two, arguments)
    assert status in (400, 500) and document == {"message": text}


def test_other_processes_are_not_shown(engine: Engine, two: str) -> None:
    assert top(engine, two, "-p 1") == (200, {"Titles": ["PID", "TTY", "TIME", "CMD"], "Processes": None})


@covers("top")
def test_the_table_also_while_paused(engine: Engine, two: str) -> None:
    engine.docker("pause", two)
    head, *rows = engine.out("top", two, "-o", "pid,args").splitlines()
    assert head.split() == ["PID", "COMMAND"] and len(rows) == 2
