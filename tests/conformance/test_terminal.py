"""Interactive use on a real terminal: prompt, size, ctrl-d, detach keys, attach, signal proxy."""

import signal
import subprocess

import pytest

from engines import Engine

from .client import client
from .terminal import CTRL_C, CTRL_D, DETACH, terminal
from .waiting import wait_until

covers = pytest.mark.covers
PROMPT = r"/ # (\x1b\[6n)?"


def _running(engine: Engine, name: str) -> str:
    return engine.out("inspect", "-f", "{{.State.Running}} {{.State.ExitCode}}", name)


@covers("run -i", "run -t")
def test_prompt_and_ctrl_d(engine: Engine, name: str) -> None:
    with terminal(["docker", "run", "-it", "--name", name, "busybox"], engine.environ()) as screen:
        screen.expect(PROMPT)
        screen.run("echo $((40 + 2)); (exit 4)", r"\n42\r\n")
        screen.expect(PROMPT)
        screen.type(CTRL_D)
        assert screen.wait() == 4
    assert _running(engine, name) == "false 4"


def test_exit_ends_it(engine: Engine, name: str) -> None:
    with terminal(["docker", "run", "-it", "--rm", "--name", name, "busybox"], engine.environ()) as screen:
        screen.expect(PROMPT)
        screen.type("exit 3\n")
        assert screen.wait() == 3
    assert engine.out("ps", "-aq") == ""


def test_the_size_follows_the_terminal(engine: Engine, name: str) -> None:
    with terminal(["docker", "run", "-it", "--name", name, "busybox"], engine.environ(), rows=31, columns=101) as screen:
        screen.expect(PROMPT)
        wait_until(lambda: "31 101" in screen.run("stty size", r"\d+ \d+\r\n"), "the first size is there")

        def follows() -> bool:
            # A client that has just set the first size may not listen for SIGWINCH yet (docker 20.10): the window moves again.
            screen.resize(40, 119)
            screen.resize(40, 120)
            return "40 120" in screen.run("stty size", r"\d+ \d+\r\n")

        wait_until(follows, "the new size is there")


def test_ctrl_c_reaches_the_program(engine: Engine, name: str) -> None:
    with terminal(["docker", "run", "-it", "--name", name, "busybox"], engine.environ()) as screen:
        screen.expect(PROMPT)
        screen.type("sleep 100; echo code $?\n")
        screen.expect("sleep 100")
        wait_until(lambda: "sleep 100" in engine.out("top", name), "sleep runs")
        screen.type(CTRL_C)
        screen.expect(PROMPT)
        screen.run("echo still here", r"\nstill here")


@covers("attach")
def test_detach_and_attach_again(engine: Engine, name: str) -> None:
    with terminal(["docker", "run", "-it", "--name", name, "busybox"], engine.environ()) as screen:
        screen.expect(PROMPT)
        screen.run("value=kept", PROMPT)
        screen.type(DETACH)
        assert screen.wait() == 0
    assert _running(engine, name) == "true 0"
    with terminal(["docker", "attach", name], engine.environ()) as screen:
        screen.run("", PROMPT)
        screen.run("echo is $value", r"\nis kept")
        # Before the prompt the shell still changes the terminal's mode, and a ctrl-d typed then is lost.
        screen.expect(PROMPT)
        screen.type(CTRL_D)
        screen.wait()
    assert _running(engine, name).startswith("false")


@covers("run --detach-keys", "attach --detach-keys")
def test_own_detach_keys(engine: Engine, name: str) -> None:
    with terminal(["docker", "run", "-it", "--detach-keys", "ctrl-x,q", "--name", name, "busybox"], engine.environ()) as screen:
        screen.expect(PROMPT)
        screen.type(b"\x18q")
        assert screen.wait() == 0
    with terminal(["docker", "attach", "--detach-keys", "ctrl-a", name], engine.environ()) as screen:
        screen.run("", PROMPT)
        screen.type(b"\x01")
        screen.wait()
    assert _running(engine, name) == "true 0"


@covers("start -a", "start -i")
def test_start_again_on_a_terminal(engine: Engine, name: str) -> None:
    engine.docker("create", "-it", "--name", name, "busybox")
    for _ in range(2):
        with terminal(["docker", "start", "-ai", name], engine.environ()) as screen:
            screen.expect(PROMPT)
            screen.type("exit\n")
            assert screen.wait() == 0


@covers("exec -i", "exec -t", "exec --detach-keys")
def test_exec_on_a_terminal(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "100")
    with terminal(["docker", "exec", "-it", name, "sh"], engine.environ(), rows=33, columns=99) as screen:
        screen.expect(PROMPT)
        wait_until(lambda: "33 99" in screen.run("stty size", r"\d+ \d+\r\n"), "the size is there")
        screen.type("exit 5\n")
        assert screen.wait() == 5
    with terminal(["docker", "exec", "-it", "--detach-keys", "ctrl-x", name, "sh"], engine.environ()) as screen:
        screen.expect(PROMPT)
        screen.type(b"\x18")
        screen.wait()
    assert _running(engine, name) == "true 0"


@covers("attach --no-stdin")
def test_attach_shows_what_comes_and_ends_with_the_program(engine: Engine, name: str) -> None:
    script = "while [ ! -e /go ]; do sleep 0.05; done; echo now; exit 6"
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", script)
    with client(["docker", "attach", "--no-stdin", name], engine.environ()) as process:
        assert process.stdout is not None
        # What was written before attach came is not shown, so the program waits for a sign until it surely is attached.
        wait_until(lambda: _attached(engine, name), "the client is attached")
        engine.docker("exec", name, "touch", "/go")
        assert process.stdout.read() == b"now\n"
        assert process.wait(20) == 6


def _attached(engine: Engine, name: str) -> bool:
    said = engine.docker("events", "--since", "0", "--until", "0s", "-f", f"container={name}", "-f", "event=attach").stdout
    return "attach" in said


@covers("attach")
def test_attach_passes_stdin(engine: Engine, name: str) -> None:
    engine.docker("run", "-di", "--name", name, "busybox", "sh", "-c", "read line; echo got $line")
    argv = ["docker", "attach", name]
    with client(argv, engine.environ(), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"got hello\n"
        assert process.wait(20) == 0


def test_stdin_of_a_detached_one_stays_open(engine: Engine, name: str) -> None:
    engine.docker("run", "-di", "--name", name, "busybox", "sh")
    engine.docker("attach", "--sig-proxy=false", name, stdin=b"exit 4\n", check=False)
    wait_until(lambda: _running(engine, name) == "false 4", "the shell read its command")


@covers("run --sig-proxy", "attach --sig-proxy")
def test_signals_of_the_client_are_passed_on(engine: Engine, name: str) -> None:
    script = "trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 0.05; done"
    argv = ["docker", "run", "--name", name, "busybox", "sh", "-c", script]
    with client(argv, engine.environ()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGUSR1)
        assert process.wait(20) == 9
        assert process.stdout.read() == b"got\n"


@covers("run --sig-proxy")
def test_without_proxy_signals_stay_with_the_client(engine: Engine, name: str) -> None:
    script = "trap 'exit 9' USR1; echo ready; while [ ! -e /go ]; do sleep 0.05; done; exit 5"
    argv = ["docker", "run", "--sig-proxy=false", "--name", name, "busybox", "sh", "-c", script]
    with client(argv, engine.environ()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGUSR1)
        engine.docker("exec", name, "touch", "/go")
        assert process.wait(20) == 5
