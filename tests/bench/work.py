"""The pieces of work that are timed. Each takes an engine and returns seconds (or bytes, for memory)."""

import contextlib
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from engines import Engine, commands

LINES = 500_000
LINE = "a line of one hundred bytes, newline included, as most measurements of log drivers use: 0123456789 abc"[:99]
ATTACH_MB = 300


def _timed(engine: Engine, *arguments: str) -> float:
    start = time.perf_counter()
    engine.docker(*arguments)
    return time.perf_counter() - start


def run_bridge(engine: Engine) -> float:
    """docker run --rm busybox true on the bridge."""
    return _timed(engine, "run", "--rm", "busybox", "true")


def run_none(engine: Engine) -> float:
    """The same without a network."""
    return _timed(engine, "run", "--rm", "--net", "none", "busybox", "true")


def exec_true(engine: Engine) -> float:
    """docker exec C true in a container that was started before."""
    name = "bench-exec"
    if name not in engine.out("ps", "--format", "{{.Names}}").split():
        engine.docker("run", "-d", "--name", name, "busybox", "sleep", "100000")
    return _timed(engine, "exec", name, "true")


def burst(engine: Engine) -> float:
    """40 x run -d at concurrency 8; the removal is not timed."""

    def one(number: int) -> None:
        engine.docker("run", "-d", "--name", f"burst-{number}", "busybox", "sleep", "100000")

    with ThreadPoolExecutor(8) as pool:
        start = time.perf_counter()
        list(pool.map(one, range(40)))
        seconds = time.perf_counter() - start
    engine.docker("rm", "-f", *[f"burst-{number}" for number in range(40)], timeout=300)
    return seconds


def _log_container(engine: Engine) -> str:
    return "bench-log"


def log_write(engine: Engine) -> float:
    """500,000 lines into json-file; the clock stops when the file holds the last one."""
    name = _log_container(engine)
    engine.docker("rm", "-f", name, check=False)
    start = time.perf_counter()
    engine.docker(
        "run", "-d", "--name", name, "--net", "none", "busybox", "sh", "-c", f"yes '{LINE}' | head -n {LINES - 1}; echo the-last-line"
    )
    path = engine.out("inspect", "-f", "{{.LogPath}}", name)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 400))
            if b"the-last-line" in file.read():
                return time.perf_counter() - start
        time.sleep(0.01)
    raise AssertionError(f"{engine.name}: the last line did not come within 120 s")


def log_read(engine: Engine) -> float:
    """Reading them all."""
    start = time.perf_counter()
    lines = _count(engine, ["docker", "logs", _log_container(engine)])
    seconds = time.perf_counter() - start
    assert lines == LINES, f"{engine.name}: {lines} of {LINES} lines"
    return seconds


def log_since(engine: Engine) -> float:
    """--since a time after the last line."""
    stamp = engine.out("logs", "-t", "--tail", "1", _log_container(engine)).split()[0]
    head, _, fraction = stamp.rstrip("Z").partition(".")
    after = f"{head}.{int(fraction) + 1:09d}Z"
    start = time.perf_counter()
    assert _count(engine, ["docker", "logs", "--since", after, _log_container(engine)]) == 0
    return time.perf_counter() - start


def _count(engine: Engine, argv: list[str]) -> int:
    with subprocess.Popen(argv, env=engine.environ(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        return sum(chunk.count(b"\n") for chunk in iter(lambda: process.stdout.read(1 << 20), b""))  # type: ignore[union-attr]


def attach(engine: Engine) -> float:
    """300 MB through docker run's attach, counted."""
    argv = [
        "docker",
        "run",
        "--rm",
        "--net",
        "none",
        "--log-driver",
        "none",
        "busybox",
        "dd",
        "if=/dev/zero",
        "bs=1M",
        f"count={ATTACH_MB}",
    ]
    start = time.perf_counter()
    with subprocess.Popen(argv, env=engine.environ(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        size = sum(len(chunk) for chunk in iter(lambda: process.stdout.read(1 << 20), b""))  # type: ignore[union-attr]
    assert size == ATTACH_MB << 20, f"{engine.name}: {size} bytes"
    return time.perf_counter() - start


def pss(pids: list[int]) -> int:
    """Returns the proportional set size of processes in bytes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            total += next(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024
    return total


def _helpers(engine: Engine) -> list[int]:
    """Returns the processes that stand by containers: monitors, shims."""
    own = set(engine.pids())
    wanted = "containerd-shim" if engine.name == "dockerd" else engine.folder
    return [pid for pid, command in commands() if pid not in own and wanted in command and engine.folder in command and pid != os.getpid()]


def memory_idle(engine: Engine) -> float:
    """All services of an engine without containers, before anything else ran."""
    time.sleep(2)
    return float(pss(engine.pids()))


def memory_per_container(engine: Engine) -> float:
    """What one more running container costs, its own process left out."""
    before = pss([*engine.pids(), *_helpers(engine)])
    names = [f"memory-{number}" for number in range(10)]
    for name in names:
        engine.docker("run", "-d", "--name", name, "busybox", "sleep", "100000")
    time.sleep(1)
    after = pss([*engine.pids(), *_helpers(engine)])
    engine.docker("rm", "-f", *names)
    return max(0.0, (after - before) / 10)
