"""Taking layers in: one pass that decompresses, hashes both forms and writes. Runs on threads; a layer's content is never looked at."""

import bz2
import hashlib
import io
import lzma
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import msgspec
import zstandard
from isal import igzip, igzip_lib, isal_zlib

from skerry.core.errors import Failed, InvalidArgument
from skerry.images.archive.tars import BLOCK, begins
from skerry.images.blobs import Blobs, LayerWriter, TakesOver
from skerry.images.ingest import Part
from skerry.images.measure import FileSizes

CHUNK = 1 << 20
_PEEK = 6
# Plain bytes per compressed byte, against streams made to fill the disk. gzip reaches 1032 with zeros, the others have no bound.
RATIO = 1100.0
# Plain bytes up to which no ratio is looked at.
_ANY_RATIO = 64 << 20
_ISAL: Any = (isal_zlib.error, igzip_lib.IsalError)  # its stubs call these values, not classes
FORMAT_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, *_ISAL)


class Stored(msgspec.Struct, frozen=True):
    """A layer that is now in the blob store."""

    diff_id: str
    size: int
    # Digest of the compressed form that is kept (the one it came in, if it came compressed); empty: none is.
    compressed: str = ""
    # Bytes of its files (measure.py); -1: not counted.
    files: int = -1
    # Digest of the form it came in, kept or not, and how that was compressed; empty when it was here already.
    came: str = ""
    kind: str = ""


class Rewound(io.RawIOBase):
    """A stream with its first bytes put back."""

    def __init__(self, source: Any, head: bytes) -> None:
        self._source = source
        self._head = head

    def readable(self) -> bool:
        return True

    def pull(self, size: int) -> bytes:
        """Returns up to size bytes; b"" at the end."""
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        more: bytes = self._source.read(size) or b""
        return more

    def read(self, size: int = -1) -> bytes:
        """Reads up to size bytes, without the copies that the base class makes."""
        return self.pull(size) if size >= 0 else self.readall()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # narrower than the stubs' Buffer
        data = self.pull(len(buffer))
        memoryview(buffer)[: len(data)] = data
        return len(data)


class Watched(Rewound):
    """Reads on behalf of a decompressor; counts, hands to `copies`, and hashes when asked for, what goes through."""

    def __init__(self, source: Any, head: bytes, *, hashed: bool = False) -> None:
        super().__init__(source, head)
        self.copies: list[Callable[[bytes], None]] = []
        self._hash = hashlib.sha256() if hashed else None
        self.count = 0
        self.failure: BaseException | None = None

    def pull(self, size: int) -> bytes:
        try:
            data = super().pull(size)
        except BaseException as error:
            # Told apart from an error of the format: the transport's own words go to the user.
            self.failure = error
            raise
        if self._hash is not None:
            self._hash.update(data)
        self.count += len(data)
        for copy in self.copies:
            copy(data)
        return data

    def digest(self) -> str:
        """Returns the digest of what went through; empty when it was not asked for."""
        return f"sha256:{self._hash.hexdigest()}" if self._hash is not None else ""

    def rest(self) -> None:
        """Reads what a decompressor left behind its own end, so that the digest covers all."""
        while self.pull(CHUNK):
            pass


def compression(head: bytes) -> str:
    """Tells by magic how a stream is compressed: gzip, zstd, bzip2, xz, or "" for not."""
    for magic, name in ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz")):
        if head.startswith(magic):
            return name
    return ""


def plain(source: Any, kind: str) -> Any:
    """Returns a reader of the decompressed bytes; pulls no more from source than it needs."""
    if kind == "gzip":
        return igzip.IGzipFile(fileobj=source, mode="rb")  # type: ignore[no-untyped-call]
    if kind == "zstd":
        return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(source, read_across_frames=True, closefd=False)
    if kind == "bzip2":
        return bz2.BZ2File(source)
    if kind == "xz":
        return lzma.LZMAFile(source)
    return source


def peek(source: Any, size: int = _PEEK) -> bytes:
    """Reads the first bytes, fewer only at the end."""
    head = b""
    while len(head) < size and (more := source.read(size - len(head))):
        head += more
    return head


def take(
    source: Any,
    blobs: Blobs,
    *,
    keep_compressed: bool,
    limit: int,
    ratio: float = RATIO,
    expected_diff: str = "",
    expected: str = "",
    part: Part | None = None,
) -> Stored:
    """Reads one layer to its end and stores it.

    expected_diff is checked against the plain tar, expected against the bytes as they came. What comes is written to the part too, so
    that it can be gone on with when the stream breaks; it is discarded at the end, and when its content is at fault. Raises Failed when
    digests differ, InvalidArgument when the stream is no such compression, does not begin as a tar does, is larger than limit bytes, or
    than ratio times what came.
    """
    head = peek(source)
    kind = compression(head)
    # What comes plain is hashed once: its digest is the layer's.
    through = Watched(source, head, hashed=bool(kind))
    try:
        stored = _take(through, kind, blobs, keep_compressed, (limit, ratio), expected_diff, expected, part)
    except BaseException:
        if part is not None and through.failure is None:
            part.discard()
        raise
    if part is not None:
        part.discard()
    return stored


def _writer(blobs: Blobs, through: Watched, kind: str, keep: bool, expected: str, part: Part | None) -> AbstractContextManager[LayerWriter]:
    """Begins the layer in the blob store, and has what comes copied to where it is kept."""
    if part is not None and isinstance(blobs, TakesOver):
        through.copies = [part.write]
        return blobs.taking_over(part, kind, keep=keep)
    writer = blobs.layer(kind, keep=keep, expected=expected if kind else "")
    through.copies = [] if part is None else [part.write]
    return writer


def _take(
    through: Watched,
    kind: str,
    blobs: Blobs,
    keep: bool,
    limits: tuple[int, float],
    expected_diff: str,
    expected: str,
    part: Part | None,
) -> Stored:
    limit, ratio = limits
    with _writer(blobs, through, kind, keep, expected, part) as out:
        if kind:
            through.copies.append(out.came)
        size, files = 0, FileSizes()
        try:
            reader = plain(through, kind)
            data = peek(reader, BLOCK)
            if not begins(data):
                raise InvalidArgument("invalid tar archive: archive/tar: invalid tar header")
            while data:
                size += len(data)
                if size > limit:
                    raise InvalidArgument(f"layer is larger than {limit} bytes")
                if size > _ANY_RATIO and kind and size > through.count * ratio:
                    raise InvalidArgument(f"layer holds more than {ratio:g} bytes for each compressed one")
                out.write(data)
                files.feed(data)
                data = reader.read(CHUNK)
            through.rest()
        except FORMAT_ERRORS as error:
            if through.failure is not None:
                raise through.failure from None
            if expected:
                # What came is not what was promised: that is the reason then.
                through.rest()
                _promised(through, expected)
            raise InvalidArgument(f"invalid {kind or 'tar'} data: {error}") from None
        came = _promised(through, expected)
        diff_id, size, compressed = out.commit(expected_diff or ("" if kind else expected), came)
        return Stored(diff_id, size, compressed, files.total, came or diff_id, kind)


def _promised(through: Watched, expected: str) -> str:
    """Returns the digest of all that came ("": not hashed, the layer's own is the same). Raises Failed when it is not the expected one."""
    came = through.digest()
    if came and expected and came != expected:
        raise Failed(f"filesystem layer verification failed for digest {expected}")
    return came
