"""The blob store: content under its digest, whole or not there. tests/contract/test_blob_store.py is its definition."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class BlobWriter(Protocol):
    """Takes one blob. All methods block; they run on threads."""

    def write(self, data: bytes | memoryview) -> None:
        """Appends and hashes."""

    def commit(self, expected: str = "") -> tuple[str, int]:
        """Makes the blob durable under its digest; returns digest and size. Raises Failed when it is not `expected`."""


class PathWriter(Protocol):
    """Takes one blob that another process of this machine writes."""

    # An empty file of the store's.
    path: str

    def take(self, limit: int) -> tuple[str, int]:
        """Reads what was written there and makes it durable; returns digest and size. Raises InvalidArgument above limit bytes, Failed."""


class Blobs(Protocol):
    """Content-addressed files. Digests given to it were checked to be digests."""

    def writer(self) -> AbstractContextManager[BlobWriter]:
        """Begins a blob; leaving the block without commit removes it."""

    def by_path(self) -> AbstractContextManager[PathWriter] | None:
        """Begins a blob that another process writes; leaving the block without `take` removes it. None: not in this kind of store."""

    def has(self, digest: str) -> bool:
        """Tells whether the blob is there."""

    def size(self, digest: str) -> int:
        """Returns its size in bytes. Raises NotFound."""

    def path(self, digest: str) -> str:
        """Returns where it lies as a file. Raises NotFound."""

    def read(self, digest: str, limit: int) -> bytes:
        """Returns a small blob whole. Raises NotFound; Failed when it is larger than limit."""

    def remove(self, digest: str) -> int:
        """Removes it; returns the bytes freed, 0 when it was not there."""

    def all(self) -> Iterator[str]:
        """Yields every digest."""
