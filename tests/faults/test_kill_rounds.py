"""Every part is killed again and again while containers write: nothing is harmed, lost, doubled or left."""

import os
import random

import pytest

from engines import Engine, skerry_engine
from faults.rounds import VICTIMS, run
from images.busybox import make_busybox

pytestmark = pytest.mark.root


@pytest.mark.alone
def test_kill_rounds() -> None:
    """The 60-second form."""
    # How much flows depends on what else the machine does; the full form asks for 5 MB/s.
    summary = run(12, random.randrange(10**6), least=0.5)
    print(summary)
    assert set(summary["kills"]) == set(VICTIMS)
    assert min(summary["kills"].values()) >= 2


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(3600)
def test_kill_rounds_in_full() -> None:
    summary = run(60, random.randrange(10**6))
    print(summary)
    assert min(summary["kills"].values()) >= 8


@pytest.fixture(scope="module")
def engine() -> Engine:  # type: ignore[misc]
    with skerry_engine() as one:
        make_busybox(f"{one.folder}/busybox.tar")
        one.docker("load", "-q", "-i", f"{one.folder}/busybox.tar")
        yield one  # type: ignore[misc]


def ping_through(path: str) -> int:
    import socket

    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(path)
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return int(connection.recv(1000).split()[1])


def test_a_container_that_mounts_the_socket_outlives_ten_gateways(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "inside", "-v", f"{engine.socket}:/var/run/docker.sock", "busybox", "sleep", "1000")
    pid = engine.out("inspect", "-f", "{{.State.Pid}}", "inside")
    # The mounted socket as the container sees it; /proc/PID/root leads through its mount namespace.
    path = f"/proc/{pid}/root/var/run/docker.sock"
    inode = os.stat(path).st_ino
    for _ in range(10):
        row = next(row for row in engine.status() if row["service"] == "gateway")
        os.kill(row["pid"], 9)
        assert ping_through(path) == 200
        assert os.stat(path).st_ino == os.stat(engine.socket).st_ino == inode
    engine.docker("rm", "-f", "inside")


def test_stopping_the_engine_leaves_containers_running(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "stays", "busybox", "sh", "-c", "echo before; sleep 1; echo after; sleep 1000")
    pid = engine.out("inspect", "-f", "{{.State.Pid}}", "stays")
    engine.stop()
    assert os.path.exists(f"/proc/{pid}")
    engine.start()
    assert engine.out("inspect", "-f", "{{.State.Pid}} {{.State.Status}}", "stays") == f"{pid} running"
    assert engine.out("exec", "stays", "echo", "alive") == "alive"
    engine.docker("kill", "stays")
    assert engine.out("wait", "stays") == "137"
    assert engine.out("logs", "stays").splitlines() == ["before", "after"]
    engine.docker("rm", "stays")


def test_a_second_supervisor_for_the_same_place_is_refused(engine: Engine) -> None:
    import subprocess

    result = subprocess.run(engine._command, env=engine._environ, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 1
    assert "an engine already runs" in result.stderr
    assert engine.answers()
