"""Makes a tar of a path in a container, by descriptors: what changes meanwhile is read as it is found, and never leads out."""

import fnmatch
import os
import stat

from skerry.containers.copy.view import View
from skerry.containers.layers import tar, tar_writer
from skerry.core.errors import Failed

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO that took a file's place must not block us.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BUFFER = 256 << 10
_SEND = 1 << 20
# Each level holds one descriptor.
_MOST_DEPTH = 512
_CAPABILITY = b"security.capability"


class Packer:
    """Writes members to a pipe."""

    def __init__(self, out: int) -> None:
        self._out = out
        self._buffer = bytearray()
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
        self._write(tar_writer.member(shown.rstrip(b"/") + b"/", os.fstat(fd), kind=tar.DIRECTORY, xattrs=_xattrs(fd)))
        prefix = shown.rstrip(b"/") + b"/"
        for name in sorted(os.listdir(b"/proc/self/fd/%d" % fd)):
            try:
                self.tree(fd, name, prefix + name, depth + 1)
            except FileNotFoundError:
                continue  # removed meanwhile

    def end(self) -> None:
        """Ends the archive."""
        self._write(tar_writer.END)
        self._flush()

    def _leaf(self, parent: int, name: bytes, status: os.stat_result, shown: bytes) -> None:
        kind = tar_writer.kind_of(status.st_mode)
        if kind is None:
            return  # a socket
        key = (status.st_dev, status.st_ino)
        if status.st_nlink > 1:
            if (first := self._links.get(key)) is not None:
                self._write(tar_writer.member(shown, status, kind=tar.HARDLINK, link=first))
                return
            self._links[key] = shown
        if kind == tar.REGULAR:
            self._file(parent, name, shown)
        else:
            link = os.fsencode(os.readlink(name, dir_fd=parent)) if kind == tar.SYMLINK else b""
            self._write(tar_writer.member(shown, status, kind=kind, link=link))

    def _file(self, parent: int, name: bytes, shown: bytes) -> None:
        fd = os.open(name, _FILE, dir_fd=parent)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return  # swapped meanwhile
            size = status.st_size
            self._write(tar_writer.member(shown, status, kind=tar.REGULAR, size=size, xattrs=_xattrs(fd)))
            self._content(fd, size)
            self._write(tar_writer.padding(size))
        finally:
            os.close(fd)

    def _content(self, fd: int, size: int) -> None:
        done = 0
        if size < _BUFFER:
            while done < size and (data := os.pread(fd, size - done, done)):
                self._write(data)
                done += len(data)
        else:
            self._flush()
            while done < size and (sent := os.sendfile(self._out, fd, done, min(size - done, _SEND))):
                done += sent
        # A file that shrank: the header's promise is kept with zeros, as tar(1) does.
        while done < size:
            step = min(size - done, _BUFFER)
            self._write(bytes(step))
            done += step

    def _write(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= _BUFFER:
            self._flush()

    def _flush(self) -> None:
        view = memoryview(self._buffer)
        while view:
            view = view[os.write(self._out, view) :]
        view.release()
        self._buffer = bytearray()


def matches(view: View, base: str, pattern: str) -> list[str]:
    """Returns the paths below base that a pattern of Go's filepath.Match names, sorted; "" stands for base. Links inside are followed."""
    found = [""]
    for part in pattern.strip("/").split("/"):
        if part in ("", "."):
            continue
        found = [f"{above}/{name}" for above in found for name in _names(view, f"{base}/{above}", part)]
    return found


def _names(view: View, directory: str, pattern: str) -> list[str]:
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
