"""Limits of containers: what is refused and said, what inspect shows, what the kernel is told, and docker update."""

import contextlib
import json
import os
import time
from typing import Any

import pytest

from engines import Engine

from .cgroup_files import files
from .waiting import wait_until

M = 1 << 20
_BLKIO_WEIGHT = "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."
_NO_LIMIT = "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
_KERNEL_MEMORY = "Specifying a kernel memory limit is deprecated and will be removed in a future release."
_VERSION_1 = os.path.exists("/sys/fs/cgroup/memory/memory.limit_in_bytes")
_FILES = {
    "memory": ("memory.limit_in_bytes", "memory.max"),
    "swap": ("memory.memsw.limit_in_bytes", "memory.swap.max"),
    "reservation": ("memory.soft_limit_in_bytes", "memory.low"),
    "cpus": ("cpuset.cpus",),
    "pids": ("pids.max",),
}


def create(engine: Engine, host: dict[str, Any], *command: str) -> tuple[int, Any]:
    body = {"Image": "busybox", "Cmd": list(command or ("sleep", "1000")), "HostConfig": {"NetworkMode": "none", **host}}
    # From 1.42 on the field is not read any more.
    api = "v1.41" if "KernelMemory" in host else engine.api
    return engine.request("POST", f"/{api}/containers/create", body)


def host_config(engine: Engine, container: str) -> dict[str, Any]:
    shown: dict[str, Any] = engine.request("GET", f"/{engine.api}/containers/{container}/json")[1]["HostConfig"]
    return shown


def kernel(engine: Engine, container: str) -> dict[str, str]:
    """Returns what the kernel was told, v1's form: bytes, and microseconds of a period."""
    found = files(engine, container, *(name for names in _FILES.values() for name in names), "cpu.cfs_quota_us", "cpu.cfs_period_us",
                  "cpu.shares", "cpu.weight", "cpu.max", "memory.swappiness")  # fmt: skip
    result = {key: next(found[name] for name in names if name in found) for key, names in _FILES.items() if set(names) & set(found)}
    if "cpu.max" in found:
        quota, period = found["cpu.max"].split()
        result |= {"quota": quota.replace("max", "-1"), "period": period, "shares": found["cpu.weight"]}
    else:
        result |= {"quota": found["cpu.cfs_quota_us"], "period": found["cpu.cfs_period_us"], "shares": found["cpu.shares"]}
    if "memory.swappiness" in found:
        result["swappiness"] = found["memory.swappiness"]
    return result


_REFUSED = [
    ({"Memory": 5 * M}, "Minimum memory limit allowed is 6MB"),
    ({"Memory": -1}, "Minimum memory limit allowed is 6MB"),
    ({"Memory": 16 * M, "MemorySwap": 8 * M}, "Minimum memoryswap limit should be larger than memory limit, see usage"),
    ({"MemorySwap": 64 * M}, "You should always set the Memory limit when using Memoryswap limit, see usage"),
    ({"MemoryReservation": 5 * M}, "Minimum memory reservation allowed is 6MB"),
    ({"Memory": 16 * M, "MemoryReservation": 17 * M}, "Minimum memory limit can not be less than memory reservation limit, see usage"),
    ({"MemorySwappiness": -2}, "Invalid value: -2, valid memory swappiness range is 0-100"),
    ({"OomScoreAdj": 1001}, "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
    ({"CpuPeriod": 10}, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
    ({"CpuPeriod": -1}, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
    ({"CpuQuota": 10}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
    ({"NanoCpus": 10**9, "CpuPeriod": 100000}, "Conflicting options: Nano CPUs and CPU Period cannot both be set"),
    ({"NanoCpus": 10**9, "CpuQuota": 100000}, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
    ({"CpusetCpus": "x"}, "Invalid value x for cpuset cpus: invalid format: x"),
    ({"CpusetCpus": "3-1"}, "Invalid value 3-1 for cpuset cpus: invalid format: 3-1"),
    ({"CpusetCpus": "99999999"}, "Invalid value 99999999 for cpuset cpus: value of out range, maximum is 8192"),
    ({"CpusetMems": "0,"}, "Invalid value 0, for cpuset mems: invalid format: 0,"),
    ({"KernelMemory": M}, "Minimum kernel memory limit allowed is 6MB"),
]


@pytest.mark.parametrize(("host", "text"), _REFUSED, ids=[json.dumps(host) for host, _ in _REFUSED])
def test_what_makes_no_sense_is_refused(engine: Engine, host: dict[str, Any], text: str) -> None:
    assert create(engine, host) == (400, {"message": text})


def test_what_this_machine_has_not_is_refused(engine: Engine) -> None:
    cpus = os.cpu_count() or 1
    available = f"0-{cpus - 1}" if cpus > 1 else "0"
    assert create(engine, {"NanoCpus": (cpus + 1) * 10**9}) == (
        400,
        {"message": f"Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"},
    )
    assert create(engine, {"CpusetCpus": f"0-{cpus + 1}"}) == (
        400,
        {"message": f"Requested CPUs are not available - requested 0-{cpus + 1}, available: {available}"},
    )
    status, document = create(engine, {"CpusetMems": "77"})
    assert status == 400 and document["message"].startswith("Requested memory nodes are not available - requested 77, available: 0")
    result = engine.docker("run", "--rm", "--cpuset-cpus", f"0-{cpus + 1}", "busybox", check=False)
    assert result.returncode == 125 and "Requested CPUs are not available" in result.stderr


# What is asked for, what inspect shows of it, what the kernel is told.
_SET: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, str]]] = [
    ("memory, with as much swap", {"Memory": 16 * M}, {"Memory": 16 * M, "MemorySwap": 32 * M}, {"memory": str(16 * M)}),
    ("no swap", {"Memory": 16 * M, "MemorySwap": 16 * M}, {"MemorySwap": 16 * M}, {"memory": str(16 * M)}),
    ("all swap", {"Memory": 16 * M, "MemorySwap": -1}, {"MemorySwap": -1}, {"memory": str(16 * M)}),
    ("reservation", {"MemoryReservation": 16 * M}, {"MemoryReservation": 16 * M, "Memory": 0}, {"reservation": str(16 * M)}),
    ("shares", {"CpuShares": 1024}, {"CpuShares": 1024}, {}),
    ("period and quota", {"CpuPeriod": 50000, "CpuQuota": 25000}, {"CpuPeriod": 50000, "CpuQuota": 25000},
     {"quota": "25000", "period": "50000"}),
    ("quota", {"CpuQuota": 25000}, {"CpuPeriod": 0, "CpuQuota": 25000}, {"quota": "25000", "period": "100000"}),
    ("no quota", {"CpuQuota": -1}, {"CpuQuota": -1}, {"quota": "-1"}),
    ("cpus", {"NanoCpus": 500000000}, {"NanoCpus": 500000000, "CpuQuota": 0}, {"quota": "50000", "period": "100000"}),
    ("cpuset", {"CpusetCpus": "0", "CpusetMems": "0"}, {"CpusetCpus": "0", "CpusetMems": "0"}, {"cpus": "0"}),
    ("pids", {"PidsLimit": 100}, {"PidsLimit": 100}, {"pids": "100"}),
    ("no pids limit", {"PidsLimit": -1}, {"PidsLimit": None}, {"pids": "max"}),
]  # fmt: skip


@pytest.mark.parametrize(("host", "shown", "told"), [case[1:] for case in _SET], ids=[case[0] for case in _SET])
def test_what_is_set(engine: Engine, name: str, host: dict[str, Any], shown: dict[str, Any], told: dict[str, str]) -> None:
    status, document = create(engine, host)
    assert (status, document["Warnings"]) == (201, [])
    engine.docker("start", document["Id"])
    found = host_config(engine, document["Id"])
    assert {key: found[key] for key in shown} == shown
    now = kernel(engine, document["Id"])
    assert {key: now[key] for key in told} == told


def test_swappiness_and_the_switch_of_the_killer_are_version_1s(engine: Engine) -> None:
    status, document = create(engine, {"Memory": 16 * M, "MemorySwappiness": 30, "OomKillDisable": True})
    assert (status, len(document["Warnings"])) == (201, 0 if _VERSION_1 else 2)
    engine.docker("start", document["Id"])
    if not _VERSION_1:
        return
    shown = host_config(engine, document["Id"])
    assert (shown["MemorySwappiness"], shown["OomKillDisable"]) == (30, True)
    now = kernel(engine, document["Id"])
    assert (now["swap"], now["swappiness"]) == (str(32 * M), "30")
    control = files(engine, document["Id"], "memory.oom_control")["memory.oom_control"]
    assert "oom_kill_disable 1" in control


@pytest.mark.parametrize(
    ("host", "warnings", "shown"),
    [
        ({"KernelMemory": 16 * M}, [_KERNEL_MEMORY], {}),
        ({"CpuPercent": 10}, ["linux does not support CPU percent. Percent discarded."], {"CpuPercent": 0}),
        ({"MemorySwappiness": -1}, [], {"MemorySwappiness": None}),
        *([({"OomKillDisable": True}, [_NO_LIMIT], {"OomKillDisable": True})] if _VERSION_1 else []),
        *(
            [({"BlkioWeight": 500}, [_BLKIO_WEIGHT], {"BlkioWeight": 0})]
            if _VERSION_1 and not os.path.exists("/sys/fs/cgroup/blkio/blkio.weight")
            else []
        ),
    ],
)
def test_what_is_discarded_is_said(engine: Engine, host: dict[str, Any], warnings: list[str], shown: dict[str, Any]) -> None:
    status, document = create(engine, host)
    assert (status, document["Warnings"]) == (201, warnings)
    found = host_config(engine, document["Id"])
    assert {key: found[key] for key in shown} == shown
    engine.docker("start", document["Id"])


def _disk() -> tuple[str, str]:
    """Returns the path and the numbers of a whole disk that the engine's host has."""
    with open("/proc/partitions", encoding="ascii") as file:
        for line in file.read().splitlines()[2:]:
            major, minor, _, name = line.split()
            if os.path.exists(f"/sys/block/{name}") and os.path.exists(f"/dev/{name}") and not name.startswith(("loop", "ram", "zram")):
                return f"/dev/{name}", f"{major}:{minor}"
    raise AssertionError("this machine has no disk")


def test_throttled_devices(engine: Engine, name: str) -> None:
    path, numbers = _disk()
    options = [f"--device-{what}={path}:{rate}" for what, rate in
               (("read-bps", "2mb"), ("write-bps", "1mb"), ("read-iops", "200"), ("write-iops", "100"))]  # fmt: skip
    container = engine.out("run", "-d", "--name", name, "--net", "none", *options, "busybox", "sleep", "1000")
    shown = host_config(engine, container)
    assert shown["BlkioDeviceReadBps"] == [{"Path": path, "Rate": 2 * M}] and shown["BlkioDeviceWriteIOps"] == [{"Path": path, "Rate": 100}]
    found = files(
        engine, container, *(f"blkio.throttle.{what}_device" for what in ("read_bps", "write_bps", "read_iops", "write_iops")), "io.max"
    )
    if "io.max" in found:
        assert found == {"io.max": f"{numbers} rbps={2 * M} wbps={M} riops=200 wiops=100"}
    else:
        assert [found[f"blkio.throttle.{what}_device"] for what in ("read_bps", "write_bps", "read_iops", "write_iops")] == [
            f"{numbers} {rate}" for rate in (2 * M, M, 200, 100)
        ]


def test_a_throttled_device_that_there_is_not(engine: Engine, name: str) -> None:
    result = engine.docker("run", "--name", name, "--device-write-bps", "/dev/nosuch:1mb", "busybox", check=False)
    assert result.returncode in (125, 127)
    assert "stat /dev/nosuch: no such file or directory" in result.stderr


def test_a_cgroup_parent(engine: Engine, name: str) -> None:
    by_systemd = engine.out("info", "-f", "{{.CgroupDriver}}") == "systemd"
    # systemd makes the slice, and removes it when it is empty.
    parent, place = (f"lim{name}.slice", f"/lim{name}.slice/skerry-") if by_systemd else (f"/lim-{name}", f"/lim-{name}/")
    container = engine.out("run", "-d", "--name", name, "--cgroup-parent", parent, "--net", "none", "busybox", "sleep", "1000")
    pid = engine.out("inspect", "-f", "{{.State.Pid}}", container)
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        lines = file.read().splitlines()
    try:
        assert any(f":{place}{container}" in line for line in lines)
        assert host_config(engine, container)["CgroupParent"] == parent
        assert "sleep 1000" in engine.out("top", container)
        status, document = engine.request("GET", f"/{engine.api}/containers/{container}/stats?stream=0&one-shot=1")
        assert status == 200 and document["memory_stats"]["usage"] > 0
    finally:
        engine.docker("rm", "-f", container)
        for hierarchy in ("", *os.listdir("/sys/fs/cgroup")):
            with contextlib.suppress(OSError):
                os.rmdir(f"/sys/fs/cgroup/{hierarchy}{place.rpartition('/')[0]}")


def test_a_process_that_the_kernel_killed_for_memory(engine: Engine, name: str) -> None:
    result = engine.docker("run", "--name", name, "-m", "8m", "--net", "none", "busybox", "tail", "/dev/zero", check=False)
    assert result.returncode == 137
    assert engine.out("inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", name) == "true 137"

    def actions() -> list[str]:
        return [event["Action"] for event in events(engine, name)]

    assert wait_until(lambda: "die" in actions(), "the end is told")
    assert actions().index("oom") < actions().index("die")
    engine.docker("run", "-d", "--name", f"{name}k", "--net", "none", "busybox", "sleep", "1000")
    engine.docker("kill", f"{name}k")
    engine.docker("wait", f"{name}k")
    assert engine.out("inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", f"{name}k") == "false 137"


def events(engine: Engine, name: str) -> list[dict[str, Any]]:
    said = engine.out("events", "--since", "0", "--until", f"{time.time():.9f}", "--filter", f"container={name}", "--format", "{{json .}}")
    return [event for event in map(json.loads, said.splitlines()) if event["Actor"]["Attributes"]["name"] == name]


def test_a_fork_bomb_meets_its_limit(engine: Engine, name: str) -> None:
    script = "i=0; while [ $i -lt 30 ]; do sleep 30 & i=$((i+1)); done"
    result = engine.docker("run", "--rm", "--name", name, "--pids-limit", "10", "--net", "none", "busybox", "sh", "-c", script, check=False)
    assert "can't fork" in result.stderr
