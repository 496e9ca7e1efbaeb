"""Clients of attach and exec while the container service is killed or stopped, and clients that do not read."""

import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from conformance.waiting import wait_until
from engines import Engine, UnixConnection, skerry_engine
from images.busybox import make_busybox

pytestmark = pytest.mark.root

NOTE = re.compile(rb"(\d+) bytes of output were not kept\n")
# Numbered lines, 20 MB of them, so that a lost or doubled piece is seen whatever its size.
LINES = 2_000_000


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with skerry_engine() as one:
        make_busybox(f"{one.folder}/busybox.tar")
        one.docker("load", "-q", "-i", f"{one.folder}/busybox.tar")
        yield one


def service(engine: Engine) -> int:
    """Returns the container service's process."""
    return wait_until(lambda: [row["pid"] for row in engine.status() if row["service"] == "containers" and row["pid"]], "it runs")[0]


def end(engine: Engine, number: int) -> None:
    """Ends the container service by a signal, and waits for the next one."""
    before = service(engine)
    os.kill(before, number)
    wait_until(
        lambda: any(row["service"] == "containers" and row["pid"] not in (0, None, before) for row in engine.status()), "another one"
    )


@contextlib.contextmanager
def docker(engine: Engine, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        ["docker", *arguments], env=engine.environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Slow(threading.Thread):
    """Reads a client's output with pauses, so that more is always waiting for it than it has."""

    def __init__(self, process: "subprocess.Popen[bytes]", pause: float) -> None:
        super().__init__(daemon=True)
        self._process, self._pause = process, pause
        self.read, self.digest = 0, hashlib.sha256()
        self.start()

    def has_more_than(self, size: int) -> bool:
        """Tells whether so many bytes were read."""
        return self.read > size

    def run(self) -> None:
        assert self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), 1 << 20):
            self.digest.update(data)
            self.read += len(data)
            time.sleep(self._pause)


def numbers(count: int) -> tuple[int, str]:
    """Returns size and digest of `seq COUNT`."""
    data = subprocess.run(["seq", str(count)], capture_output=True, check=True).stdout
    return len(data), hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("command", ["run", "exec"])
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGKILL, id="killed"), pytest.param(signal.SIGTERM, id="stopped", marks=pytest.mark.long)]
)
def test_a_slow_client_misses_nothing_while_the_service_ends_again_and_again(engine: Engine, command: str, number: int) -> None:
    # Far more than the spool keeps for clients that hold nothing.
    script = f"for i in 1 2 3 4 5 6; do seq {LINES}; done; exit 7"
    if command == "exec":
        box = engine.out("run", "-d", "busybox", "sleep", "1000")
        arguments = ["exec", box, "sh", "-c", script]
    else:
        arguments = ["run", "--rm", "--log-driver", "none", "busybox", "sh", "-c", script]
    size, _ = numbers(LINES)
    whole = hashlib.sha256()
    for _ in range(6):
        whole.update(subprocess.run(["seq", str(LINES)], capture_output=True, check=True).stdout)
    with docker(engine, *arguments) as process:
        reader = Slow(process, 0.003)
        for share in (1, 30, 60):
            wait_until(partial(reader.has_more_than, 6 * size * share // 100), f"{share} % are read", 60)
            end(engine, number)
        reader.join(90)
        assert process.stderr is not None
        assert (reader.read, reader.digest.hexdigest()) == (6 * size, whole.hexdigest()), process.stderr.read()[-300:]
        assert process.wait(20) == 7
    if command == "exec":
        engine.docker("rm", "-f", box)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_what_ends_while_the_service_is_away_is_told_to_its_clients(engine: Engine, number: int) -> None:
    box = engine.out("run", "-d", "busybox", "sh", "-c", "while [ ! -e /end ]; do usleep 20000; done; usleep 300000; seq 100000; exit 3")
    _, digest = numbers(100_000)
    script = "while [ ! -e /go ]; do usleep 20000; done; seq 100000; touch /end; exit 9"
    with docker(engine, "attach", "--no-stdin", box) as first, docker(engine, "exec", box, "sh", "-c", script) as second:
        wait_until(lambda: "touch /end; exit 9" in engine.out("top", box), "the exec runs")
        said = ("events", "--since", "0", "--until", "0s", "-f", f"container={box}", "-f", "event=attach")
        wait_until(lambda: "attach" in engine.out(*said), "the client is attached")
        root = engine.out("inspect", "-f", "{{.State.Pid}}", box)
        # The supervisor must not bring it back before both have ended.
        pid = service(engine)
        os.kill(pid, signal.SIGSTOP)
        with open(f"/proc/{root}/root/go", "wb"):
            pass
        wait_until(lambda: not os.path.exists(f"/proc/{root}/root/go"), "the container has ended")
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
        for process, code in ((first, 3), (second, 9)):
            out, err = process.communicate(timeout=60)
            assert (hashlib.sha256(out).hexdigest(), err, process.returncode) == (digest, b"", code)
    engine.docker("rm", "-f", box)


def test_a_client_that_joined_later_and_does_not_read_stalls_nothing_and_learns_what_it_missed(engine: Engine) -> None:
    count = 12_000_000  # about 100 MB
    size, _ = numbers(count)
    script = f"while [ ! -e /go ]; do usleep 20000; done; seq {count}; touch /done; sleep 1000"
    box = engine.out("run", "-d", "--log-driver", "none", "busybox", "sh", "-c", script)
    connection = UnixConnection(engine.socket, 60)
    connection.connect()
    with connection.sock as sock:
        sock.sendall(f"POST /{engine.api}/containers/{box}/attach?stream=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert sock.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 200"
        engine.docker("exec", box, "touch", "/go")
        wait_until(lambda: engine.docker("exec", box, "test", "-e", "/done", check=False).returncode == 0, "it wrote all", 60)
        engine.docker("kill", box)
        received = b"".join(iter(lambda: sock.recv(1 << 20), b"")).partition(b"\r\n\r\n")[2]
    out = [part for at, part in parts(received) if received[at] == 1]
    notes = [part for at, part in parts(received) if received[at] == 2]
    told = [NOTE.fullmatch(note) for note in notes]
    assert all(told), notes
    missed = sum(int(one[1]) for one in told if one)
    assert notes and missed > 0
    assert sum(map(len, out)) + missed == size
    engine.docker("rm", "-f", box)


def test_a_replay_that_the_spool_no_longer_has_is_the_logs(engine: Engine) -> None:
    line, count = "7" * 999, 50_000  # more than the spool keeps when all was shipped
    script = f"yes {line} | head -n {count}; echo first; while [ ! -e /go ]; do usleep 20000; done; echo last"
    box = engine.out("run", "-d", "busybox", "sh", "-c", script)
    wait_until(lambda: engine.docker("logs", "--tail", "1", box).stdout == "first\n", "the log has it", 60)
    connection = UnixConnection(engine.socket, 60)
    connection.connect()
    with connection.sock as sock:
        sock.sendall(f"POST /{engine.api}/containers/{box}/attach?logs=1&stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert sock.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 200"
        engine.docker("exec", box, "touch", "/go")
        received = b"".join(iter(lambda: sock.recv(1 << 20), b"")).partition(b"\r\n\r\n")[2]
    assert {received[at] for at, _ in parts(received)} == {1}
    out = b"".join(part for _, part in parts(received))
    assert out == f"{line}\n".encode() * count + b"first\nlast\n"
    engine.docker("rm", "-f", box)


def parts(data: bytes) -> list[tuple[int, bytes]]:
    """Takes Docker's frames apart: where each begins and its bytes."""
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "big")
        found.append((at, data[at + 8 : at + 8 + length]))
        at += 8 + length
    return found


def test_a_client_attached_before_the_start_misses_nothing_though_the_log_may_drop(engine: Engine) -> None:
    argv = f"docker run --rm --log-opt mode=non-blocking busybox seq {4 * LINES} | (sleep 2; sha256sum)"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", argv], env=engine.environ(), capture_output=True, timeout=120, check=True)
    assert done.stdout.split()[0].decode() == numbers(4 * LINES)[1]
