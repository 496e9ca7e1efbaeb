"""A tar that comes through a pipe, plain or compressed: read forward only, file data moved without passing through this process."""

import io
import os
from collections.abc import Callable
from typing import Any

from skerry.core.errors import InvalidArgument

_READ = 64 << 10
_MOVE = 1 << 20
_MAGIC = 6
# The largest window that zstd itself unpacks without being told to.
_ZSTD_WINDOW = 1 << 27


class Stream:
    """See tar_source.Source."""

    def __init__(self, pull: Callable[[], bytes], first: bytes = b"", *, pipe: int = -1, most_bytes: int = 0) -> None:
        self._pull = pull
        self._pipe = pipe
        self._most = most_bytes
        # What was read and not yet used; the tar's byte at `_offset` is `_data[_at]`.
        self._data = first
        self._at = 0
        self._offset = 0

    def read(self, offset: int, length: int) -> bytes:
        """See tar_source.Source."""
        self._skip_to(offset)
        while len(self._data) - self._at < length:
            more = self._pull()
            if not more:
                break
            self._data = self._data[self._at :] + more
            self._at = 0
        return self._data[self._at : self._at + length]

    def copy(self, offset: int, length: int, fd: int, position: int) -> None:
        """See tar_source.Source."""
        self._skip_to(offset)
        while length:
            if self._pipe >= 0 and self._at == len(self._data) and length >= _READ:
                moved = os.splice(self._pipe, fd, min(length, _MOVE), offset_dst=position)
                if moved == 0:
                    raise InvalidArgument("tar: unexpected end")
                self._advance(moved)
            else:
                piece = memoryview(self._some())[self._at : self._at + length]
                moved = os.pwrite(fd, piece, position)
                self._at += moved
                self._advance(moved)
            position, length = position + moved, length - moved

    def drain(self) -> None:
        """Reads what follows the tar's end, so that whoever writes it is not cut off."""
        while self._pull():
            pass

    def _some(self) -> bytes:
        if self._at == len(self._data):
            self._data, self._at = self._pull(), 0
            if not self._data:
                raise InvalidArgument("tar: unexpected end")
        return self._data

    def _skip_to(self, offset: int) -> None:
        while self._offset < offset:
            step = min(len(self._some()) - self._at, offset - self._offset)
            self._at += step
            self._advance(step)

    def _advance(self, count: int) -> None:
        self._offset += count
        if self._most and self._offset > self._most:
            raise InvalidArgument(f"tar: more than {self._most} bytes")


class _Joined(io.RawIOBase):
    """A pipe with what was already read of it put back."""

    def __init__(self, first: bytes, pipe: int) -> None:
        super().__init__()
        self._first = first
        self._pipe = pipe

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._first[: len(view)] or os.read(self._pipe, len(view))
        self._first = self._first[len(view) :]
        view[: len(data)] = data
        return len(data)


def open_stream(pipe: int, most_bytes: int) -> Stream:
    """Returns the tar that comes through a pipe: plain, gzip, bzip2, xz or zstd. Blocks until its first bytes are there."""
    first = b""
    while len(first) < _MAGIC:
        more = os.read(pipe, _READ)
        if not more:
            break
        first += more
    reader, errors = _decompressor(first, pipe)
    if reader is None:
        return Stream(lambda: os.read(pipe, _READ), first, pipe=pipe, most_bytes=most_bytes)

    def pull() -> bytes:
        try:
            data: bytes = reader.read(_MOVE)
        except errors as error:
            raise InvalidArgument(f"cannot decompress the archive: {error}") from None
        return data

    return Stream(pull, most_bytes=most_bytes)


def _decompressor(first: bytes, pipe: int) -> tuple[Any, tuple[type[Exception], ...]]:
    """Returns a reader of the plain bytes, None when they are plain already, and what it raises for bad data."""
    source = io.BufferedReader(_Joined(first, pipe), _READ)
    # Each only when wanted: they take longer to load than a small copy takes.
    if first.startswith(b"\x1f\x8b\x08"):
        import gzip
        import zlib

        return gzip.GzipFile(fileobj=source), (OSError, EOFError, zlib.error)
    if first.startswith(b"BZh"):
        import bz2

        return bz2.BZ2File(source), (OSError, EOFError, ValueError)
    if first.startswith(b"\xfd7zXZ\0"):
        import lzma

        return lzma.LZMAFile(source), (EOFError, lzma.LZMAError)
    if first.startswith(b"\x28\xb5\x2f\xfd"):
        import zstandard

        unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        return unpacker.stream_reader(source, read_across_frames=True), (zstandard.ZstdError,)
    return None, ()
