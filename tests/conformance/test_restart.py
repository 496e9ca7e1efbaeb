"""Restart policies: who restarts, how often and when, and how start, stop, kill and restart interplay with them."""

import json
import time
from typing import Any

import pytest

from engines import Engine

from .waiting import wait_until

covers = pytest.mark.covers


def _inspect(engine: Engine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.request("GET", f"/containers/{name}/json")[1]
    return found


def _state(engine: Engine, name: str) -> tuple[str, int, int]:
    found = _inspect(engine, name)
    return found["State"]["Status"], found["State"]["ExitCode"], found["RestartCount"]


def _actions(engine: Engine, name: str, since: float) -> list[str]:
    said = engine.out("events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "-f", f"container={name}", "--format", "json")
    events = [json.loads(line) for line in said.splitlines()]
    return [event["Action"] for event in events if event["Type"] == "container"]


@covers("run --restart")
@pytest.mark.parametrize(
    ("policy", "code", "end"),
    [
        ("no", 3, ("exited", 3, 0)),
        ("on-failure", 0, ("exited", 0, 0)),
        ("on-failure:1", 3, ("exited", 3, 1)),
        ("on-failure:2", 3, ("exited", 3, 2)),
    ],
)
def test_policies_that_come_to_an_end(engine: Engine, name: str, policy: str, code: int, end: tuple[str, int, int]) -> None:
    engine.docker("run", "-d", "--name", name, "--restart", policy, "busybox", "sh", "-c", f"exit {code}")
    wait_until(lambda: _state(engine, name) == end, f"{end}")
    found = _inspect(engine, name)
    assert found["HostConfig"]["RestartPolicy"]["Name"] == policy.partition(":")[0]
    assert found["HostConfig"]["RestartPolicy"]["MaximumRetryCount"] == int(policy.partition(":")[2] or 0)
    assert (found["State"]["Running"], found["State"]["Restarting"], found["State"]["Pid"]) == (False, False, 0)


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_pauses_grow_and_each_run_is_told(engine: Engine, name: str, policy: str) -> None:
    begin = time.time()
    engine.docker("run", "-d", "--name", name, "--restart", policy, "busybox", "sh", "-c", "date +%s.%N; exit 7")
    wait_until(lambda: _state(engine, name)[2] >= 4, "four restarts")
    engine.docker("stop", name)
    actions = [one for one in _actions(engine, name, begin) if one in ("start", "die", "stop", "kill")]
    assert actions[:6] == ["start", "die"] * 3
    assert actions[-1] == "stop"
    assert actions.count("start") == actions.count("die")


def test_between_two_runs(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--restart", "always", "busybox", "sh", "-c", "exit 7")

    def restarting() -> dict[str, Any] | None:
        found = _inspect(engine, name)
        return found if found["State"]["Restarting"] and found["RestartCount"] >= 4 else None

    found = wait_until(restarting, "it waits for its next run")
    assert found is not None
    state = found["State"]
    assert (state["Status"], state["Running"], state["Paused"], state["Pid"], state["ExitCode"]) == ("restarting", True, False, 0, 7)
    assert state["FinishedAt"] > state["StartedAt"]
    assert engine.out("ps", "--format", "{{.Status}}", "-f", f"name={name}").startswith("Restarting (7) ")
    assert engine.out("ps", "-q", "-f", "status=restarting", "-f", f"name={name}")
    refused = engine.docker("exec", name, "true", check=False)
    assert refused.returncode == 1 and "is restarting, wait until the container is running" in refused.stderr
    assert engine.request("POST", f"/containers/{name}/pause")[0] == 409
    assert engine.request("POST", f"/containers/{name}/start")[0] == 304
    status, answer = engine.request("DELETE", f"/containers/{name}")
    assert status == 409 and "You cannot remove a restarting container" in answer["message"]
    begin = time.time()
    engine.docker("stop", name)
    assert _state(engine, name)[:2] == ("exited", 7)
    assert _actions(engine, name, begin)[-1] == "stop"
    time.sleep(0.3)
    assert _state(engine, name)[0] == "exited"


@pytest.mark.parametrize("how", [["kill"], ["kill", "-s", "TERM"], ["stop", "-t", "0"]])
def test_what_a_user_ends_stays_ended(engine: Engine, name: str, how: list[str]) -> None:
    script = "trap 'exit 3' TERM; while :; do sleep 0.05; done"
    engine.docker("run", "-d", "--name", name, "--restart", "always", "busybox", "sh", "-c", script)
    time.sleep(0.3)
    engine.docker(*how, name)
    wait_until(lambda: _state(engine, name)[0] == "exited", "it ended")
    time.sleep(0.3)
    assert _state(engine, name)[0] == "exited"
    engine.docker("start", name)
    assert _state(engine, name)[0] == "running"


def test_a_signal_that_is_not_the_stop_signal_leaves_the_policy(engine: Engine, name: str) -> None:
    script = "trap 'exit 3' USR1; while :; do sleep 0.05; done"
    engine.docker("run", "-d", "--name", name, "--restart", "always", "--stop-signal", "TERM", "busybox", "sh", "-c", script)
    time.sleep(0.3)
    engine.docker("kill", "-s", "USR1", name)
    wait_until(lambda: _state(engine, name)[0] == "running" and _state(engine, name)[2] == 1, "it was restarted")


def test_restart_by_hand_counts_anew(engine: Engine, name: str) -> None:
    script = "test -e /stay && exec sleep 100; exit 3"
    engine.docker("run", "-d", "--name", name, "--restart", "always", "busybox", "sh", "-c", script)
    wait_until(lambda: _state(engine, name)[2] >= 2, "two restarts")
    engine.docker("restart", "-t", "0", name)
    wait_until(lambda: 1 <= _state(engine, name)[2] <= 3, "counting begins anew")


def test_wait_answers_at_each_exit_of_a_policys_run(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--restart", "always", "busybox", "sh", "-c", "sleep 0.4; exit 9")
    status, answer = engine.request("POST", f"/containers/{name}/wait?condition=next-exit")
    assert (status, answer["StatusCode"]) == (200, 9)


def test_one_that_cannot_be_started_is_not_restarted(engine: Engine, name: str) -> None:
    result = engine.docker("run", "-d", "--name", name, "--restart", "always", "busybox", "nosuch", check=False)
    assert result.returncode == 127
    assert _state(engine, name) == ("created", 127, 0)


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ({"Name": "sometimes"}, "invalid restart policy 'sometimes'"),
        ({"Name": "always", "MaximumRetryCount": 3}, "maximum retry count cannot be used with restart policy 'always'"),
        ({"Name": "on-failure", "MaximumRetryCount": -1}, "maximum retry count cannot be negative"),
    ],
)
def test_wrong_policies_are_refused(engine: Engine, policy: dict[str, Any], text: str) -> None:
    body = {"Image": "busybox", "HostConfig": {"RestartPolicy": policy}}
    status, answer = engine.request("POST", "/containers/create", body)
    assert (status, answer["message"]) == (400, text)


def test_rm_and_a_policy_exclude_each_other(engine: Engine) -> None:
    body = {"Image": "busybox", "HostConfig": {"RestartPolicy": {"Name": "always"}, "AutoRemove": True}}
    status, answer = engine.request("POST", "/containers/create", body)
    assert (status, answer["message"]) == (400, "can't create 'AutoRemove' container with restart policy")
