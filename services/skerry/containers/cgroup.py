"""A container's cgroup: where it is, and what the kernel counts there. Reads take microseconds and never block on a disk."""

import os

from skerry.core.errors import InvalidArgument

_PREFIX = "skerry"
_DEFAULT_SLICE = "system.slice"


def cgroup_path(identifier: str, parent: str, driver: str, runtime: str = "", version: int = 1) -> str:
    """Returns the cgroup of a container below each hierarchy's root; a parent cannot lead above that. Pure. Raises InvalidArgument."""
    if driver == "systemd":
        # Where it may, crun keeps its limits one level below the scope, whose own files are systemd's.
        below = "/container" if runtime == "crun" and version == 2 else ""
        return f"{_slice_path(_slice(parent))}/{_PREFIX}-{identifier}.scope{below}"
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
    return memory_events(cgroup).get("oom_kill", 0)


def memory_events(cgroup: str) -> dict[str, int]:
    """Returns what the kernel counts when a cgroup meets its memory limit (version 1: only kills); empty when it is gone."""
    for path in (f"/sys/fs/cgroup/memory{cgroup}/memory.oom_control", f"/sys/fs/cgroup{cgroup}/memory.events"):
        try:
            with open(path, encoding="ascii") as file:
                return {name: int(count) for name, _, count in (line.partition(" ") for line in file)}
        except OSError:
            continue
    return {}


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
