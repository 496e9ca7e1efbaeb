"""The node decides about restarts alone: with every other service and the supervisor dead, and after all run-time state is gone."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from engines import Engine, cgroups, end_processes, skerry_engine, unmount_below
from images.busybox import make_busybox
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.containers.v1.containers_pb2_grpc import ContainersServiceStub
from skerry.core.rpc.channel import open_channel

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with skerry_engine() as one:
        make_busybox(f"{one.folder}/busybox.tar")
        one.docker("load", "-q", "-i", f"{one.folder}/busybox.tar")
        yield one


def _until(condition: Any, what: str, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.05)
    return value


def _state(engine: Engine, name: str) -> str:
    return engine.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name)


def _runs(engine: Engine, name: str) -> bool:
    return _state(engine, name) == "running 0"


async def _get(engine: Engine, name: str) -> pb.Container:
    """Asks the node itself."""
    channel = open_channel(f"unix:{engine.folder}/run/containers.sock")
    try:
        return (await ContainersServiceStub(channel).Get(pb.GetRequest(container=name))).container
    finally:
        await channel.close()


def test_restarts_go_on_with_every_other_service_dead(engine: Engine) -> None:
    script = "echo run; sleep 0.1; exit 3"
    engine.docker("run", "-d", "--name", "again", "--restart", "always", "-p", "127.0.0.1:18080:80", "busybox", "sh", "-c", script)
    engine.docker("run", "-d", "--name", "twice", "--restart", "on-failure:8", "busybox", "sh", "-c", "exit 4")
    assert engine.process is not None
    engine.process.kill()
    engine.process.wait()
    for row in engine.status():
        if row["pid"] and row["service"] not in ("containers", "keeper"):
            os.kill(row["pid"], signal.SIGKILL)
    before = asyncio.run(_get(engine, "again")).state.restart_count
    _until(lambda: asyncio.run(_get(engine, "again")).state.restart_count >= before + 3, "three more runs")
    assert asyncio.run(_get(engine, "twice")).state.restart_count > 0
    engine.start()
    _until(lambda: engine.request("GET", "/info")[0] == 200, "every service answers")
    engine.docker("stop", "again")
    count = int(engine.out("inspect", "-f", "{{.RestartCount}}", "again"))
    assert count >= before + 3
    # The last restart was counted, but stopped before it ran, unless the stop met a run.
    assert engine.out("logs", "again").splitlines() in (["run"] * count, ["run"] * (count + 1))
    engine.docker("rm", "-f", "twice", "again")


def _power_off(engine: Engine) -> None:
    """Takes away all that a reboot takes: processes, mounts, namespaces, network devices, control groups and RUN."""
    assert engine.process is not None
    engine.process.kill()
    engine.process.wait()
    ids = os.listdir(f"{engine.folder}/root/runtime")
    for identity in ids:
        # Frozen processes take no SIGKILL with cgroup v1.
        for path, word in (("freezer/skerry", "freezer.state"), ("skerry", "cgroup.freeze")):
            with contextlib.suppress(OSError), open(f"/sys/fs/cgroup/{path}/{identity}/{word}", "r+", encoding="ascii") as file:
                file.write("THAWED" if word == "freezer.state" else "0")
    end_processes(engine.folder)
    unmount_below(engine.folder)
    subprocess.run(["ip", "netns", "del", engine.netns], check=True)
    subprocess.run(["ip", "netns", "add", engine.netns], check=True)
    subprocess.run(["ip", "-n", engine.netns, "link", "set", "lo", "up"], check=True)
    for identity, paths in cgroups("skerry").items():
        for path in paths if identity in ids else ():
            with contextlib.suppress(OSError):
                os.rmdir(path)
    shutil.rmtree(f"{engine.folder}/run")


def test_after_a_reboot_those_run_that_should(engine: Engine) -> None:
    sleeps = ("busybox", "sleep", "1000")
    engine.docker("run", "-d", "--name", "always", "--restart", "always", "-p", "127.0.0.1:18081:80", *sleeps)
    engine.docker("run", "-d", "--name", "unless", "--restart", "unless-stopped", *sleeps)
    engine.docker("run", "-d", "--name", "failure", "--restart", "on-failure", *sleeps)
    engine.docker("run", "-d", "--name", "host", "--restart", "always", "--net", "host", *sleeps)
    engine.docker("run", "-d", "--name", "paused", "--restart", "always", *sleeps)
    engine.docker("pause", "paused")
    engine.docker("run", "-d", "--name", "never", *sleeps)
    engine.docker("run", "-d", "--rm", "--name", "gone", *sleeps)
    for name, policy in (("stopped-always", "always"), ("stopped-unless", "unless-stopped")):
        engine.docker("run", "-d", "--name", name, "--restart", policy, *sleeps)
        engine.docker("stop", "-t", "0", name)
    engine.docker("run", "-d", "--name", "between", "--restart", "always", "busybox", "sh", "-c", "echo x >> /runs; exit 3")
    engine.docker("create", "--name", "new", "--restart", "always", *sleeps)
    _power_off(engine)
    engine.start()
    for name in ("always", "unless", "failure", "host", "paused", "stopped-always"):
        _until(partial(_runs, engine, name), f"{name} runs")
        assert engine.out("exec", name, "echo", "alive") == "alive"
    _until(lambda: _state(engine, "between").split()[0] in ("restarting", "running"), "it is restarted")
    # 137 when its monitor was the last of the two to be killed.
    assert _state(engine, "never") in ("exited 255", "exited 137")
    assert _state(engine, "stopped-unless") == "exited 137"
    assert _state(engine, "new") == "created 0"
    _until(lambda: engine.docker("inspect", "gone", check=False).returncode == 1, "--rm is kept")
    assert engine.out("port", "always") == "80/tcp -> 127.0.0.1:18081"
    engine.docker("start", "never")
    assert engine.out("exec", "never", "echo", "alive") == "alive"
    engine.docker("rm", "-f", *engine.out("ps", "-aq").split())


def test_a_start_of_the_engine_starts_what_is_always_to_run(engine: Engine) -> None:
    for name, policy in (("always", "always"), ("unless", "unless-stopped"), ("failure", "on-failure")):
        engine.docker("run", "-d", "--name", name, "--restart", policy, "busybox", "sleep", "1000")
        engine.docker("stop", "-t", "0", name)
    # A service that dies and comes back is no start of the engine.
    row = next(row for row in engine.status() if row["service"] == "containers")
    os.kill(row["pid"], signal.SIGKILL)
    _until(lambda: engine.request("GET", "/info")[0] == 200, "it is back")
    time.sleep(0.5)
    assert engine.out("ps", "-q") == ""
    engine.stop()
    engine.start()
    _until(lambda: _state(engine, "always") == "running 0", "always runs")
    assert (_state(engine, "unless"), _state(engine, "failure")) == ("exited 137", "exited 137")
    engine.docker("rm", "-f", "always", "unless", "failure")
