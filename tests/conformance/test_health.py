"""Health checks: what is run, what becomes of it, and how ps, inspect and events show it."""

import json
import time
from typing import Any

import pytest

from engines import Engine

from .waiting import wait_until

covers = pytest.mark.covers


def _health(engine: Engine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.request("GET", f"/containers/{name}/json")[1]["State"].get("Health")
    return found


def _status(engine: Engine, name: str, wanted: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        health = _health(engine, name)
        return health if health and health["Status"] == wanted else None

    return wait_until(found, f"{name} is {wanted}") or {}


def _events(engine: Engine, name: str, since: float) -> list[dict[str, Any]]:
    said = engine.out("events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "-f", f"container={name}", "--format", "json")
    return [json.loads(line) for line in said.splitlines()]


@covers("run --health-cmd", "run --health-interval", "ps -f")
def test_from_starting_to_healthy(engine: Engine, name: str) -> None:
    begin = time.time()
    engine.docker(
        "run", "-d", "--name", name, "--health-cmd", "echo well; echo bad >&2", "--health-interval", "1s", "busybox", "sleep", "100"
    )
    assert _health(engine, name) == {"Status": "starting", "FailingStreak": 0, "Log": []}
    assert engine.out("ps", "-q", "-f", "health=starting", "-f", f"name={name}")
    assert engine.out("ps", "--format", "{{.Status}}", "-f", f"name={name}").endswith(" (health: starting)")
    health = _status(engine, name, "healthy")
    assert engine.out("ps", "--format", "{{.Status}}", "-f", "health=healthy", "-f", f"name={name}").endswith(" (healthy)")
    assert engine.out("ps", "-q", "-f", "health=none", "-f", f"name={name}") == ""
    assert health["FailingStreak"] == 0
    result = health["Log"][0]
    assert sorted(result) == ["End", "ExitCode", "Output", "Start"]
    assert (result["ExitCode"], sorted(result["Output"].splitlines())) == (0, ["bad", "well"])
    assert result["Start"] < result["End"]
    events = _events(engine, name, begin)
    actions = [event["Action"] for event in events]
    command = "/bin/sh -c echo well; echo bad >&2"
    first = actions.index(f"exec_create: {command}")
    assert actions[first : first + 4] == [f"exec_create: {command}", f"exec_start: {command}", "exec_die", "health_status: healthy"]
    assert len({event["Actor"]["Attributes"]["execID"] for event in events[first : first + 3]}) == 1
    assert events[first + 2]["Actor"]["Attributes"]["exitCode"] == "0"
    assert actions.count("health_status: healthy") == 1
    assert engine.out(
        "events", "--since", f"{begin:.9f}", "--until", f"{time.time():.9f}", "-f", "event=health_status", "-f", f"container={name}"
    )
    assert engine.out("inspect", "-f", "{{json .ExecIDs}}", name) == "null"


@covers("run --health-retries")
def test_so_many_failures_make_unhealthy_and_a_success_heals(engine: Engine, name: str) -> None:
    check = ["--health-cmd", "test -e /well", "--health-interval", "0.3s", "--health-retries", "2"]
    engine.docker("run", "-d", "--name", name, *check, "busybox", "sleep", "100")
    health = _status(engine, name, "unhealthy")
    assert health["FailingStreak"] >= 2
    assert health["Log"][-1]["ExitCode"] == 1
    engine.docker("exec", name, "touch", "/well")
    assert _status(engine, name, "healthy")["FailingStreak"] == 0
    engine.docker("exec", name, "rm", "/well")
    wait_until(lambda: _health(engine, name)["FailingStreak"] == 1, "one failure")
    assert _health(engine, name)["Status"] in ("healthy", "unhealthy")
    assert _status(engine, name, "unhealthy")["FailingStreak"] >= 2
    wait_until(lambda: _health(engine, name)["FailingStreak"] > 7, "the log is full")
    assert len(_health(engine, name)["Log"]) == 5


def test_output_is_cut(engine: Engine, name: str) -> None:
    check = ["--health-cmd", "yes abc | head -c 4097", "--health-interval", "0.3s"]
    engine.docker("run", "-d", "--name", name, *check, "busybox", "sleep", "100")
    output = _status(engine, name, "healthy")["Log"][0]["Output"]
    assert output == ("abc\n" * 1025)[:4096] + "..."


@covers("run --health-timeout")
def test_a_probe_that_takes_too_long_fails_and_ends(engine: Engine, name: str) -> None:
    check = ["--health-cmd", "exec sleep 54.321", "--health-interval", "0.5s", "--health-timeout", "1s", "--health-retries", "1"]
    engine.docker("run", "-d", "--name", name, *check, "busybox", "sleep", "100")
    result = _status(engine, name, "unhealthy")["Log"][0]
    assert (result["ExitCode"], result["Output"]) == (-1, "Health check exceeded timeout (1s)")


@covers("run --health-start-period")
def test_failures_within_the_start_period_do_not_count(engine: Engine, name: str) -> None:
    check = {"Test": ["CMD", "false"], "Interval": 200_000_000, "StartPeriod": 2_000_000_000, "StartInterval": 200_000_000, "Retries": 1}
    body = {"Image": "busybox", "Cmd": ["sleep", "100"], "Healthcheck": check}
    assert engine.request("POST", f"/{engine.api}/containers/create?name={name}", body)[0] == 201
    assert engine.request("POST", f"/containers/{name}/start")[0] == 204
    health = wait_until(lambda: (h := _health(engine, name)) and len(h["Log"]) >= 2 and h, "two probes")
    assert (health["Status"], health["FailingStreak"]) == ("starting", 0)
    _status(engine, name, "unhealthy")


@pytest.mark.parametrize("test", [["NONE"], [], ["NEVER", "heard"]])
def test_no_check(engine: Engine, name: str, test: list[str]) -> None:
    body = {"Image": "busybox", "Cmd": ["sleep", "100"], "Healthcheck": {"Test": test}}
    assert engine.request("POST", f"/containers/create?name={name}", body)[0] == 201
    engine.docker("start", name)
    assert _health(engine, name) is None
    assert engine.out("ps", "-q", "-f", "health=none", "-f", f"name={name}")
    assert "health" not in engine.out("ps", "--format", "{{.Status}}", "-f", f"name={name}")


@covers("run --no-healthcheck")
def test_an_images_check_is_inherited_and_can_be_dropped(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox", "sleep", "100")
    change = 'HEALTHCHECK --interval=300ms --retries=1 CMD ["false"]'
    engine.docker("commit", "-c", change, name, f"{name}:checked")
    try:
        engine.docker("run", "-d", "--name", f"{name}i", f"{name}:checked")
        assert _status(engine, f"{name}i", "unhealthy")["Log"][0]["ExitCode"] == 1
        engine.docker("run", "-d", "--name", f"{name}o", "--health-cmd", "true", f"{name}:checked")
        _status(engine, f"{name}o", "healthy")
        engine.docker("run", "-d", "--name", f"{name}n", "--no-healthcheck", f"{name}:checked")
        assert _health(engine, f"{name}n") is None
    finally:
        engine.docker("rm", "-f", f"{name}i", f"{name}o", f"{name}n", check=False)
        engine.docker("rmi", f"{name}:checked")


def test_a_command_that_is_not_there(engine: Engine, name: str) -> None:
    check = {"Test": ["CMD", "nosuch"], "Interval": 300_000_000, "Retries": 1}
    body = {"Image": "busybox", "Cmd": ["sleep", "100"], "Healthcheck": check}
    assert engine.request("POST", f"/containers/create?name={name}", body)[0] == 201
    begin = time.time()
    engine.docker("start", name)
    result = _status(engine, name, "unhealthy")["Log"][0]
    assert result["ExitCode"] == -1
    assert 'exec: "nosuch": executable file not found in $PATH: unknown' in result["Output"]
    events = _events(engine, name, begin)
    assert [event["Action"] for event in events if "exec" in event["Action"]][:2] == ["exec_create: nosuch ", "exec_start: nosuch "]


def test_a_paused_or_ended_one_is_not_checked(engine: Engine, name: str) -> None:
    check = ["--health-cmd", "true", "--health-interval", "0.3s"]
    engine.docker("run", "-d", "--name", name, *check, "busybox", "sleep", "100")
    _status(engine, name, "healthy")
    engine.docker("pause", name)
    paused = _health(engine, name)
    assert paused["Status"] == "unhealthy"
    assert engine.out("ps", "--format", "{{.Status}}", "-f", f"name={name}").endswith(" (Paused)")
    time.sleep(0.7)
    assert len(_health(engine, name)["Log"]) <= len(paused["Log"]) + 1
    engine.docker("unpause", name)
    _status(engine, name, "healthy")
    engine.docker("stop", "-t", "0", name)
    ended = _health(engine, name)
    assert ended["Status"] == "unhealthy"
    time.sleep(0.5)
    assert _health(engine, name) == ended
    assert "health" not in engine.out("ps", "-a", "--format", "{{.Status}}", "-f", f"name={name}")
    engine.docker("start", name)
    assert _health(engine, name)["Status"] in ("starting", "healthy")
    _status(engine, name, "healthy")


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ({"Interval": 1}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Timeout": 999_999}, "Timeout in Healthcheck cannot be less than 1ms"),
        ({"StartPeriod": 5}, "StartPeriod in Healthcheck cannot be less than 1ms"),
        ({"Retries": -1}, "Retries in Healthcheck cannot be negative"),
    ],
)
def test_wrong_values_are_refused(engine: Engine, check: dict[str, int], text: str) -> None:
    body = {"Image": "busybox", "Healthcheck": {"Test": ["CMD", "true"], **check}}
    status, answer = engine.request("POST", "/containers/create", body)
    assert (status, answer["message"]) == (400, text)
