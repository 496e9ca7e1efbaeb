"""Limits: what a kernel cannot do is discarded with Docker's warning, what makes no sense is refused in its words, updates are merged."""

import re

import pytest

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers import oci_resources
from skerry.containers.host import HostFacts
from skerry.containers.limits import KernelLimits, check, kernel_limits, numbers
from skerry.containers.update import difference, merged
from skerry.core.errors import Conflict, InvalidArgument

M = 1 << 20
ABLE = KernelLimits(cpus=2, cpuset_cpus="0-1", cpuset_mems="0")
UNABLE = KernelLimits(
    **{field: False for field in KernelLimits.__struct_fields__ if field not in ("cpus", "cpuset_cpus", "cpuset_mems")},
    cpus=2,
)
HOST = HostFacts(capabilities=frozenset())


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"memory": M}, "Minimum memory limit allowed is 6MB"),
        ({"memory": -1}, "Minimum memory limit allowed is 6MB"),
        ({"memory": 8 * M, "memory_swap": 7 * M}, "Minimum memoryswap limit should be larger than memory limit, see usage"),
        ({"memory_swap": 7 * M}, "You should always set the Memory limit when using Memoryswap limit, see usage"),
        ({"memory_reservation": M}, "Minimum memory reservation allowed is 6MB"),
        ({"memory": 8 * M, "memory_reservation": 9 * M}, "Minimum memory limit can not be less than memory reservation limit, see usage"),
        ({"memory_swappiness": 101}, "Invalid value: 101, valid memory swappiness range is 0-100"),
        ({"nano_cpus": 3 * 10**9}, "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
        ({"nano_cpus": -1}, "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
        ({"nano_cpus": 1, "cpu_period": 1000}, "Conflicting options: Nano CPUs and CPU Period cannot both be set"),
        ({"nano_cpus": 1, "cpu_quota": 1000}, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
        ({"cpu_shares": -1}, "invalid CPU shares (-1): value must be a positive integer"),
        ({"cpu_period": 999}, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
        ({"cpu_period": 1_000_001}, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
        ({"cpu_quota": 999}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        ({"cpuset_cpus": "0-3"}, "Requested CPUs are not available - requested 0-3, available: 0-1"),
        ({"cpuset_mems": "1"}, "Requested memory nodes are not available - requested 1, available: 0"),
        ({"cpuset_cpus": "x"}, "Invalid value x for cpuset cpus: invalid format: x"),
        ({"cpuset_cpus": "3-1"}, "Invalid value 3-1 for cpuset cpus: invalid format: 3-1"),
        ({"cpuset_mems": "0,"}, "Invalid value 0, for cpuset mems: invalid format: 0,"),
        ({"cpuset_cpus": "9" * 30}, f"Invalid value {'9' * 30} for cpuset cpus: value of out range, maximum is 8192"),
        ({"cpu_realtime_period": 1000, "cpu_realtime_runtime": 2000}, "cpu real-time runtime cannot be higher than cpu real-time period"),
        ({"blkio_weight": 9}, "Range of blkio weight is from 10 to 1000"),
    ],
)
def test_nonsense_is_refused_in_dockers_words(resources: dict, text: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{re.escape(text)}$"):
        check(pb.Resources(**resources), ABLE)


def test_what_the_kernel_can_do_is_left_alone() -> None:
    asked = pb.Resources(
        memory=8 * M, memory_swap=-1, memory_reservation=7 * M, memory_swappiness=0, cpu_shares=5, cpu_quota=-1, cpu_period=50_000,
        cpuset_cpus="0,1", cpuset_mems="0", pids_limit=-1, oom_kill_disable=True, blkio_weight=10,
        blkio_device_read_bps=[pb.ThrottleDevice(path="/dev/x", rate=1)],
    )  # fmt: skip
    before = asked.SerializeToString(deterministic=True)
    assert check(asked, ABLE) == []
    assert asked.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("resources", "said", "left"),
    [
        ({"memory": 8 * M}, "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
         {"memory_swap": -1}),
        ({"memory_reservation": 8 * M},
         "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.", {}),
        ({"memory_swappiness": 0},
         "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.", {}),
        ({"oom_kill_disable": True}, "Your kernel does not support OomKillDisable. OomKillDisable discarded.", {}),
        ({"pids_limit": 5}, "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.", {}),
        ({"cpu_shares": 5}, "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.", {}),
        ({"cpu_quota": 5}, "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.", {}),
        ({"cpuset_cpus": "7"}, "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.", {}),
        ({"blkio_weight": 5}, "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.", {}),
        ({"blkio_weight_device": [pb.WeightDevice(path="/x", weight=5)]},
         "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.", {}),
        ({"blkio_device_write_iops": [pb.ThrottleDevice(path="/x", rate=5)]},
         "Your kernel does not support IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.", {}),
        ({"blkio_device_read_bps": [pb.ThrottleDevice(path="/x", rate=5)]},
         "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.", {}),
    ],
)  # fmt: skip
def test_what_the_kernel_cannot_do_is_discarded_with_dockers_warning(resources: dict, said: str, left: dict) -> None:
    asked = pb.Resources(**resources)
    assert check(asked, UNABLE) == [said]
    assert asked == pb.Resources(**left)


def test_memory_without_swap_accounting_is_limited_without_swap() -> None:
    asked = pb.Resources(memory=8 * M, memory_swap=16 * M)
    warnings = check(asked, KernelLimits(swap=False))
    text = "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
    assert (warnings, asked) == ([text], pb.Resources(memory=8 * M, memory_swap=-1))


@pytest.mark.parametrize("resources", [{"nano_cpus": 1}, {"cpu_realtime_period": 5}])
def test_some_limits_are_refused_where_the_kernel_has_none(resources: dict) -> None:
    with pytest.raises(InvalidArgument, match="our kernel does not support CPU"):
        check(pb.Resources(**resources), UNABLE)


def test_lists_of_numbers() -> None:
    assert numbers("0-2,7,1") == {0, 1, 2, 7}
    assert numbers("") == set()


def test_a_version_2_hierarchy_is_read(tmp_path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    (tmp_path / "cpuset.cpus.effective").write_text("0-5\n")
    (tmp_path / "cpuset.mems.effective").write_text("0\n")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "memory.max").write_text("max\n")
    found = kernel_limits(2, str(tmp_path))
    assert (found.cpuset_cpus, found.memory, found.swap, found.blkio_throttle, found.swappiness) == ("0-5", True, False, False, False)


def change(old: dict, asked: dict, *, set_pids: bool = False) -> pb.Resources:
    return merged("ID", pb.Resources(**old), pb.Resources(**asked), set_pids=set_pids)


@pytest.mark.parametrize(
    ("old", "asked", "new"),
    [
        ({"cpu_shares": 5, "memory": 8 * M}, {}, {"cpu_shares": 5, "memory": 8 * M}),
        ({"memory": 8 * M, "memory_swap": 16 * M}, {"memory": 16 * M}, {"memory": 16 * M, "memory_swap": 16 * M}),
        ({"memory": 8 * M, "memory_swap": 16 * M}, {"memory_swap": -1}, {"memory": 8 * M, "memory_swap": -1}),
        ({}, {"memory_swappiness": 5, "oom_kill_disable": True}, {}),
        ({"cpu_quota": 5000}, {"cpu_quota": -1}, {"cpu_quota": -1}),
        ({"pids_limit": 5}, {"pids_limit": 0}, {"pids_limit": 5}),
    ],
)
def test_an_update_changes_what_it_names(old: dict, asked: dict, new: dict) -> None:
    assert change(old, asked) == pb.Resources(**new)


def test_a_pids_limit_that_was_given_as_nothing_is_lifted() -> None:
    assert change({"pids_limit": 5}, {"pids_limit": -1}, set_pids=True) == pb.Resources()


@pytest.mark.parametrize(
    ("old", "asked", "error", "text"),
    [
        ({"memory": 8 * M, "memory_swap": 16 * M}, {"memory": 17 * M}, Conflict,
         "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"),
        ({}, {"memory": 17 * M}, Conflict,
         "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"),
        ({"cpu_quota": 5000}, {"nano_cpus": 5}, Conflict,
         "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set"),
        ({"cpu_period": 5000}, {"nano_cpus": 5}, Conflict,
         "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set"),
        ({"nano_cpus": 5}, {"cpu_quota": 5000}, Conflict,
         "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"),
        ({"memory": 8 * M, "memory_swap": 16 * M}, {"memory_swap": 7 * M}, InvalidArgument,
         "Minimum memoryswap limit should be larger than memory limit, see usage"),
        ({}, {"memory_swap": 7 * M}, InvalidArgument, "You should always set the Memory limit when using Memoryswap limit, see usage"),
    ],
)  # fmt: skip
def test_an_update_that_contradicts_what_is_there_is_refused(old: dict, asked: dict, error: type, text: str) -> None:
    with pytest.raises(error, match=f"^Cannot update container ID: {re.escape(text)}$"):
        change(old, asked)


def test_only_what_differs_is_told_to_the_kernel_and_lifted_limits_go_back_to_its_own() -> None:
    old = pb.Resources(memory=8 * M, memory_swap=16 * M, nano_cpus=10**9, pids_limit=5, cpuset_cpus="0", cpu_shares=7)
    assert difference(old, old, ABLE) == {}
    assert difference(old, pb.Resources(cpu_shares=8), ABLE) == {
        "memory": {"limit": -1, "swap": -1},
        "cpu": {"shares": 8, "period": 100_000, "quota": -1, "cpus": "0-1"},
        "pids": {"limit": -1},
    }
    assert difference(pb.Resources(), old, ABLE)["cpu"] == {"shares": 7, "period": 100_000, "quota": 100_000, "cpus": "0"}


def test_block_devices_are_told_by_number() -> None:
    asked = pb.Resources(
        blkio_weight=20,
        blkio_weight_device=[pb.WeightDevice(path="/dev/a", weight=30)],
        blkio_device_read_bps=[pb.ThrottleDevice(path="/dev/a", rate=1)],
        blkio_device_write_iops=[pb.ThrottleDevice(path="/dev/b", rate=2)],
    )
    assert oci_resources.limits(asked, HOST, {"/dev/a": (8, 0), "/dev/b": (8, 16)})["blockIO"] == {
        "weight": 20,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 30}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 2}],
    }


@pytest.mark.parametrize(("given", "cpu"), [({"cpu_quota": -1}, None), ({"cpu_quota": 5000}, {"period": 100_000, "quota": 5000})])
def test_a_negative_quota_is_none(given: dict, cpu: dict | None) -> None:
    assert oci_resources.limits(pb.Resources(**given), HOST).get("cpu") == cpu
