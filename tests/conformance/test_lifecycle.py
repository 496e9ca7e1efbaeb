"""start, stop, kill, wait, restart, pause, rm, rename, prune, top and restart policies."""

import re
import subprocess
import time

import pytest

from engines import Engine

from .waiting import wait_until

covers = pytest.mark.covers


def _state(engine: Engine, name: str) -> str:
    return engine.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name)


@covers("start")
def test_start_prints_the_name_and_keeps_the_files(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox", "sh", "-c", "echo x >> /count; wc -l < /count; sleep 100")
    assert engine.out("start", name) == name
    engine.docker("stop", "-t", "0", name)
    assert engine.out("start", name) == name
    wait_until(lambda: engine.out("logs", name) == "1\n2", "both runs printed")


@covers("start -a")
def test_start_attached_shows_output_and_exit_code(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox", "sh", "-c", "echo hello; exit 7")
    result = engine.docker("start", "-a", name, check=False)
    assert (result.stdout, result.returncode) == ("hello\n", 7)


@covers("start -i")
def test_start_interactive_passes_stdin(engine: Engine, name: str) -> None:
    engine.docker("create", "-i", "--name", name, "busybox", "cat")
    assert engine.docker("start", "-ai", name, stdin=b"typed\n").stdout == "typed\n"


def test_start_by_a_prefix_of_the_id(engine: Engine) -> None:
    printed = engine.out("create", "busybox", "sleep", "100")
    assert engine.out("start", printed[:10]) == printed[:10]
    assert _state(engine, printed[:10]) == "running 0"


@covers("stop", "stop -t")
def test_stop_kills_after_the_grace(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "100")
    begin = time.monotonic()
    assert engine.out("stop", "-t", "1", name) == name
    assert 0.9 < time.monotonic() - begin < 8
    assert _state(engine, name) == "exited 137"
    assert engine.out("stop", name) == name


def test_stop_lets_the_program_end_by_itself(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    wait_until(lambda: engine.out("logs", name) == "ready", "the trap is set")
    engine.docker("stop", name)
    assert _state(engine, name) == "exited 3"


@covers("run --stop-signal", "run --stop-timeout")
def test_stop_signal_and_timeout_of_the_container(engine: Engine, name: str) -> None:
    script = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done"
    engine.docker("run", "-d", "--name", name, "--stop-signal", "SIGUSR1", "busybox", "sh", "-c", script)
    wait_until(lambda: engine.out("logs", name) == "ready", "the trap is set")
    engine.docker("stop", name)
    assert _state(engine, name) == "exited 9"
    engine.docker("run", "-d", "--name", f"{name}t", "--stop-timeout", "1", "busybox", "sleep", "100")
    begin = time.monotonic()
    engine.docker("stop", f"{name}t")
    assert time.monotonic() - begin < 8


@covers("kill")
def test_kill(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "100")
    assert engine.out("kill", name) == name
    assert engine.out("wait", name) == "137"


@covers("kill -s")
@pytest.mark.parametrize("signal", ["USR1", "SIGUSR1", "10"])
def test_kill_with_a_signal(engine: Engine, name: str, signal: str) -> None:
    script = "trap 'echo got' USR1; echo ready; while :; do sleep 0.1; done"
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", script)
    wait_until(lambda: engine.out("logs", name) == "ready", "the trap is set")
    engine.docker("kill", "-s", signal, name)
    wait_until(lambda: engine.out("logs", name) == "ready\ngot", "the signal arrived")
    assert _state(engine, name) == "running 0"


@covers("wait")
def test_wait_prints_exit_codes(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", "sleep 0.5; exit 5")
    engine.docker("run", "-d", "--name", f"{name}b", "busybox", "sh", "-c", "exit 6")
    assert engine.out("wait", name, f"{name}b") == "5\n6"
    assert engine.out("wait", name) == "5"


@covers("restart", "restart -t")
def test_restart(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "100")
    before = engine.out("inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}}", name)
    assert engine.out("restart", "-t", "0", name) == name
    after = engine.out("inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}}", name)
    assert before.split()[0] != after.split()[0]
    assert before.split()[1] < after.split()[1]
    engine.docker("kill", name)
    engine.docker("restart", name)
    assert _state(engine, name) == "running 0"


@covers("run --restart")
def test_restart_on_failure_stops_after_so_many(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--restart", "on-failure:2", "busybox", "sh", "-c", "echo run; exit 4")
    wait_until(lambda: engine.out("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", name) == "exited 2", "two restarts", 30)
    assert engine.out("logs", name) == "run\nrun\nrun"


@covers("run --restart")
def test_restart_always_restarts_but_not_after_stop(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--restart", "always", "busybox", "sh", "-c", "echo run; sleep 0.2")
    wait_until(lambda: engine.out("logs", name).count("run") >= 3, "it runs again and again", 30)
    engine.docker("stop", "-t", "0", name)
    assert _state(engine, name).startswith("exited")


@covers("pause", "unpause")
def test_pause(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", "while :; do echo x; sleep 0.05; done")
    assert engine.out("pause", name) == name
    assert _state(engine, name) == "paused 0"
    assert re.search(r"Up .* \(Paused\)", engine.out("ps", "--format", "{{.Status}}", "-f", f"name={name}"))
    count = len(engine.out("logs", name))
    assert "is paused, unpause the container before exec" in engine.docker("exec", name, "true", check=False).stderr
    assert len(engine.out("logs", name)) - count <= 4
    assert engine.out("unpause", name) == name
    wait_until(lambda: len(engine.out("logs", name)) > count + 4, "it goes on")


@covers("top")
def test_top(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "12345")
    rows = engine.out("top", name).splitlines()
    assert rows[0].split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert rows[1].endswith("sleep 12345") and len(rows) == 2
    assert engine.out("top", name, "-o", "pid,comm").splitlines()[1].split()[1] == "sleep"


@covers("rm")
def test_rm(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox")
    assert engine.out("rm", name) == name
    assert "No such container" in engine.docker("rm", name, check=False).stderr


@covers("rm -f", "rm -v")
def test_a_running_one_is_removed_only_by_force(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "100")
    refused = engine.docker("rm", name, check=False)
    assert refused.returncode == 1
    assert "cannot remove" in refused.stderr.lower() and "running" in refused.stderr
    assert engine.out("rm", "-fv", name) == name
    assert engine.out("ps", "-aq") == ""


@covers("rename")
def test_rename(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox")
    engine.docker("rename", name, f"{name}x")
    assert engine.out("inspect", "-f", "{{.Name}}", f"{name}x") == f"/{name}x"
    engine.docker("create", "--name", name, "busybox")
    assert "is already in use" in engine.docker("rename", f"{name}x", name, check=False).stderr


@covers("container prune", "container prune -f", "container prune --filter")
def test_prune_removes_what_does_not_run(engine: Engine, name: str) -> None:
    running = engine.out("run", "-d", "--name", name, "busybox", "sleep", "100")
    kept = engine.out("create", "--label", "keep=1", "busybox")
    gone = engine.out("create", "busybox")
    said = engine.out("container", "prune", "-f", "--filter", "label!=keep=1")
    assert said.splitlines()[:2] == ["Deleted Containers:", gone]
    assert "Total reclaimed space:" in said
    assert set(engine.out("ps", "-aq", "--no-trunc").split()) == {running, kept}
    engine.docker("container", "prune", "-f")
    assert engine.out("ps", "-aq", "--no-trunc") == running


def test_stop_and_rm_of_everything(engine: Engine) -> None:
    for _ in range(3):
        engine.docker("run", "-d", "busybox", "sleep", "100")
    script = "docker stop -t 0 $(docker ps -aq) && docker rm $(docker ps -aq)"
    subprocess.run(["sh", "-c", script], env=engine.environ(), check=True, capture_output=True)
    assert engine.out("ps", "-aq") == ""


def test_auto_remove_after_a_detached_run(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--rm", "--name", name, "busybox", "sleep", "0.3")
    wait_until(lambda: engine.out("ps", "-aq") == "", "it removed itself")


def test_a_removed_name_is_free_again(engine: Engine, name: str) -> None:
    for _ in range(3):
        assert engine.out("run", "--rm", "--name", name, "busybox", "echo", "again") == "again"
