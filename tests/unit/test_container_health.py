"""The rules of health checks, as a table."""

import msgspec
import pytest

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.containers import health as h
from skerry.containers.merge import merge
from skerry.containers.state import Phase, State
from skerry.core.errors import InvalidArgument

SECOND = 10**9
CHECK = h.Check(("true",), retries=3, start_period_ns=10 * SECOND)


def result(code: int, at: int = 0) -> h.Result:
    return h.Result(at, at + 1, code, "said")


def spec(**document: object) -> pb.ContainerSpec:
    return pb.ContainerSpec(healthcheck_json=msgspec.json.encode(document).decode())


@pytest.mark.parametrize(
    ("test", "command"),
    [
        (["CMD", "a", "b c"], ("a", "b c")),
        (["CMD-SHELL", "a && b"], ("/bin/sh", "-c", "a && b")),
        (["NONE"], None),
        ([], None),
        (["CMD"], None),
        (["OTHER", "a"], None),
    ],
)
def test_what_is_run(test: list[str], command: tuple[str, ...] | None) -> None:
    check = h.check_of(spec(Test=test))
    assert (check.command if check else None) == command


def test_the_images_shell_runs_the_shell_form() -> None:
    config = images_pb2.ImageConfig(shell=["/bin/ash", "-ec"], cmd=images_pb2.StringList(values=["x"]))
    check = h.check_of(merge(spec(Test=["CMD-SHELL", "a"]), config))
    assert check is not None and check.command == ("/bin/ash", "-ec", "a")


def test_what_is_not_said_has_dockers_defaults() -> None:
    assert h.check_of(spec(Test=["CMD", "a"])) == h.Check(("a",), 30 * SECOND, 30 * SECOND, 0, 5 * SECOND, 3)


@pytest.mark.parametrize(
    ("status", "streak", "code", "at", "after"),
    [
        (h.STARTING, 0, 0, 1, (h.HEALTHY, 0)),
        (h.STARTING, 0, 1, 9, (h.STARTING, 0)),
        (h.STARTING, 0, 1, 10, (h.STARTING, 1)),
        (h.STARTING, 2, 1, 11, (h.UNHEALTHY, 3)),
        (h.HEALTHY, 0, 1, 1, (h.HEALTHY, 1)),
        (h.HEALTHY, 2, -1, 1, (h.UNHEALTHY, 3)),
        (h.UNHEALTHY, 3, 2, 1, (h.UNHEALTHY, 4)),
        (h.UNHEALTHY, 9, 0, 1, (h.HEALTHY, 0)),
    ],
)
def test_after_a_probe(status: str, streak: int, code: int, at: int, after: tuple[str, int]) -> None:
    found = h.after_probe(h.Health(status, streak), CHECK, result(code, at * SECOND), 0)
    assert ((found.status, found.failing_streak), found.log) == (after, (result(code, at * SECOND),))


def test_the_last_five_results_are_kept() -> None:
    health = h.Health()
    for at in range(7):
        health = h.after_probe(health, CHECK, result(1, at), 0)
    assert [one.start_ns for one in health.log] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        (State(id="x", phase=Phase.STARTING), State(id="x", phase=Phase.RUNNING, started_ns=5), h.STARTING),
        (State(id="x", phase=Phase.STARTING), State(id="x", phase=Phase.EXITED, started_ns=5), h.UNHEALTHY),
        (State(id="x", phase=Phase.RUNNING, started_ns=5), State(id="x", phase=Phase.RUNNING, started_ns=5), h.HEALTHY),
        (State(id="x", phase=Phase.RUNNING, started_ns=5), State(id="x", phase=Phase.PAUSED, started_ns=5), h.UNHEALTHY),
        (State(id="x", phase=Phase.PAUSED, started_ns=5), State(id="x", phase=Phase.RUNNING, started_ns=5), h.HEALTHY),
        (State(id="x", phase=Phase.RUNNING, started_ns=5), State(id="x", phase=Phase.EXITED, started_ns=5), h.UNHEALTHY),
        (State(id="x", phase=Phase.RUNNING, started_ns=5), State(id="x", phase=Phase.RESTARTING, started_ns=5), h.UNHEALTHY),
    ],
)
def test_with_the_containers_life(before: State, after: State, status: str) -> None:
    found = h.follow(h.Health(h.HEALTHY, 2, (result(1),)), before, after)
    assert found is not None
    assert (found.status, found.log) == (status, (result(1),))
    assert found.failing_streak == (0 if after.started_ns != before.started_ns else 2)


def test_one_that_never_ran_has_no_health() -> None:
    assert h.follow(None, State(id="x"), State(id="x", phase=Phase.STARTING)) is None


def test_the_start_interval_holds_within_the_start_period_only() -> None:
    check = h.Check(("a",), interval_ns=30 * SECOND, start_period_ns=60 * SECOND, start_interval_ns=2 * SECOND)
    assert h.pause_ns(h.Health(), check, 0, 59 * SECOND) == 2 * SECOND
    assert h.pause_ns(h.Health(), check, 0, 60 * SECOND) == 30 * SECOND
    assert h.pause_ns(h.Health(h.HEALTHY), check, 0, 1 * SECOND) == 30 * SECOND


def test_output_is_cut_after_4096_bytes() -> None:
    assert h.cut(b"x" * 4096) == "x" * 4096
    assert h.cut(b"x" * 4097) == "x" * 4096 + "..."
    assert h.cut(b"\xff") == "\ufffd"


@pytest.mark.parametrize(
    ("ns", "text"), [(5, "5ns"), (1500, "1.5µs"), (250_000_000, "250ms"), (SECOND, "1s"), (90 * SECOND, "1m30s"), (3600 * SECOND, "1h0m0s")]
)
def test_durations_are_written_as_go_does(ns: int, text: str) -> None:
    assert h.go_duration(ns) == text


def test_a_check_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="invalid healthcheck"):
        h.validate("[")
