"""Host devices for containers: --device, --device-cgroup-rule and all of /dev for privileged ones."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from skerry.api.containers.v1 import containers_pb2
from skerry.core.errors import Failed, InvalidArgument

# Made by the runtime in every /dev, or private to the host.
_SKIPPED_DIRECTORIES = {"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"}
_SKIPPED_NODES = {"console", "ptmx"}
_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})\Z")
_LIMIT = 10_000

# What dockerd lets every container do, in its order; 10:229 (/dev/fuse) is denied by name.
DEFAULT_RULES: list[dict[str, Any]] = [
    {"allow": False, "access": "rwm"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in ((1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1))
    ),
    {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
]


class HostDevice(msgspec.Struct, frozen=True):
    """One device node as the container gets it."""

    # In the container.
    path: str
    # "c" or "b".
    kind: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    # Of the cgroup: letters of "rwm".
    permissions: str = "rwm"

    def node(self) -> dict[str, Any]:
        """Returns OCI's linux.devices entry."""
        return {
            "path": self.path,
            "type": self.kind,
            "major": self.major,
            "minor": self.minor,
            "fileMode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
        }

    def rule(self) -> dict[str, Any]:
        """Returns OCI's linux.resources.devices entry."""
        return {"allow": True, "type": self.kind, "major": self.major, "minor": self.minor, "access": self.permissions}


def resolve(devices: Iterable[containers_pb2.Device], *, privileged: bool) -> list[HostDevice]:
    """Looks the devices up on the host (a directory stands for all below it). Blocks: stat(2) each.

    Privileged containers get every device of the host, and of the asked ones those that have another path inside.
    Raises Failed in Docker's words when there is no such device.
    """
    result = list(_tree("/dev", "/dev", "rwm")) if privileged else []
    for device in devices:
        inside = device.path_in_container or device.path_on_host
        if not (privileged and inside == device.path_on_host):
            result += _lookup(device.path_on_host, inside, device.permissions or "rwm")
    return result


def block_devices(resources: containers_pb2.Resources) -> dict[str, tuple[int, int]]:
    """Returns major and minor number of each device that limits of block I/O name. Blocks: stat(2) each. Raises Failed."""
    found: dict[str, tuple[int, int]] = {}
    for limits in (
        resources.blkio_weight_device,
        resources.blkio_device_read_bps,
        resources.blkio_device_write_bps,
        resources.blkio_device_read_iops,
        resources.blkio_device_write_iops,
    ):
        for path in (each.path for each in limits):
            try:
                number = os.stat(path).st_rdev
            except OSError as error:
                raise Failed(f"stat {path}: {os.strerror(error.errno or 0).lower()}") from None
            except ValueError:  # a null byte
                raise Failed(f"stat {path}: invalid argument") from None
            found[path] = os.major(number), os.minor(number)
    return found


def refuse_device_requests(spec: containers_pb2.ContainerSpec) -> None:
    """Raises Failed in Docker's words for --gpus and other device requests: this engine has no device driver that could answer them."""
    for request in spec.device_requests:
        sets = " ".join(f"[{' '.join(one.names)}]" for one in request.capabilities)
        raise Failed(f'could not select device driver "{request.driver}" with capabilities: [{sets}]')


def rule(text: str) -> dict[str, Any]:
    """Parses "c 42:* rmw" into OCI's form; raises InvalidArgument in Docker's words."""
    match = _RULE.match(text)
    if match is None:
        raise InvalidArgument(f"invalid device cgroup rule format: '{text}'")
    kind, major, minor, access = match.groups()
    entry: dict[str, Any] = {"allow": True, "type": kind, "access": access}
    # An absent number means all of them.
    if major != "*":
        entry["major"] = int(major)
    if minor != "*":
        entry["minor"] = int(minor)
    return entry


def _lookup(path: str, inside: str, permissions: str) -> list[HostDevice]:
    lament = f'error gathering device information while adding custom device "{path}"'
    if not path.startswith("/"):
        raise Failed(f"{lament}: no such file or directory")
    try:
        real = os.path.realpath(path, strict=True)
        found = _device(real, inside, permissions)
        if found is not None:
            return [found]
        below = list(_tree(real, inside, permissions)) if os.path.isdir(real) else []
    except OSError as error:
        raise Failed(f"{lament}: {os.strerror(error.errno or 0).lower()}") from None
    if not below:
        raise Failed(f"{lament}: not a device node")
    return below


def _tree(directory: str, inside: str, permissions: str) -> Iterator[HostDevice]:
    pending = [(directory, inside)]
    count = 0
    while pending:
        where, name = pending.pop()
        try:
            with os.scandir(where) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue  # unplugged meanwhile
        for entry in found:
            count += 1
            if count > _LIMIT:
                raise Failed(f"more than {_LIMIT} entries below {directory}")
            target = f"{name}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _SKIPPED_DIRECTORIES:
                    pending.append((entry.path, target))
            elif entry.name not in _SKIPPED_NODES:
                device = _present(entry.path, target, permissions)
                if device is not None:
                    yield device


def _present(path: str, inside: str, permissions: str) -> HostDevice | None:
    try:
        return _device(path, inside, permissions)
    except OSError:
        return None  # unplugged meanwhile


def _device(path: str, inside: str, permissions: str) -> HostDevice | None:
    status = os.lstat(path)
    if stat.S_ISCHR(status.st_mode):
        kind = "c"
    elif stat.S_ISBLK(status.st_mode):
        kind = "b"
    else:
        return None
    number = status.st_rdev
    return HostDevice(
        inside, kind, os.major(number), os.minor(number), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, permissions
    )
