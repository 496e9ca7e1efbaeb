"""docker stats: numbers, their documents and the command's table."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from engines import Engine, UnixConnection

from .cgroup_files import files, number
from .waiting import wait_until

# Writes to the disk, uses the CPU and talks to the gateway of its network.
_LOAD = """i=0; while [ $i -lt 15 ]; do dd if=/dev/urandom of=/f bs=1M count=4 conv=fsync 2>/dev/null; i=$((i+1)); done
ping -c 20 -i 0.01 -s 1000 $(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p') >/dev/null; echo done; sleep 1000"""


def one(engine: Engine, container: str, query: str = "stream=0&one-shot=1") -> dict[str, Any]:
    status, document = engine.request("GET", f"/{engine.api}/containers/{container}/stats?{query}")
    assert status == 200
    return document


@contextmanager
def samples(engine: Engine, container: str) -> Iterator[Iterator[dict[str, Any]]]:
    connection = UnixConnection(engine.socket)
    connection.request("GET", f"/{engine.api}/containers/{container}/stats?stream=1")
    with connection.getresponse() as response:
        yield (json.loads(line) for line in iter(response.readline, b""))
    connection.close()


def near(value: int, expected: int) -> None:
    assert expected > 0 and abs(value - expected) <= expected / 10, (value, expected)


def test_every_number_is_the_kernels(engine: Engine, name: str) -> None:
    container = engine.out("run", "-d", "--name", name, "-m", "64m", "--pids-limit", "50", "busybox", "sh", "-c", _LOAD)
    wait_until(lambda: "done" in engine.out("logs", name), "the load is over", 40)
    engine.docker("pause", name)
    document = one(engine, name)
    near(document["cpu_stats"]["cpu_usage"]["total_usage"], _cpu_ns(engine, container))
    assert document["cpu_stats"]["cpu_usage"]["usage_in_kernelmode"] > 0
    near(document["memory_stats"]["usage"], number(engine, container, "memory.usage_in_bytes", "memory.current"))
    assert document["memory_stats"]["limit"] == 64 << 20
    assert document["pids_stats"] == {"current": number(engine, container, "pids.current"), "limit": 50}
    written = [e["value"] for e in document["blkio_stats"]["io_service_bytes_recursive"] if e["op"].lower() == "write"]
    near(max(written), _written(engine, container))
    counters = document["networks"]["eth0"]
    assert counters["rx_packets"] >= 20 and counters["tx_packets"] >= 20
    assert counters["rx_bytes"] >= 20_000 and counters["tx_bytes"] >= 20_000
    assert (counters["rx_errors"], counters["tx_dropped"]) == (0, 0)
    assert list(document["networks"]) == ["eth0"]
    assert (document["name"], document["id"]) == (f"/{name}", container)


def _cpu_ns(engine: Engine, container: str) -> int:
    contents = files(engine, container, "cpuacct.usage", "cpu.stat")
    if "cpuacct.usage" in contents:
        return int(contents["cpuacct.usage"])
    return int(dict(line.split() for line in contents["cpu.stat"].splitlines())["usage_usec"]) * 1000


def _written(engine: Engine, container: str) -> int:
    contents = files(engine, container, "blkio.throttle.io_service_bytes", "io.stat")
    if "io.stat" in contents:
        return max(int(found) for found in re.findall(r"wbytes=(\d+)", contents["io.stat"]))
    return max(int(line.split()[2]) for line in contents["blkio.throttle.io_service_bytes"].splitlines() if " Write " in line)


def test_the_share_of_a_cpu(engine: Engine, name: str) -> None:
    container = engine.out("run", "-d", "--name", name, "--cpus", "0.3", "--net", "none", "busybox", "sh", "-c", "while :; do :; done")
    before = _cpu_ns(engine, container)
    document = one(engine, name, "stream=0")
    # Whatever else the machine does: two samples, in order, between what the kernel says before and after.
    first, second = (document[which]["cpu_usage"]["total_usage"] for which in ("precpu_stats", "cpu_stats"))
    assert 0 < before <= first < second <= _cpu_ns(engine, container)
    # The container has at most 0.3 of one CPU, and the machine's time grows by all CPUs' seconds.
    machine = document["cpu_stats"]["system_cpu_usage"] - document["precpu_stats"]["system_cpu_usage"]
    assert 0.7 <= machine / 10**9 / document["cpu_stats"]["online_cpus"] <= 3
    throttling = document["cpu_stats"]["throttling_data"]
    assert throttling["periods"] > 0 and throttling["throttled_periods"] > 0 and throttling["throttled_time"] > 0
    assert "networks" not in document
    assert 1 < float(engine.out("stats", "--no-stream", "--format", "{{.CPUPerc}}", name).rstrip("%")) < 40


def test_a_stream_has_a_sample_a_second_each_with_the_one_before(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--net", "none", "busybox", "sleep", "1000")
    with samples(engine, name) as stream:
        first, second, third = (next(stream) for _ in range(3))
        assert first["preread"] == "0001-01-01T00:00:00Z"
        assert (second["preread"], third["preread"]) == (first["read"], second["read"])
        assert third["precpu_stats"] == second["cpu_stats"]
        assert "system_cpu_usage" not in first["precpu_stats"] and second["cpu_stats"]["online_cpus"] >= 1
        engine.docker("rm", "-f", name)
        rest = list(stream)
    assert len(rest) <= 2


def test_one_that_does_not_run_uses_nothing(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox")
    document = one(engine, name, "stream=0")
    assert (document["read"], document["pids_stats"], document["memory_stats"]) == ("0001-01-01T00:00:00Z", {}, {})
    assert "networks" not in document and set(document["blkio_stats"].values()) == {None}
    with samples(engine, name) as stream:
        assert [next(stream)["read"] for _ in range(2)] == ["0001-01-01T00:00:00Z"] * 2


def test_the_documents_fields(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "1000")
    document = one(engine, name, "stream=0")
    assert set(document) == {
        "read", "preread", "pids_stats", "blkio_stats", "num_procs", "storage_stats", "cpu_stats", "precpu_stats", "memory_stats", "name",
        "id", "networks",
    }  # fmt: skip
    assert set(document["networks"]["eth0"]) == {f"{way}_{of}" for way in ("rx", "tx") for of in ("bytes", "packets", "errors", "dropped")}
    assert set(document["cpu_stats"]) == {"cpu_usage", "system_cpu_usage", "online_cpus", "throttling_data"}
    assert document["pids_stats"] == {"current": 1}
    # cgroup v2 has neither.
    version_1 = "percpu_usage" in document["cpu_stats"]["cpu_usage"]
    assert ("max_usage" in document["memory_stats"]) == version_1
    assert ("total_inactive_file" in document["memory_stats"]["stats"]) == version_1
    assert (document["blkio_stats"]["sectors_recursive"] is not None) == version_1
    if version_1:
        assert len(document["memory_stats"]["stats"]) == 32


def test_whose_network_is_counted(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "1000")
    engine.docker("run", "-d", "--name", f"{name}j", "--net", f"container:{name}", "busybox", "sleep", "1000")
    engine.docker("run", "-d", "--name", f"{name}h", "--net", "host", "busybox", "sleep", "1000")
    assert list(one(engine, f"{name}j")["networks"]) == ["eth0"]
    assert "networks" not in one(engine, f"{name}h")


def test_the_table(engine: Engine, name: str) -> None:
    container = engine.out("run", "-d", "--name", name, "-m", "64m", "busybox", "sleep", "1000")
    engine.docker("create", "--name", f"{name}c", "busybox")
    head, row = engine.out("stats", "--no-stream").splitlines()
    assert re.split(r"\s{2,}", head) == ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]
    cells = re.split(r"\s{2,}", row)
    assert cells[:2] == [container[:12], name] and cells[3].endswith(" / 64MiB") and cells[7] == "1"
    every = engine.out("stats", "--no-stream", "-a", "--no-trunc", "--format", "{{.ID}} {{.Name}} {{.PIDs}} {{.MemUsage}}").splitlines()
    assert any(line.startswith(f"{container} {name} 1 ") for line in every)
    assert any(line.endswith(f" {name}c 0 0B / 0B") for line in every)


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("nosuch/stats", 404, "No such container: nosuch"),
        ("{}/stats?stream=1&one-shot=1", 400, "cannot have stream=true and one-shot=true"),
    ],
)
def test_errors(engine: Engine, name: str, path: str, status: int, text: str) -> None:
    engine.docker("create", "--name", name, "busybox")
    assert engine.request("GET", f"/{engine.api}/containers/{path.format(name)}") == (status, {"message": text})
