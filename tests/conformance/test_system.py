"""version, info, events."""

import json
import select
import subprocess
import time

import pytest

from engines import Engine

from .waiting import wait_until

covers = pytest.mark.covers


@covers("version", "version --format")
def test_version(engine: Engine) -> None:
    said = engine.out("version")
    assert "Client:" in said and "Server:" in said and "API version:" in said
    document = json.loads(engine.out("version", "--format", "{{json .Server}}"))
    assert (document["Os"], document["Arch"]) == ("linux", "amd64")
    assert document["Version"] and document["KernelVersion"] and document["MinAPIVersion"] == "1.12"


@covers("info", "info --format")
def test_info_counts(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "100")
    engine.docker("create", "busybox")
    said = engine.out("info", "--format", "{{.Containers}} {{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}}")
    assert said == "2 1 0 1"
    document = json.loads(engine.out("info", "--format", "{{json .}}"))
    assert document["Images"] >= 1 and document["NCPU"] >= 1 and document["MemTotal"] > 0
    assert document["OSType"] == "linux" and document["LoggingDriver"] == "json-file"
    assert {"bridge", "host", "null"} <= set(document["Plugins"]["Network"]) and document["CgroupVersion"] in ("1", "2")
    assert "Server Version" in engine.out("info")


def _actions(engine: Engine, since: float, *more: str) -> list[str]:
    said = engine.out("events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "--format", "{{.Type}} {{.Action}}", *more)
    return said.splitlines()


@covers("events", "events --since", "events --until", "events --format")
def test_the_events_of_a_run(engine: Engine, name: str) -> None:
    since = time.time()
    engine.docker("run", "--rm", "--name", name, "busybox", "true")
    wait_until(lambda: "container destroy" in _actions(engine, since), "the last event is there")
    seen = _actions(engine, since)
    assert [one for one in seen if one.startswith("container")] == [
        "container create", "container attach", "container start", "container die", "container destroy"]  # fmt: skip
    assert seen.index("network connect") < seen.index("container start")
    assert seen.index("network disconnect") < seen.index("container destroy")


@covers("events -f")
def test_filters(engine: Engine, name: str) -> None:
    since = time.time()
    engine.docker("run", "-d", "--name", name, "--label", "a=b", "busybox", "sleep", "100")
    engine.docker("create", "--name", f"other{name}", "busybox")
    engine.docker("pause", name)
    engine.docker("unpause", name)
    engine.docker("kill", name)
    engine.docker("wait", name)
    wait_until(lambda: "container die" in _actions(engine, since), "it died")
    assert _actions(engine, since, "-f", f"container={name}", "-f", "type=container") == [
        f"container {action}" for action in ("create", "start", "pause", "unpause", "kill", "die")
    ]
    assert _actions(engine, since, "-f", "event=die") == ["container die"]
    assert set(_actions(engine, since, "-f", "type=network")) == {"network connect", "network disconnect"}
    assert len(_actions(engine, since, "-f", "label=a=b", "-f", "event=create")) == 1
    assert len(_actions(engine, since, "-f", "image=busybox", "-f", "event=create")) == 2


def test_an_event_tells_what_happened(engine: Engine, name: str) -> None:
    since = time.time()
    identity = engine.out("run", "-d", "--name", name, "--label", "a=b", "busybox", "sh", "-c", "exit 3")
    engine.docker("wait", name)
    wait_until(lambda: "container die" in _actions(engine, since), "it died")
    said = engine.out("events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "-f", "event=die", "--format", "{{json .}}")
    event = json.loads(said)
    assert (event["Type"], event["Action"], event["id"], event["from"], event["scope"]) == (
        "container",
        "die",
        identity,
        "busybox",
        "local",
    )
    attributes = event["Actor"]["Attributes"]
    assert (attributes["exitCode"], attributes["image"], attributes["name"], attributes["a"]) == ("3", "busybox", name, "b")
    assert event["time"] == event["timeNano"] // 10**9


def test_a_live_stream(engine: Engine, name: str) -> None:
    argv = ["docker", "events", "-f", f"container={name}", "--format", "{{.Action}}"]
    with subprocess.Popen(argv, env=engine.environ(), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            # The stream has no first line: make containers until one is told.
            seen: list[bytes] = []

            def told() -> bool:
                engine.docker("run", "--rm", "--name", name, "busybox", "true")
                return bool(select.select([process.stdout], [], [], 0.5)[0])

            wait_until(told, "an event arrives")
            while not seen or seen[-1] != b"destroy\n":
                seen.append(process.stdout.readline())
            assert b"die\n" in seen
        finally:
            process.kill()


def test_events_of_images(engine: Engine, name: str) -> None:
    since = time.time()
    engine.docker("tag", "busybox", f"{name}:x")
    engine.docker("rmi", f"{name}:x")
    wait_until(lambda: "image untag" in _actions(engine, since), "it was told")
    assert _actions(engine, since, "-f", "type=image") == ["image tag", "image untag"]
