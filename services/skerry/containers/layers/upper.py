"""What a container changed: its overlay's upper directory, and what lies below it.

Dockerd gives each container a layer of its own with the places that files are mounted on ("-init"); here the runtime makes those that the
image lacks in the upper directory. They are no changes of the container: FURNITURE names them.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from skerry.containers.inside import open_at
from skerry.containers.layers import layout
from skerry.core.errors import Failed

OPAQUE = "trusted.overlay.opaque"
_OVERLAY = "trusted.overlay."
# Attributes by which overlayfs says that what lies here is not all: names and data are elsewhere.
_ELSEWHERE = ("trusted.overlay.redirect", "trusted.overlay.metacopy")
_CAPABILITY = "security.capability"
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Source: dockerd 20.10, daemon/initlayer/setup_unix.go. All have mode 0755 and belong to root.
FURNITURE = {
    b".dockerenv": stat.S_IFREG,
    b"dev": stat.S_IFDIR,
    b"dev/console": stat.S_IFREG,
    b"dev/pts": stat.S_IFDIR,
    b"dev/shm": stat.S_IFDIR,
    b"etc": stat.S_IFDIR,
    b"etc/hostname": stat.S_IFREG,
    b"etc/hosts": stat.S_IFREG,
    b"etc/mtab": stat.S_IFLNK,
    b"etc/resolv.conf": stat.S_IFREG,
    b"proc": stat.S_IFDIR,
    b"sys": stat.S_IFDIR,
}
MTAB = b"/proc/mounts"


class Place:
    """One directory under way: its descriptor, and the names that are still to be looked at, last first."""

    __slots__ = ("below", "changed", "fd", "files", "names", "opaque", "path", "pending", "status")

    def __init__(self, fd: int, path: bytes, names: list[bytes], status: os.stat_result, files: frozenset[bytes]) -> None:
        self.fd = fd
        self.path = path
        self.names = names
        # Those that were regular files when the directory was read.
        self.files = files
        self.status = status
        # For diff: the same directory in the layers below (-1: there is none), and whether what is there does not show through.
        self.below = -1
        self.opaque = False
        # Not told yet, but to be told with the first thing in it.
        self.pending = False
        self.changed = False

    def child(self, name: bytes) -> bytes:
        """Returns a path in it, relative to the root."""
        return self.path + b"/" + name if self.path else name

    def close(self) -> None:
        """Gives the descriptors back."""
        os.close(self.fd)
        if self.below >= 0:
            os.close(self.below)


@contextmanager
def descent() -> Iterator[list[Place]]:
    """A stack of places that is emptied at the end, whatever happens."""
    places: list[Place] = []
    try:
        yield places
    finally:
        for place in places:
            place.close()


def enter(fd: int, path: bytes) -> Place:
    """Opens a place on a directory's descriptor, which is then its own. Raises Failed when it is deeper than layers may be."""
    try:
        if path.count(b"/") >= layout.MAX_DEPTH or len(path) > layout.MAX_PATH:
            raise Failed(f"a directory is deeper than {layout.MAX_DEPTH} or has a path of more than {layout.MAX_PATH} bytes")
        with os.scandir(fd) as entries:
            found = [(os.fsencode(entry.name), entry.is_file(follow_symlinks=False)) for entry in entries]
        names = sorted((name for name, _ in found), reverse=True)
        return Place(fd, path, names, os.fstat(fd), frozenset(name for name, is_file in found if is_file))
    except BaseException:
        os.close(fd)
        raise


def is_whiteout(status: os.stat_result) -> bool:
    """Tells whether this is overlayfs' mark of a deleted name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def attributes(where: int | bytes) -> dict[str, bytes]:
    """Returns all extended attributes of a descriptor, or of a path without following it. {} where there cannot be any."""
    follow = isinstance(where, int)
    try:
        return {name: os.getxattr(where, name, follow_symlinks=follow) for name in os.listxattr(where, follow_symlinks=follow)}
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.ENODATA, errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return {}  # not kept by this file system or type of file; or gone meanwhile


def portable(found: dict[str, bytes]) -> list[tuple[bytes, bytes]]:
    """Returns those attributes that belong to the file and not to this host, sorted. Never overlayfs' own."""
    kept = []
    for name, value in found.items():
        if name == _CAPABILITY:
            value = _unbound(value)
        elif not (name.startswith(("user.", "trusted.")) or name in _ACLS) or name.startswith(_OVERLAY):
            continue
        kept.append((os.fsencode(name), value))
    return sorted(kept)


def _unbound(capability: bytes) -> bytes:
    """As dockerd: revision 3, which names the root of a user namespace, becomes revision 2."""
    return capability[:3] + b"\x02" + capability[4:20] if len(capability) > 20 and capability[3] == 3 else capability


def refuse_elsewhere(found: dict[str, bytes], path: bytes) -> None:
    """Raises Failed for what overlayfs wrote with redirect_dir or metacopy: it is not here."""
    if any(name in found for name in _ELSEWHERE):
        raise Failed(f"/{os.fsdecode(path)}: overlayfs was mounted with redirect_dir or metacopy, whose changes cannot be read")


def furniture_missing(below: int) -> frozenset[bytes]:
    """Returns the furniture that the layers below lack."""
    return frozenset(path for path in FURNITURE if not exists(below, path))


def exists(root: int, path: bytes) -> bool:
    """Tells whether there is something at path below the directory root."""
    try:
        os.close(open_at(root, path, os.O_PATH | os.O_NOFOLLOW))
    except OSError:
        return False
    return True


def untouched(path: bytes, status: os.stat_result, furniture: frozenset[bytes]) -> bool:
    """Tells whether this is a mount's place that the runtime made, as it made it."""
    if path not in furniture:
        return False
    kind = stat.S_IFMT(status.st_mode)
    return kind == FURNITURE[path] and (kind != stat.S_IFREG or status.st_size == 0)


def seconds(status: os.stat_result) -> int:
    """Returns a modification time as layers have it: whole seconds, as dockerd writes them."""
    return status.st_mtime_ns // 1_000_000_000


def owner(status: os.stat_result) -> tuple[int, int]:
    """Returns user and group."""
    return status.st_uid, status.st_gid
