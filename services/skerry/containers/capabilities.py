"""Linux capabilities of a container: Docker's defaults, --cap-add and --cap-drop, within what this host's engine itself has."""

from collections.abc import Collection, Iterable, Sequence

from skerry.core.errors import InvalidArgument

# Indexed by number; linux/capability.h.
NAMES = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
]

# What dockerd gives, in its order.
DEFAULT = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
]

_ALL = "ALL"


def bounding_set(status: str) -> frozenset[str]:
    """Returns the names in the CapBnd line of a /proc/PID/status text."""
    for line in status.splitlines():
        if line.startswith("CapBnd:"):
            mask = int(line.split()[1], 16)
            return frozenset(name for number, name in enumerate(NAMES) if mask >> number & 1)
    raise ValueError("no CapBnd line")


def validate(add: Iterable[str], drop: Iterable[str]) -> None:
    """Raises InvalidArgument, in Docker's words, when a name is unknown."""
    _normalise(add, "CapAdd")
    _normalise(drop, "CapDrop")


def granted(add: Sequence[str], drop: Sequence[str], *, privileged: bool, bounding: Collection[str]) -> list[str]:
    """Returns the container's bounding set, in Docker's order, without what the engine lacks itself.

    Privileged gives all and ignores add and drop, as in Docker. Raises InvalidArgument for unknown names.
    """
    added, dropped = _normalise(add, "CapAdd"), _normalise(drop, "CapDrop")
    if privileged:
        wanted = list(NAMES)
    elif _ALL in added:
        wanted = [name for name in NAMES if name not in dropped]
    elif _ALL in dropped:
        wanted = added
    else:
        wanted = [name for name in DEFAULT if name not in dropped] + added
    return [name for name in dict.fromkeys(wanted) if name in bounding]


def _normalise(names: Iterable[str], what: str) -> list[str]:
    result = []
    for given in names:
        name = given.strip().upper()
        if name != _ALL and not name.startswith("CAP_"):
            name = "CAP_" + name
        if name == "CAP_ALL":
            name = _ALL
        if name != _ALL and name not in NAMES:
            raise InvalidArgument(f'invalid {what}: unknown capability: "{name}"')
        result.append(name)
    return result
