"""What `docker diff` shows: the container's root compared with its image's, by looking at the overlay's upper directory only.

The rules are dockerd's (pkg/archive/changes.go): a directory has changed when its mode or owner did or when something in it did, a file
when its size or modification time did, too. A directory that is gone is told once, not by what was in it.
"""

import os
import stat
from collections.abc import Iterator
from enum import IntEnum

from skerry.containers.layers.upper import (
    DIRECTORY,
    OPAQUE,
    Place,
    attributes,
    descent,
    enter,
    furniture_missing,
    is_whiteout,
    refuse_elsewhere,
    untouched,
)

_CAPABILITY = "security.capability"


class Kind(IntEnum):
    """Docker's numbers."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


Change = tuple[bytes, Kind]


def diff(upper: str, below: str) -> Iterator[Change]:
    """Yields absolute paths with what became of them, in the order of a walk. below is the root of the layers under upper.

    Blocks. Raises Failed, OSError.
    """
    with descent() as places:
        lower = os.open(below, DIRECTORY)
        try:
            furniture = furniture_missing(lower)
            place = enter(os.open(upper, DIRECTORY), b"")
        except BaseException:
            os.close(lower)
            raise
        place.below = lower
        places.append(place)
        differ = _Differ(places, furniture)
        while places:
            place = places[-1]
            if place.names:
                yield from differ.look(place, place.names.pop())
            else:
                places.pop().close()


class _Differ:
    def __init__(self, places: list[Place], furniture: frozenset[bytes]) -> None:
        self._places = places
        self._furniture = furniture

    def look(self, place: Place, name: bytes) -> Iterator[Change]:
        path = place.child(name)
        old = _status(name, place.below)
        new = _status(name, place.fd)
        if new is None or is_whiteout(new):
            if old is not None and (new is not None or place.opaque):
                yield from self._told(path, Kind.DELETED)
            return
        if stat.S_ISDIR(new.st_mode):
            yield from self._directory(place, name, new, old)
        elif old is None:
            if not untouched(path, new, self._furniture):
                yield from self._told(path, Kind.ADDED)
        elif _differs(old, new) or _capability(place.fd, name) != _capability(place.below, name):
            yield from self._told(path, Kind.MODIFIED)

    def _directory(self, above: Place, name: bytes, new: os.stat_result, old: os.stat_result | None) -> Iterator[Change]:
        path = above.child(name)
        try:
            inner = enter(os.open(name, DIRECTORY, dir_fd=above.fd), path)
        except (FileNotFoundError, NotADirectoryError):
            return  # replaced meanwhile by a container that runs
        self._places.append(inner)
        found = attributes(inner.fd)
        refuse_elsewhere(found, path)
        if old is not None and stat.S_ISDIR(old.st_mode):
            inner.below = os.open(name, DIRECTORY, dir_fd=above.below)
            inner.opaque = above.opaque or found.get(OPAQUE) == b"y"
            if inner.opaque:
                # What was there and does not show through any more is gone.
                inner.names = sorted({*inner.names, *map(os.fsencode, os.listdir(inner.below))}, reverse=True)
        if old is None and not untouched(path, new, self._furniture):
            yield from self._told(path, Kind.ADDED)
        elif old is not None and _differs(old, new):
            yield from self._told(path, Kind.MODIFIED)
        else:
            inner.pending = True

    def _told(self, path: bytes, kind: Kind) -> Iterator[Change]:
        for place in self._places:
            if place.pending:
                place.pending = False
                yield b"/" + place.path, Kind.MODIFIED
        yield b"/" + path, kind


def _status(name: bytes, directory: int) -> os.stat_result | None:
    if directory < 0:
        return None
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _differs(old: os.stat_result, new: os.stat_result) -> bool:
    if (old.st_mode, old.st_uid, old.st_gid, old.st_rdev) != (new.st_mode, new.st_uid, new.st_gid, new.st_rdev):
        return True
    return not stat.S_ISDIR(new.st_mode) and (old.st_size != new.st_size or not _same_time(old.st_mtime_ns, new.st_mtime_ns))


def _same_time(one: int, other: int) -> bool:
    """Times of layers are often in whole seconds: then only these count."""
    return one == other or (one // 10**9 == other // 10**9 and 0 in (one % 10**9, other % 10**9))


def _capability(directory: int, name: bytes) -> bytes:
    return attributes(b"/proc/self/fd/%d/%s" % (directory, name)).get(_CAPABILITY, b"")
