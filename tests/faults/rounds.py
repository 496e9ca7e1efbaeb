"""Rounds of start, kill -9, check: each service and the supervisor in turn, while a container writes numbered lines.

python -m tests.faults.rounds --rounds 60 --seed 1
"""

import argparse
import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from engines import Engine, cgroups, commands, rooted, skerry_engine
from images.busybox import make_busybox

VICTIMS = ("gateway", "images", "containers", "networks", "logs", "supervisor")
# One burst of numbered lines, then a pause: at least 5 MB/s over all, and never faster than a 2-core machine can check.
_WRITER = """i=0; while [ ! -e /stop ]; do
awk -v i=$i 'BEGIN { for (n = i; n < i + 10000; n++) printf "L%010d %080d\\n", n, 0 }'
i=$((i + 10000)); usleep 15000
done; echo END"""


class Attached(threading.Thread):
    """Reads a container's attach stream by hand and checks its numbers as they come; attaches again when the stream is cut."""

    def __init__(self, engine: Engine, name: str) -> None:
        super().__init__(daemon=True)
        self._engine = engine
        self._name = name
        self.errors: list[str] = []
        self.streams = 0
        self.lines = 0
        self.done = threading.Event()
        self._last = -1

    def run(self) -> None:
        while not self.done.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._stream()
            time.sleep(0.05)

    def _stream(self) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(self._engine.socket)
            connection.sendall(
                f"POST /{self._engine.api}/containers/{self._name}/attach?stream=1&stdout=1 HTTP/1.1\r\n"
                "Host: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n".encode()
            )
            file = connection.makefile("rb")
            if b"101" not in file.readline():
                return
            while file.readline() not in (b"\r\n", b""):
                pass
            self.streams += 1
            first, rest = True, b""
            while header := file.read(8):
                data = rest + file.read(int.from_bytes(header[4:], "big"))
                *lines, rest = data.split(b"\n")
                for line in lines:
                    if line == b"END":
                        self.done.set()
                        return
                    # The first piece may begin within a line: attach joins where the stream is.
                    if line.startswith(b"L") and len(line) >= 11 and line[1:11].isdigit():
                        number = int(line[1:11])
                        # Between two streams lines may pass unseen (attach shows what comes), but none comes twice.
                        if number <= self._last or (number != self._last + 1 and not first):
                            self.errors.append(f"stream {self.streams}: {number} after {self._last}")
                        self._last, first = number, False
                        self.lines += 1


class Rounds:
    """One engine under fire."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine = engine
        self.random = random.Random(seed)
        self.kills: dict[str, int] = dict.fromkeys(VICTIMS, 0)
        self.slowest = 0.0

    def plan(self, count: int) -> list[str]:
        """Returns victims, each equally often, in an order of the seed's."""
        order = [VICTIMS[number % len(VICTIMS)] for number in range(count)]
        self.random.shuffle(order)
        return order

    def kill(self, victim: str) -> None:
        """Kills one part and waits until everything serves again. Raises AssertionError after 30 s."""
        row = next(row for row in self.engine.status() if row["service"] == victim)
        os.kill(row["pid"], signal.SIGKILL)
        self.kills[victim] += 1
        start = time.monotonic()
        if victim == "supervisor":
            assert self.engine.process is not None
            self.engine.process.wait(10)
            time.sleep(self.random.uniform(0, 0.5))
            self.engine.start()
        while True:
            rows = {one["service"]: one for one in self.engine.status()}
            if rows[victim]["pid"] != row["pid"] and all(one["state"] in ("serving", "running") for one in rows.values()):
                break
            assert time.monotonic() - start < 30, f"{victim} did not come back: {rows}"
            time.sleep(0.1)
        self.slowest = max(self.slowest, time.monotonic() - start)

    def check(self, identity: str, name: str) -> None:
        """Checks that the container is unharmed and that the ordinary commands work."""
        now = self.engine.out("inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}} {{.State.Status}} {{.RestartCount}}", name)
        assert now == identity, f"container harmed: {now}, was {identity}"
        assert self.engine.out("exec", name, "echo", "inside") == "inside"
        assert self.engine.out("run", "--rm", "busybox", "echo", "fresh") == "fresh"
        assert name in self.engine.out("ps", "--format", "{{.Names}}").split()


def snapshot(engine: Engine) -> dict[str, int]:
    """Counts everything that an engine could leave behind."""
    pinned = f"{engine.folder}/run/ns/mnt"
    enter = ["nsenter", f"--mount={pinned}"] if os.path.exists(pinned) else []
    table = subprocess.run([*enter, "cat", "/proc/self/mountinfo"], capture_output=True, text=True, check=True).stdout.splitlines()
    mounts = [line.split()[4] for line in table if engine.folder in line]
    links = engine.inside("ip", "-o", "link").splitlines()
    elements = engine.inside("nft", "list", "ruleset", check=False)
    return {
        # Layers stay mounted for the next container by design.
        "mounts": sum("/layers/" not in one for one in mounts),
        "links": sum("veth" in one or "gone" in one for one in links),
        "published ports": elements.count(" : 172."),
        "cgroups": len(_created(engine) & cgroups("skerry").keys()),
        "processes": sum(rooted(pid, engine.folder) for pid, _ in commands()),
        "monitors": sum(engine.folder in command and "monitor" in command for _, command in commands()),
        **{what: _entries(f"{engine.folder}/root/{what}") for what in ("runtime", "containers", "networks/sandboxes")},
        "netns": _entries(f"{engine.folder}/run/netns"),
    }


def _created(engine: Engine) -> set[str]:
    """Returns the ids of this engine's latest containers: other engines of the machine share the parent cgroup."""
    now = f"{time.time():.3f}"
    said = engine.out("events", "--since", "1", "--until", now, "--filter", "event=create", "--format", "{{.Actor.ID}}")
    return set(said.split())


def _entries(folder: str) -> int:
    # Databases and lock files are not counted: one directory, or one namespace, is one container's.
    try:
        return sum(len(name) >= 12 for name in os.listdir(folder) if not name.endswith((".db", ".db-wal", ".db-shm")))
    except FileNotFoundError:
        return 0


def settled(engine: Engine, before: dict[str, int]) -> dict[str, str]:
    """Returns what is left over after a while; the kernel and the engine clean up behind the answer."""
    deadline = time.monotonic() + 10
    while True:
        after = snapshot(engine)
        left = {key: f"{before[key]} -> {after[key]}" for key in before if after[key] > before[key]}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def run(count: int, seed: int, least: float = 5) -> dict[str, Any]:
    """Does the rounds while at least `least` MB/s flow; returns a summary. Raises AssertionError at the first harm."""
    print(f"seed {seed}", flush=True)
    with skerry_engine() as engine:
        archive = f"{engine.folder}/busybox.tar"
        make_busybox(archive)
        engine.docker("load", "-q", "-i", archive)
        engine.docker("run", "--rm", "busybox", "true")
        before = snapshot(engine)
        rounds = Rounds(engine, seed)
        start = time.monotonic()
        engine.docker("run", "-d", "--name", "writer", "-p", "8080:80", "busybox", "sh", "-c", _WRITER)
        identity = engine.out("inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}} {{.State.Status}} {{.RestartCount}}", "writer")
        blind = [key for key, value in snapshot(engine).items() if value <= before[key]]
        assert not blind, f"a running container is not counted by {blind}: what it leaves behind would not be seen"
        attached = Attached(engine, "writer")
        attached.start()
        for number, victim in enumerate(rounds.plan(count), 1):
            time.sleep(rounds.random.uniform(0.05, 0.4))
            rounds.kill(victim)
            rounds.check(identity, "writer")
            print(f"round {number}/{count}: {victim}", file=sys.stderr, flush=True)
        engine.docker("exec", "writer", "touch", "/stop")
        assert engine.out("wait", "writer") == "0"
        seconds = time.monotonic() - start
        attached.join(60)
        total, size = _check_log(engine)
        assert not attached.errors, f"attach (seed {seed}): {attached.errors[:5]}"
        assert attached.lines > total / 4, f"attach (seed {seed}) saw only {attached.lines} of {total} lines: it proves too little"
        assert attached.done.is_set(), f"attach (seed {seed}) did not see the end: {attached.lines} lines"
        engine.docker("rm", "-f", "writer")
        left = settled(engine, before)
        assert not left, f"left over (seed {seed}): {left}"
        # Last: a slow machine must not hide harm.
        assert size / seconds > least * 1e6, f"only {size / seconds / 1e6:.1f} MB/s flowed"
        return {
            "seed": seed, "rounds": count, "kills": rounds.kills, "lines": total, "MB/s": round(size / seconds / 1e6, 1),
            "attach streams": attached.streams, "attach lines": attached.lines, "slowest recovery s": round(rounds.slowest, 2),
        }  # fmt: skip


def _check_log(engine: Engine) -> tuple[int, int]:
    """Reads the whole log and checks that the numbers are exactly 0, 1, 2, ...; returns lines and bytes."""
    size, expected = 0, 0
    with subprocess.Popen(["docker", "logs", "writer"], env=engine.environ(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            size += len(line)
            if line == b"END\n":
                break
            assert int(line[1:11]) == expected, f"line {line[:20]!r} where {expected} was expected"
            expected += 1
        else:
            raise AssertionError("the log ends without its last line")
    return expected, size


def main() -> None:
    """Runs rounds by hand."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.rounds")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(run(options.rounds, options.seed))


if __name__ == "__main__":
    main()
