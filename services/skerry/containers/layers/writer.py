"""Writes tars as a stream: ustar, with a pax header in front of what ustar cannot say. The counterpart of `tar`."""

import errno
import os
from collections.abc import Sequence
from typing import Protocol
from zlib import adler32

from skerry.containers.layers import layout

END = bytes(2 * layout.BLOCK)
# Larger pieces do not make anything quicker, and would sit in memory.
PIECE = 1 << 20
# Smaller pieces of a file are read and written; of larger ones the pages themselves go into the pipe.
_READ = 64 << 10
_IOV_MAX = 1024
_OCTAL_7 = 1 << 21
_OCTAL_11 = 1 << 33
_MAX_TIME = 1 << 33


class Sink(Protocol):
    """Where a tar goes."""

    def write(self, data: bytes | bytearray) -> None:
        """Appends bytes."""

    def copy(self, fd: int, offset: int, size: int) -> int:
        """Appends up to size bytes of the file fd from offset on; returns how many it had, fewer only at its end."""

    def zeros(self, size: int) -> None:
        """Appends zeros."""


def head(
    path: bytes,
    kind: bytes,
    mode: int,
    owner: tuple[int, int],
    seconds: int,
    *,
    size: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    xattrs: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """Returns the header of one member. path is relative, a directory's without the last slash; mode may have the type bits."""
    if kind == layout.DIRECTORY:
        path += b"/"
    pax = b""
    if len(path) > 100:
        pax += record(b"path", path)
    if len(link) > 100:
        pax += record(b"linkpath", link)
    uid, gid = owner
    if uid >= _OCTAL_7:
        pax += record(b"uid", b"%d" % uid)
    if gid >= _OCTAL_7:
        pax += record(b"gid", b"%d" % gid)
    if size >= _OCTAL_11:
        pax += record(b"size", b"%d" % size)
    if not 0 <= seconds < _MAX_TIME:
        pax += record(b"mtime", b"%d" % seconds)
    for name, value in xattrs:
        pax += record(b"SCHILY.xattr." + name, value)
    block = _block(path[:100], kind, mode, (uid, gid), seconds, size, link[:100], device)
    if not pax:
        return block
    # The name is nobody's: readers that know no pax would extract it.
    extended = _block(b"PaxHeaders.0/" + path[:80].rstrip(b"/"), b"x", 0o644, (0, 0), 0, len(pax), b"", (0, 0))
    return extended + pax + bytes(-len(pax) % layout.BLOCK) + block


def _block(
    name: bytes, kind: bytes, mode: int, owner: tuple[int, int], seconds: int, size: int, link: bytes, device: tuple[int, int]
) -> bytes:
    uid, gid = owner
    # Numbers that do not fit are in the pax header; here they are 0, which no reader looks at then.
    body = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0        %s%s" % (
        name.ljust(100, b"\0"),
        mode,
        uid if uid < _OCTAL_7 else 0,
        gid if gid < _OCTAL_7 else 0,
        size if size < _OCTAL_11 else 0,
        seconds if 0 <= seconds < _MAX_TIME else 0,
        kind,
        link.ljust(100, b"\0"),
    )
    body += b"ustar\x0000" + bytes(64)
    body += b"%07o\0%07o\0" % device if device != (0, 0) else bytes(16)
    block = body.ljust(layout.BLOCK, b"\0")
    return b"%s%06o\0 %s" % (block[:148], _sum(block), block[156:])


def _sum(block: bytes) -> int:
    """Returns the sum of a header's bytes. The low half of Adler-32 is that of its bytes, plus one, modulo 65521: exact for 256 of them."""
    return (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2


def record(key: bytes, value: bytes) -> bytes:
    """Returns one pax record; its length counts itself."""
    rest = len(key) + len(value) + 3
    size = rest + len(str(rest))
    if len(str(size)) != len(str(rest)):
        size = rest + len(str(size))
    return b"%d %s=%s\n" % (size, key, value)


def content(out: Sink, fd: int, size: int, blocks: int) -> None:
    """Writes a file's bytes and the padding after them. blocks is st_blocks: a file with fewer than its size wants has holes.

    What a file lacks (it became shorter since its header was written) is made up by zeros; what it has more is left out.
    """
    if blocks * 512 < size:
        _sparse(out, fd, size)
    else:
        _piece(out, fd, 0, size)
    if size % layout.BLOCK:
        out.write(bytes(-size % layout.BLOCK))


def _piece(out: Sink, fd: int, offset: int, size: int) -> None:
    done = out.copy(fd, offset, size)
    if done < size:
        out.zeros(size - done)


def _sparse(out: Sink, fd: int, size: int) -> None:
    """Holes are zeros in the tar, as Docker writes them: tar's forms of sparse files are not understood by all that read layers."""
    position = 0
    while position < size:
        try:
            data = min(os.lseek(fd, position, os.SEEK_DATA), size)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = size  # nothing but a hole up to the end
        if data > position:
            out.zeros(data - position)
        if data == size:
            return
        position = min(os.lseek(fd, data, os.SEEK_HOLE), size)
        _piece(out, fd, data, position - data)


class FileSink:
    """Into a file from its present position on. Zeros become holes, so that they take no room; `close` ends the tar."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pending = bytearray()
        self.size = 0

    def write(self, data: bytes | bytearray) -> None:
        self._pending += data
        if len(self._pending) >= PIECE:
            self._flush()

    def copy(self, fd: int, offset: int, size: int) -> int:
        if size <= PIECE // 4:
            data = os.pread(fd, size, offset)
            self.write(data)
            return len(data)
        self._flush()
        done = 0
        while done < size:
            # The kernel copies (or shares) the blocks; no byte comes here.
            try:
                count = os.copy_file_range(fd, self._fd, min(size - done, 1 << 30), offset + done)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                count = os.sendfile(self._fd, fd, offset + done, min(size - done, 1 << 30))
            if not count:
                break
            done += count
        self.size += done
        return done

    def zeros(self, size: int) -> None:
        if size <= PIECE // 4:
            self.write(bytes(size))
            return
        self._flush()
        self.size += size
        os.lseek(self._fd, size, os.SEEK_CUR)

    def close(self) -> int:
        """Writes the end mark; returns the tar's size."""
        self.write(END)
        self._flush()
        os.ftruncate(self._fd, self.size)
        return self.size

    def _flush(self) -> None:
        view = memoryview(self._pending)
        while view:
            view = view[os.write(self._fd, view) :]
        self.size += len(self._pending)
        self._pending = bytearray()


class PipeSink:
    """Into a pipe; `close` ends the tar."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pending: list[bytes | bytearray | memoryview] = []
        self._room = PIECE

    def write(self, data: bytes | bytearray) -> None:
        self._pending.append(data)
        self._room -= len(data)
        if self._room <= 0 or len(self._pending) >= _IOV_MAX:
            self._flush()

    def copy(self, fd: int, offset: int, size: int) -> int:
        if size <= _READ:
            data = os.pread(fd, size, offset)
            self.write(data)
            return len(data)
        self._flush()
        done = 0
        while done < size:
            count = os.sendfile(self._fd, fd, offset + done, min(size - done, 1 << 30))
            if not count:
                break
            done += count
        return done

    def zeros(self, size: int) -> None:
        block = bytes(min(size, PIECE))
        while size:
            self.write(block[:size])
            size -= min(size, PIECE)

    def close(self) -> None:
        """Writes the end mark."""
        self.write(END)
        self._flush()

    def _flush(self) -> None:
        pending, self._pending, self._room = self._pending, [], PIECE
        while pending:
            written = os.writev(self._fd, pending)
            done = 0
            while done < len(pending) and written >= len(pending[done]):
                written -= len(pending[done])
                done += 1
            pending = pending[done:]
            if pending:  # a signal came in between
                pending[0] = memoryview(pending[0])[written:]
