"""Linux system calls that Python 3.11 lacks: mounts and namespaces, by ctypes. All block only briefly; all raise OSError."""

import ctypes
import errno
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
CLONE_FS = 0x200
_SYNC_FILE_RANGE_WRITE = 2
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE, _AT_EMPTY_PATH, _AT_RECURSIVE, _MOVE_MOUNT_F_EMPTY_PATH, _AT_FDCWD = 1, 0x1000, 0x8000, 4, -100
_M_MMAP_THRESHOLD = -3

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_libc.syscall.restype = ctypes.c_long


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


def give_large_blocks_back(size: int) -> None:
    """Has malloc return blocks from size bytes on to the kernel when they are freed. By itself glibc keeps ever larger ones, in pieces.

    Does nothing with another C library.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, size)


def setns(fd: int, kind: int = 0) -> None:
    """Moves the calling thread into the namespace behind fd. CLONE_NEWNS wants a process of one thread."""
    _check(_libc.setns(fd, kind), "setns")


def clone_mount(source: int, *, recursive: bool) -> int:
    """Returns a descriptor of a new bind mount of what another one leads to, not attached anywhere yet, by open_tree(2).

    Together with its descriptor it can be carried into another mount namespace, unlike a path.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    fd: int = _libc.syscall(_SYS_OPEN_TREE, ctypes.c_int(source), b"", ctypes.c_uint(flags))
    _check(min(fd, 0), "open_tree")
    return fd


def attach_mount(mount_fd: int, target: str) -> None:
    """Mounts what clone_mount returned at target, by move_mount(2). The descriptor stays open."""
    place = ctypes.c_char_p(os.fsencode(target))
    _check(_libc.syscall(_SYS_MOVE_MOUNT, ctypes.c_int(mount_fd), b"", ctypes.c_int(_AT_FDCWD), place, _MOVE_MOUNT_F_EMPTY_PATH), target)


def recursive_read_only() -> bool:
    """Tells whether the kernel makes whole trees of mounts read-only (mount_setattr(2), since 5.12)."""
    # A descriptor that is none and a structure of no size: only a kernel that lacks the call says ENOSYS.
    _libc.syscall(_SYS_MOUNT_SETATTR, ctypes.c_int(-1), b"", 0, None, ctypes.c_size_t(0))
    return ctypes.get_errno() != errno.ENOSYS


def start_writeback(fd: int, offset: int, size: int) -> None:
    """Lets the kernel begin to write a part of a file to its disk, by sync_file_range(2). No durability: that is fsync's.

    Does nothing where the file system has no such thing.
    """
    _libc.sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)


def is_mount_point(path: str) -> bool:
    """Tells whether something is mounted at path, also a bind mount of the same file system, which os.path.ismount does not see."""
    wanted = os.fsencode(os.path.realpath(path))
    with open("/proc/thread-self/mountinfo", "rb") as table:
        # Blanks and backslashes are written as octal escapes there.
        return any(line.split(b" ", 5)[4].decode("unicode_escape").encode("latin-1") == wanted for line in table)


def make_shared(path: str) -> None:
    """Makes path a mount point whose later mounts are seen by namespaces that are copied from now on. Idempotent.

    Needed where / is private: a namespace's bind mount made by one service must be seen in the mount namespace of another.
    """
    os.makedirs(path, mode=0o711, exist_ok=True)
    if not is_mount_point(path):
        mount(path, path, flags=MS_BIND)
        mount("none", path, flags=MS_PRIVATE)
        mount("none", path, flags=MS_SHARED)
