"""Linux system calls that Python 3.11 lacks: mounts and namespaces, by ctypes. All block only briefly; all raise OSError."""

import ctypes
import os

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MNT_DETACH = 0x2
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str | bytes, target: str | bytes, kind: str = "", flags: int = 0, data: str | bytes = "") -> None:
    """Mounts by mount(2)."""
    encoded = os.fsencode(data)
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), kind.encode() or None, flags, encoded or None), os.fsdecode(target))


def unmount(target: str | bytes, flags: int = MNT_DETACH) -> None:
    """Unmounts by umount2(2); lazily unless flags say otherwise."""
    _check(_libc.umount2(os.fsencode(target), flags), os.fsdecode(target))


def unshare(flags: int) -> None:
    """Gives the calling thread namespaces of its own. CLONE_NEWNS wants a process of one thread."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int = 0) -> None:
    """Moves the calling thread into the namespace behind fd. CLONE_NEWNS wants a process of one thread."""
    _check(_libc.setns(fd, kind), "setns")


def is_mount(path: str) -> bool:
    """Tells whether path is a mount point. os.path.ismount does not see a directory that is bound onto itself."""
    wanted = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            # The kernel writes blanks and backslashes as octal numbers.
            point = line.split(" ", 5)[4]
            for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
                point = point.replace(code, character)
            if point == wanted:
                return True
    return False


def make_shared(path: str) -> None:
    """Makes path a mount point whose later mounts are seen by namespaces that are copied from now on. Idempotent.

    Needed where / is private: a namespace's bind mount made by one service must be seen in the mount namespace of another.
    """
    os.makedirs(path, mode=0o711, exist_ok=True)
    if not is_mount(path):
        mount(path, path, flags=MS_BIND)
        mount("none", path, flags=MS_PRIVATE)
        mount("none", path, flags=MS_SHARED)
