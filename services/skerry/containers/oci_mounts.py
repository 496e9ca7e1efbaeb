"""The mount table of a container, in dockerd's order and with its options."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from skerry.core.errors import InvalidArgument

DEFAULT_SHM_SIZE = 64 << 20
INIT_PATH = "/sbin/docker-init"
SHM_PATH = "/dev/shm"  # noqa: S108 - the place of POSIX shared memory
# These stay writable in a container with a read-only root.
_WRITABLE = {"/proc", "/dev", "/dev/pts", SHM_PATH, "/dev/mqueue"}
_PROPAGATIONS = {"private", "rprivate", "shared", "rshared", "slave", "rslave"}
# Pairs of flags of which the later one counts; both name the same bit.
_TMPFS_FLAGS = {
    name: key
    for key, names in {
        "exec": "exec noexec",
        "suid": "suid nosuid",
        "dev": "dev nodev",
        "ro": "ro rw",
        "sync": "sync async",
        "dirsync": "dirsync",
        "mand": "mand nomand",
        "atime": "atime noatime",
        "diratime": "diratime nodiratime",
        "relatime": "relatime norelatime",
        "strictatime": "strictatime nostrictatime",
        "propagation": "private rprivate shared rshared slave rslave unbindable runbindable",
    }.items()
    for name in names.split()
}
_TMPFS_VALUES = {"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"}


class ResolvedMount(msgspec.Struct, frozen=True):
    """One mount with its source already found on the host."""

    # bind, volume or tmpfs.
    type: str
    # Host path; empty for tmpfs.
    source: str
    # Absolute path in the container.
    target: str
    read_only: bool = False
    # Of a bind; empty: rprivate. A volume without one takes the root's (a slave of the host).
    propagation: str = ""
    # tmpfs: as the user gave them, split at commas.
    options: tuple[str, ...] = ()
    non_recursive: bool = False
    recursively_read_only: bool = False


def mount(destination: str, kind: str, source: str, options: Sequence[str]) -> dict[str, Any]:
    """Returns OCI's form of a mount."""
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def tmpfs_options(options: Iterable[str]) -> list[str]:
    """Merges Docker's tmpfs defaults with the user's options: the later of two that contradict counts. Raises InvalidArgument."""
    seen: set[str] = set()
    result: list[str] = []
    for option in reversed(["noexec", "nosuid", "nodev", "rprivate", *(each for each in options if each)]):
        if option == "defaults":
            continue
        key, separator, _ = option.partition("=")
        if option in _TMPFS_FLAGS:
            key = _TMPFS_FLAGS[option]
        elif not separator or key not in _TMPFS_VALUES:
            words = " ".join(f'"{word}"' for word in option.split("=", 1))
            raise InvalidArgument(f"invalid tmpfs option [{words}]")
        if key not in seen:
            seen.add(key)
            result.append(option)
    return result[::-1]


def table(
    mounts: Sequence[ResolvedMount],
    files: Sequence[tuple[str, str]],
    *,
    init: str,
    ipc_mode: str,
    shm_path: str,
    shm_size: int,
    privileged: bool,
    read_only: bool,
) -> list[dict[str, Any]]:
    """Returns all mounts.

    files are (destination, host path) of hosts, hostname and resolv.conf; a user's mount at the same place wins. init is the host path of
    the init program, empty for none. shm_path is bound on /dev/shm unless empty; ipc_mode says what else is there.
    """
    asked = {os.path.normpath(each.target) for each in mounts}
    late = [_user_mount(each) for each in mounts if each.type != "tmpfs"] + [_user_mount(each) for each in mounts if each.type == "tmpfs"]
    late += [
        mount(place, "bind", source, ["rbind", *(["ro"] if read_only else []), "rprivate"])
        for place, source in files
        if source and place not in asked
    ]
    if shm_path and SHM_PATH not in asked:
        late.append(mount(SHM_PATH, "bind", shm_path, ["rbind", "rprivate", "nosuid", "noexec", "nodev"]))
    # A mount inside another one comes after it.
    late.sort(key=lambda entry: os.path.normpath(entry["destination"]).count("/") if entry["destination"] != "/" else 0)
    early = [
        entry
        for entry in _defaults(ipc_mode, shm_path, shm_size)
        if entry["destination"] not in asked and not _below(entry["destination"], asked)
    ]
    if init:
        early.append(mount(INIT_PATH, "bind", init, ["bind", "ro"]))
    if privileged:
        for entry in early:
            if entry["type"] in ("sysfs", "cgroup"):
                entry["options"].remove("ro")
    if read_only:
        for entry in early:
            if entry["destination"] not in _WRITABLE and "ro" not in entry["options"]:
                entry["options"].append("ro")
    return early + late


def root_propagation(mounts: Iterable[ResolvedMount]) -> str:
    """Returns linux.rootfsPropagation, which shared and slave binds need; empty: the runtime's default."""
    asked = {each.propagation for each in mounts}
    if asked & {"shared", "rshared"}:
        return "shared"
    return "rslave" if asked & {"slave", "rslave"} else ""


def _below(destination: str, asked: set[str]) -> bool:
    return destination.startswith("/dev/") and "/dev" in asked


def _defaults(ipc_mode: str, shm_path: str, shm_size: int) -> list[dict[str, Any]]:
    mounts = [
        mount("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", ["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ]
    if ipc_mode != "none" and not shm_path:
        size = shm_size or DEFAULT_SHM_SIZE
        mounts.append(mount(SHM_PATH, "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", f"size={size}"]))
    return mounts


def _user_mount(asked: ResolvedMount) -> dict[str, Any]:
    if asked.type == "tmpfs":
        options = tmpfs_options([*asked.options, *(["ro"] if asked.read_only else [])])
        return mount(asked.target, "tmpfs", "tmpfs", options)
    if asked.propagation and asked.propagation not in _PROPAGATIONS:
        raise InvalidArgument(f'invalid mount config for type "{asked.type}": invalid propagation mode: {asked.propagation}')
    options = ["bind" if asked.non_recursive else "rbind"]
    if asked.read_only:
        options.append("rro" if asked.recursively_read_only else "ro")
    propagation = asked.propagation or ("rprivate" if asked.type == "bind" else "")
    if propagation:
        options.append(propagation)
    return mount(asked.target, "bind", asked.source, options)
