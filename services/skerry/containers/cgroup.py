"""A container's cgroup: where it is, and what the kernel counts there. Reads take microseconds and never block on a disk."""

import os

from skerry.core.errors import InvalidArgument

_PREFIX = "skerry"
_DEFAULT_SLICE = "system.slice"


def cgroup_path(identifier: str, parent: str, driver: str) -> str:
    """Returns the cgroup of a container below each hierarchy's root; a parent cannot lead above that. Pure. Raises InvalidArgument."""
    if driver == "systemd":
        return f"{_slice_path(_slice(parent))}/{_PREFIX}-{identifier}.scope"
    return os.path.normpath(f"/{parent or _PREFIX}/{identifier}").replace("//", "/")


def cgroups_path(identifier: str, parent: str, driver: str) -> str:
    """Returns OCI's linux.cgroupsPath for it: the path, or for systemd slice, prefix and name. Pure. Raises InvalidArgument."""
    if driver == "systemd":
        return f"{_slice(parent)}:{_PREFIX}:{identifier}"
    return cgroup_path(identifier, parent, driver)


def _slice(parent: str) -> str:
    name = parent or _DEFAULT_SLICE
    stem = name.removesuffix(".slice")
    # systemd's rule for names; "-.slice" is the root.
    if stem == name or "/" in name or (stem != "-" and (not stem or stem.startswith("-") or stem.endswith("-") or "--" in stem)):
        raise InvalidArgument('cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"')
    return name


def _slice_path(name: str) -> str:
    """a-b.slice lies in a.slice: each dash is a level."""
    stem = name.removesuffix(".slice")
    if stem == "-":
        return ""
    parts = stem.split("-")
    return "".join(f"/{'-'.join(parts[: count + 1])}.slice" for count in range(len(parts)))


def oom_kills(cgroup: str) -> int:
    """Returns how many processes of cgroup (a path below each hierarchy's root) the kernel killed for lack of memory; 0 when gone."""
    for path in (f"/sys/fs/cgroup/memory{cgroup}/memory.oom_control", f"/sys/fs/cgroup{cgroup}/memory.events"):
        try:
            with open(path, encoding="ascii") as file:
                for line in file:
                    name, _, count = line.partition(" ")
                    if name == "oom_kill":
                        return int(count)
        except OSError:
            continue
    return 0


def processes(cgroup: str) -> set[int]:
    """Returns the ids of the processes in cgroup and below it; empty when it is gone."""
    for base in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        top = f"{base}{cgroup}"
        if os.path.exists(f"{top}/cgroup.procs"):
            return _collect(top)
    return set()


def _collect(top: str) -> set[int]:
    found: set[int] = set()
    for directory, _, _ in os.walk(top):
        try:
            with open(f"{directory}/cgroup.procs", encoding="ascii") as file:
                found.update(int(line) for line in file)
        except OSError:
            continue  # removed while we looked
    return found
