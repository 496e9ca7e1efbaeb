"""docker update: limits and restart policy of containers that run, and of those that do not."""

import json
import os
import signal
from typing import Any

import pytest

from engines import Engine

from .test_limits import M, create, events, host_config, kernel
from .waiting import wait_until


def update(engine: Engine, container: str, change: dict[str, Any]) -> tuple[int, Any]:
    return engine.request("POST", f"/{engine.api}/containers/{container}/update", change)


def made(engine: Engine, host: dict[str, Any], *, live: bool) -> str:
    status, document = create(engine, host)
    assert status == 201
    if live:
        engine.docker("start", document["Id"])
    return str(document["Id"])


_MEMORY = {"Memory": 32 * M, "MemorySwap": 64 * M}
# What it is made with, what is changed, what inspect shows then, what the kernel is told.
_CHANGES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], dict[str, str]]] = [
    ("memory up", _MEMORY, {"Memory": 48 * M}, {"Memory": 48 * M, "MemorySwap": 64 * M}, {"memory": str(48 * M)}),
    ("memory over the swap", _MEMORY, {"Memory": 80 * M, "MemorySwap": 160 * M}, {"Memory": 80 * M, "MemorySwap": 160 * M},
     {"memory": str(80 * M)}),
    ("memory down", _MEMORY, {"Memory": 16 * M}, {"Memory": 16 * M}, {"memory": str(16 * M)}),
    ("swap", _MEMORY, {"MemorySwap": 80 * M}, {"MemorySwap": 80 * M, "Memory": 32 * M}, {}),
    ("reservation", _MEMORY, {"MemoryReservation": 16 * M}, {"MemoryReservation": 16 * M}, {"reservation": str(16 * M)}),
    ("shares", {}, {"CpuShares": 300}, {"CpuShares": 300}, {}),
    ("quota", {}, {"CpuQuota": 30000}, {"CpuQuota": 30000}, {"quota": "30000"}),
    ("no quota any more", {"CpuQuota": 30000}, {"CpuQuota": -1}, {"CpuQuota": -1}, {"quota": "-1"}),
    ("period", {"CpuQuota": 30000}, {"CpuPeriod": 50000}, {"CpuPeriod": 50000, "CpuQuota": 30000}, {"period": "50000", "quota": "30000"}),
    ("cpus", {"NanoCpus": 10**9}, {"NanoCpus": 500000000}, {"NanoCpus": 500000000}, {"quota": "50000"}),
    ("cpuset", {}, {"CpusetCpus": "0", "CpusetMems": "0"}, {"CpusetCpus": "0", "CpusetMems": "0"}, {"cpus": "0"}),
    ("pids", {}, {"PidsLimit": 20}, {"PidsLimit": 20}, {"pids": "20"}),
    ("pids left alone", {"PidsLimit": 20}, {"CpuShares": 100}, {"PidsLimit": 20}, {"pids": "20"}),
    ("no pids limit any more", {"PidsLimit": 20}, {"PidsLimit": -1}, {"PidsLimit": 0}, {"pids": "max"}),
    ("what update does not change", {}, {"MemorySwappiness": 20, "CgroupParent": "/zz", "Ulimits": [{"Name": "nofile", "Hard": 9}]},
     {"MemorySwappiness": None, "CgroupParent": "", "Ulimits": None}, {}),
    ("restart policy", {}, {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}},
     {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}, {}),
    ("no restart policy any more", {"RestartPolicy": {"Name": "always"}}, {"RestartPolicy": {"Name": "no"}},
     {"RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}}, {}),
    ("an empty restart policy", {"RestartPolicy": {"Name": "always"}}, {"RestartPolicy": {"Name": ""}},
     {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("host", "change", "shown", "told"), [case[1:] for case in _CHANGES], ids=[case[0] for case in _CHANGES])
def test_changes_of_a_running_one(
    engine: Engine, host: dict[str, Any], change: dict[str, Any], shown: dict[str, Any], told: dict[str, str]
) -> None:
    container = made(engine, host, live=True)
    assert update(engine, container, change) == (200, {"Warnings": None})
    _has(engine, container, shown, told)


def test_changes_of_one_that_does_not_run_hold_from_its_start_on(engine: Engine) -> None:
    container = made(engine, _MEMORY, live=False)
    change = {"Memory": 80 * M, "MemorySwap": -1, "CpuQuota": 30000, "CpusetCpus": "0", "PidsLimit": 20}
    assert update(engine, container, change) == (200, {"Warnings": None})
    engine.docker("start", container)
    told = {"memory": str(80 * M), "quota": "30000", "cpus": "0", "pids": "20"}
    _has(engine, container, change, told)
    assert update(engine, container, {"CpuQuota": 40000}) == (200, {"Warnings": None})
    engine.docker("restart", "-t", "0", container)
    _has(engine, container, {**change, "CpuQuota": 40000}, {**told, "quota": "40000"})


def _has(engine: Engine, container: str, shown: dict[str, Any], told: dict[str, str]) -> None:
    found = host_config(engine, container)
    assert {key: found[key] for key in shown} == shown
    now = kernel(engine, container)
    assert {key: now[key] for key in told} == told


_REFUSED: list[tuple[dict[str, Any], dict[str, Any], int, str]] = [
    (_MEMORY, {"Memory": 5 * M}, 400, "Minimum memory limit allowed is 6MB"),
    (_MEMORY, {"Memory": 80 * M}, 409, "Cannot update container ID: Memory limit should be smaller than already set memoryswap limit, "
     "update the memoryswap at the same time"),
    ({}, {"Memory": 80 * M}, 409, "Cannot update container ID: Memory limit should be smaller than already set memoryswap limit, "
     "update the memoryswap at the same time"),
    ({"CpuQuota": 30000}, {"NanoCpus": 10**9}, 409,
     "Cannot update container ID: Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set"),
    ({"CpuPeriod": 30000}, {"NanoCpus": 10**9}, 409,
     "Cannot update container ID: Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set"),
    ({"NanoCpus": 10**9}, {"CpuQuota": 30000}, 409,
     "Cannot update container ID: Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"),
    ({}, {"NanoCpus": 10**9, "CpuQuota": 5000}, 400, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
    ({}, {"CpuPeriod": 5}, 400, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
    ({}, {"CpusetCpus": "x"}, 400, "Invalid value x for cpuset cpus: invalid format: x"),
    ({}, {"RestartPolicy": {"Name": "foo"}}, 400, "invalid restart policy 'foo'"),
    ({}, {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -3}}, 400, "maximum retry count cannot be negative"),
    ({}, {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}, 400,
     "maximum retry count cannot be used with restart policy 'always'"),
    ({"AutoRemove": True}, {"RestartPolicy": {"Name": "always"}}, 409,
     "Cannot update container ID: Restart policy cannot be updated because AutoRemove is enabled for the container"),
]  # fmt: skip


@pytest.mark.parametrize(("host", "change", "status", "text"), _REFUSED, ids=[json.dumps(case[:2]) for case in _REFUSED])
def test_what_is_refused_changes_nothing(engine: Engine, host: dict[str, Any], change: dict[str, Any], status: int, text: str) -> None:
    container = made(engine, host, live=False)
    before = host_config(engine, container)
    assert update(engine, container, change) == (status, {"message": text.replace("ID", container)})
    assert host_config(engine, container) == before


def test_a_swap_limit_below_the_memory_changes_nothing(engine: Engine) -> None:
    container = made(engine, _MEMORY, live=True)
    before = kernel(engine, container), host_config(engine, container)
    status, document = update(engine, container, {"MemorySwap": 16 * M, "CpuShares": 77})
    assert status in (400, 500) and document["message"].startswith(f"Cannot update container {container}: ")
    assert (kernel(engine, container), host_config(engine, container)) == before


def _running_pid(engine: Engine, name: str, not_this: int = 0) -> int:
    def pid() -> int:
        found = int(engine.out("inspect", "-f", "{{.State.Pid}}", name))
        return found if found != not_this else 0

    return wait_until(pid, "a process runs")


def test_a_policy_that_came_later_is_followed(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--net", "none", "busybox", "sleep", "1000")
    assert engine.out("update", "--restart", "always", name) == name
    first = _running_pid(engine, name)
    os.kill(first, signal.SIGKILL)
    second = _running_pid(engine, name, first)
    assert engine.out("inspect", "-f", "{{.RestartCount}}", name) == "1"
    assert engine.out("update", "--restart", "no", name) == name
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: engine.out("inspect", "-f", "{{.State.Status}}", name) == "exited", "it stays ended")


def test_the_command(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--net", "none", "busybox", "sleep", "1000")
    engine.docker("create", "--name", f"{name}c", "--net", "none", "busybox")
    said = engine.out("update", "-m", "100m", "--memory-swap", "200m", "--cpus", "0.5", "--pids-limit", "30", name, f"{name}c")
    assert said.splitlines() == [name, f"{name}c"]
    for one in (name, f"{name}c"):
        shown = engine.out("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}", one)
        assert shown == f"{100 * M} 500000000 30"
    assert [event["Action"] for event in events(engine, name)].count("update") == 1
    missing = engine.docker("update", "--cpus", "1", "nosuch", check=False)
    assert missing.returncode == 1 and "No such container: nosuch" in missing.stderr
    assert update(engine, name, {}) == (200, {"Warnings": None})
