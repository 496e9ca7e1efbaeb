"""One sample as `docker stats` reads it: moby's StatsJSON, whose fields differ by cgroup version."""

from typing import Any

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.gateway.docker.times import rfc3339

_LISTS = (
    "io_service_bytes_recursive",
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)

# The lines of memory.stat that Docker shows.
_V1_MEMORY = frozenset(
    [
        "cache",
        "rss",
        "rss_huge",
        "mapped_file",
        "dirty",
        "writeback",
        "pgpgin",
        "pgpgout",
        "pgfault",
        "pgmajfault",
        "inactive_anon",
        "active_anon",
        "inactive_file",
        "active_file",
        "unevictable",
    ]
)
_V1_MEMORY |= {f"total_{name}" for name in _V1_MEMORY} | {"hierarchical_memory_limit", "hierarchical_memsw_limit"}
_V2_MEMORY = frozenset(
    [
        "anon",
        "file",
        "kernel_stack",
        "slab",
        "sock",
        "shmem",
        "file_mapped",
        "file_dirty",
        "file_writeback",
        "anon_thp",
        "inactive_anon",
        "active_anon",
        "inactive_file",
        "active_file",
        "unevictable",
        "slab_reclaimable",
        "slab_unreclaimable",
        "pgfault",
        "pgmajfault",
        "workingset_refault",
        "workingset_activate",
        "workingset_nodereclaim",
        "pgrefill",
        "pgscan",
        "pgsteal",
        "pgactivate",
        "pgdeactivate",
        "pglazyfree",
        "pglazyfreed",
        "thp_fault_alloc",
        "thp_collapse_alloc",
    ]
)


def stats(sample: pb.StatsResponse) -> dict[str, Any]:
    """Returns the document. A container that does not run has one with zero times and counters."""
    document: dict[str, Any] = {
        "read": rfc3339(sample.read_ns),
        "preread": rfc3339(sample.preread_ns),
        "pids_stats": _given(current=sample.pids_current, limit=sample.pids_limit),
        "blkio_stats": _blkio(sample),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(sample.cpu),
        "precpu_stats": _cpu(sample.precpu),
        "memory_stats": _memory(sample.memory, _V1_MEMORY if sample.cgroup_v1 else _V2_MEMORY) if sample.read_ns else {},
        "name": f"/{sample.name}",
        "id": sample.id,
    }
    if sample.networks:
        document["networks"] = {name: _network(counters) for name, counters in sorted(sample.networks.items())}
    return document


def _given(**fields: int) -> dict[str, int]:
    return {name: value for name, value in fields.items() if value}


def _cpu(cpu: pb.CpuStats) -> dict[str, Any]:
    usage: dict[str, Any] = {"total_usage": cpu.total_usage}
    if cpu.percpu_usage:
        usage["percpu_usage"] = list(cpu.percpu_usage)
    usage |= {"usage_in_kernelmode": cpu.usage_in_kernelmode, "usage_in_usermode": cpu.usage_in_usermode}
    return {
        "cpu_usage": usage,
        **_given(system_cpu_usage=cpu.system_cpu_usage, online_cpus=cpu.online_cpus),
        "throttling_data": {
            "periods": cpu.throttling_periods,
            "throttled_periods": cpu.throttled_periods,
            "throttled_time": cpu.throttled_time,
        },
    }


def _memory(memory: pb.MemoryStats, shown: frozenset[str]) -> dict[str, Any]:
    return {
        **_given(usage=memory.usage, max_usage=memory.max_usage),
        "stats": {name: memory.stat[name] for name in sorted(memory.stat) if name in shown},
        **_given(failcnt=memory.failcnt, limit=memory.limit),
    }


def _blkio(sample: pb.StatsResponse) -> dict[str, Any]:
    # Lists that this cgroup version knows are there, if empty; the others are null.
    known = _LISTS if sample.cgroup_v1 and sample.read_ns else _LISTS[:1] if sample.read_ns else ()
    document: dict[str, Any] = {name: [] if name in known else None for name in _LISTS}
    for entry in sample.blkio:
        document[entry.list].append({"major": entry.major, "minor": entry.minor, "op": entry.op, "value": entry.value})
    return document


def _network(counters: pb.NetworkStats) -> dict[str, int]:
    return {
        f"{way}_{what}": getattr(counters, f"{way}_{what}") for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "dropped")
    }
