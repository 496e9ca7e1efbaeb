"""What the service tells the worker, and what it answers: one frame each, then bytes of a tar in one direction."""

import json
import os
import struct
from typing import Any, NamedTuple

from skerry.core import errors

LENGTH = struct.Struct("<I")
_LIMIT = 16 << 20


class Bind(NamedTuple):
    """A bind mount or volume that the container sees."""

    # Host path.
    source: str
    # Absolute in the container.
    target: str
    read_only: bool = False
    recursive: bool = True
    # What Docker's rules for cp know: not the files that the engine itself mounts.
    asked: bool = True


class Job(NamedTuple):
    """One copy. operation is stat, get or put."""

    operation: str
    # Mounted root file system, as the service sees it.
    rootfs: str
    # As the client named them, for texts.
    container: str
    path: str
    binds: tuple[Bind, ...] = ()
    read_only: bool = False
    # get: patterns below path that make the archive together; empty: path itself.
    members: tuple[str, ...] = ()
    # put: see PutArchiveOpen.
    no_overwrite_dir_non_dir: bool = False
    create_path: bool = False
    file_or_directory: bool = False
    owner: str = ""
    mode: int | None = None
    # Limits on what one archive may hold; the tar reader has its own on names and headers.
    most_bytes: int = 0


class Stat(NamedTuple):
    """See PathStat."""

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str = ""


class Head(NamedTuple):
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


def frame(message: Job | Head) -> bytes:
    """Returns a message with its length before it."""
    # Names may be no UTF-8: as ASCII, JSON carries what Python makes of them.
    body = json.dumps(message).encode("ascii")
    return LENGTH.pack(len(body)) + body


def head_of(body: bytes) -> Head:
    """Reads a head. Raises ValueError."""
    stat, error, text = _fields(body, 3)
    return Head(Stat(*stat) if stat is not None else None, error, text)


def read_job(fd: int) -> Job:
    """Reads a job from a pipe; blocks. Raises EOFError, ValueError."""
    (length,) = LENGTH.unpack(_exactly(fd, LENGTH.size))
    job = Job(*_fields(_exactly(fd, min(length, _LIMIT)), len(Job._fields)))
    return job._replace(binds=tuple(Bind(*bind) for bind in job.binds), members=tuple(job.members))


def _fields(body: bytes, count: int) -> list[Any]:
    fields = json.loads(body)
    if not isinstance(fields, list) or len(fields) != count:
        raise ValueError("not a message of this version")
    return fields


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
