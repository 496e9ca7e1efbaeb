"""Bytes from outside, kept in unnamed files of the gateway's build directory: bounded, and gone with the process whatever happens."""

import asyncio
import bz2
import lzma
import os
import tempfile
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, cast

import zstandard

from skerry.core.errors import Failed, InvalidArgument
from skerry.gateway.build.tar import BLOCK, looks_like_tar

_PIECE = 1 << 20
_ZSTD_WINDOW = 1 << 27
_BAD = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


class Place:
    """Where build contexts are kept, and how large they may be."""

    def __init__(self, directory: str, limit: int) -> None:
        self.directory = directory
        self.limit = limit

    def file(self) -> BinaryIO:
        """Returns a new file without a name."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        return cast("BinaryIO", tempfile.TemporaryFile(dir=self.directory))

    def check(self, size: int) -> None:
        """Raises InvalidArgument above the limit."""
        if size > self.limit:
            raise InvalidArgument(f"the build context is larger than {self.limit} bytes")


class Spooled:
    """A file and how much is in it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size


@asynccontextmanager
async def received(pieces: AsyncIterator[bytes], place: Place) -> AsyncIterator[Spooled]:
    """Takes a stream to its end. Raises InvalidArgument above the limit, Failed when the disk refuses."""
    file = await asyncio.to_thread(place.file)
    try:
        size = 0
        pending: list[bytes] = []
        waiting = 0
        async for piece in pieces:
            size += len(piece)
            place.check(size)
            pending.append(piece)
            waiting += len(piece)
            if waiting >= _PIECE:
                await _write(file, pending)
                pending, waiting = [], 0
        await _write(file, pending)
        yield Spooled(file, size)
    finally:
        file.close()


async def _write(file: BinaryIO, pieces: list[bytes]) -> None:
    try:
        await asyncio.to_thread(file.writelines, pieces)
        await asyncio.to_thread(file.flush)
    except OSError as error:
        raise _refused(error) from None


def _refused(error: OSError) -> Failed:
    return Failed(f"build context: {(error.strerror or str(error)).lower()}")


def compression(head: bytes) -> str:
    """Tells by magic how bytes are compressed: gzip, bzip2, xz, zstd, or "" for not."""
    for magic, name in ((b"\x1f\x8b\x08", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")):
        if head.startswith(magic):
            return name
    return ""


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(16)


class _Gzip:
    """zlib over concatenated members, a bounded piece at a time."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._machine = zlib.decompressobj(31)
        self._left = b""

    def read(self, size: int) -> bytes:
        while True:
            if self._machine.eof:
                rest = self._machine.unused_data or self._source.read(_PIECE)
                if not rest.startswith(b"\x1f\x8b"):
                    return b""  # the end, or what other programs ignore too
                self._machine, self._left = zlib.decompressobj(31), rest
            fed = self._left or self._source.read(_PIECE)
            if not fed:
                raise EOFError("unexpected EOF")
            data = self._machine.decompress(fed, size)
            self._left = self._machine.unconsumed_tail
            if data:
                return data


def _reader(file: BinaryIO, kind: str) -> Any:
    file.seek(0)
    if kind == "gzip":
        return _Gzip(file)
    if kind == "bzip2":
        return bz2.BZ2File(file)
    if kind == "xz":
        return lzma.LZMAFile(file)
    return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(file, read_across_frames=True, closefd=False)


def unpacked(spooled: Spooled, place: Place) -> Spooled:
    """Returns the file itself, or the decompressed bytes in a new one, which the caller closes. Blocks.

    Raises InvalidArgument for damaged data and above the limit, Failed when the disk refuses.
    """
    kind = compression(_head(spooled.file))
    if not kind:
        return spooled
    reader = _reader(spooled.file, kind)
    out = place.file()
    size = 0
    try:
        while data := _more(reader, kind):
            size += len(data)
            place.check(size)
            out.write(data)
        out.flush()
    except OSError as error:
        out.close()
        raise _refused(error) from None
    except BaseException:
        out.close()
        raise
    return Spooled(out, size)


def _more(reader: Any, kind: str) -> bytes:
    try:
        data: bytes = reader.read(_PIECE)
    except _BAD as error:
        raise InvalidArgument(f"invalid {kind} data: {error}") from None
    return data


def is_archive(file: BinaryIO) -> bool:
    """Tells whether a file is a tar archive, plain or compressed: what ADD unpacks. Blocks."""
    kind = compression(_head(file))
    try:
        if kind:
            reader = _reader(file, kind)
            head = b""
            while len(head) < BLOCK and (data := reader.read(BLOCK - len(head))):
                head += data
        else:
            file.seek(0)
            head = file.read(BLOCK)
    except _BAD:
        return False
    return looks_like_tar(head)
