"""docker logs and the json-file driver."""

import json
import re
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engines import Engine

from .waiting import wait_until

covers = pytest.mark.covers


@covers("logs")
def test_streams_are_kept_apart(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "busybox", "sh", "-c", "echo out; echo err >&2; printf unfinished")
    result = engine.docker("logs", name)
    assert (result.stdout, result.stderr) == ("out\nunfinished", "err\n")


@covers("logs --tail")
def test_tail(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "busybox", "seq", "1", "1000")
    assert engine.out("logs", name).split() == [str(number) for number in range(1, 1001)]
    assert engine.out("logs", "--tail", "3", name) == "998\n999\n1000"
    assert engine.out("logs", "--tail", "0", name) == ""
    assert engine.out("logs", "--tail", "all", name).count("\n") == 999


@covers("logs -t", "logs --since", "logs --until")
def test_times(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "busybox", "sh", "-c", "echo one; sleep 1.2; echo two; sleep 1.2; echo three")
    rows = [line.split(" ") for line in engine.out("logs", "-t", name).splitlines()]
    assert [row[1] for row in rows] == ["one", "two", "three"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", row[0]) for row in rows)
    stamps = [row[0] for row in rows]
    assert stamps == sorted(stamps)
    assert engine.out("logs", "--since", stamps[1], name) == "two\nthree"
    assert engine.out("logs", "--until", stamps[1], name) == "one\ntwo"
    assert engine.out("logs", "--since", stamps[1], "--until", stamps[1], name) == "two"
    second = datetime.fromisoformat(stamps[2][:19]).replace(tzinfo=UTC)
    assert engine.out("logs", "--since", str(int(second.timestamp())), name).endswith("three")
    assert engine.out("logs", "--since", "1h", name) == "one\ntwo\nthree"
    assert engine.out("logs", "--since", str(int(time.time()) + 100), name) == ""


@covers("logs -f")
def test_follow_ends_with_the_container(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", "for i in 1 2 3 4; do echo $i; sleep 0.2; done")
    assert engine.out("logs", "-f", name) == "1\n2\n3\n4"


@covers("logs -f")
def test_follow_shows_lines_as_they_come(engine: Engine, name: str) -> None:
    engine.docker("run", "-di", "--name", name, "busybox", "sh", "-c", "echo first; while [ ! -e /go ]; do sleep 0.05; done; echo second")
    with subprocess.Popen(["docker", "logs", "-f", "--tail", "1", name], env=engine.environ(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        engine.docker("exec", name, "touch", "/go")
        assert process.stdout.readline() == b"second\n"
        assert process.wait(20) == 0


@covers("run --log-driver")
def test_driver_none_keeps_nothing(engine: Engine, name: str) -> None:
    assert engine.out("run", "--log-driver", "none", "--name", name, "busybox", "echo", "seen") == "seen"
    result = engine.docker("logs", name, check=False)
    assert result.returncode == 1
    assert "configured logging driver does not support reading" in result.stderr


def test_the_file_is_where_inspect_says_and_holds_json(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "busybox", "sh", "-c", 'echo "a<b>\t\\"q\\""; echo err >&2')
    identity, path = engine.out("inspect", "-f", "{{.Id}} {{.LogPath}}", name).split()
    assert path.endswith(f"/containers/{identity}/{identity}-json.log")
    file = Path(path)
    wait_until(lambda: file.read_bytes().count(b"\n") == 2, "both lines are in the file")
    text = file.read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert {(row["log"], row["stream"]) for row in rows} == {('a<b>\t"q"\n', "stdout"), ("err\n", "stderr")}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", row["time"]) for row in rows)
    assert r'"log":"a\u003cb\u003e\u0009\"q\"\n"' in text


@covers("run --log-opt")
def test_rotation_keeps_the_newest(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "--log-opt", "max-size=20k", "--log-opt", "max-file=2", "busybox", "seq", "1", "2000")
    path = engine.out("inspect", "-f", "{{.LogPath}}", name)
    kept = wait_until(lambda: (lines := engine.out("logs", name).split()) and lines[-1] == "2000" and lines, "the last line is there")
    assert len(kept) < 1000 and kept == [str(number) for number in range(2001 - len(kept), 2001)]
    assert len(subprocess.run(f"ls {path}*", shell=True, capture_output=True, text=True, check=True).stdout.split()) == 2


def test_wrong_options_are_refused(engine: Engine, name: str) -> None:
    assert "unknown log opt 'nosuch' for json-file log driver" in engine.docker(
        "create", "--name", name, "--log-opt", "nosuch=1", "busybox", check=False
    ).stderr  # fmt: skip


def test_logs_of_a_terminal_are_raw(engine: Engine, name: str) -> None:
    engine.docker("run", "-t", "--name", name, "busybox", "echo", "hello")
    assert engine.docker("logs", name).stdout == "hello\r\n"


def test_a_long_line_stays_whole(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "busybox", "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo next")
    assert engine.out("logs", name) == "x" * 100000 + "\nnext"


def test_logs_go_on_over_a_restart(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "busybox", "echo", "run")
    engine.docker("start", "-a", name)
    assert engine.out("logs", name) == "run\nrun"


def test_logs_right_after_a_short_run(engine: Engine, name: str) -> None:
    for number in range(10):
        engine.docker("run", "--name", f"{name}{number}", "busybox", "echo", str(number))
        assert engine.out("logs", f"{name}{number}") == str(number)
