"""GET /containers/{id}/json: a container's record, its sandbox and its network as Docker shows them."""

from typing import Any

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.networks.v1 import networks_pb2
from skerry.core import ids
from skerry.gateway.docker import limits
from skerry.gateway.docker.ports import port_map
from skerry.gateway.docker.sandbox import endpoint_settings, network_name
from skerry.gateway.docker.times import rfc3339
from skerry.gateway.versions import ANNOTATIONS, DNS_NAMES, GATEWAY_PRIORITY, NO_KERNEL_MEMORY, Version

STATUS = {
    pb.STATUS_UNSPECIFIED: "created",
    pb.STATUS_CREATED: "created",
    pb.STATUS_RUNNING: "running",
    pb.STATUS_PAUSED: "paused",
    pb.STATUS_RESTARTING: "restarting",
    pb.STATUS_REMOVING: "removing",
    pb.STATUS_EXITED: "exited",
    pb.STATUS_DEAD: "dead",
}
_RUNNING = frozenset({pb.STATUS_RUNNING, pb.STATUS_PAUSED, pb.STATUS_RESTARTING})


def inspect(
    container: pb.Container, sandbox: networks_pb2.Sandbox | None, network: networks_pb2.Network | None, version: Version
) -> dict[str, Any]:
    """Returns the inspect document. sandbox None: the container has none now. network: the one it would join, when known."""
    document: dict[str, Any] = {
        "Id": container.id,
        "Created": rfc3339(container.created_ns),
        "Path": container.path,
        "Args": list(container.args),
        "State": state(container.state),
        "Image": container.image_id,
        "ResolvConfPath": sandbox.resolv_conf_path if sandbox else "",
        "HostnamePath": sandbox.hostname_path if sandbox else "",
        "HostsPath": sandbox.hosts_path if sandbox else "",
        "LogPath": container.log.path,
        "Name": f"/{container.name}",
        "RestartCount": container.state.restart_count,
        "Driver": container.graph_driver_name or "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(container.exec_ids) or None,
        "HostConfig": host_config(container, version),
        "GraphDriver": {"Data": dict(container.graph_driver), "Name": container.graph_driver_name or "overlay2"},
    }
    if container.HasField("size_rw"):
        document["SizeRw"] = container.size_rw
    if container.HasField("size_root_fs"):
        document["SizeRootFs"] = container.size_root_fs
    # Those of --tmpfs are listed in HostConfig only.
    tmpfs = document["HostConfig"].get("Tmpfs") or {}
    document["Mounts"] = [mount_point(mount) for mount in container.mount_points if mount.destination not in tmpfs]
    document["Config"] = config(container, sandbox)
    document["NetworkSettings"] = network_settings(container, sandbox, network, version)
    return document


def state(value: pb.State) -> dict[str, Any]:
    """Returns inspect's State."""
    document: dict[str, Any] = {
        "Status": STATUS[value.status],
        "Running": value.status in _RUNNING,
        "Paused": value.status == pb.STATUS_PAUSED,
        "Restarting": value.status == pb.STATUS_RESTARTING,
        "OOMKilled": value.oom_killed,
        "Dead": value.status == pb.STATUS_DEAD,
        "Pid": value.pid,
        "ExitCode": value.exit_code,
        "Error": value.error,
        "StartedAt": rfc3339(value.started_ns),
        "FinishedAt": rfc3339(value.finished_ns),
    }
    if value.HasField("health"):
        document["Health"] = {
            "Status": value.health.status,
            "FailingStreak": value.health.failing_streak,
            "Log": [
                {"Start": rfc3339(r.start_ns), "End": rfc3339(r.end_ns), "ExitCode": r.exit_code, "Output": r.output}
                for r in value.health.log
            ],
        }
    return document


def mount_point(mount: pb.MountPoint) -> dict[str, Any]:
    """Returns one entry of Mounts."""
    document: dict[str, Any] = {"Type": mount.type}
    if mount.name:
        document["Name"] = mount.name
    document |= {"Source": mount.source, "Destination": mount.destination}
    if mount.driver:
        document["Driver"] = mount.driver
    return document | {"Mode": mount.mode, "RW": mount.read_write, "Propagation": mount.propagation}


def host_config(container: pb.Container, version: Version) -> dict[str, Any]:
    """Returns HostConfig as it was given at create, with what the node decided."""
    document: dict[str, Any] = msgspec.json.decode(container.docker_host_config_json or "{}")
    spec = container.spec
    limits.show(document, spec)
    document["CgroupnsMode"] = spec.cgroupns_mode
    document["ConsoleSize"] = document.get("ConsoleSize") or [0, 0]
    document["Runtime"] = document.get("Runtime") or container.runtime
    if version >= NO_KERNEL_MEMORY:
        for key in ("KernelMemory", "KernelMemoryTCP"):
            if not document.get(key):
                document.pop(key, None)
    if version < ANNOTATIONS:
        document.pop("Annotations", None)
    if spec.privileged:
        document["MaskedPaths"] = document["ReadonlyPaths"] = None
    else:
        # Not given: Docker's lists, as inspect shows them.
        if document.get("MaskedPaths") is None:
            document["MaskedPaths"] = list(spec.masked_paths.values) if spec.HasField("masked_paths") else list(MASKED_PATHS)
        if document.get("ReadonlyPaths") is None:
            document["ReadonlyPaths"] = list(spec.readonly_paths.values) if spec.HasField("readonly_paths") else list(READONLY_PATHS)
    return document


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
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def config(container: pb.Container, sandbox: networks_pb2.Sandbox | None) -> dict[str, Any]:
    """Returns Config: what was given at create, merged with the image's by the node."""
    given: dict[str, Any] = msgspec.json.decode(container.docker_config_json or "{}")
    spec = container.spec
    hostname = spec.hostname or (sandbox.hostname if sandbox and sandbox.hostname else "") or ids.short(container.id)
    document: dict[str, Any] = {
        "Hostname": hostname,
        "Domainname": spec.domainname,
        "User": spec.user,
        "AttachStdin": spec.attach_stdin,
        "AttachStdout": spec.attach_stdout,
        "AttachStderr": spec.attach_stderr,
    }
    if spec.exposed_ports:
        document["ExposedPorts"] = {port: {} for port in spec.exposed_ports}
    document |= {
        "Tty": spec.tty,
        "OpenStdin": spec.open_stdin,
        "StdinOnce": spec.stdin_once,
        "Env": list(spec.env),
        "Cmd": list(spec.cmd.values) if spec.cmd.values else None,
    }
    if spec.healthcheck_json:
        document["Healthcheck"] = msgspec.json.decode(spec.healthcheck_json)
    document |= {
        "Image": container.image_name,
        "Volumes": {path: {} for path in spec.volumes} or None,
        "WorkingDir": spec.working_dir,
        "Entrypoint": list(spec.entrypoint.values) if spec.entrypoint.values else None,
    }
    if spec.network_disabled:
        document["NetworkDisabled"] = True
    if given.get("MacAddress"):
        document["MacAddress"] = given["MacAddress"]
    document |= {"OnBuild": None, "Labels": dict(spec.labels)}
    if spec.stop_signal:
        document["StopSignal"] = spec.stop_signal
    if spec.HasField("stop_timeout"):
        document["StopTimeout"] = spec.stop_timeout
    if given.get("Shell"):
        document["Shell"] = given["Shell"]
    return document


def network_settings(
    container: pb.Container, sandbox: networks_pb2.Sandbox | None, network: networks_pb2.Network | None, version: Version
) -> dict[str, Any]:
    """Returns NetworkSettings. The flat fields repeat the default bridge's endpoint, as in Docker."""
    running = sandbox is not None and container.state.status in _RUNNING
    endpoints = list(sandbox.endpoints) if sandbox is not None and running else []
    default = next((endpoint for endpoint in endpoints if endpoint.network_name == "bridge"), networks_pb2.Endpoint())
    exposed = container.spec.exposed_ports if running and endpoints else ()
    return {
        "Bridge": "",
        "SandboxID": sandbox.sandbox_id if sandbox is not None and running else "",
        "SandboxKey": sandbox.netns_path if sandbox is not None and running else "",
        "Ports": port_map(sandbox.ports if sandbox is not None and running else (), exposed),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": default.id,
        "Gateway": default.ipv4_gateway,
        "GlobalIPv6Address": default.ipv6_address,
        "GlobalIPv6PrefixLen": default.ipv6_prefix,
        "IPAddress": default.ipv4_address,
        "IPPrefixLen": default.ipv4_prefix,
        "IPv6Gateway": default.ipv6_gateway,
        "MacAddress": default.mac_address,
        "Networks": endpoint_map(container, endpoints, network.id if network else "", version),
    }


def endpoint_map(
    container: pb.Container, endpoints: list[networks_pb2.Endpoint], network_id: str, version: Version
) -> dict[str, dict[str, Any]]:
    """Returns NetworkSettings.Networks: live endpoints, or the one that a start would make."""
    name = network_name(container.spec)
    settings = endpoint_settings(container)
    if endpoints:
        return {endpoint.network_name: _endpoint(endpoint, settings, version) for endpoint in endpoints}
    return {name: _endpoint(networks_pb2.Endpoint(network_id=network_id), settings, version)} if name else {}


def _endpoint(endpoint: networks_pb2.Endpoint, settings: dict[str, Any], version: Version) -> dict[str, Any]:
    document: dict[str, Any] = {
        "IPAMConfig": settings.get("IPAMConfig") or None,
        "Links": settings.get("Links") or None,
        "Aliases": settings.get("Aliases") or None,
        "MacAddress": endpoint.mac_address,
        "DriverOpts": settings.get("DriverOpts") or None,
    }
    if version >= GATEWAY_PRIORITY:
        document["GwPriority"] = settings.get("GwPriority", 0)
    document |= {
        "NetworkID": endpoint.network_id,
        "EndpointID": endpoint.id,
        "Gateway": endpoint.ipv4_gateway,
        "IPAddress": endpoint.ipv4_address,
        "IPPrefixLen": endpoint.ipv4_prefix,
        "IPv6Gateway": endpoint.ipv6_gateway,
        "GlobalIPv6Address": endpoint.ipv6_address,
        "GlobalIPv6PrefixLen": endpoint.ipv6_prefix,
    }
    if version >= DNS_NAMES:
        document["DNSNames"] = list(endpoint.aliases) or None
    return document
