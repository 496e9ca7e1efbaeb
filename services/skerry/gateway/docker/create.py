"""POST /containers/create: from Docker's JSON to a ContainerSpec. What this engine does not do is refused by name, never ignored."""

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.core.errors import InvalidArgument
from skerry.gateway.docker import golang, limits
from skerry.gateway.docker.checks import check
from skerry.gateway.docker.mounts import mounts
from skerry.gateway.docker.options import check_options
from skerry.gateway.docker.ports import bindings, expand
from skerry.gateway.docker.shapes import CONFIG, CREATE, complete_host_config
from skerry.gateway.errors import BadInput
from skerry.gateway.versions import CURRENT, Version

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_CONTAINER_MODES = {"network_mode": "NetworkMode", "pid_mode": "PidMode", "ipc_mode": "IpcMode"}


@dataclass(slots=True)
class Wanted:
    """A create request, checked and typed."""

    name: str
    image_name: str
    platform: str
    spec: pb.ContainerSpec
    config: dict[str, Any]
    host: dict[str, Any]
    networking: dict[str, Any]
    log_driver: str = ""
    log_options: dict[str, str] = field(default_factory=dict)
    # Besides the node's.
    warnings: list[str] = field(default_factory=list)

    @property
    def config_json(self) -> str:
        """Docker's Config as the client gave it."""
        return msgspec.json.encode(self.config).decode()

    @property
    def networking_config_json(self) -> str:
        """Docker's NetworkingConfig as the client gave it."""
        return msgspec.json.encode(self.networking).decode()

    def host_config_json(self, driver: str, options: dict[str, str]) -> str:
        """Docker's HostConfig with the log configuration that holds and the defaults that an engine fills in."""
        self.host["LogConfig"] = {"Type": driver, "Config": options}
        return msgspec.json.encode(complete_host_config(self.host)).decode()

    def without_start_interval(self) -> None:
        """Forgets the health check's start interval, as an engine does that was asked in an API version without one."""
        if (check := self.config.get("Healthcheck")) and check.pop("StartInterval", None) is not None:
            self.spec.healthcheck_json = msgspec.json.encode(check).decode()

    def set_mode(self, spec_field: str, mode: str) -> None:
        """Writes a resolved container:ID back, so that inspect shows it as Docker does."""
        self.host[_CONTAINER_MODES[spec_field]] = mode


def check_name(name: str) -> str:
    """Returns a container's name without "/". Raises InvalidArgument in Docker's words."""
    if name and not _NAME.match(name):
        raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name.removeprefix("/")


def parse_create(body: bytes, name: str, platform: str, version: Version = CURRENT) -> Wanted:
    """Reads a create request of an API version. Raises InvalidArgument, BadInput and NotSupported in Docker's words where it has some."""
    document = golang.parse(body, CREATE, "ContainerConfigWrapper")
    host = document.pop("HostConfig", {})
    networking = document.pop("NetworkingConfig", {})
    if not document:
        raise InvalidArgument("Config cannot be empty in order to create a container")
    config = {key: document[key] for key in CONFIG if key in document}
    if not config.get("Image"):
        raise InvalidArgument("No command specified")
    clean = check_name(name)
    warnings = check_options(host, networking, version)
    check(config, host, networking)
    _defaults(host)
    warnings += limits.warnings(host)
    log = host.get("LogConfig", {})
    try:
        spec = _spec(config, host, version)
    except ValueError as error:  # a number too large for its field, text that is no UTF-8
        raise BadInput(f"invalid value in request: {error}") from None
    return Wanted(
        name=clean,
        image_name=config["Image"],
        platform=platform,
        spec=spec,
        config=config,
        host=host,
        networking=networking,
        log_driver=log.get("Type", ""),
        log_options=log.get("Config", {}),
        warnings=warnings,
    )


def _defaults(host: dict[str, Any]) -> None:
    """Fills in what dockerd fills in at create."""
    restart = host.get("RestartPolicy", {})
    host["RestartPolicy"] = {"Name": restart.get("Name", ""), "MaximumRetryCount": restart.get("MaximumRetryCount", 0)}
    host.setdefault("OomKillDisable", False)
    if not host.get("NetworkMode"):
        host["NetworkMode"] = "default"
    if not host.get("ShmSize"):
        host["ShmSize"] = 64 << 20
    if not host.get("IpcMode"):
        host["IpcMode"] = "private"
    if host.get("Memory", 0) > 0 and host.get("MemorySwap", 0) == 0:
        host["MemorySwap"] = host["Memory"] * 2
    if host.get("PidsLimit") is not None and host["PidsLimit"] <= 0:
        host["PidsLimit"] = None
    if host.get("Privileged") or host.get("PidMode") == "host" or host["IpcMode"] == "host":
        host.setdefault("SecurityOpt", ["label=disable"])
    for key in ("CapAdd", "CapDrop"):
        if host.get(key):
            host[key] = sorted({_capability(word) for word in host[key]})


def _capability(word: str) -> str:
    upper = word.upper()
    return upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}"


def _strings(values: list[str] | None) -> images_pb2.StringList | None:
    return None if values is None else images_pb2.StringList(values=values)


def _spec(config: dict[str, Any], host: dict[str, Any], asked: Version) -> pb.ContainerSpec:
    bindings(host.get("PortBindings"))  # the sandbox is made of it at start; wrong ones are refused now
    restart = host.get("RestartPolicy", {})
    console = host.get("ConsoleSize") or [0, 0]
    health = config.get("Healthcheck")
    spec = pb.ContainerSpec(
        hostname=config.get("Hostname", ""),
        domainname=config.get("Domainname", ""),
        user=config.get("User", ""),
        working_dir=config.get("WorkingDir", ""),
        # Given and empty differs from not given; [""] is the CLI's --entrypoint "".
        entrypoint=_strings(config.get("Entrypoint")),
        cmd=_strings(config.get("Cmd") or None),
        env=config.get("Env", []),
        labels=config.get("Labels", {}),
        tty=config.get("Tty", False),
        open_stdin=config.get("OpenStdin", False),
        stdin_once=config.get("StdinOnce", False),
        attach_stdin=config.get("AttachStdin", False),
        attach_stdout=config.get("AttachStdout", False),
        attach_stderr=config.get("AttachStderr", False),
        stop_signal=config.get("StopSignal", ""),
        exposed_ports=sorted(set(expand(config.get("ExposedPorts", {}))) | set(expand(host.get("PortBindings", {})))),
        volumes=sorted(config.get("Volumes", {})),
        volumes_from=host.get("VolumesFrom", []),
        shell=config.get("Shell", []),
        healthcheck_json=msgspec.json.encode(health).decode() if health else "",
        mounts=mounts(host, asked),
        volume_driver=host.get("VolumeDriver", ""),
        readonly_rootfs=host.get("ReadonlyRootfs", False),
        init=host.get("Init", False),
        restart_policy=pb.RestartPolicy(name=restart.get("Name") or "no", maximum_retry_count=restart.get("MaximumRetryCount", 0)),
        auto_remove=host.get("AutoRemove", False),
        network_mode=host["NetworkMode"],
        network_disabled=config.get("NetworkDisabled", False),
        pid_mode=host.get("PidMode", ""),
        ipc_mode=host["IpcMode"],
        uts_mode=host.get("UTSMode", ""),
        cgroupns_mode=host.get("CgroupnsMode", ""),
        userns_mode=host.get("UsernsMode", ""),
        cap_add=host.get("CapAdd", []),
        cap_drop=host.get("CapDrop", []),
        privileged=host.get("Privileged", False),
        security_opt=host.get("SecurityOpt", []),
        resources=limits.resources(host),
        ulimits=[pb.Ulimit(name=u.get("Name", ""), soft=u.get("Soft", 0), hard=u.get("Hard", 0)) for u in host.get("Ulimits", [])],
        devices=[
            pb.Device(
                path_on_host=d.get("PathOnHost", ""),
                path_in_container=d.get("PathInContainer") or d.get("PathOnHost", ""),
                permissions=d.get("CgroupPermissions") or "rwm",
            )
            for d in host.get("Devices", [])
        ],
        device_cgroup_rules=host.get("DeviceCgroupRules", []),
        sysctls=host.get("Sysctls", {}),
        group_add=host.get("GroupAdd", []),
        shm_size=host["ShmSize"],
        oom_score_adj=host.get("OomScoreAdj", 0),
        cgroup_parent=host.get("CgroupParent", ""),
        runtime=host.get("Runtime", ""),
        masked_paths=_strings(host.get("MaskedPaths")),
        readonly_paths=_strings(host.get("ReadonlyPaths")),
        console_height=console[0],
        console_width=console[1],
        annotations=host.get("Annotations", {}),
        device_requests=[_device_request(one) for one in host.get("DeviceRequests", [])],
    )
    if config.get("StopTimeout") is not None:
        spec.stop_timeout = config["StopTimeout"]
    return spec


def _device_request(asked: dict[str, Any]) -> pb.DeviceRequest:
    return pb.DeviceRequest(
        driver=asked.get("Driver", ""),
        count=asked.get("Count", 0),
        device_ids=asked.get("DeviceIDs", []),
        capabilities=[pb.CapabilitySet(names=names) for names in asked.get("Capabilities", [])],
        options=asked.get("Options", {}),
    )
