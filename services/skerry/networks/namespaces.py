"""Network namespaces kept by a bind mount. For the worker's thread only; all raise OSError."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from skerry.core import linux
from skerry.networks.netlink import Netlink, set_link

_SELF = "/proc/thread-self/ns/net"
_LO = 1


def make() -> int:
    """Makes a namespace with lo up and IPv6 off on devices that come later (lo keeps ::1); returns a descriptor, which holds it."""
    with _coming_home():
        linux.unshare(linux.CLONE_NEWNET)
        try:
            with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "wb", buffering=0) as switch:
                switch.write(b"1")
        except FileNotFoundError:
            pass  # a kernel without IPv6
        with Netlink() as netlink:
            netlink.send(set_link(_LO, up=True))
        return os.open(_SELF, os.O_RDONLY | os.O_CLOEXEC)


def keep(fd: int, path: str) -> None:
    """Keeps the namespace behind fd at path, by a bind mount."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    linux.mount(f"/proc/thread-self/fd/{fd}", path, flags=linux.MS_BIND)


@contextmanager
def inside(path: str) -> Iterator[None]:
    """Puts the calling thread into the namespace at path for the body."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _coming_home():
            linux.setns(fd, linux.CLONE_NEWNET)
            yield
    finally:
        os.close(fd)


def exists(path: str) -> bool:
    """Tells whether a namespace is kept at path (and not just a file)."""
    return os.path.ismount(path)


def drop(path: str) -> None:
    """Lets go of the namespace; the kernel destroys it, with its devices, when no process is in it any more. Idempotent."""
    try:
        linux.unmount(path)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


@contextmanager
def _coming_home() -> Iterator[None]:
    home = os.open(_SELF, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            linux.setns(home, linux.CLONE_NEWNET)
        except OSError:
            # Everything this thread did from here on would hit a container instead of the host; a restart is harmless.
            os.abort()
        os.close(home)
