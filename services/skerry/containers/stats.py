"""What a container uses of the machine, read from its cgroup's files as Docker does. One sample is twenty small files of the kernel."""

import os
import time
from collections.abc import Iterable

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb

_ROOT = "/sys/fs/cgroup"
_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
# /proc/stat's first fields are user, nice, system, idle, iowait, irq and softirq: what Docker adds up.
_CPU_FIELDS = 7
_V1_BLKIO = (
    ("io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"),
    ("io_serviced_recursive", "blkio.throttle.io_serviced_recursive"),
)


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where one container's numbers are."""

    # Path of its cgroup below each hierarchy's root.
    cgroup: str
    version: int
    # A process in its network namespace; 0: it has none of its own.
    pid: int


def sample(source: Source) -> pb.StatsResponse | None:
    """Reads everything; None when the cgroup is gone. Blocks for a fraction of a millisecond, never on a disk."""
    response = pb.StatsResponse(read_ns=time.time_ns(), cgroup_v1=source.version == 1)
    try:
        if source.version == 1:
            _version_1(source.cgroup, response)
        else:
            _version_2(f"{_ROOT}{source.cgroup}", response)
        if source.pid:
            network(_text(f"/proc/{source.pid}/net/dev"), response)
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return None
    response.cpu.system_cpu_usage, response.cpu.online_cpus = machine_time(_text("/proc/stat"))
    return response


def machine_time(stat: str) -> tuple[int, int]:
    """Returns nanoseconds of all CPUs since the boot, and their number, from /proc/stat. Pure."""
    lines = stat.splitlines()
    total = sum(int(field) for field in lines[0].split()[1 : 1 + _CPU_FIELDS]) if lines else 0
    return total * _TICK_NS, sum(line.startswith("cpu") and line[3:4].isdigit() for line in lines)


def network(text: str, response: pb.StatsResponse) -> None:
    """Adds the counters of /proc/PID/net/dev, without the loopback's. Pure."""
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        fields = [int(field) for field in rest.split()]
        if name.strip() == "lo" or len(fields) < 12:
            continue
        counters = response.networks[name.strip()]
        counters.rx_bytes, counters.rx_packets, counters.rx_errors, counters.rx_dropped = fields[:4]
        counters.tx_bytes, counters.tx_packets, counters.tx_errors, counters.tx_dropped = fields[8:12]


def io_stat(text: str, response: pb.StatsResponse) -> None:
    """Adds cgroup v2's io.stat ("8:0 rbytes=1 wbytes=2 rios=3 ..."): bytes read and written, which is all that Docker shows. Pure."""
    for line in text.splitlines():
        device, _, rest = line.partition(" ")
        major, colon, minor = device.partition(":")
        if not colon:
            continue
        fields = dict(pair.split("=", 1) for pair in rest.split() if "=" in pair)
        for op, field in (("read", "rbytes"), ("write", "wbytes")):
            response.blkio.add(
                list="io_service_bytes_recursive", major=int(major), minor=int(minor), op=op, value=int(fields.get(field, "0"))
            )


def blkio(text: str, name: str, response: pb.StatsResponse) -> None:
    """Adds one of cgroup v1's blkio files ("8:0 Read 512"; the last line is a sum over all devices, which Docker leaves out). Pure."""
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3:
            major, _, minor = fields[0].partition(":")
            response.blkio.add(list=name, major=int(major), minor=int(minor), op=fields[1], value=int(fields[2]))


def _version_1(cgroup: str, response: pb.StatsResponse) -> None:
    cpuacct, cpu, memory = f"{_ROOT}/cpuacct{cgroup}", f"{_ROOT}/cpu{cgroup}", f"{_ROOT}/memory{cgroup}"
    times, throttling = _pairs(f"{cpuacct}/cpuacct.stat"), _pairs(f"{cpu}/cpu.stat")
    response.cpu.total_usage = int(_text(f"{cpuacct}/cpuacct.usage"))
    response.cpu.percpu_usage.extend(int(field) for field in _text(f"{cpuacct}/cpuacct.usage_percpu").split())
    response.cpu.usage_in_kernelmode = times.get("system", 0) * _TICK_NS
    response.cpu.usage_in_usermode = times.get("user", 0) * _TICK_NS
    _throttling(response.cpu, throttling, throttling.get("throttled_time", 0))
    response.memory.usage = int(_text(f"{memory}/memory.usage_in_bytes"))
    response.memory.max_usage = int(_text(f"{memory}/memory.max_usage_in_bytes"))
    response.memory.failcnt = int(_text(f"{memory}/memory.failcnt"))
    _memory(response.memory, _text(f"{memory}/memory.limit_in_bytes"), f"{memory}/memory.stat")
    for name, file in _V1_BLKIO:
        blkio(_optional(f"{_ROOT}/blkio{cgroup}/{file}"), name, response)
    _pids(f"{_ROOT}/pids{cgroup}", response)


def _version_2(cgroup: str, response: pb.StatsResponse) -> None:
    cpu = _pairs(f"{cgroup}/cpu.stat")
    response.cpu.total_usage = cpu.get("usage_usec", 0) * 1000
    response.cpu.usage_in_kernelmode = cpu.get("system_usec", 0) * 1000
    response.cpu.usage_in_usermode = cpu.get("user_usec", 0) * 1000
    _throttling(response.cpu, cpu, cpu.get("throttled_usec", 0) * 1000)
    response.memory.usage = int(_text(f"{cgroup}/memory.current"))
    response.memory.failcnt = _pairs(f"{cgroup}/memory.events").get("oom", 0)
    _memory(response.memory, _text(f"{cgroup}/memory.max"), f"{cgroup}/memory.stat")
    io_stat(_optional(f"{cgroup}/io.stat"), response)
    _pids(cgroup, response)


def _throttling(cpu: pb.CpuStats, counts: dict[str, int], nanoseconds: int) -> None:
    cpu.throttling_periods, cpu.throttled_periods = counts.get("nr_periods", 0), counts.get("nr_throttled", 0)
    cpu.throttled_time = nanoseconds


def _memory(memory: pb.MemoryStats, limit: str, stat: str) -> None:
    memory.limit = min(_number(limit) or _MEMORY, _MEMORY)
    memory.stat.update(_pairs(stat))


def _pids(directory: str, response: pb.StatsResponse) -> None:
    response.pids_current = _number(_optional(f"{directory}/pids.current"))
    response.pids_limit = _number(_optional(f"{directory}/pids.max"))


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0


def _pairs(path: str) -> dict[str, int]:
    return dict(_numbers(_text(path).splitlines()))


def _numbers(lines: Iterable[str]) -> Iterable[tuple[str, int]]:
    for line in lines:
        name, _, value = line.partition(" ")
        if value.isdigit():
            yield name, int(value)


def _optional(path: str) -> str:
    """A controller that this kernel, or this hierarchy, does not have counts nothing."""
    try:
        return _text(path)
    except OSError:
        return ""


def _text(path: str) -> str:
    # Not `open`: it costs five times as much as the read.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(fd, 65536):
            pieces.append(piece)
        return b"".join(pieces).decode("ascii", "replace")
    finally:
        os.close(fd)
