"""Monitors are killed again and again under full output: nothing may be lost, doubled or told wrong.

python -m tests.faults.monitors --kills 300 --seed 1
"""

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from engines import Engine, skerry_engine
from images.busybox import make_busybox

# Numbered lines, as fast as they are taken, until told to stop.
_WRITER = "i=0; while [ ! -e /stop ]; do seq $i $((i + 9999)); i=$((i + 10000)); done; exit 7"
_CODE = 7
_LIMIT = 120


class Stream(threading.Thread):
    """Reads one client's output to its end and counts what is missing, comes twice, or is no line of the writer's."""

    def __init__(self, kind: str, engine: Engine, *arguments: str, fed: bool = False) -> None:
        super().__init__(daemon=True)
        self.kind = kind
        self.lost = self.doubled = self.torn = self.lines = self.kills = 0
        self.code = -1
        self.stop_feeding = threading.Event()
        stdin = subprocess.PIPE if fed else subprocess.DEVNULL
        self._process = subprocess.Popen(["docker", *arguments], env=engine.environ(), stdin=stdin, stdout=subprocess.PIPE)
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        if fed:
            self._feeder.start()
        self.start()

    def run(self) -> None:
        assert self._process.stdout is not None
        rest, expected = b"", 0
        while data := os.read(self._process.stdout.fileno(), 1 << 18):
            *lines, rest = (rest + data.replace(b"\r", b"")).split(b"\n")
            for line in lines:
                if not line.isdigit():
                    self.torn += 1
                    continue
                number = int(line)
                self.lost += max(0, number - expected)
                self.doubled += max(0, expected - number)
                expected = number + 1
            self.lines = expected
        self.torn += bool(rest)
        self._process.stdout.close()
        self.code = self._process.wait()

    def _feed(self) -> None:
        """Writes numbered lines to the client until told to stop."""
        assert self._process.stdin is not None
        number = 0
        while not self.stop_feeding.is_set():
            try:
                self._process.stdin.write(b"".join(b"%d\n" % n for n in range(number, number + 2000)))
            except BrokenPipeError:
                break  # the client's end is seen by the reader
            number += 2000
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()


class Monitors:
    """The monitors of one engine, as the kernel shows them."""

    def __init__(self, engine: Engine) -> None:
        self._run = f"{engine.folder}/run"
        self._state = re.compile(rf"{engine.folder}/root/runtime/(?P<container>\w+)(?P<exec>/execs/\w+)?/monitor.state")

    def processes(self) -> list[int]:
        """Returns the keeper and the monitors: they have one command line."""
        found = []
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and f"\0--run\0{self._run}\0" in Path(f"/proc/{name}/cmdline").read_text():
                    found.append(int(name))
            except OSError:
                continue
        return found

    def living(self) -> dict[str, int]:
        """Returns the monitors by container id, execs' by id and the exec's directory."""
        found = {}
        for pid in self.processes():
            for link in _links(pid):
                if match := self._state.fullmatch(link):
                    found[match["container"] + (match["exec"] or "")] = pid
        return found

    def keeper(self) -> int:
        """Returns the keeper's id, 0 without one."""
        monitors = self.living().values()
        return next((pid for pid in self.processes() if pid not in monitors and f"{self._run}/keeper.lock" in _links(pid)), 0)

    def held(self) -> bool:
        """Tells whether the keeper has a duplicate of every monitor's listening socket or pipe."""
        keeper = self.keeper()
        has = {link for link in _links(keeper) if ":[" in link} if keeper else set()
        monitors = self.living()
        return bool(keeper) and all(len(has.intersection(_links(pid))) > 2 for pid in monitors.values())


def _links(pid: int) -> list[str]:
    found = []
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                continue
    except OSError:
        pass  # it has ended
    return found


def until(condition: Any, what: str, seconds: float = 20) -> None:
    """Waits for a condition. Raises AssertionError."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def begin(engine: Engine) -> dict[str, list[Stream]]:
    """Starts writers of every kind and their readers; returns these by the container's name."""
    for name in ("logged", "host"):
        script = _WRITER if name == "logged" else "while [ ! -e /end ]; do sleep 0.1; done"
        engine.docker("run", "-d", "--name", name, "--network", "none", "busybox", "sh", "-c", script)
    plain = ("--log-driver", "none", "--network", "none")
    return {
        "run": [Stream("run", engine, "run", "--name", "run", *plain, "busybox", "sh", "-c", _WRITER)],
        "run-t": [Stream("run -t", engine, "run", "-t", "--name", "run-t", *plain, "busybox", "sh", "-c", _WRITER)],
        "cat": [Stream("run -i", engine, "run", "-i", "--name", "cat", *plain, "busybox", "cat", fed=True)],
        "logged": [Stream("logs -f", engine, "logs", "-f", "logged")],
        "host": [
            Stream("exec", engine, "exec", "host", "sh", "-c", _WRITER),
            Stream("exec -t", engine, "exec", "-t", "host", "sh", "-c", _WRITER),
            Stream("exec -d", engine, "exec", "-d", "host", "sh", "-c", _WRITER),
        ],
    }


def run(kills: int, seed: int, *, keeper_kills: int = 0) -> dict[str, Any]:
    """Kills monitors, and the keeper now and then, under full output. Returns a summary; what must be 0 is for the caller to see."""
    chance = random.Random(seed)
    with skerry_engine() as engine:
        make_busybox(f"{engine.folder}/busybox.tar")
        engine.docker("load", "-q", "-i", f"{engine.folder}/busybox.tar")
        monitors = Monitors(engine)
        streams = begin(engine)
        flat = [stream for each in streams.values() for stream in each if stream.kind != "exec -d"]
        until(lambda: all(stream.lines > 10000 for stream in flat), "all writers write")
        until(lambda: len(monitors.living()) == 8, "all monitors are there")
        keeper_at = sorted(chance.sample(range(1, kills), keeper_kills))
        per_kind: dict[str, int] = {"container": 0, "exec": 0, "keeper": 0}
        replaced = []
        done = 0
        while done < kills:
            if keeper_at and done >= keeper_at[0]:
                del keeper_at[0]
                # Not while it is just replacing one: two deaths at once are another test's.
                until(lambda: len(monitors.living()) == 8 and monitors.held(), "all monitors are there and held")
                os.kill(monitors.keeper(), signal.SIGKILL)
                begun = time.monotonic()
                until(monitors.held, "a new keeper holds everything")
                replaced.append(time.monotonic() - begun)
                per_kind["keeper"] += 1
            living = monitors.living()
            victims = chance.sample(sorted(living), min(chance.choice((1, 1, 1, 2, 3)), len(living)))
            for victim in victims:
                try:
                    os.kill(living[victim], signal.SIGKILL)
                except ProcessLookupError:
                    continue
                done += 1
                per_kind["exec" if "/" in victim else "container"] += 1
            time.sleep(chance.uniform(0.002, 0.05))
        until(lambda: len(monitors.living()) == 8, f"all monitors are there again (seed {seed})")
        return _finish(engine, monitors, streams, flat) | {"seed": seed, "kills": per_kind, "keeper s": max(replaced, default=0.0)}


def _finish(engine: Engine, monitors: Monitors, streams: dict[str, list[Stream]], flat: list[Stream]) -> dict[str, Any]:
    """Ends the writers and collects what was seen."""
    for stream in streams["cat"]:
        stream.stop_feeding.set()
    for name in ("run", "run-t", "logged", "host"):
        engine.docker("exec", name, "touch", "/stop")
    codes = {}
    for stream in flat:
        stream.join(_LIMIT)
        assert not stream.is_alive(), f"{stream.kind}: its client does not end"
        codes[stream.kind] = stream.code
    codes["logs -f"] = int(engine.out("wait", "logged", timeout=_LIMIT))
    engine.docker("exec", "host", "touch", "/end")
    assert engine.out("wait", "host", timeout=_LIMIT) == "0"
    errors = {name: engine.out("inspect", "-f", "{{.State.Error}}", name) for name in streams}
    engine.docker("rm", *streams)
    until(lambda: not monitors.living(), "monitors leave")
    crashes = [str(path) for path in Path(engine.folder).rglob("*.log") if path.name in ("monitor.log", "keeper.log")]
    return {
        "rows": [(s.kind, s.lines, s.lost, s.doubled, s.torn, codes[s.kind]) for s in flat],
        "errors": {name: text for name, text in errors.items() if text},
        "crashes": [Path(path).read_text()[-2000:] for path in crashes],
    }


def check(summary: dict[str, Any]) -> None:
    """Raises AssertionError unless nothing was lost, doubled or told wrong."""
    for kind, lines, lost, doubled, torn, code in summary["rows"]:
        assert (lost, doubled, torn) == (0, 0, 0), f"{kind}, {lines} lines: {lost} lost, {doubled} doubled, {torn} torn: {summary}"
        assert code == (0 if kind == "run -i" else _CODE), f"{kind}: exit code {code}: {summary}"
    assert not summary["errors"], summary
    assert not summary["crashes"], summary["crashes"]


def table(summary: dict[str, Any]) -> str:
    """Returns the summary for people."""
    rows = [("kind", "lines", "lost", "doubled", "torn", "code"), *summary["rows"]]
    body = "\n".join(f"{kind:8}" + "".join(f"{value!s:>12}" for value in rest) for kind, *rest in rows)
    return (
        f"{body}\nseed {summary['seed']}, kills {summary['kills']}, a new keeper held everything after {summary['keeper s']:.2f} s at most"
    )


def main() -> None:
    """Runs it by hand."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.monitors")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--keeper-kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    summary = run(options.kills, options.seed, keeper_kills=options.keeper_kills)
    print(table(summary))
    check(summary)


if __name__ == "__main__":
    main()
