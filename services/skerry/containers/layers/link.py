"""Downloads a layer from where a link points, decompressing on the way. Blocks: runs on a thread, standard library only."""

import bz2
import gzip
import http.client
import importlib
import io
import lzma
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from skerry.api.images.v1 import images_pb2
from skerry.core.errors import Failed

_ATTEMPTS = 6
# Before the first byte: where the node cannot reach the bucket at all, the store's own bytes are soon asked for.
_FIRST_ATTEMPTS = 2
# A connection that is silent for so long is lost. Also how long a download that is given up may go on.
_SILENCE = 15.0
_CHUNK = 1 << 20


class LinkBroken(Exception):
    """The link leads nowhere (any more); the image store may give another, or the bytes."""


class Sink(Protocol):
    """Takes the plain tar."""

    written: int

    def write(self, data: bytes) -> None:
        """Appends and hashes."""


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


# Not needed: a node's packages are core's. isal does gzip in half of zlib's time; zstd is in Python's own library from 3.14 on.
_IGZIP = _optional("isal.igzip")
_ZSTD = _optional("compression.zstd")
_ZSTANDARD = _optional("zstandard")
_READERS: dict[str, Callable[[Any], Any]] = {
    "": lambda source: source,
    "gzip": (lambda source: _IGZIP.IGzipFile(fileobj=source, mode="rb")) if _IGZIP else (lambda source: gzip.GzipFile(fileobj=source)),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
_FORMAT_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, lzma.LZMAError)
if _IGZIP is not None:
    _FORMAT_ERRORS += (importlib.import_module("isal.isal_zlib").error,)
if _ZSTD is not None:
    _READERS["zstd"] = _ZSTD.ZstdFile
    _FORMAT_ERRORS += (_ZSTD.ZstdError,)
elif _ZSTANDARD is not None:
    _READERS["zstd"] = lambda source: _ZSTANDARD.ZstdDecompressor(max_window_size=1 << 27).stream_reader(source, read_across_frames=True)
    _FORMAT_ERRORS += (_ZSTANDARD.ZstdError,)
# What this node can undo.
ACCEPTS = tuple(kind for kind in _READERS if kind)


class _Stopped(Exception):
    """Nobody wants the layer any more."""


class _Linked(io.RawIOBase):
    """The bytes behind a link; a lost connection is taken up where it broke."""

    def __init__(self, link: images_pb2.LayerLink, stop: threading.Event) -> None:
        self._link = link
        self._stop = stop
        self._at = 0
        self._answer: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # narrower than the stubs' Buffer
        data = self._next(len(buffer))
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def _next(self, size: int) -> bytes:
        for attempt in range(_ATTEMPTS):
            if self._at >= self._link.size:
                return b""
            if self._stop.is_set():
                raise _Stopped
            try:
                if self._answer is None:
                    self._answer = _open(self._link, self._at)
                data: bytes = self._answer.read(min(size, _CHUNK, self._link.size - self._at))
                lost = "the connection ended early"
            except urllib.error.HTTPError as error:
                error.close()
                lost, data = f"the blob store answers {error.code}", b""
                if error.code < 500:
                    raise LinkBroken(lost) from None
            except (OSError, http.client.HTTPException) as error:
                lost, data = str(error), b""
            if data:
                self._at += len(data)
                return data
            self.drop()
            if attempt == (_ATTEMPTS if self._at else _FIRST_ATTEMPTS) - 1:
                raise LinkBroken(lost)
            time.sleep(0.1 * 2**attempt)
        raise AssertionError  # the loop returns or raises

    def drop(self) -> None:
        """Closes the connection."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None


def download(layer: images_pb2.Layer, link: images_pb2.LayerLink, sink: Sink, stop: threading.Event) -> None:
    """Writes the layer's plain tar to sink; a lost connection is taken up where it broke. Ends early when stop is set.

    Raises LinkBroken (what was written until then is the tar's beginning), Failed (the bytes behind the link are damaged).
    """
    source = _Linked(link, stop)
    try:
        reader = _READERS[link.compression](source)
        while data := _read(reader, layer):
            if layer.size and sink.written + len(data) > layer.size:
                raise Failed(f"layer {layer.diff_id} is damaged in the blob store: larger than {layer.size} bytes")
            sink.write(data)
    except _Stopped:
        return
    finally:
        source.drop()


def _read(reader: Any, layer: images_pb2.Layer) -> bytes:
    try:
        data: bytes = reader.read(_CHUNK)
    except _FORMAT_ERRORS as error:
        raise Failed(f"layer {layer.diff_id} is damaged in the blob store: {error}") from None
    return data


def _open(link: images_pb2.LayerLink, offset: int) -> Any:
    if not link.url.startswith(("http://", "https://")):
        raise LinkBroken("it is no http or https link")
    request = urllib.request.Request(link.url, headers={"Accept-Encoding": "identity"})  # noqa: S310 - checked above
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    answer = urllib.request.urlopen(request, timeout=_SILENCE)  # noqa: S310
    length = answer.headers.get("Content-Length")
    # Some servers (rclone 1.75) send the range that was asked for, but with status 200: the length tells.
    if offset and answer.status != 206 and (length is None or int(length) != link.size - offset):
        while offset > 0 and (data := answer.read(min(_CHUNK, offset))):
            offset -= len(data)
    return answer
