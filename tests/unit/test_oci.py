"""Specifications against those that dockerd 20.10.24 wrote for the same options: dockerd_specs.json, recorded once, paths replaced."""

import json
from pathlib import Path
from typing import Any

import pytest

from skerry.api.containers.v1 import containers_pb2
from skerry.api.images.v1 import images_pb2
from skerry.api.networks.v1 import networks_pb2
from skerry.containers import capabilities, oci, oci_mounts, oci_resources
from skerry.containers.devices import HostDevice
from skerry.containers.host import HostFacts
from skerry.containers.oci_mounts import ResolvedMount
from skerry.containers.users import User
from skerry.core.errors import InvalidArgument, NotSupported

RECORDED = json.loads((Path(__file__).parent / "dockerd_specs.json").read_text())
IDENTIFIER = "5" * 64
ROOT = User(0, 0, (0,), "/root")
LESS = frozenset(capabilities.NAMES) - {"CAP_SYS_RESOURCE"}
FULL = HostFacts(capabilities=frozenset(capabilities.NAMES), init="/usr/bin/docker-init")
NONE, HOST, CONTAINER = networks_pb2.NETWORK_MODE_NONE, networks_pb2.NETWORK_MODE_HOST, networks_pb2.NETWORK_MODE_CONTAINER


def build(mode: Any = NONE, hostname: str = "SHORTID", netns: str = "/proc/1/ns/net", **more: Any) -> dict[str, Any]:
    chosen: dict[str, Any] = {"args": ["sleep", "100"], "env": [], "user": ROOT, "host": FULL}
    chosen.update((key, more.pop(key)) for key in oci.SpecInputs.__struct_fields__ if key in more)
    sandbox = networks_pb2.Sandbox(
        mode=mode,
        netns_path=netns,
        hosts_path="/c/hosts",
        hostname_path="/c/hostname",
        resolv_conf_path="/c/resolv.conf",
        hostname=hostname,
    )
    document: dict[str, Any] = json.loads(
        oci.build(oci.SpecInputs(id=IDENTIFIER, spec=containers_pb2.ContainerSpec(**more), rootfs="/c/rootfs", sandbox=sandbox, **chosen))
    )
    return document


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "tty": {"tty": True},
    "host": {"mode": HOST, "hostname": "vm"},
    "hostns": {"mode": HOST, "hostname": "vm", "pid_mode": "host", "ipc_mode": "host", "uts_mode": "host"},
    "init": {"init": True},
    "ipcnone": {"ipc_mode": "none"},
    "dropall": {"cap_drop": ["ALL"]},
    "unconf": {
        "security_opt": ["seccomp=unconfined"],
        "masked_paths": images_pb2.StringList(),
        "readonly_paths": images_pb2.StringList(),
        "cgroupns_mode": "private",
    },
    "contns": {
        "mode": CONTAINER,
        "pid_mode": "container:x",
        "ipc_mode": "container:x",
        "pid_namespace": "/proc/1/ns/pid",
        "ipc_namespace": "/proc/1/ns/ipc",
        "shm_path": "/c/mounts/shm",
    },
    "dcr": {
        "device_cgroup_rules": ["c 42:* rmw"],
        "ipc_mode": "shareable",
        "shm_path": "/c/mounts/shm",
        "mounts": [
            ResolvedMount("bind", "/data", "/h", propagation="private", non_recursive=True),
            ResolvedMount("tmpfs", "", "/tt", options=("mode=700", "size=1000")),
        ],
    },
    "lots": {
        "hostname": "foo.example",
        "domainname": "dom",
        "user": User(1000, 1000, (1000, 50, 777), "/home/bob"),
        "working_dir": "/wd",
        "env": ["A=b"],
        "readonly_rootfs": True,
        "cap_add": ["NET_ADMIN"],
        "cap_drop": ["CHOWN"],
        "sysctls": {"net.ipv4.ip_forward": "1"},
        "oom_score_adj": 100,
        "shm_size": 32 << 20,
        "security_opt": ["no-new-privileges"],
        "ulimits": [containers_pb2.Ulimit(name="nofile", soft=100, hard=200)],
        "devices": [HostDevice("/dev/xnull", "c", 1, 3)],
        "resources": containers_pb2.Resources(
            memory=64 << 20,
            memory_swap=128 << 20,
            memory_reservation=32 << 20,
            memory_swappiness=10,
            nano_cpus=500_000_000,
            cpu_shares=512,
            cpuset_cpus="0",
            pids_limit=50,
        ),
        "mounts": [
            ResolvedMount("bind", "/data", "/h1"),
            ResolvedMount("bind", "/data", "/h2", read_only=True),
            ResolvedMount("tmpfs", "", "/t1", options=("size=1m",)),
            ResolvedMount("tmpfs", "", "/t2"),
            ResolvedMount("volume", "/volume", "/v"),
        ],
    },
}


def recorded(name: str) -> dict[str, Any]:
    """What dockerd wrote, with the differences that are meant."""
    document: dict[str, Any] = json.loads(json.dumps(RECORDED[name]))
    process, linux = document["process"], document["linux"]
    document["ociVersion"] = "1.0.2"
    process.setdefault("terminal", False)
    for kind in ("bounding", "effective", "permitted"):
        process["capabilities"].setdefault(kind, [])
    groups = process["user"]["additionalGids"]
    process["user"]["additionalGids"] = list(dict.fromkeys(groups))
    if "maskedPaths" in linux:
        linux["maskedPaths"].append("/sys/devices/virtual/powercap")
    else:
        linux["maskedPaths"] = linux["readonlyPaths"] = []
    for namespace in linux["namespaces"]:
        # dockerd makes it in a hook; here it is made beforehand.
        if namespace["type"] == "network":
            namespace["path"] = "/proc/1/ns/net"
    for rule in linux["resources"]["devices"]:
        # Absent and -1 both mean every number.
        if rule.get("minor") == -1:
            del rule["minor"]
    for mount in document["mounts"]:
        # crun binds without the source's own flags unless they are named; runc keeps them.
        if mount["destination"] == "/dev/shm" and mount["type"] == "bind":
            mount["options"] += ["nosuid", "noexec", "nodev"]
    document["root"] = {"path": "/c/rootfs", **document.get("root", {})}
    linux["cgroupsPath"] = f"/skerry/{IDENTIFIER}"
    return document


@pytest.mark.parametrize("name", CASES)
def test_a_specification_is_dockerds(name: str) -> None:
    made = build(**CASES[name])
    made["linux"].pop("seccomp", None)
    expected = recorded(name)
    by_place = {mount["destination"]: mount for mount in expected["mounts"]}
    assert {mount["destination"]: mount for mount in made["mounts"]} == by_place
    assert {**made, "mounts": []} == {**expected, "mounts": []}


def test_mounts_inside_others_come_after_them() -> None:
    mounts = [ResolvedMount("bind", "/s", target) for target in ("/a/b/c", "/a", "/a/b", "/dev/shm", "/etc/hosts")]
    places = [mount["destination"] for mount in build(mounts=mounts)["mounts"]]
    assert places.index("/a") < places.index("/a/b") < places.index("/a/b/c")
    assert places.count("/dev/shm") == places.count("/etc/hosts") == 1
    assert places.index("/dev") < places.index("/dev/shm")


def test_a_mount_on_dev_replaces_what_is_below() -> None:
    places = [mount["destination"] for mount in build(mounts=[ResolvedMount("bind", "/s", "/dev")])["mounts"]]
    assert [place for place in places if place.startswith("/dev")] == ["/dev"]


def test_privileged_is_within_the_hosts_bounding_set() -> None:
    host = HostFacts(capabilities=LESS, hard_limits={"RLIMIT_NOFILE": 1000}, oom_score_adj=-5)
    document = build(
        host=host,
        privileged=True,
        oom_score_adj=-900,
        ulimits=[containers_pb2.Ulimit(name="nofile", soft=-1, hard=-1), containers_pb2.Ulimit(name="core", soft=0, hard=-1)],
    )
    process, linux = document["process"], document["linux"]
    assert process["capabilities"]["effective"] == [name for name in capabilities.NAMES if name != "CAP_SYS_RESOURCE"]
    assert process["oomScoreAdj"] == -5
    assert process["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "hard": 1000, "soft": 1000},
        {"type": "RLIMIT_CORE", "hard": (1 << 64) - 1, "soft": 0},
    ]
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert not {"seccomp", "maskedPaths", "readonlyPaths"} & linux.keys()
    options = {mount["destination"]: mount["options"] for mount in document["mounts"]}
    assert "ro" not in options["/sys"]
    assert "ro" not in options["/sys/fs/cgroup"]


def test_the_cgroup_namespace_is_private_on_version_2_only() -> None:
    for version, mode, private in ((1, "", False), (2, "", True), (2, "host", False), (1, "private", True)):
        host = HostFacts(capabilities=FULL.capabilities, cgroup_version=version)
        kinds = [each["type"] for each in build(host=host, cgroupns_mode=mode)["linux"]["namespaces"]]
        assert ("cgroup" in kinds) is private


@pytest.mark.parametrize(("parent", "above"), [("", "/skerry"), ("/custom", "/custom"), ("a/b", "/a/b"), ("../../etc", "/etc")])
def test_a_cgroup_parent_leads_nowhere_above(parent: str, above: str) -> None:
    assert build(cgroup_parent=parent)["linux"]["cgroupsPath"] == f"{above}/{IDENTIFIER}"


def test_version_2_has_no_swappiness_and_no_oom_switch() -> None:
    resources = containers_pb2.Resources(memory=1 << 20, memory_swappiness=0, oom_kill_disable=True)
    one, two = (oci_resources.limits(resources, HostFacts(capabilities=frozenset(), cgroup_version=version)) for version in (1, 2))
    assert one["memory"] == {"limit": 1 << 20, "swap": 2 << 20, "swappiness": 0, "disableOOMKiller": True}
    assert two["memory"] == {"limit": 1 << 20, "swap": 2 << 20}


@pytest.mark.parametrize(
    ("spec", "error", "text"),
    [
        ({"cap_add": ["FOO"]}, InvalidArgument, 'invalid CapAdd: unknown capability: "CAP_FOO"'),
        ({"cap_drop": ["foo"]}, InvalidArgument, 'invalid CapDrop: unknown capability: "CAP_FOO"'),
        ({"security_opt": ["foo=bar"]}, InvalidArgument, 'invalid --security-opt 2: "foo=bar"'),
        ({"security_opt": ["foo"]}, InvalidArgument, 'invalid --security-opt 1: "foo"'),
        ({"security_opt": ["seccomp={"]}, InvalidArgument, "Decoding seccomp profile failed"),
        ({"device_cgroup_rules": ["c 1:2"]}, InvalidArgument, "invalid device cgroup rule format: 'c 1:2'"),
        ({"ulimits": [containers_pb2.Ulimit(name="nofoo")]}, InvalidArgument, "invalid ulimit type: nofoo"),
        ({"ulimits": [containers_pb2.Ulimit(name="core", soft=2, hard=1)]}, InvalidArgument, "ulimit soft limit must be less"),
        ({"oom_score_adj": 1001}, InvalidArgument, "Invalid value 1001, range for oom score adj is"),
        ({"mounts": [containers_pb2.Mount(type="tmpfs", target="/t", tmpfs_options="siez=1")]}, InvalidArgument, "invalid tmpfs option"),
        ({"sysctls": {"kernel.panic": "1"}}, InvalidArgument, "sysctl 'kernel.panic' is not allowed"),
        ({"sysctls": {"net.ipv4/../../kernel/panic": "1"}}, InvalidArgument, "is not allowed"),
        ({"userns_mode": "private"}, InvalidArgument, "invalid userns mode: private"),
    ],
)
def test_create_refuses_what_can_never_start(spec: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text.replace("(", r"\(").replace("[", r"\[").replace("{", r"\{")):
        oci.validate(containers_pb2.ContainerSpec(**spec), FULL)


def test_init_without_a_program_is_refused_clearly() -> None:
    with pytest.raises(NotSupported, match="neither docker-init nor tini"):
        oci.validate(containers_pb2.ContainerSpec(init=True), HostFacts(capabilities=frozenset()))
    # In another's PID namespace it would not be the first process.
    assert oci.validate(containers_pb2.ContainerSpec(init=True, pid_mode="host"), HostFacts(capabilities=frozenset())) == []


def test_network_sysctls_are_refused_in_the_hosts_network() -> None:
    with pytest.raises(InvalidArgument, match=r'sysctl "net.ipv4.ip_forward" not allowed in host network namespace'):
        build(mode=HOST, netns="", sysctls={"net.ipv4.ip_forward": "1"})


@pytest.mark.parametrize(
    ("given", "merged"),
    [
        ([], ["noexec", "nosuid", "nodev", "rprivate"]),
        (["exec", "size=1", "size=2"], ["nosuid", "nodev", "rprivate", "exec", "size=2"]),
        (["defaults", "ro", "rw"], ["noexec", "nosuid", "nodev", "rprivate", "rw"]),
    ],
)
def test_of_contradicting_tmpfs_options_the_last_counts(given: list[str], merged: list[str]) -> None:
    assert oci_mounts.tmpfs_options(given) == merged


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        (["A=1", "B=2"], ["A=3"], ["A=3", "B=2"]),
        (["A=1"], ["B=", "C=x=y"], ["A=1", "B=", "C=x=y"]),
        (["A=1", "B=2"], ["A"], ["B=2"]),
    ],
)
def test_variables_are_laid_over_each_other(base: list[str], over: list[str], result: list[str]) -> None:
    assert oci.overlaid(base, over) == result


def test_an_exec_is_the_containers_process_with_what_is_asked() -> None:
    config = json.dumps(build(env=["A=b"], tty=True, working_dir="/w", console_height=1, console_width=2)).encode()
    user = User(1000, 1000, (1000,))
    plain = json.loads(oci.exec_process(config=config, args=["x"], host=FULL))
    assert plain["args"] == ["x"]
    assert plain["cwd"] == "/w"
    assert plain["terminal"] is False
    assert "consoleSize" not in plain
    assert "TERM=xterm" not in plain["env"]
    bob = json.loads(oci.exec_process(config=config, args=["x"], host=FULL, user=user, tty=True, rows=30, columns=90, env=["A=c"]))
    assert bob["capabilities"]["effective"] == []
    assert bob["consoleSize"] == {"height": 30, "width": 90}
    assert {"A=c", "TERM=xterm"} <= set(bob["env"])
    full = json.loads(oci.exec_process(config=config, args=["x"], host=FULL, privileged=True, cwd="/y"))
    assert full["capabilities"]["effective"] == capabilities.NAMES
    assert full["cwd"] == "/y"
