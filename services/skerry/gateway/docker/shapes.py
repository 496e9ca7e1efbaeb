"""The request bodies of Docker's API as tables: field, kind. Order is the order in which inspect shows them.

Source: the API definition v1.50 and what a 20.10 engine answers.
"""

from typing import Any

from skerry.gateway.docker.golang import ANY, BOOL, INT, OBJECT, STRING, STRINGS, UINT, List, Map, Shape

HEALTH: Shape = {"Test": List(STRING), "Interval": INT, "Timeout": INT, "StartPeriod": INT, "StartInterval": INT, "Retries": INT}

CONFIG: Shape = {
    "Hostname": STRING,
    "Domainname": STRING,
    "User": STRING,
    "AttachStdin": BOOL,
    "AttachStdout": BOOL,
    "AttachStderr": BOOL,
    "ExposedPorts": Map(OBJECT),
    "Tty": BOOL,
    "OpenStdin": BOOL,
    "StdinOnce": BOOL,
    "Env": List(STRING),
    "Cmd": STRINGS,
    "Healthcheck": HEALTH,
    "ArgsEscaped": BOOL,
    "Image": STRING,
    "Volumes": Map(OBJECT),
    "WorkingDir": STRING,
    "Entrypoint": STRINGS,
    "NetworkDisabled": BOOL,
    "MacAddress": STRING,
    "OnBuild": List(STRING),
    "Labels": Map(STRING),
    "StopSignal": STRING,
    "StopTimeout": INT,
    "Shell": STRINGS,
}

PORT_BINDING: Shape = {"HostIp": STRING, "HostPort": STRING}
_WEIGHT: Shape = {"Path": STRING, "Weight": UINT}
_RATE: Shape = {"Path": STRING, "Rate": UINT}
_DEVICE: Shape = {"PathOnHost": STRING, "PathInContainer": STRING, "CgroupPermissions": STRING}
_DEVICE_REQUEST: Shape = {
    "Driver": STRING,
    "Count": INT,
    "DeviceIDs": List(STRING),
    "Capabilities": List(List(STRING)),
    "Options": Map(STRING),
}
_ULIMIT: Shape = {"Name": STRING, "Hard": INT, "Soft": INT}
MOUNT: Shape = {
    "Type": STRING,
    "Source": STRING,
    "Target": STRING,
    "ReadOnly": BOOL,
    "Consistency": STRING,
    "BindOptions": {
        "Propagation": STRING,
        "NonRecursive": BOOL,
        "CreateMountpoint": BOOL,
        "ReadOnlyNonRecursive": BOOL,
        "ReadOnlyForceRecursive": BOOL,
    },
    "VolumeOptions": {
        "NoCopy": BOOL,
        "Labels": Map(STRING),
        "DriverConfig": {"Name": STRING, "Options": Map(STRING)},
        "Subpath": STRING,
    },
    "ImageOptions": {"Subpath": STRING},
    "TmpfsOptions": {"SizeBytes": INT, "Mode": INT, "Options": List(List(STRING))},
    "ClusterOptions": OBJECT,
}

HOST_CONFIG: Shape = {
    "Binds": List(STRING),
    "ContainerIDFile": STRING,
    "LogConfig": {"Type": STRING, "Config": Map(STRING)},
    "NetworkMode": STRING,
    "PortBindings": Map(List(PORT_BINDING)),
    "RestartPolicy": {"Name": STRING, "MaximumRetryCount": INT},
    "AutoRemove": BOOL,
    "VolumeDriver": STRING,
    "VolumesFrom": List(STRING),
    "ConsoleSize": List(UINT),
    "Annotations": Map(STRING),
    "CapAdd": STRINGS,
    "CapDrop": STRINGS,
    "CgroupnsMode": STRING,
    "Dns": List(STRING),
    "DnsOptions": List(STRING),
    "DnsSearch": List(STRING),
    "ExtraHosts": List(STRING),
    "GroupAdd": List(STRING),
    "IpcMode": STRING,
    "Cgroup": STRING,
    "Links": List(STRING),
    "OomScoreAdj": INT,
    "PidMode": STRING,
    "Privileged": BOOL,
    "PublishAllPorts": BOOL,
    "ReadonlyRootfs": BOOL,
    "SecurityOpt": List(STRING),
    "StorageOpt": Map(STRING),
    "Tmpfs": Map(STRING),
    "UTSMode": STRING,
    "UsernsMode": STRING,
    "ShmSize": INT,
    "Sysctls": Map(STRING),
    "Runtime": STRING,
    "Isolation": STRING,
    "CpuShares": INT,
    "Memory": INT,
    "NanoCpus": INT,
    "CgroupParent": STRING,
    "BlkioWeight": UINT,
    "BlkioWeightDevice": List(_WEIGHT),
    "BlkioDeviceReadBps": List(_RATE),
    "BlkioDeviceWriteBps": List(_RATE),
    "BlkioDeviceReadIOps": List(_RATE),
    "BlkioDeviceWriteIOps": List(_RATE),
    "CpuPeriod": INT,
    "CpuQuota": INT,
    "CpuRealtimePeriod": INT,
    "CpuRealtimeRuntime": INT,
    "CpusetCpus": STRING,
    "CpusetMems": STRING,
    "Devices": List(_DEVICE),
    "DeviceCgroupRules": List(STRING),
    "DeviceRequests": List(_DEVICE_REQUEST),
    "KernelMemory": INT,
    "KernelMemoryTCP": INT,
    "MemoryReservation": INT,
    "MemorySwap": INT,
    "MemorySwappiness": INT,
    "OomKillDisable": BOOL,
    "PidsLimit": INT,
    "Ulimits": List(_ULIMIT),
    "CpuCount": INT,
    "CpuPercent": INT,
    "IOMaximumIOps": UINT,
    "IOMaximumBandwidth": UINT,
    "Mounts": List(MOUNT),
    "MaskedPaths": List(STRING),
    "ReadonlyPaths": List(STRING),
    "Init": BOOL,
}

ENDPOINT: Shape = {
    "IPAMConfig": {"IPv4Address": STRING, "IPv6Address": STRING, "LinkLocalIPs": List(STRING)},
    "Links": List(STRING),
    "Aliases": List(STRING),
    "MacAddress": STRING,
    "DriverOpts": Map(STRING),
    "GwPriority": INT,
    "NetworkID": STRING,
    "EndpointID": STRING,
    "Gateway": STRING,
    "IPAddress": STRING,
    "IPPrefixLen": INT,
    "IPv6Gateway": STRING,
    "GlobalIPv6Address": STRING,
    "GlobalIPv6PrefixLen": INT,
    "DNSNames": List(STRING),
}

CREATE: Shape = {**CONFIG, "HostConfig": HOST_CONFIG, "NetworkingConfig": {"EndpointsConfig": Map(ENDPOINT)}}

VOLUME_CREATE: Shape = {"Name": STRING, "Driver": STRING, "DriverOpts": Map(STRING), "Labels": Map(STRING), "ClusterVolumeSpec": OBJECT}

EXEC: Shape = {
    "User": STRING,
    "Privileged": BOOL,
    "Tty": BOOL,
    "ConsoleSize": List(UINT),
    "AttachStdin": BOOL,
    "AttachStderr": BOOL,
    "AttachStdout": BOOL,
    "Detach": BOOL,
    "DetachKeys": STRING,
    "Env": List(STRING),
    "WorkingDir": STRING,
    "Cmd": STRINGS,
}
EXEC_START: Shape = {"Detach": BOOL, "Tty": BOOL, "ConsoleSize": List(UINT)}

# Fields that inspect leaves out when empty (Go's omitempty); all others appear with their zero value.
OMIT_EMPTY = frozenset({"Annotations", "StorageOpt", "Tmpfs", "Sysctls", "Mounts", "Init", "Runtime"})

_SCALAR_ZERO: dict[Any, Any] = {STRING: "", BOOL: False, INT: 0, UINT: 0, ANY: None}
# Pointers in Go: absent is null.
_NULLABLE = frozenset({"MemorySwappiness", "OomKillDisable", "PidsLimit"})


# Lists of structs without omitempty: each entry shows all its fields.
_WHOLE = frozenset({"Devices", "DeviceRequests", "Ulimits", "PortBindings"})


def _whole(value: Any, kind: Any) -> Any:
    """Returns value with the fields that its structs lack as Go's zero values."""
    if value is None:
        return None
    if isinstance(kind, List):
        return [_whole(each, kind.item) for each in value]
    if isinstance(kind, Map):
        return {key: _whole(each, kind.item) for key, each in value.items()}
    if isinstance(kind, dict):
        return {name: value.get(name, _SCALAR_ZERO.get(inner) if isinstance(inner, str) else None) for name, inner in kind.items()}
    return value


def complete_host_config(given: dict[str, Any]) -> dict[str, Any]:
    """Returns a HostConfig with every field that inspect shows, in order: the given ones as they are, the others zero."""
    result: dict[str, Any] = {}
    for name, kind in HOST_CONFIG.items():
        if name in given:
            if name not in OMIT_EMPTY or given[name] not in (None, {}, [], ""):
                result[name] = _whole(given[name], kind) if name in _WHOLE else given[name]
        elif name in OMIT_EMPTY:
            continue
        elif name in _NULLABLE or not isinstance(kind, str) or kind == STRINGS:
            result[name] = None
        else:
            result[name] = _SCALAR_ZERO[kind]
    return result
