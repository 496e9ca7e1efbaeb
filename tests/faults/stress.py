"""Clients start, enter, stop and remove containers at random; afterwards nothing may be left and no service may have grown.

python -m tests.faults.stress --seconds 300 --clients 8 --most 200 --seed 1
"""

import argparse
import os
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from engines import Engine, skerry_engine
from faults.rounds import settled, snapshot
from images.busybox import make_busybox

SERVICES = ("gateway", "images", "logs", "networks", "containers", "keeper")


class Client(threading.Thread):
    """One client; it owns its containers. What the engine answers other than expected is in `errors`."""

    def __init__(self, engine: Engine, number: int, seed: int, until: float, most: int) -> None:
        super().__init__(daemon=True)
        self._engine = engine
        self._number = number
        self._chance = random.Random(seed * 1000 + number)
        self._until = until
        self._most = most
        self._mine: list[str] = []
        self.done: Counter[str] = Counter()
        self.errors: list[str] = []

    def run(self) -> None:
        try:
            while time.monotonic() < self._until:
                step = self._chance.choice(("start", "start", "exec", "exec", "stop"))
                if step == "start" and len(self._mine) >= self._most:
                    step = "stop"
                if step == "start":
                    self.step_start()
                elif self._mine:
                    getattr(self, f"step_{step}")(self._chance.choice(self._mine))
            while self._mine:
                self.step_stop(self._mine[-1])
        except Exception as error:
            self.errors.append(f"client {self._number}: {type(error).__name__}: {error}")

    def _ask(self, method: str, path: str, expected: tuple[int, ...], body: Any = None) -> Any:
        status, answer = self._engine.request(method, f"/{self._engine.api}{path}", body, timeout=60)
        if status not in expected:
            raise AssertionError(f"{method} {path}: {status} {answer}")
        return answer

    def step_start(self) -> None:
        name = f"c{self._number}-{self.done['start']}"
        network = self._chance.choice(("none", "bridge"))
        script = "trap 'exit 3' TERM; i=0; while :; do echo line $i; i=$((i + 1)); sleep 0.5; done"
        body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": {"NetworkMode": network}}
        self._ask("POST", f"/containers/create?name={name}", (201,), body)
        self._mine.append(name)
        self._ask("POST", f"/containers/{name}/start", (204,))
        self.done["start"] += 1

    def step_exec(self, name: str) -> None:
        code = self._chance.randrange(1, 100)
        made = self._ask("POST", f"/containers/{name}/exec", (201,), {"Cmd": ["sh", "-c", f"exit {code}"], "AttachStdout": True})["Id"]
        self._ask("POST", f"/exec/{made}/start", (200,), {"Detach": True})
        deadline = time.monotonic() + 30
        while (seen := self._ask("GET", f"/exec/{made}/json", (200,)))["Running"]:
            assert time.monotonic() < deadline, f"exec in {name} does not end"
            time.sleep(0.01)
        assert seen["ExitCode"] == code, f"exec in {name}: {seen['ExitCode']} instead of {code}"
        self.done["exec"] += 1

    def step_stop(self, name: str) -> None:
        self._mine.remove(name)
        if self._chance.random() < 0.5:
            self._ask("POST", f"/containers/{name}/stop?t=5", (204,))
            code = self._ask("POST", f"/containers/{name}/wait", (200,))["StatusCode"]
            # 137: it was asked before its shell had set the trap.
            assert code in (3, 137), f"{name} ended with {code}"
            self._ask("DELETE", f"/containers/{name}", (204,))
        else:
            self._ask("DELETE", f"/containers/{name}?force=1", (204,))
        self.done["stop"] += 1


def sizes(engine: Engine) -> dict[str, tuple[int, int]]:
    """Returns private memory in KiB and open descriptors of each service and the keeper."""
    found = {}
    for row in engine.status():
        if row["service"] in SERVICES and row["pid"]:
            rollup = Path(f"/proc/{row['pid']}/smaps_rollup").read_text()
            private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
            found[row["service"]] = (private, len(os.listdir(f"/proc/{row['pid']}/fd")))
    return found


def run(seconds: float, clients: int, most: int, seed: int) -> dict[str, Any]:
    """Runs the clients twice, for half of the time each: what the first half left warm, the second must not make larger."""
    with skerry_engine() as engine:
        make_busybox(f"{engine.folder}/busybox.tar")
        engine.docker("load", "-q", "-i", f"{engine.folder}/busybox.tar")
        engine.docker("run", "--rm", "busybox", "true")
        before = snapshot(engine)
        done: Counter[str] = Counter()
        measured = []
        for half in range(2):
            end = time.monotonic() + seconds / 2
            team = [Client(engine, number, seed + half, end, max(1, most // clients)) for number in range(clients)]
            for client in team:
                client.start()
            for client in team:
                client.join(seconds + 120)
                assert not client.is_alive(), f"a client hangs (seed {seed})"
                done.update(client.done)
            errors = [error for client in team for error in client.errors]
            assert not errors, f"(seed {seed}) {errors[:5]}"
            left = settled(engine, before)
            assert not left, f"left over (seed {seed}): {left}"
            measured.append(sizes(engine))
        return {"seed": seed, "done": dict(done), "sizes": {name: (measured[0][name], measured[1][name]) for name in measured[0]}}


def check(summary: dict[str, Any]) -> None:
    """Raises AssertionError when a service has grown."""
    for name, ((memory, files), (later, files_later)) in summary["sizes"].items():
        assert files_later <= files + 4, f"{name}: {files} -> {files_later} descriptors: {summary}"
        assert later < memory * 1.15 + 4096, f"{name}: {memory} -> {later} KiB: {summary}"


def main() -> None:
    """Runs it by hand."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.stress")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    summary = run(options.seconds, options.clients, options.most, options.seed)
    print(summary)
    check(summary)


if __name__ == "__main__":
    main()
