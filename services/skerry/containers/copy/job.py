"""What the service tells the worker, and what it answers: one frame each, then bytes of a tar in one direction."""

import os
import struct
from typing import TypeVar

import msgspec

from skerry.core import errors

T = TypeVar("T", bound=msgspec.Struct)

LENGTH = struct.Struct("<I")
_LIMIT = 16 << 20


class Bind(msgspec.Struct, frozen=True, omit_defaults=True):
    """A bind mount or volume that the container sees."""

    # Host path.
    source: str
    # Absolute in the container.
    target: str
    read_only: bool = False
    recursive: bool = True
    # What Docker's rules for cp know: not the files that the engine itself mounts.
    asked: bool = True


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One copy. operation is stat, get or put."""

    operation: str
    # Mounted root file system, as the service sees it.
    rootfs: str
    binds: tuple[Bind, ...] = ()
    read_only: bool = False
    # As the client named them, for texts.
    container: str
    path: str
    # get: patterns below path that make the archive together; empty: path itself.
    members: tuple[str, ...] = ()
    # put: see PutArchiveOpen.
    no_overwrite_dir_non_dir: bool = False
    create_path: bool = False
    owner: str = ""
    mode: int | None = None
    # Limits on what one archive may hold; the tar reader has its own on names and headers.
    most_bytes: int = 0


class Stat(msgspec.Struct, frozen=True):
    """See PathStat."""

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str = ""


class Head(msgspec.Struct, frozen=True, omit_defaults=True):
    """The worker's first words: it found the path (stat and get describe it), or an error."""

    stat: Stat | None = None
    error: str = ""
    text: str = ""


class Gone(Exception):
    """The root file system was unmounted between the service's look and the worker's."""


def failure(error: BaseException) -> Head:
    """Returns an error as words."""
    if isinstance(error, OSError):
        where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        return Head(error="Failed", text=f"{where}: {_strerror(error)}" if where else _strerror(error))
    return Head(error=type(error).__name__, text=str(error))


def raised(head: Head) -> Exception:
    """Returns the error that words stand for."""
    if head.error == Gone.__name__:
        return Gone(head.text)
    kind = getattr(errors, head.error, None)
    if isinstance(kind, type) and issubclass(kind, errors.SkerryError):
        return kind(head.text)
    return errors.Failed(f"{head.error}: {head.text}")


def frame(message: msgspec.Struct) -> bytes:
    """Returns a message with its length before it."""
    body = msgspec.json.encode(message)
    return LENGTH.pack(len(body)) + body


def read_frame(fd: int, kind: type[T]) -> T:
    """Reads a message from a pipe; blocks. Raises EOFError, msgspec.ValidationError."""
    (length,) = LENGTH.unpack(_exactly(fd, LENGTH.size))
    return msgspec.json.decode(_exactly(fd, min(length, _LIMIT)), type=kind)


def _exactly(fd: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = os.read(fd, length - len(data))
        if not more:
            raise EOFError("the pipe ended")
        data += more
    return data


def _strerror(error: OSError) -> str:
    # As Go writes them, and thus Docker.
    return (error.strerror or str(error)).lower()
