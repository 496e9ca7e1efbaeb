"""The blob store: content under its digest, whole or not there. tests/contract/test_blob_store.py is its definition.

All methods block; they run on threads. A layer is put in as its plain tar under its diff_id; how a store keeps it is the store's own: as a
file (blobs/files.py), or as the compressed blob only (blobs/s3.py), read back as the plain tar all the same.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import msgspec


class Listed(msgspec.Struct, frozen=True):
    """One blob of a listing."""

    digest: str
    # Bytes it takes.
    size: int
    # Unix seconds at which it came in.
    stored_at: float
    # Digest of the blob that its content is kept as (see Blobs.layer): needed as long as this one. Empty: it is content itself.
    kept_as: str = ""


class Link(msgspec.Struct, frozen=True):
    """Where a node gets a layer without this service: a GET, with Range, that needs no other authorization. Never logged."""

    url: str
    # How the bytes behind it are compressed: gzip, zstd, bzip2, xz, or "".
    compression: str
    # Bytes behind it.
    size: int


class BlobReader(Protocol):
    """Reads one blob from an offset on."""

    def read(self, size: int = -1, /) -> bytes:
        """Returns up to size bytes; b"" at the end. Raises Failed, Unavailable."""


class BlobWriter(Protocol):
    """Takes one blob."""

    def write(self, data: bytes | memoryview) -> None:
        """Appends and hashes. Raises Failed, Unavailable."""

    def commit(self, expected: str = "") -> tuple[str, int]:
        """Makes the blob durable under its digest; returns digest and size. Raises Failed when it is not `expected`."""


class LayerWriter(Protocol):
    """Takes one layer: the plain tar, and beside it the compressed bytes that it came as."""

    def came(self, data: bytes | memoryview) -> None:
        """Appends to the compressed form. Not called for a layer that came plain."""

    def write(self, data: bytes | memoryview) -> None:
        """Appends to the plain tar."""

    def commit(self, expected_diff: str = "", expected: str = "") -> tuple[str, int, str]:
        """Makes the layer durable; returns diff_id, size of the plain tar, and the digest of the compressed blob ("": none is kept).

        Raises Failed when the plain tar is not expected_diff, or what came is not expected.
        """


class PathWriter(Protocol):
    """Takes one blob that another process of this machine writes."""

    # An empty file of the store's.
    path: str

    def take(self, limit: int, seen: Callable[[memoryview], None] | None = None) -> tuple[str, int]:
        """Reads what was written there and makes it durable; returns digest and size. seen is given all bytes, piece by piece.

        Raises InvalidArgument above limit bytes, Failed.
        """


class Blobs(Protocol):
    """Content by digest. Digests given to it were checked to be digests."""

    def writer(self) -> AbstractContextManager[BlobWriter]:
        """Begins a blob, kept as it is; leaving the block without commit removes it."""

    def layer(self, compression: str, *, keep: bool, expected: str = "") -> AbstractContextManager[LayerWriter]:
        """Begins a layer that comes in this compression ("": plain); leaving the block without commit removes it.

        keep: the form it comes in is kept too. A store that keeps layers compressed keeps it anyway, or makes one. expected is that
        form's digest when it is known beforehand.
        """

    def by_path(self) -> AbstractContextManager[PathWriter] | None:
        """Begins a blob that another process writes; leaving the block without `take` removes it. None: not in this kind of store."""

    def has(self, digest: str) -> bool:
        """Tells whether the blob is there."""

    def size(self, digest: str) -> int:
        """Returns the bytes that `open` gives. Raises NotFound."""

    def open(self, digest: str, offset: int = 0) -> AbstractContextManager[BlobReader]:
        """Reads it from offset on (a layer: its plain tar). Raises NotFound."""

    def path(self, digest: str) -> str | None:
        """Returns where it lies as a file; None in a store without files. Raises NotFound."""

    def link(self, diff_id: str) -> Link | None:
        """Returns where a node of another machine gets a layer; None: only from this service. Raises NotFound."""

    def read(self, digest: str, limit: int) -> bytes:
        """Returns a small blob whole. Raises NotFound; Failed when it is larger than limit."""

    def remove(self, digest: str) -> int:
        """Removes it; returns the bytes freed, 0 when it was not there."""

    def all(self) -> Iterator[str]:
        """Yields every digest."""

    def listed(self) -> Iterator[Listed]:
        """Yields every blob with its size and age."""

    def tidy(self, before: float) -> None:
        """Removes what writers left that died before then (Unix seconds)."""


class Arrived(Protocol):
    """A file that holds a layer as it came; whole at `commit` of the layer."""

    path: str

    def sync(self) -> None:
        """Makes the content durable."""


@runtime_checkable
class TakesOver(Protocol):
    """A store that makes a file its own by renaming it: what came need not be written twice."""

    def taking_over(self, part: Arrived, compression: str, *, keep: bool) -> AbstractContextManager[LayerWriter]:
        """Begins a layer as Blobs.layer does. At commit the file at part.path, on the same file system and checked by the caller, becomes
        the compressed blob when it is kept, or the layer itself when it came plain; it stays where it is otherwise.
        """
