"""Rounds of start, kill -9, check: each service and the supervisor in turn, while a container writes numbered lines.

python -m tests.faults.rounds --rounds 60 --seed 1
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from engines import Engine, cgroups, commands, rooted, skerry_engine
from images.busybox import make_busybox

VICTIMS = ("gateway", "images", "containers", "networks", "logs", "supervisor")
# A burst of 1.5 MB of numbered lines each 240 ms (6.3 MB/s); a writer that was late catches up, so that a loaded machine sees as much.
_WRITER = """now() { read up rest </proc/uptime; now=${up%.*}${up#*.}; }
i=0; now; next=$now; while [ ! -e /stop ]; do
awk -v i=$i 'BEGIN { for (n = i; n < i + 6000; n++) printf "L%010d %0240d\\n", n, 0 }'
i=$((i + 6000)); next=$((next + 24)); now; [ $now -ge $next ] || usleep $(((next - now) * 10000))
done; echo END"""
_LINE = re.compile(rb"L\d{10} 0{240}")
# The client's connection ends with the gateway that held it. Any other part's death leaves the same stream going, without a hole.
_CUTTING = ("gateway",)


class Reader(threading.Thread):
    """Reads a container's output in streams, one after the other, and checks each one's numbers as they come.

    A stream that ends before the container's last line is taken up by a new one; `streams` counts them.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        super().__init__(daemon=True)
        self._engine = engine
        self._name = name
        self._last = -1
        self._rest = b""
        self.errors: list[str] = []
        self.streams = 0
        self.lines = 0
        self.done = threading.Event()
        self.given_up = threading.Event()

    def run(self) -> None:
        while not self.done.is_set() and not self.given_up.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._stream()
            time.sleep(0.05)

    def _stream(self) -> None:
        raise NotImplementedError

    def _begin(self) -> None:
        self.streams += 1
        self._last, self._rest = -1, b""

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line == b"END":
                self.done.set()
                return
            # The first piece may begin within a line: a reader joins where the stream is.
            if _LINE.fullmatch(line):
                number = int(line[1:11])
                if self._last >= 0 and number != self._last + 1:
                    self.errors.append(f"stream {self.streams}: {number} after {self._last}")
                self._last = number
                self.lines += 1
            elif self._last >= 0:
                self.errors.append(f"stream {self.streams}: not a line of the writer's after {self._last}: {line[:40]!r}")


class Followed(Reader):
    """Reads by `docker logs -f`: the first stream from the container's first line on, later ones from where the time is."""

    def _stream(self) -> None:
        since = ["--since", f"{time.time():.3f}"] if self.streams else []
        argv = ["docker", "logs", "-f", *since, self._name]
        with subprocess.Popen(argv, env=self._engine.environ(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            started = False
            first = not self.streams
            while data := os.read(process.stdout.fileno(), 1 << 18):
                if not started:
                    self._begin()
                    started = True
                    if first and not data.startswith(b"L%010d " % 0):
                        self.errors.append(f"logs -f begins with {data[:40]!r}")
                self._take(data)
                if self.given_up.is_set():
                    process.kill()


class Attached(Reader):
    """Reads by a hijacked attach, by hand: the frames' own lengths are followed."""

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
            self._begin()
            while not self.done.is_set() and (header := file.read(8)):
                self._take(file.read(int.from_bytes(header[4:], "big")))


class Rounds:
    """One engine under fire."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine = engine
        self.random = random.Random(seed)
        self.kills: dict[str, int] = dict.fromkeys(VICTIMS, 0)
        # Seconds from a kill until everything serves again: of the last round, and the longest.
        self.last = self.slowest = 0.0

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
        self.last = time.monotonic() - start
        self.slowest = max(self.slowest, self.last)

    def check(self, identity: str, name: str) -> None:
        """Checks that the container is unharmed and that the ordinary commands work."""
        now = self.engine.out("inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}} {{.State.Status}} {{.RestartCount}}", name)
        assert now == identity, f"container harmed: {now}, was {identity}"
        assert self.engine.out("exec", name, "echo", "inside") == "inside"
        assert self.engine.out("run", "--rm", "busybox", "echo", "fresh") == "fresh"
        assert name in self.engine.out("ps", "--format", "{{.Names}}").split()


# What one running container with a published port must raise in a snapshot.
COUNTED = ("mounts", "links", "published ports", "cgroups", "processes", "runtime", "containers", "networks/sandboxes", "netns")


def snapshot(engine: Engine) -> dict[str, int]:
    """Counts everything that an engine could leave behind."""
    pinned = f"{engine.folder}/run/ns/mnt"
    enter = ["nsenter", f"--mount={pinned}"] if os.path.exists(pinned) else []
    table = subprocess.run([*enter, "cat", "/proc/self/mountinfo"], capture_output=True, text=True, check=True).stdout.splitlines()
    mounts = [line.split()[4] for line in table if engine.folder in line]
    links = engine.inside("ip", "-o", "link").splitlines()
    elements = engine.inside("nft", "list", "ruleset")
    own = {os.getpid(), *engine.pids()}
    known = _identifiers(engine)
    return {
        # Layers stay mounted for the next container by design.
        "mounts": sum("/layers/" not in one for one in mounts),
        "links": sum("veth" in one or "gone" in one for one in links),
        "published ports": elements.count(" : 172."),
        "cgroups": len(known & cgroups("skerry").keys()),
        # All that is no part of the engine itself: containers' processes, monitors, OCI runtimes.
        "processes": sum(pid not in own and (engine.folder in command or rooted(pid, engine.folder)) for pid, command in commands()),
        **{what: _entries(f"{engine.folder}/root/{what}") for what in ("runtime", "containers", "networks/sandboxes")},
        "netns": _entries(f"{engine.folder}/run/netns"),
        "named netns": len(known.intersection(os.listdir("/run/netns"))),
    }


def _identifiers(engine: Engine) -> set[str]:
    """Returns the ids of all containers that this engine ever had: the cgroups of other engines of the machine have the same parent."""
    filters = urllib.parse.quote(json.dumps({"type": ["container"], "event": ["create"]}))
    status, body = engine.request("GET", f"/{engine.api}/events?since=0&until={time.time():.6f}&filters={filters}")
    assert status == 200, body
    rows = [body] if isinstance(body, dict) else [json.loads(line) for line in body.splitlines()]
    return {row["Actor"]["ID"] for row in rows}


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
        during = snapshot(engine)
        unseen = [key for key in COUNTED if during[key] <= before[key]]
        assert not unseen, f"a running container is not counted in {unseen}: this test could not see it left over"
        readers = {"attach": Attached(engine, "writer"), "logs -f": Followed(engine, "writer")}
        streams = dict.fromkeys(readers, 0)
        cuts: dict[str, list[str]] = {what: [] for what in readers}
        for reader in readers.values():
            reader.start()
        for number, victim in enumerate(rounds.plan(count), 1):
            time.sleep(rounds.random.uniform(0.05, 0.4))
            rounds.kill(victim)
            rounds.check(identity, "writer")
            for what, reader in readers.items():
                if reader.streams > max(streams[what], 1):
                    cuts[what].append(victim)
                streams[what] = reader.streams
            print(
                f"round {number}/{count}: {victim}, back after {rounds.last:.1f} s, load {os.getloadavg()[0]:.1f}",
                file=sys.stderr,
                flush=True,
            )
        engine.docker("exec", "writer", "touch", "/stop")
        assert engine.out("wait", "writer") == "0"
        seconds = time.monotonic() - start
        total, size = _check_log(engine)
        assert size / seconds > least * 1e6, f"only {size / seconds / 1e6:.1f} MB/s flowed"
        for what, reader in readers.items():
            reader.join(60)
            assert not reader.errors, f"{what} (seed {seed}): {reader.errors[:5]}"
            assert reader.done.is_set(), f"{what} (seed {seed}) did not see the end: {reader.lines} lines"
            others = [victim for victim in cuts[what] if victim not in _CUTTING]
            assert not others, f"{what} (seed {seed}): the stream was cut by the death of {others}"
        engine.docker("rm", "-f", "writer")
        left = settled(engine, before)
        assert not left, f"left over (seed {seed}): {left}"
        return {
            "seed": seed, "rounds": count, "kills": rounds.kills, "lines": total, "MB/s": round(size / seconds / 1e6, 1),
            "streams": {what: reader.streams for what, reader in readers.items()},
            "read": {what: reader.lines for what, reader in readers.items()}, "slowest recovery s": round(rounds.slowest, 2),
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
