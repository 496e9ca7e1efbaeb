"""Stores: where a container's accepted records lie. tests/contract/test_log_store.py is the definition of `Store`."""

from collections.abc import Iterator
from typing import Protocol

import msgspec


class Want(msgspec.Struct, frozen=True):
    """What a reader wants. Times in Unix nanoseconds, 0: not used. tail None: all."""

    stdout: bool = True
    stderr: bool = True
    since_ns: int = 0
    until_ns: int = 0
    tail: int | None = None
    timestamps: bool = False
    details: bool = False
    multiplexed: bool = True


class Cursor(Protocol):
    """One reader's place. Its methods block; they run on threads."""

    def read(self) -> bytes | None:
        """Returns framed records that are there now, at most about 256 KiB; b"" for none yet, None when no more will be wanted."""

    def close(self) -> None:
        """Lets the files go."""


class Store(Protocol):
    """One container's log. Its methods block; accept calls come one after the other."""

    @property
    def offset(self) -> int:
        """The spool offset up to which everything was accepted."""

    @property
    def ended(self) -> bool:
        """True when the last frame accepted was the end of a run."""

    def accept(self, offset: int, frames: bytes) -> None:
        """Takes a batch; frames below the store's own offset were taken before. Raises InvalidArgument for a gap; OSError."""

    def sync(self) -> None:
        """Makes what was accepted durable against a crash of the host."""

    def open_cursor(self, want: Want) -> Cursor:
        """Begins reading."""

    def close(self) -> None:
        """Lets the files go."""


def chunks(parts: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Joins parts to pieces of about size bytes."""
    batch: list[bytes] = []
    length = 0
    for part in parts:
        batch.append(part)
        length += len(part)
        if length >= size:
            yield b"".join(batch)
            batch, length = [], 0
    if batch:
        yield b"".join(batch)
