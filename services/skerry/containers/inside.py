"""Paths inside a container's root, resolved by the kernel so that no link in it can lead out (openat2(2), RESOLVE_IN_ROOT)."""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from skerry.core.errors import InvalidArgument

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_RESOLVE_IN_ROOT = 0x10
_ATTEMPTS = 1000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def open_at(root: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Opens path below the directory root as chroot(2) would see it; magic links (/proc/*/fd) are refused. Raises OSError."""
    return _openat2(root, path, flags, mode, _RESOLVE_IN_ROOT)


def open_beneath(base: int, path: str, flags: int) -> int:
    """Opens path below the directory base; whatever leads out of it, if only for a step, and absolute links raise OSError(EXDEV)."""
    return _openat2(base, path, flags, 0, _RESOLVE_BENEATH)


def _openat2(root: int, path: str | bytes, flags: int, mode: int, resolve: int) -> int:
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve | _RESOLVE_NO_MAGICLINKS)
    for attempt in range(_ATTEMPTS):
        fd: int = _libc.syscall(_SYS_OPENAT2, ctypes.c_int(root), os.fsencode(path), how, ctypes.c_size_t(len(how)))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        # Something was renamed while the kernel went up by "..": it cannot tell whether that led out, and wants to be asked again.
        if number != errno.EAGAIN or attempt == _ATTEMPTS - 1:
            raise OSError(number, os.strerror(number), os.fsdecode(path))
    raise AssertionError("not reached")


@contextmanager
def opened_root(rootfs: str) -> Iterator[int]:
    """Holds the root directory open; closes it at the end."""
    fd = os.open(rootfs, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def open_inside(rootfs: str, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Like open_at, by the root's path."""
    with opened_root(rootfs) as root:
        return open_at(root, path, flags, mode)


def read_inside(rootfs: str, path: str, limit: int) -> bytes:
    """Returns a regular file's content; raises FileNotFoundError when there is none, OSError(EFBIG) above limit bytes."""
    # O_NONBLOCK: a FIFO in its place must not block us.
    with os.fdopen(open_inside(rootfs, path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a regular file", path)
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return data


def make_directories(rootfs: str, path: str, mode: int = 0o755) -> None:
    """Makes path and its missing parents, owned by root: what Docker does for a working directory that the image lacks.

    Raises InvalidArgument ("Cannot mkdir: X is not a directory") when a component is something else.
    """
    with opened_root(rootfs) as root:
        make_below(root, path, mode)


def make_below(root: int, path: str, mode: int = 0o755) -> None:
    """Like make_directories, by the open root."""
    try:
        os.close(open_at(root, path, _DIRECTORY))
    except FileNotFoundError:
        _make_missing(root, path, mode)
    except NotADirectoryError:
        raise InvalidArgument(f"Cannot mkdir: {path} is not a directory") from None


def _make_missing(root: int, path: str, mode: int) -> None:
    done = ""
    for name in os.path.normpath("/" + path).split("/"):
        if not name:
            continue
        parent = open_at(root, done or "/", _DIRECTORY)
        try:
            # Through the parent's descriptor: nothing can be swapped for a link in between.
            os.mkdir(name, mode, dir_fd=parent)
        except FileExistsError:
            pass
        finally:
            os.close(parent)
        done += "/" + name
        try:
            os.close(open_at(root, done, _DIRECTORY))
        except (NotADirectoryError, FileNotFoundError):
            raise InvalidArgument(f"Cannot mkdir: {path} is not a directory") from None
