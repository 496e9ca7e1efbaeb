"""OCI runtime specifications as dockerd writes them. Pure: everything that had to be looked up is in the inputs."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from skerry.api.containers.v1 import containers_pb2
from skerry.api.networks.v1 import networks_pb2
from skerry.containers import capabilities, oci_mounts, oci_resources, seccomp, security
from skerry.containers.cgroup import cgroups_path
from skerry.containers.devices import HostDevice
from skerry.containers.host import HostFacts
from skerry.containers.oci_mounts import ResolvedMount
from skerry.containers.users import User
from skerry.core.errors import InvalidArgument, NotSupported

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# dockerd's lists, with the energy counters that newer versions hide too (CVE-2020-8694).
MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_NAMESPACED_SYSCTLS = {
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
}


class SpecInputs(msgspec.Struct, frozen=True, kw_only=True):
    """All that a specification is made of."""

    id: str
    # Merged with the image's configuration.
    spec: containers_pb2.ContainerSpec
    # Absolute path of the mounted root file system.
    rootfs: str
    # The command line, entrypoint first.
    args: Sequence[str]
    # The image's and the user's variables, merged. PATH, HOSTNAME and TERM are put below them here.
    env: Sequence[str]
    user: User
    sandbox: networks_pb2.Sandbox
    host: HostFacts
    mounts: Sequence[ResolvedMount] = ()
    # From devices.resolve.
    devices: Sequence[HostDevice] = ()
    # From devices.block_devices.
    block_devices: Mapping[str, tuple[int, int]] = {}
    # "/proc/N/ns/pid" and ".../ipc" for the modes container:ID; empty otherwise.
    pid_namespace: str = ""
    ipc_namespace: str = ""
    # Host path of a tmpfs that other containers may share (ipc modes shareable and container:ID); empty: a private one is made.
    shm_path: str = ""


def validate(spec: containers_pb2.ContainerSpec, host: HostFacts) -> list[str]:
    """Raises InvalidArgument or NotSupported for what can never start; returns warnings. For `create`, before anything is made."""
    options = security.parse(spec.security_opt)
    granted = capabilities.granted(spec.cap_add, spec.cap_drop, privileged=spec.privileged, bounding=host.capabilities)
    _seccomp(options, spec.privileged, granted, host)
    oci_resources.rlimits(spec.ulimits, host)
    oci_resources.oom_score_adj(spec.oom_score_adj, host)
    oci_resources.devices((), spec.device_cgroup_rules, privileged=False)
    _sysctls(spec, networks_pb2.NETWORK_MODE_HOST if spec.network_mode == "host" else networks_pb2.NETWORK_MODE_NETWORKS)
    for asked in spec.mounts:
        if asked.type == "tmpfs":
            oci_mounts.tmpfs_options(asked.tmpfs_options.split(","))
    if spec.userns_mode not in ("", "host"):
        raise InvalidArgument(f"invalid userns mode: {spec.userns_mode}")
    _init(spec, host)
    cgroups_path("", spec.cgroup_parent, host.cgroup_driver)
    warnings = []
    lacking = [
        name
        for name in capabilities.granted(spec.cap_add, (), privileged=False, bounding=capabilities.NAMES)
        if name not in host.capabilities
    ]
    if lacking and spec.cap_add:
        warnings.append(f"This host cannot grant {', '.join(lacking)}")
    return warnings


def build(inputs: SpecInputs) -> bytes:
    """Returns config.json. Raises InvalidArgument or NotSupported for what validate would have refused."""
    spec, host = inputs.spec, inputs.host
    options = security.parse(spec.security_opt)
    granted = capabilities.granted(spec.cap_add, spec.cap_drop, privileged=spec.privileged, bounding=host.capabilities)
    init = _init(spec, host)
    document: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": _process(inputs, options, granted, [oci_mounts.INIT_PATH, "--"] if init else []),
        "root": {"path": inputs.rootfs, **({"readonly": True} if spec.readonly_rootfs else {})},
        "mounts": _mounts(inputs, init),
        "linux": _linux(inputs, options, granted),
    }
    if annotations := dict(spec.annotations):
        document["annotations"] = annotations
    if host.cgroup_driver == "systemd":
        # crun would put the process one level below the scope, where Docker's tools do not look.
        document["annotations"] = {**annotations, "run.oci.systemd.subgroup": ""}
    if spec.uts_mode != "host":
        document["hostname"] = inputs.sandbox.hostname or spec.hostname or inputs.id[:12]
    return msgspec.json.encode(document)


def exec_process(
    *,
    config: bytes,
    args: Sequence[str],
    host: HostFacts,
    env: Sequence[str] = (),
    user: User | None = None,
    cwd: str = "",
    tty: bool = False,
    privileged: bool = False,
    rows: int = 0,
    columns: int = 0,
) -> bytes:
    """Returns the process document of an exec: the container's own (from its config.json) with what is asked laid over it.

    user None is the container's. privileged gives all capabilities that this host can.
    """
    process: dict[str, Any] = msgspec.json.decode(config)["process"]
    process["args"] = list(args)
    process["env"] = overlaid(
        [each for each in process["env"] if tty or not each.startswith("TERM=")] + (["TERM=xterm"] if tty else []), env
    )
    if user is not None:
        process["user"] = _user(user)
        # What _process added for the container's own user is not this one's.
        process["env"] = _with_home([each for each in process["env"] if each != "HOME=/" or each in env], user)
    if cwd:
        process["cwd"] = cwd
    process["terminal"] = tty
    process.pop("consoleSize", None)
    if tty and rows and columns:
        process["consoleSize"] = {"height": rows, "width": columns}
    if privileged:
        everything = capabilities.granted((), (), privileged=True, bounding=host.capabilities)
        process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), everything)
    else:
        process["capabilities"] = _capability_sets(process["capabilities"]["bounding"], process["user"]["uid"])
    return msgspec.json.encode(process)


def overlaid(base: Iterable[str], over: Iterable[str]) -> list[str]:
    """Lays variables over others, Docker's way: "A=b" replaces in place or appends, "A" removes."""
    result: dict[str, str] = {each.partition("=")[0]: each for each in base}
    for each in over:
        name, separator, _ = each.partition("=")
        if separator:
            result[name] = each
        else:
            result.pop(name, None)
    return list(result.values())


def _with_home(env: list[str], user: User) -> list[str]:
    """Adds the home of a user who has none: crun, other than runc, leaves it out. Others' is the runtime's business."""
    return env if user.home != "/" or any(each.startswith("HOME=") for each in env) else [*env, "HOME=/"]


def _process(inputs: SpecInputs, options: security.SecurityOptions, granted: list[str], init: list[str]) -> dict[str, Any]:
    spec = inputs.spec
    hostname = inputs.sandbox.hostname or spec.hostname or inputs.id[:12]
    base = [f"PATH={DEFAULT_PATH}", f"HOSTNAME={hostname}", *(["TERM=xterm"] if spec.tty else [])]
    process: dict[str, Any] = {
        "terminal": spec.tty,
        "user": _user(inputs.user),
        "args": [*init, *inputs.args],
        "env": _with_home(overlaid(base, inputs.env), inputs.user),
        "cwd": os.path.normpath(spec.working_dir) if spec.working_dir else "/",
        "capabilities": _capability_sets(granted, inputs.user.uid),
        "oomScoreAdj": oci_resources.oom_score_adj(spec.oom_score_adj, inputs.host),
    }
    if spec.tty and spec.console_height and spec.console_width:
        process["consoleSize"] = {"height": spec.console_height, "width": spec.console_width}
    if options.no_new_privileges:
        process["noNewPrivileges"] = True
    # The engine loads no AppArmor profile of its own; one that the administrator loaded can be named.
    if options.apparmor not in ("", "unconfined") and inputs.host.apparmor and not spec.privileged:
        process["apparmorProfile"] = options.apparmor
    if limits := oci_resources.rlimits(spec.ulimits, inputs.host):
        process["rlimits"] = limits
    return process


def _user(user: User) -> dict[str, Any]:
    return {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)}


def _capability_sets(granted: list[str], uid: int) -> dict[str, list[str]]:
    # Only root has them at once; others get them through set-uid programs within the bounding set.
    if uid == 0:
        return {"bounding": granted, "effective": granted, "permitted": granted}
    return {"bounding": granted, "effective": [], "permitted": []}


def _init(spec: containers_pb2.ContainerSpec, host: HostFacts) -> str:
    if not spec.init or spec.pid_mode == "host" or spec.pid_mode.startswith("container:"):
        return ""
    if not host.init:
        raise NotSupported("--init needs an init program on the host: neither docker-init nor tini is installed")
    return host.init


def _mounts(inputs: SpecInputs, init: str) -> list[dict[str, Any]]:
    spec, sandbox = inputs.spec, inputs.sandbox
    return oci_mounts.table(
        inputs.mounts,
        [
            ("/etc/resolv.conf", sandbox.resolv_conf_path),
            ("/etc/hostname", sandbox.hostname_path),
            ("/etc/hosts", sandbox.hosts_path),
        ],
        init=init,
        ipc_mode=spec.ipc_mode,
        shm_path=oci_mounts.SHM_PATH if spec.ipc_mode == "host" else inputs.shm_path,
        shm_size=spec.shm_size,
        privileged=spec.privileged,
        read_only=spec.readonly_rootfs,
    )


def _linux(inputs: SpecInputs, options: security.SecurityOptions, granted: list[str]) -> dict[str, Any]:
    spec, host = inputs.spec, inputs.host
    linux: dict[str, Any] = {
        "resources": {
            "devices": oci_resources.devices(inputs.devices, spec.device_cgroup_rules, privileged=spec.privileged),
            **oci_resources.limits(spec.resources, host, inputs.block_devices),
        },
        "cgroupsPath": cgroups_path(inputs.id, spec.cgroup_parent, host.cgroup_driver),
        "namespaces": _namespaces(inputs),
    }
    if sysctls := _sysctls(spec, inputs.sandbox.mode):
        linux["sysctl"] = sysctls
    if inputs.devices:
        linux["devices"] = [device.node() for device in inputs.devices]
    if propagation := oci_mounts.root_propagation(inputs.mounts):
        linux["rootfsPropagation"] = propagation
    if filters := _seccomp(options, spec.privileged, granted, host):
        linux["seccomp"] = msgspec.Raw(filters)
    if not spec.privileged:
        linux["maskedPaths"] = list(spec.masked_paths.values if spec.HasField("masked_paths") else MASKED_PATHS)
        linux["readonlyPaths"] = list(spec.readonly_paths.values if spec.HasField("readonly_paths") else READONLY_PATHS)
    return linux


def default_cgroupns_mode(host: HostFacts) -> str:
    """Returns the cgroup namespace mode of containers that ask for none: Docker's, by the host's cgroups."""
    return "private" if host.cgroup_version == 2 else "host"


def _namespaces(inputs: SpecInputs) -> list[dict[str, str]]:
    spec, sandbox = inputs.spec, inputs.sandbox
    result = [{"type": "mount"}]
    if sandbox.netns_path:
        result.append({"type": "network", "path": sandbox.netns_path})
    if spec.uts_mode != "host":
        result.append({"type": "uts"})
    for kind, mode, path in (("pid", spec.pid_mode, inputs.pid_namespace), ("ipc", spec.ipc_mode, inputs.ipc_namespace)):
        if path:
            result.append({"type": kind, "path": path})
        elif mode.startswith("container:"):
            raise InvalidArgument(f"the container of {kind} mode {mode} does not run")
        elif mode != "host":
            result.append({"type": kind})
    if (spec.cgroupns_mode or default_cgroupns_mode(inputs.host)) == "private":
        result.append({"type": "cgroup"})
    return result


def _sysctls(spec: containers_pb2.ContainerSpec, mode: "networks_pb2.NetworkMode") -> dict[str, str]:
    sysctls: dict[str, str] = {}
    if mode in (networks_pb2.NETWORK_MODE_NETWORKS, networks_pb2.NETWORK_MODE_NONE):
        sysctls["net.ipv4.ip_unprivileged_port_start"] = "0"
        sysctls["net.ipv4.ping_group_range"] = "0 2147483647"
    if spec.domainname:
        _check_sysctl("kernel.domainname", spec, mode)
        sysctls["kernel.domainname"] = spec.domainname
    for name, value in spec.sysctls.items():
        _check_sysctl(name, spec, mode)
        sysctls[name] = value
    return sysctls


def _check_sysctl(name: str, spec: containers_pb2.ContainerSpec, mode: "networks_pb2.NetworkMode") -> None:
    """What a namespace shared with another container holds may be set, what one of the host's holds may not (runc's rules and words)."""
    if "/" in name or ".." in name:
        raise InvalidArgument(f"sysctl '{name}' is not allowed")
    if name.startswith("net."):
        if mode == networks_pb2.NETWORK_MODE_HOST:
            raise InvalidArgument(f'sysctl "{name}" not allowed in host network namespace')
    elif name == "kernel.domainname":
        if spec.uts_mode == "host":
            raise InvalidArgument(f'sysctl "{name}" is not in a separate kernel namespace')
    elif name in _NAMESPACED_SYSCTLS or name.startswith("fs.mqueue."):
        if spec.ipc_mode == "host":
            raise InvalidArgument(f'sysctl "{name}" is not allowed in the hosts ipc namespace')
    else:
        raise InvalidArgument(f"sysctl '{name}' is not allowed")


def _seccomp(options: security.SecurityOptions, privileged: bool, granted: Collection[str], host: HostFacts) -> bytes:
    if options.seccomp == "unconfined" or (privileged and not options.seccomp):
        return b""
    return seccomp.serialised(options.seccomp, frozenset(granted), host.architecture, host.kernel)
