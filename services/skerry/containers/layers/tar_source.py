"""Where the bytes of a tar come from: a file here; elsewhere a stream."""

import os
from typing import Protocol

from skerry.core.errors import InvalidArgument

_READ_AHEAD = 64 << 10
_COPY = 1 << 20


class Source(Protocol):
    """Where a tar's bytes come from. Offsets only grow from call to call, so that a stream can be one."""

    def read(self, offset: int, length: int) -> bytes:
        """Returns exactly length bytes, fewer only at the end."""
        ...

    def copy(self, offset: int, length: int, fd: int, position: int) -> None:
        """Writes bytes of the tar to position of the file fd. Raises InvalidArgument when the tar ends before."""
        ...


class FileSource:
    """A tar in a file, with read-ahead, so that runs of small members cost one read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = b""
        self._start = 0

    def read(self, offset: int, length: int) -> bytes:
        """See Source."""
        begin = offset - self._start
        if begin < 0 or begin + length > len(self._buffer):
            self._buffer = os.pread(self._fd, max(length, _READ_AHEAD), offset)
            self._start = offset
            begin = 0
            while len(self._buffer) < length:
                more = os.pread(self._fd, length - len(self._buffer), offset + len(self._buffer))
                if not more:
                    break
                self._buffer += more
        return self._buffer[begin : begin + length]

    def copy(self, offset: int, length: int, fd: int, position: int) -> None:
        """See Source."""
        while length:
            data = os.pread(self._fd, min(length, _COPY), offset)
            if not data:
                raise InvalidArgument("tar: unexpected end")
            written = os.pwrite(fd, data, position)
            position, length, offset = position + written, length - written, offset + written
