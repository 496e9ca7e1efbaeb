"""Samples: the kernel's files as messages, messages as Docker's documents."""

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers import stats as reading
from skerry.gateway.docker.stats import stats

DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
"""


def test_network_counters_without_the_loopback() -> None:
    response = pb.StatsResponse()
    reading.network(DEV, response)
    assert {name: (one.rx_bytes, one.rx_packets, one.rx_errors, one.rx_dropped) for name, one in response.networks.items()} == {
        "eth0": (1, 2, 3, 4)
    }
    eth0 = response.networks["eth0"]
    assert (eth0.tx_bytes, eth0.tx_packets, eth0.tx_errors, eth0.tx_dropped) == (9, 10, 11, 12)


def test_version_1_block_counters_without_the_sum_over_devices() -> None:
    response = pb.StatsResponse()
    reading.blkio("8:0 Read 512\n8:0 Write 0\nTotal 512\n", "io_serviced_recursive", response)
    assert [(one.list, one.major, one.minor, one.op, one.value) for one in response.blkio] == [
        ("io_serviced_recursive", 8, 0, "Read", 512),
        ("io_serviced_recursive", 8, 0, "Write", 0),
    ]


def test_version_2_block_counters_are_bytes_read_and_written() -> None:
    response = pb.StatsResponse()
    reading.io_stat("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:1 \n", response)
    assert [(one.major, one.op, one.value) for one in response.blkio] == [
        (8, "read", 10),
        (8, "write", 20),
        (7, "read", 0),
        (7, "write", 0),
    ]


def test_the_machines_time_is_what_docker_adds_up() -> None:
    assert reading.machine_time("cpu  1 2 3 4 5 6 7 800 900\ncpu0 1\ncpu1 1\nintr 5\n") == (28 * reading._TICK_NS, 2)


def test_the_document_of_one_that_does_not_run_is_all_zero() -> None:
    document = stats(pb.StatsResponse(id="i", name="n"))
    assert (document["read"], document["preread"]) == ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z")
    assert (document["pids_stats"], document["memory_stats"]) == ({}, {})
    assert set(document["blkio_stats"].values()) == {None} and "networks" not in document
    assert document["cpu_stats"] == {
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }


def test_a_version_2_document_has_no_version_1_fields() -> None:
    sample = pb.StatsResponse(id="i", name="n", read_ns=1, memory=pb.MemoryStats(usage=5, limit=6, stat={"anon": 3, "nonsense": 1}))
    sample.cpu.total_usage = 7
    document = stats(sample)
    assert "percpu_usage" not in document["cpu_stats"]["cpu_usage"]
    assert document["memory_stats"]["usage"] == 5 and "max_usage" not in document["memory_stats"]
    assert document["memory_stats"]["stats"]["anon"] == 3 and "nonsense" not in document["memory_stats"]["stats"]
    assert document["blkio_stats"]["io_service_bytes_recursive"] == [] and document["blkio_stats"]["io_serviced_recursive"] is None
