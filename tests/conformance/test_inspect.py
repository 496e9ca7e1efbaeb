"""docker inspect of containers."""

import json
import re
from typing import Any

import pytest

from engines import Engine

covers = pytest.mark.covers


def _document(engine: Engine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(engine.out("inspect", name))[0]
    return found


@covers("inspect")
def test_the_document(engine: Engine, name: str, tmp_path) -> None:
    printed = engine.out("run", "-d", "--name", name, "-e", "A=1", "-w", "/tmp", "-u", "1:2", "--label", "l=x", "-v", f"{tmp_path}:/m:ro",
                         "--restart", "on-failure:3", "busybox", "sleep", "100")  # fmt: skip
    found = _document(engine, name)
    assert (found["Id"], found["Name"], found["Path"], found["Args"]) == (printed, f"/{name}", "sleep", ["100"])
    assert found["Image"] == engine.out("inspect", "-f", "{{.Id}}", "--type", "image", "busybox")
    assert found["Driver"] and found["Platform"] == "linux"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", found["Created"])
    state = found["State"]
    assert (state["Status"], state["Running"], state["Paused"], state["ExitCode"], state["OOMKilled"]) == ("running", True, False, 0, False)
    assert state["Pid"] > 1 and state["FinishedAt"] == "0001-01-01T00:00:00Z"
    config = found["Config"]
    assert (config["Image"], config["User"], config["WorkingDir"], config["Hostname"]) == ("busybox", "1:2", "/tmp", printed[:12])
    assert "A=1" in config["Env"] and config["Labels"] == {"l": "x"} and config["Cmd"] == ["sleep", "100"]
    host = found["HostConfig"]
    assert host["Binds"] == [f"{tmp_path}:/m:ro"] and host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert host["LogConfig"]["Type"] == "json-file" and host["NetworkMode"] in ("default", "bridge")
    mount = found["Mounts"][0]
    assert (mount["Type"], mount["Source"], mount["Destination"], mount["RW"]) == ("bind", str(tmp_path), "/m", False)
    assert found["RestartCount"] == 0 and found["HostnamePath"].endswith("/hostname") and found["ResolvConfPath"].endswith("/resolv.conf")


@covers("inspect --format")
def test_format_and_times(engine: Engine, name: str) -> None:
    # Not shorter: dockerd notes the start after the event of it, and thus sometimes after the end.
    engine.docker("run", "--name", name, "busybox", "sh", "-c", "sleep 0.3; exit 1", check=False)
    started, finished, code, pid = engine.out(
        "inspect", "-f", "{{.State.StartedAt}} {{.State.FinishedAt}} {{.State.ExitCode}} {{.State.Pid}}", name
    ).split()
    assert started < finished and (code, pid) == ("1", "0")


@covers("inspect --type")
def test_types(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox")
    engine.docker("inspect", "--type", "container", name)
    missing = engine.docker("inspect", "--type", "image", name, check=False)
    assert missing.returncode == 1 and "No such image" in missing.stderr


def test_a_missing_object(engine: Engine) -> None:
    result = engine.docker("inspect", "nosuch", check=False)
    assert (result.returncode, result.stdout) == (1, "[]\n")
    assert "No such object: nosuch" in result.stderr


def test_size(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "busybox", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=1")
    found = json.loads(engine.out("inspect", "-s", name))[0]
    assert 1_000_000 < found["SizeRw"] < 1_200_000 and found["SizeRootFs"] > found["SizeRw"]
