"""Stores: where a container's accepted records lie. tests/contract/test_log_store.py is the definition of `Store`."""

from typing import Literal, Protocol

import msgspec

# When accepted records are made durable against a crash of the host.
Sync = Literal["off", "interval", "batch"]


class Accepted(msgspec.Struct, frozen=True):
    """What a batch brought: records written, and lines that the node had dropped before."""

    records: int
    dropped: int


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

    def accept(self, offset: int, batch: bytes) -> Accepted:
        """Takes whole frames, all or none of them; those below the store's own offset were taken before.

        Raises InvalidArgument for a gap or a damaged frame; OSError. With the policy `batch` they are durable on return.
        """

    def sync(self) -> None:
        """Makes what was accepted durable against a crash of the host."""

    def rest(self) -> None:
        """Lets descriptors go until the next accept; for containers that ended."""

    def open_cursor(self, want: Want) -> Cursor:
        """Begins reading. Raises NotSupported."""

    def close(self) -> None:
        """Lets the files go."""
