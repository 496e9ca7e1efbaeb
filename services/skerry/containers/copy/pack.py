"""Makes a tar of a path in a container, by descriptors: what changes meanwhile is read as it is found, and never leads out."""

import os
import stat
from collections.abc import Sequence

from skerry.containers.copy.view import View
from skerry.containers.layers import layout
from skerry.containers.layers.writer import PipeSink, content, head
from skerry.core.errors import Failed

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO that took a file's place must not block us.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Each level holds one descriptor.
_MOST_DEPTH = 512
_CAPABILITY = b"security.capability"
_KINDS = {
    stat.S_IFREG: layout.REGULAR,
    stat.S_IFLNK: layout.SYMLINK,
    stat.S_IFCHR: layout.CHARACTER,
    stat.S_IFBLK: layout.BLOCK_DEVICE,
    stat.S_IFIFO: layout.FIFO,
}


class Packer:
    """Writes members to a pipe."""

    def __init__(self, out: PipeSink) -> None:
        self._out = out
        # Names of files with several, by device and inode.
        self._links: dict[tuple[int, int], bytes] = {}

    def tree(self, parent: int, name: bytes, shown: bytes, depth: int = 0) -> None:
        """Adds what is called name in the open directory parent, with all below it, as `shown`. Raises OSError, Failed."""
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
            try:
                self.directory(fd, shown, depth)
            finally:
                os.close(fd)
        else:
            self._leaf(parent, name, status, shown)

    def directory(self, fd: int, shown: bytes, depth: int = 0) -> None:
        """Adds an open directory with all below it. An empty `shown` is the root."""
        if depth > _MOST_DEPTH:
            raise Failed(f"directories are nested deeper than {_MOST_DEPTH}")
        self._head(shown, layout.DIRECTORY, os.fstat(fd), xattrs=_xattrs(fd))
        for name in sorted(os.listdir(b"/proc/self/fd/%d" % fd)):
            try:
                self.tree(fd, name, shown + b"/" + name, depth + 1)
            except FileNotFoundError:
                continue  # removed meanwhile

    def _leaf(self, parent: int, name: bytes, status: os.stat_result, shown: bytes) -> None:
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return  # a socket
        key = (status.st_dev, status.st_ino)
        if status.st_nlink > 1:
            if (first := self._links.get(key)) is not None:
                self._head(shown, layout.HARDLINK, status, link=first)
                return
            self._links[key] = shown
        if kind == layout.REGULAR:
            self._file(parent, name, shown)
        else:
            link = os.fsencode(os.readlink(name, dir_fd=parent)) if kind == layout.SYMLINK else b""
            self._head(shown, kind, status, link=link)

    def _file(self, parent: int, name: bytes, shown: bytes) -> None:
        fd = os.open(name, _FILE, dir_fd=parent)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return  # swapped meanwhile
            self._head(shown, layout.REGULAR, status, size=status.st_size, xattrs=_xattrs(fd))
            content(self._out, fd, status.st_size, status.st_blocks)
        finally:
            os.close(fd)

    def _head(
        self,
        shown: bytes,
        kind: bytes,
        status: os.stat_result,
        *,
        size: int = 0,
        link: bytes = b"",
        xattrs: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        device = (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in (layout.CHARACTER, layout.BLOCK_DEVICE) else (0, 0)
        # Whole seconds and the type's bits in the mode, as Docker's.
        seconds = status.st_mtime_ns // 1_000_000_000
        owner = (status.st_uid, status.st_gid)
        self._out.write(head(shown, kind, status.st_mode, owner, seconds, size=size, link=link, device=device, xattrs=xattrs))


def matches(view: View, base: str, pattern: str) -> list[str]:
    """Returns the paths below base that a pattern of Go's filepath.Match names, sorted; "" stands for base. Links inside are followed."""
    found = [""]
    for part in pattern.strip("/").split("/"):
        if part in ("", "."):
            continue
        found = [f"{above}/{name}" for above in found for name in _names(view, f"{base}/{above}", part)]
    return found


def _names(view: View, directory: str, pattern: str) -> list[str]:
    import fnmatch

    try:
        fd = view.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        # "^" negates a class in Go, "!" here.
        translated = pattern.replace("[^", "[!")
        return sorted(name for name in os.listdir(fd) if name == pattern or fnmatch.fnmatchcase(name, translated))
    finally:
        os.close(fd)


def _xattrs(fd: int) -> list[tuple[bytes, bytes]]:
    """Returns what Docker copies: file capabilities."""
    try:
        return [(_CAPABILITY, os.getxattr(fd, _CAPABILITY))]
    except OSError:
        return []  # none, or of a file system without
