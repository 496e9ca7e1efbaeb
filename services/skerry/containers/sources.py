"""What a container's mounts are bound from, found on the host at each start.

Mostly the runtime binds a host path itself. Where that path is not enough, a bind mount of the source is held below the container's
directory and the runtime binds that: a source in the host's mount namespace while containers live in another one (see outside.py), and
a volume's subpath, which is opened once, below the volume's root, and cannot be swapped afterwards.
"""

import asyncio
import os
import stat
from collections.abc import Iterable, Sequence

import msgspec

from skerry.containers import mounts
from skerry.containers.container import Container
from skerry.containers.inside import open_beneath
from skerry.containers.layers.mounts import mounted, unmount_all
from skerry.containers.record import Volume
from skerry.core import linux
from skerry.core.errors import Failed, InvalidArgument, NotFound

_PATH = os.O_PATH | os.O_CLOEXEC
_SHARING = ("shared", "rshared", "slave", "rslave")


async def prepare(container: Container, *, tell: bool) -> None:
    """Makes what the container's mounts need on the host; tell: a run begins, which publishes the volumes' mount events.

    Raises InvalidArgument and NotFound (a source that must be there), Failed.
    """
    asked, environment = container.record.mounts, container.environment
    if not asked:
        return
    created = frozenset(mount.target for mount in container.spec.mounts if mount.type == "bind" and mount.create_source)
    await environment.outside.there(mounts.make_sources, asked, created)
    await environment.outside.there(mounts.check_propagation, asked, environment.root)
    await environment.volumes.mount(container.id, asked, tell=tell)
    for index, mount in enumerate(asked):
        if _held(container, mount):
            await _hold(container, mount, index)


async def release(container: Container) -> None:
    """Gives up what `prepare` holds, but not the volumes. Idempotent."""
    if container.record.mounts:
        places = [_place(container, index) for index in range(len(container.record.mounts))]
        await asyncio.to_thread(_release, f"{container.directory}/binds", places)


def effective(container: Container) -> tuple[Volume, ...]:
    """Returns the mounts with the paths that they are bound from now."""
    return tuple(_effective(container, mount, index) for index, mount in enumerate(container.record.mounts))


def _effective(container: Container, mount: Volume, index: int) -> Volume:
    place = _place(container, index)
    # A container that an older version started has nothing there.
    source = place if _held(container, mount) and os.path.lexists(place) else container.environment.volumes.source(container.id, mount)
    return msgspec.structs.replace(mount, source=source)


def _held(container: Container, mount: Volume) -> bool:
    return bool(mount.subpath) or (container.environment.outside.apart and (mount.type == "bind" or mount.by_plugin))


def _place(container: Container, index: int) -> str:
    return f"{container.directory}/binds/{index}"


async def _hold(container: Container, mount: Volume, index: int) -> None:
    environment = container.environment
    source, place = environment.volumes.source(container.id, mount), _place(container, index)
    # Local volumes are mounted here.
    work = environment.outside.there if mount.type == "bind" or mount.by_plugin else asyncio.to_thread
    pieces = await work(_clone, source, mount.subpath, not mount.non_recursive)
    try:
        await asyncio.to_thread(_attach, pieces, place, mount.propagation not in _SHARING)
    finally:
        for _, fd in pieces:
            os.close(fd)


def _clone(source: str, subpath: str, recursive: bool) -> list[tuple[str, int]]:
    """Returns bind mounts not attached yet, and where below the first one the others belong."""
    fd = _open(source, subpath)
    pieces: list[tuple[str, int]] = []
    try:
        # A tree with a mount namespace in it cannot be carried into that namespace as a whole.
        apart = _inner_mounts(fd) if recursive else None
        pieces.append(("", linux.clone_mount(fd, recursive=recursive and apart is None)))
        for path, inside in apart or ():
            _add_piece(pieces, path, inside)
    except OSError as error:
        for _, piece in pieces:
            os.close(piece)
        raise Failed(f"error while mounting '{source}': {(error.strerror or '').lower()}") from None
    finally:
        os.close(fd)
    return pieces


def _inner_mounts(fd: int) -> list[tuple[str, str]] | None:
    """Returns what is mounted below fd, outermost first, with the place below it; None when nothing stands against taking all at once."""
    top = os.readlink(f"/proc/self/fd/{fd}")
    below = [point for point in mounted(top) if point.path != top]
    if not any(point.kind == "nsfs" for point in below):
        return None
    return [(point.path, point.path[len(top) :].lstrip("/")) for point in below if point.kind != "nsfs"]


def _add_piece(pieces: list[tuple[str, int]], path: str, inside: str) -> None:
    try:
        fd = os.open(path, _PATH)
    except OSError:
        return  # unmounted meanwhile, or hidden below another mount
    try:
        pieces.append((inside, linux.clone_mount(fd, recursive=False)))
    finally:
        os.close(fd)


def _open(source: str, subpath: str) -> int:
    try:
        base = os.open(source, _PATH)
    except OSError as error:
        raise InvalidArgument(f'invalid mount config for type "bind": stat {source}: {(error.strerror or "").lower()}') from None
    if not subpath:
        return base
    try:
        return open_beneath(base, subpath, _PATH)
    except FileNotFoundError as error:
        raise NotFound(f"cannot access path {source}/{subpath}: lstat {source}/{subpath}: {(error.strerror or '').lower()}") from None
    except OSError:
        # EXDEV: a link or ".." led out. ELOOP: a magic link, or links without end.
        raise InvalidArgument(f"path concatenation escapes the base directory, base: {source}, subpath: {subpath}") from None
    finally:
        os.close(base)


def _attach(pieces: Sequence[tuple[str, int]], place: str, private: bool) -> None:
    _release(os.path.dirname(place), [place])
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    if stat.S_ISDIR(os.fstat(pieces[0][1]).st_mode):
        os.mkdir(place, 0o700)
    else:
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        for inside, fd in pieces:
            linux.attach_mount(fd, f"{place}/{inside}" if inside else place)
        if private:
            linux.mount("none", place, flags=linux.MS_REC | linux.MS_PRIVATE)
    except OSError as error:
        raise Failed(f"error while mounting at '{place}': {(error.strerror or '').lower()}") from None


def _release(directory: str, places: Iterable[str]) -> None:
    if not os.path.isdir(directory):
        return
    for place in places:
        if not os.path.lexists(place):
            continue
        try:
            # Else the unmounting of what is mounted below would be told to the host's own mounts, and unmount them.
            linux.mount("none", place, flags=linux.MS_REC | linux.MS_PRIVATE)
        except OSError:
            pass  # nothing is mounted there
        unmount_all(place)
        if os.path.isdir(place):
            os.rmdir(place)
        else:
            os.unlink(place)
