"""A monitor, the keeper, or both are killed: containers and execs go on, and nothing of them is lost."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial

import pytest

from engines import Engine, skerry_engine
from faults.monitors import Monitors, Stream, check, run, table, until
from images.busybox import make_busybox

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def has_more_than(stream: Stream, lines: int) -> bool:
    """Tells whether so many lines came."""
    return stream.lines > lines


def replaced(engine: Engine, container: str, victim: int) -> bool:
    """Tells whether a container has another monitor than that one."""
    return Monitors(engine).living().get(container, victim) != victim


def test_monitors_killed_under_full_output_lose_and_double_nothing() -> None:
    """The short form."""
    summary = run(30, random.randrange(10**6), keeper_kills=1)
    print(table(summary))
    check(summary)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_three_hundred_monitors_killed_lose_and_double_nothing() -> None:
    summary = run(300, random.randrange(10**6), keeper_kills=10)
    print(table(summary))
    check(summary)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with skerry_engine() as one:
        make_busybox(f"{one.folder}/busybox.tar")
        one.docker("load", "-q", "-i", f"{one.folder}/busybox.tar")
        yield one


def start(engine: Engine, name: str, script: str, *options: str) -> str:
    """Starts a container; returns its id."""
    return engine.out("run", "-d", "--network", "none", "--name", name, *options, "busybox", "sh", "-c", script)


def kill_all(engine: Engine, *containers: str) -> None:
    """Kills the keeper and these containers' monitors at once: nobody is left who could hand anything over."""
    monitors = Monitors(engine)
    living, keeper = monitors.living(), monitors.keeper()
    victims = [living[container] for container in containers]
    # Stopped first, so that the one cannot notice the other's death.
    for pid in (keeper, *victims):
        os.kill(pid, signal.SIGSTOP)
    for pid in (keeper, *victims):
        os.kill(pid, signal.SIGKILL)


def state(engine: Engine, name: str) -> str:
    return engine.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", name).strip()


def test_keeper_and_monitor_killed_at_once_the_container_goes_on_and_its_code_is_known(engine: Engine) -> None:
    container = start(engine, "both", "i=0; while [ ! -e /stop ]; do seq $i $((i + 999)); i=$((i + 1000)); sleep 0.01; done; exit 7")
    stream = Stream("logs -f", engine, "logs", "-f", "both")
    for _ in range(2):
        until(lambda: container in Monitors(engine).living(), "it has a monitor")
        kill_all(engine, container)
        until(partial(has_more_than, stream, stream.lines + 5000), "output flows again", 30)
    engine.docker("exec", "both", "touch", "/stop")
    assert engine.out("wait", "both") == "7"
    stream.join(30)
    assert (stream.lost, stream.doubled, stream.torn) == (0, 0, 0)
    assert state(engine, "both") == "exited 7"
    engine.docker("rm", "both")


@pytest.mark.parametrize(("script", "code"), [("exit 6", 6), ("", 137)])
def test_an_end_in_the_very_moment_is_known_from_the_process(engine: Engine, script: str, code: int) -> None:
    container = start(engine, "end", f"trap '{script}' TERM; while :; do sleep 0.01; done </dev/null")
    process = int(engine.out("inspect", "-f", "{{.State.Pid}}", "end"))
    monitors = Monitors(engine)
    keeper, victim = monitors.keeper(), monitors.living()[container]
    for pid in (keeper, victim):
        os.kill(pid, signal.SIGSTOP)
    os.kill(process, signal.SIGKILL if code == 137 else signal.SIGTERM)
    for pid in (keeper, victim):
        os.kill(pid, signal.SIGKILL)
    assert engine.out("wait", "end") == str(code)
    assert state(engine, "end") == f"exited {code}"
    engine.docker("rm", "end")


def test_all_of_the_node_killed_at_once_leaves_a_container_that_can_be_stopped_and_removed(engine: Engine) -> None:
    containers = [start(engine, f"all{n}", "while :; do echo line; sleep 0.05; done") for n in range(3)]
    service = next(row["pid"] for row in engine.status() if row["service"] == "containers")
    os.kill(service, signal.SIGSTOP)
    kill_all(engine, *containers)
    os.kill(service, signal.SIGKILL)
    until(lambda: engine.docker("ps", check=False).returncode == 0, "the service is back")
    for n in range(3):
        assert engine.out("inspect", "-f", "{{.State.Running}}", f"all{n}") == "true"
    engine.docker("stop", "-t", "1", "all0", "all1")
    engine.docker("rm", "-f", "all0", "all1", "all2")
    until(lambda: not Monitors(engine).living(), "no monitor is left")


def test_a_code_that_nobody_can_know_is_255_and_inspect_says_why(engine: Engine) -> None:
    container = start(engine, "unknown", "sleep 1000")
    pid = int(engine.out("inspect", "-f", "{{.State.Pid}}", "unknown"))
    service = next(row["pid"] for row in engine.status() if row["service"] == "containers")
    os.kill(service, signal.SIGSTOP)
    kill_all(engine, container)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{pid}"), "somebody buries it")
    os.kill(service, signal.SIGKILL)
    until(lambda: engine.docker("ps", check=False).returncode == 0, "the service is back")
    assert engine.out("wait", "unknown", timeout=20) == "255"
    assert state(engine, "unknown").startswith("exited 255 its exit code is not known")
    engine.docker("rm", "unknown")


def test_a_terminal_outlives_its_monitor_with_size_and_input(engine: Engine) -> None:
    container = start(engine, "tty", "while read line; do stty size; echo got $line; done; echo end", "-t", "-i")
    engine.request("POST", f"/{engine.api}/containers/tty/resize?h=33&w=99")
    client = subprocess.Popen(
        ["script", "-qec", "docker attach tty", "/dev/null"], env=engine.environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert client.stdin is not None
    assert client.stdout is not None
    seen = b""
    for n in range(5):
        client.stdin.write(b"line%d\r" % n)
        client.stdin.flush()
        while b"got line%d" % n not in seen:
            data = os.read(client.stdout.fileno(), 4096)
            assert data, seen
            seen += data
        victim = Monitors(engine).living()[container]
        os.kill(victim, signal.SIGKILL)
        until(partial(replaced, engine, container, victim), "it is replaced")
    client.kill()
    client.wait()
    client.stdin.close()
    client.stdout.close()
    assert seen.count(b"got line") == 5
    engine.docker("rm", "-f", "tty")


@pytest.mark.parametrize("moment", [0, 1, 3])
def test_a_monitor_killed_during_create_start_or_exec_leaves_a_running_container_or_none(engine: Engine, moment: int) -> None:
    """Whenever it is killed: the command works, or fails and leaves nothing; both can be repeated."""
    monitors = Monitors(engine)
    for what in (("run", "-d", "--network", "none", "--name", "early"), ("exec",)):
        argv = [*what, "busybox", "sleep", "1000"] if what[0] == "run" else [*what, "early", "echo", "hello"]
        process = subprocess.Popen(["docker", *argv], env=engine.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 5
        before = set(monitors.processes())
        while not (new := set(monitors.processes()) - before) and time.monotonic() < deadline and process.poll() is None:
            pass
        time.sleep(moment * 0.003)
        for pid in new:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        out, err = process.communicate(timeout=40)
        if what[0] == "run" and process.returncode:
            print("refused:", err)
            engine.docker("rm", "-f", "early")
            start(engine, "early", "sleep 1000")
        if what[0] == "exec" and process.returncode == 0:
            assert out == "hello\n"
    assert engine.out("exec", "early", "echo", "again") == "again"
    engine.docker("rm", "-f", "early")
    until(lambda: not monitors.living(), "no monitor is left")
