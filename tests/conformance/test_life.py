"""Signals, freezing, waits, names and prunes at every moment of a container's life, and the events of each."""

import json
import threading
import time
from typing import Any
from urllib.parse import quote

import pytest

from engines import Engine

from .waiting import wait_until

covers = pytest.mark.covers
SLEEP = ("busybox", "sleep", "100")


def _post(engine: Engine, path: str) -> tuple[int, str]:
    """Asks in API 1.41, which both engines speak; returns status and message."""
    status, answer = engine.request("POST", f"/v1.41/containers/{path}")
    return status, answer["message"] if isinstance(answer, dict) and "message" in answer else ""


def _state(engine: Engine, name: str) -> str:
    return engine.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name)


def _events(engine: Engine, since: float, *filters: str) -> list[dict[str, Any]]:
    words = [word for one in filters for word in ("-f", one)]
    said = engine.out("events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "--format", "json", *words)
    return [json.loads(line) for line in said.splitlines()]


def _actions(engine: Engine, since: float, name: str) -> list[str]:
    return [event["Action"] for event in _events(engine, since, f"container={name}", "type=container")]


@covers("kill -s")
def test_signals_by_name_and_number(engine: Engine, name: str) -> None:
    script = "trap '' HUP INT QUIT USR1 USR2 TERM CHLD CONT WINCH 34 35 49 50 63 64; echo ready; while :; do sleep 0.1; done"
    begin = time.time()
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", script)
    wait_until(lambda: engine.out("logs", name) == "ready", "the traps are set")
    good = ["USR1", "SIGusr2", "winch", "CLD", "10", "+12", "RTMIN", "SIGRTMIN+1", "RTMIN+15", "RTMAX-14", "RTMAX-1", "rtmax", "64"]
    for text in good:
        assert _post(engine, f"{name}/kill?signal={quote(text)}") == (204, ""), text
    for text in ("0", "FOO", "SIGFOO", "RTMIN+16", "RTMAX-15", "10x", " 10", "SIG", "SIG10"):
        assert _post(engine, f"{name}/kill?signal={quote(text)}") == (400, f"Invalid signal: {text}"), text
    for text in ("65", "32", "99999999999"):
        assert _post(engine, f"{name}/kill?signal={text}") == (
            500,
            f"Cannot kill container: {name}: The linux daemon does not support signal {text}",
        )
    sent = [event["Actor"]["Attributes"]["signal"] for event in _events(engine, begin, f"container={name}", "event=kill")]
    assert sent == ["10", "12", "28", "17", "10", "12", "34", "35", "49", "50", "63", "64", "64"]
    assert _state(engine, name) == "running 0"


def test_what_is_refused_when_it_does_not_run(engine: Engine, name: str) -> None:
    identity = engine.out("create", "--name", name, *SLEEP)
    for moment in ("created", "exited"):
        if moment == "exited":
            engine.docker("start", name)
            engine.docker("kill", name)
        assert _state(engine, name).split()[0] == moment
        assert _post(engine, f"{name}/kill") == (409, f"Cannot kill container: {name}: Container {identity} is not running")
        assert _post(engine, f"{name}/stop")[0] == 304
        assert _post(engine, f"{name}/pause") == (409, f"Container {identity} is not running")
        assert _post(engine, f"{name}/unpause") == (500, f"Container {identity} is not paused")
    for what in ("stop", "restart", "pause", "unpause", "start", "wait", "rename?name=good"):
        assert _post(engine, f"nosuch/{what}") == (404, "No such container: nosuch")
    assert _post(engine, "nosuch/kill") == (404, "Cannot kill container: nosuch: No such container: nosuch")


@covers("pause", "unpause")
def test_a_frozen_one(engine: Engine, name: str) -> None:
    identity = engine.out("run", "-d", "--name", name, *SLEEP)
    begin = time.time()
    assert _post(engine, f"{name}/pause") == (204, "")
    assert _post(engine, f"{name}/pause") == (409, f"Container {identity} is already paused")
    assert _post(engine, f"{name}/start") == (409, "cannot start a paused container, try unpause instead")
    status, answer = engine.request("POST", f"/containers/{name}/exec", {"Cmd": ["true"]})
    assert (status, answer["message"]) == (409, f"Container {name} is paused, unpause the container before exec")
    status, answer = engine.request("DELETE", f"/containers/{name}")
    assert (status, answer["message"]) == (
        409,
        f"You cannot remove a paused container {identity}. Unpause and then stop the container before attempting removal or force remove",
    )
    found = engine.request("GET", f"/containers/{name}/json")[1]["State"]
    assert (found["Status"], found["Running"], found["Paused"], found["Restarting"]) == ("paused", True, True, False)
    assert engine.out("ps", "-q", "-f", "status=paused", "-f", f"name={name}") == identity[:12]
    assert engine.out("ps", "-q", "-f", "status=running", "-f", f"name={name}") == ""
    assert _post(engine, f"{name}/unpause") == (204, "")
    assert _post(engine, f"{name}/unpause") == (500, f"Container {identity} is not paused")
    assert _actions(engine, begin, name) == ["pause", "unpause"]


@pytest.mark.parametrize(
    ("how", "end"),
    [("stop?t=1", "exited"), ("kill", "exited"), ("restart?t=1", "running"), ("kill?signal=USR1", "running")],
)
def test_what_thaws_a_frozen_one(engine: Engine, name: str, how: str, end: str) -> None:
    script = "trap 'echo got' USR1; trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", script)
    wait_until(lambda: engine.out("logs", name) == "ready", "the traps are set")
    engine.docker("pause", name)
    assert _post(engine, f"{name}/{how}") == (204, "")
    wait_until(lambda: _state(engine, name).split()[0] == end, f"it is {end}")
    if "USR1" in how:
        wait_until(lambda: engine.out("logs", name) == "ready\ngot", "the signal arrived")


def test_a_frozen_one_is_removed_by_force(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, *SLEEP)
    engine.docker("pause", name)
    assert engine.request("DELETE", f"/containers/{name}?force=1")[0] == 204
    assert engine.docker("inspect", name, check=False).returncode == 1


def _waiting(engine: Engine, name: str, condition: str) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []

    def ask() -> None:
        answers.append(engine.request("POST", f"/containers/{name}/wait?condition={condition}")[1].get("StatusCode"))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


@covers("wait")
def test_waits(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox", "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    assert engine.request("POST", f"/containers/{name}/wait")[1]["StatusCode"] == 0
    exits = [_waiting(engine, name, "next-exit"), _waiting(engine, name, "removed")]
    time.sleep(0.3)
    engine.docker("start", name)
    exits.append(_waiting(engine, name, "not-running"))
    wait_until(lambda: engine.out("logs", name) == "ready", "it runs")
    assert not any(answers for _, answers in exits)
    engine.docker("stop", name)
    for thread, answers in (exits[0], exits[2]):
        thread.join(10)
        assert answers == [5]
    assert exits[1][1] == []
    # Of an ended one: at once, but not the next exit.
    assert engine.request("POST", f"/containers/{name}/wait?condition=not-running")[1]["StatusCode"] == 5
    late = _waiting(engine, name, "next-exit")
    time.sleep(0.3)
    assert late[1] == []
    engine.docker("rm", name)
    for thread, answers in (exits[1], late):
        thread.join(10)
        assert len(answers) == 1
    assert exits[1][1] == [5]


@covers("rename")
def test_rename_while_it_runs(engine: Engine, name: str) -> None:
    identity = engine.out("run", "-d", "--name", name, *SLEEP)
    engine.docker("create", "--name", f"{name}other", "busybox")
    begin = time.time()
    refused = "Error when allocating new name: "
    assert _post(engine, f"{name}/rename?name={name}") == (400, "Renaming a container with the same name as its current name")
    assert _post(engine, f"{name}/rename?name=") == (400, "Neither old nor new names may be empty")
    for bad in ("!!", "a/b", "z", "-x"):
        text = f"{refused}Invalid container name (/{bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        assert _post(engine, f"{name}/rename?name={bad}") == (400, text)
    status, text = _post(engine, f"{name}/rename?name={name}other")
    assert status == 409 and text.startswith(f'{refused}Conflict. The container name "/{name}other" is already in use by container "')
    engine.docker("rename", name, f"{name}new")
    assert engine.out("inspect", "-f", "{{.Name}} {{.Id}} {{.State.Status}}", f"{name}new") == f"/{name}new {identity} running"
    assert engine.out("ps", "--format", "{{.Names}}", "-f", f"id={identity}") == f"{name}new"
    assert engine.docker("inspect", name, check=False).returncode == 1
    renamed = _events(engine, begin, "event=rename", f"container={identity}")
    assert [event["Actor"]["Attributes"] for event in renamed] == [{"image": "busybox", "name": f"{name}new", "oldName": f"/{name}"}]
    engine.docker("create", "--name", name, "busybox")
    engine.docker("stop", "-t", "0", f"{name}new")
    ended = _events(engine, begin, "event=die", f"container={identity}")
    assert ended[0]["Actor"]["Attributes"]["name"] == f"{name}new"


@covers("container prune", "container prune --filter")
def test_prune_filters(engine: Engine, name: str) -> None:
    running = engine.out("run", "-d", "--name", name, "--label", "one=1", *SLEEP)
    made = {label: engine.out("create", "--label", label, "busybox") for label in ("one=1", "one=2", "two")}

    def prune(*filters: str) -> set[str]:
        said = engine.out("container", "prune", "-f", *(word for one in filters for word in ("--filter", one)))
        return set(said.partition("Deleted Containers:\n")[2].partition("\n\n")[0].split())

    begin = time.time()
    assert prune("until=10m") == set()
    assert prune("until=2021-03-04") == set()
    assert prune("label=nosuch") == set()
    assert prune("label=one", "label=two") == set()
    assert prune("label=one=2") == {made["one=2"]}
    assert prune("label!=one") == {made["two"]}
    assert prune(f"until={int(time.time()) + 5}") == {made["one=1"]}
    assert engine.out("ps", "-aq", "--no-trunc") == running
    pruned = _events(engine, begin, "event=prune", "type=container")
    assert [event["Actor"] for event in pruned] == [{"ID": "", "Attributes": {"reclaimed": "0"}}] * 7
    for text, status in (('{"until":["x"]}', 500), ('{"until":["1h","2h"]}', 500), ('{"nosuch":["1"]}', 400), ("x", 400)):
        assert _post(engine, f"prune?filters={quote(text)}")[0] == status


def test_system_prune_takes_containers_too(engine: Engine, name: str) -> None:
    gone = engine.out("create", "--label", name, "busybox")
    assert gone in engine.out("system", "prune", "-f", "--filter", f"label={name}")
    assert engine.out("ps", "-aq") == ""


def test_events_of_a_whole_life_in_order(engine: Engine, name: str) -> None:
    begin = time.time()
    identity = engine.out("create", "--name", name, "--label", "k=v", *SLEEP)
    for words in (["start"], ["pause"], ["unpause"], ["exec"], ["restart", "-t", "0"], ["stop", "-t", "0"], ["restart"], ["kill"], ["rm"]):
        engine.docker(words[0], *words[1:], name, *(["true"] if words[0] == "exec" else []))
        if words == ["kill"]:
            engine.docker("wait", name)
    events = [event for event in _events(engine, begin, f"container={identity}") if event["Type"] == "container"]
    actions = [event["Action"] for event in events]
    assert actions[:7] == ["create", "start", "pause", "unpause", "exec_create: true ", "exec_start: true ", "exec_die"]
    assert [one for one in actions[7:] if one != "kill"] == [
        "die", "stop", "start", "restart", "die", "stop", "start", "restart", "die", "destroy",
    ]  # fmt: skip
    assert all(event["Actor"]["ID"] == identity and event["Actor"]["Attributes"]["k"] == "v" for event in events)
    assert [event["timeNano"] for event in events] == sorted(event["timeNano"] for event in events)
    died = [event["Actor"]["Attributes"] for event in events if event["Action"] == "die"]
    assert died == [{"exitCode": "137", "image": "busybox", "name": name, "k": "v"}] * 3
    # Any part of it again, by time and by filters.
    middle = events[3]["timeNano"]
    since, until = f"{middle // 10**9}.{middle % 10**9:09d}", f"{time.time():.9f}"
    again = engine.out(
        "events", "--since", since, "--until", until, "-f", f"container={name}", "-f", "type=container", "--format", "{{.Action}}"
    )
    assert again.split("\n")[: len(actions) - 3] == actions[3:]
    assert [event["Action"] for event in _events(engine, begin, "label=k=v", "event=die", "event=stop")] == ["die", "stop"] * 2 + ["die"]
    assert _events(engine, begin, "label=k=other") == []
    assert _events(engine, begin, "nosuch=filter") != []


def test_times_of_events_that_cannot_be(engine: Engine) -> None:
    status, answer = engine.request("GET", "/v1.41/events?since=5&until=1")
    assert (status, answer["message"]) == (400, "`since` time (5) cannot be after `until` time (1)")
    status, answer = engine.request("GET", "/v1.41/events?since=x")
    assert (status, answer["message"]) == (500, 'strconv.ParseInt: parsing "x": invalid syntax')


def test_an_ambiguous_prefix_is_no_name(engine: Engine) -> None:
    ids = [engine.out("create", "busybox") for _ in range(17)]
    prefix = next(one[0] for one in ids if sum(other[0] == one[0] for other in ids) > 1)
    for method, path in (("GET", f"{prefix}/json"), ("POST", f"{prefix}/stop"), ("DELETE", prefix)):
        status, answer = engine.request(method, f"/v1.41/containers/{path}")
        assert (status, answer["message"]) == (500, f"Multiple IDs found with provided prefix: {prefix}")
