"""Directory trees as tars: a container's changes as a layer, its whole root file system as an archive. Everything here blocks.

Members come as dockerd writes them: each directory before what is in it, names in the order of their bytes.
"""

import errno
import os
import stat
from typing import NamedTuple

from skerry.containers.layers import layout
from skerry.containers.layers.upper import (
    DIRECTORY,
    FURNITURE,
    MTAB,
    OPAQUE,
    Place,
    attributes,
    descent,
    enter,
    furniture_missing,
    is_whiteout,
    owner,
    portable,
    refuse_elsewhere,
    seconds,
    untouched,
)
from skerry.containers.layers.writer import Sink, content, head

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC
_FURNITURE = frozenset(FURNITURE)
# Of a file that crun makes to mount something on it.
_RUNTIME_MODE = 0o700
_KINDS = {
    stat.S_IFLNK: layout.SYMLINK,
    stat.S_IFCHR: layout.CHARACTER,
    stat.S_IFBLK: layout.BLOCK_DEVICE,
    stat.S_IFIFO: layout.FIFO,
}


class Packed(NamedTuple):
    """What went into a tar."""

    entries: int
    # Of regular files, each inode once.
    bytes: int


def pack_upper(upper: str, below: str, out: Sink) -> Packed:
    """Writes the changes in an overlay's upper directory as a layer: whiteouts and opaque directories by their .wh. names.

    below is the root of the layers under it. The end mark is the sink's business. Raises Failed, OSError.
    """
    lower = os.open(below, DIRECTORY)
    try:
        packer = _Packer(out, overlay=True, furniture=furniture_missing(lower), below=_furnished(lower))
    finally:
        os.close(lower)
    packer.walk(upper)
    return Packed(packer.entries, packer.bytes)


def pack_root(root: str, out: Sink) -> Packed:
    """Writes a whole root file system, without what is mounted in it, and with the furniture that dockerd's containers have."""
    packer = _Packer(out, overlay=False, furniture=frozenset())
    packer.walk(root)
    return Packed(packer.entries, packer.bytes)


def _furnished(lower: int) -> dict[bytes, os.stat_result]:
    """Returns the directories of the layers below in which furniture stands."""
    found: dict[bytes, os.stat_result] = {}
    for path in {os.path.dirname(path) for path in FURNITURE} - {b""}:
        try:
            status = os.stat(path, dir_fd=lower, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISDIR(status.st_mode):
            found[path] = status
    return found


class _Packer:
    def __init__(self, out: Sink, *, overlay: bool, furniture: frozenset[bytes], below: dict[bytes, os.stat_result] | None = None) -> None:
        """below: what the layers below have in the place of directories with furniture."""
        self._below = below or {}
        self._out = out
        self._overlay = overlay
        self._furniture = furniture
        self._places: list[Place] = []
        # First names of files with several.
        self._first: dict[tuple[int, int], bytes] = {}
        self.entries = 0
        self.bytes = 0

    def walk(self, root: str) -> None:
        """Writes everything below root, but not root itself, as dockerd."""
        with descent() as places:
            self._places = places
            place = enter(os.open(root, DIRECTORY), b"")
            device = place.status.st_dev
            places.append(place)
            self._furnish(place)
            while places:
                place = places[-1]
                if not place.names:
                    places.pop().close()
                    continue
                name = place.names.pop()
                if name in place.files:
                    self._file(place, name)
                    continue
                try:
                    status = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
                except FileNotFoundError:
                    self._bare(place.child(name), place)
                    continue
                if stat.S_ISDIR(status.st_mode):
                    self._directory(place, name, device)
                elif stat.S_ISREG(status.st_mode):
                    self._file(place, name)
                else:
                    self._leaf(place, name, status)

    def _emit(self, data: bytes) -> None:
        self._held_back()
        self._out.write(data)
        self.entries += 1

    def _held_back(self) -> None:
        for place in self._places:
            if place.pending:
                self._header(place)

    def _header(self, place: Place) -> None:
        place.pending = False
        found = attributes(place.fd)
        status, mode = place.status, place.status.st_mode
        self._out.write(head(place.path, layout.DIRECTORY, mode, owner(status), seconds(status), xattrs=portable(found)))
        self.entries += 1
        if not self._overlay:
            return
        refuse_elsewhere(found, place.path)
        if found.get(OPAQUE) == b"y":
            # As dockerd: the directory's mode and owner, and no time.
            self._out.write(head(place.child(layout.OPAQUE_MARK), layout.REGULAR, mode & 0o777, owner(status), 0))
            self.entries += 1

    def _directory(self, above: Place, name: bytes, device: int) -> None:
        path = above.child(name)
        try:
            place = enter(os.open(name, DIRECTORY, dir_fd=above.fd), path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return  # replaced meanwhile by a container that runs
            raise
        if place.status.st_dev != device:
            place.names = []  # something is mounted here: its content is not the container's
        self._places.append(place)
        self._furnish(place)
        place.pending = True
        if not untouched(path, place.status, self._furniture) and not self._only_furnished(place):
            self._held_back()

    def _only_furnished(self, place: Place) -> bool:
        """Tells whether a directory has changed in nothing but that the runtime made places of mounts in it."""
        old = self._below.get(place.path)
        if old is None or not place.names or (old.st_mode, owner(old)) != (place.status.st_mode, owner(place.status)):
            return False
        if attributes(place.fd).get(OPAQUE) == b"y":
            return False
        try:
            here = [(place.child(name), os.stat(name, dir_fd=place.fd, follow_symlinks=False)) for name in place.names]
        except FileNotFoundError:
            return False
        return all(untouched(path, status, self._furniture) for path, status in here)

    def _leaf(self, place: Place, name: bytes, status: os.stat_result) -> None:
        path = place.child(name)
        if self._overlay and is_whiteout(status):
            # Modes have their type bits, as dockerd writes them, but for what stands for something deleted.
            hidden = place.child(layout.WHITEOUT_PREFIX + name)
            self._emit(head(hidden, layout.REGULAR, 0o600, owner(status), seconds(status)))
            return
        if untouched(path, status, self._furniture) or stat.S_ISSOCK(status.st_mode):
            return  # as dockerd: a socket without its server is nothing
        if not self._linked(path, status):
            self._special(place, name, path, status)

    def _linked(self, path: bytes, status: os.stat_result) -> bool:
        """Writes a further name of a file that has one in the tar already; tells whether it did."""
        if status.st_nlink > 1:
            first = self._first.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                self._emit(head(path, layout.HARDLINK, status.st_mode, owner(status), seconds(status), link=first))
                return True
        return False

    def _file(self, place: Place, name: bytes) -> None:
        path = place.child(name)
        try:
            fd = os.open(name, _FILE, dir_fd=place.fd)
        except OSError as error:
            if error.errno == errno.ENOENT:
                self._bare(path, place)
                return
            if error.errno in (errno.ELOOP, errno.ENXIO):
                return  # replaced meanwhile by a link or a socket
            raise
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or untouched(path, status, self._furniture) or self._linked(path, status):
                return
            found = attributes(fd)
            if self._overlay:
                refuse_elsewhere(found, path)
            mode = status.st_mode
            if not self._overlay and untouched(path, status, _FURNITURE) and mode & 0o777 == _RUNTIME_MODE:
                mode |= 0o755  # made by the runtime as a mount's place, which dockerd makes itself
            attached = portable(found) if found else ()
            self._emit(head(path, layout.REGULAR, mode, owner(status), seconds(status), size=status.st_size, xattrs=attached))
            content(self._out, fd, status.st_size, status.st_blocks)
            self.bytes += status.st_size
        finally:
            os.close(fd)

    def _special(self, place: Place, name: bytes, path: bytes, status: os.stat_result) -> None:
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        link = b""
        device = (0, 0)
        if kind == layout.SYMLINK:
            try:
                link = os.readlink(name, dir_fd=place.fd)
            except OSError:
                return  # replaced meanwhile
        elif kind != layout.FIFO:
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        found = attributes(b"/proc/self/fd/%d/%s" % (place.fd, name))
        self._emit(head(path, kind, status.st_mode, owner(status), seconds(status), link=link, device=device, xattrs=portable(found)))

    def _furnish(self, place: Place) -> None:
        """Adds the names of furniture that a root file system lacks here; they are made up by _bare."""
        if self._overlay or place.path not in (b"", b"dev", b"etc"):
            return
        here = {path.rpartition(b"/")[2] for path in FURNITURE if path.rpartition(b"/")[0] == place.path}
        place.names = sorted({*place.names, *here}, reverse=True)

    def _bare(self, path: bytes, place: Place) -> None:
        kind = FURNITURE.get(path)
        if self._overlay or kind is None:
            return  # removed meanwhile by a container that runs
        moment = seconds(place.status)
        if kind == stat.S_IFDIR:
            self._emit(head(path, layout.DIRECTORY, kind | 0o755, (0, 0), moment))
            inner = sorted(each for each in FURNITURE if each.startswith(path + b"/"))
            for each in inner:
                self._bare(each, place)
        elif kind == stat.S_IFLNK:
            self._emit(head(path, layout.SYMLINK, kind | 0o777, (0, 0), moment, link=MTAB))
        else:
            self._emit(head(path, layout.REGULAR, kind | 0o755, (0, 0), moment))
