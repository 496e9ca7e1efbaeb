"""A container's changes: told (diff), made a layer of (commit), and the whole root as a tar (export)."""

import asyncio
import errno
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from skerry.api.images.v1 import images_pb2
from skerry.containers import stop
from skerry.containers.container import Container
from skerry.containers.layers import diff, produce
from skerry.containers.layers.pack import Packed
from skerry.containers.layers.upload import upload
from skerry.containers.state import Phase
from skerry.core import failpoints, process
from skerry.core.errors import Conflict, Failed, SkerryError, Unavailable
from skerry.core.ids import new_id

failpoints.declare("containers.commit", "opened", "paused", "written", "stored", "kept")

# With more entries than that a walk is a process's work; fewer are done in a thread before a process would have started.
_FEW = 400
_SECONDS = 4 * 3600
_READER_SECONDS = 10.0
_READER_PAUSE = 0.002
# Neither site nor runpy: it starts in a third of the time.
_COMMAND = (sys.executable, "-S", "-c", f"from {produce.__name__} import main; main()")
# Beside the container's files while it is paused for a commit: a restarted service thaws it.
_MARK = "commit.paused"


async def commit_layer(container: Container, image_store: str, holder: str, *, pause: bool) -> images_pb2.Layer | None:
    """Makes a layer of the container's changes and stores it, kept for holder; None when there are none.

    Raises Conflict (dead, or being removed), Unavailable (the store is away), Failed.
    """
    refuse_gone(container, "commit")
    layers, directory = container.environment.layers, container.directory
    layers.stores.add(image_store)
    under = container.record.layer_messages()
    upper = f"{directory}/upper"
    if not os.path.isdir(upper):
        return None  # never started
    async with layers.fresh() as fresh, upload(image_store, layers.tls, holder, f"{fresh}/tar") as one:
        await failpoints.reached("containers.commit.opened")
        async with layers.below(directory, under) as below, _paused(container, wanted=pause):
            await failpoints.reached("containers.commit.paused")
            packed, size, few = await _pack(upper, below, one.target)
        await failpoints.reached("containers.commit.written")
        if not packed.entries:
            return None
        await one.link()
        try:
            async with asyncio.TaskGroup() as group:
                storing = group.create_task(one.finish(size))
                # Meanwhile: the store reads and syncs what was written.
                indexing = group.create_task(layers.index(fresh, few=few))
        except BaseExceptionGroup as error:
            raise error.exceptions[0] from None
        await failpoints.reached("containers.commit.stored")
        layer = storing.result()
        await layers.keep(fresh, layer, indexing.result())
        _ = container.environment.tasks.spawn(layers.confirm(layer), f"confirm layer of {container.id[:12]}")
    await failpoints.reached("containers.commit.kept")
    return layer


def refuse_gone(container: Container, verb: str) -> None:
    """Raises Conflict for a container whose files are going or gone."""
    if container.state.phase is Phase.DEAD:
        raise Conflict(f"You cannot {verb} container {container.id} which is Dead")
    if container.state.phase is Phase.REMOVING:
        raise Conflict(f"You cannot {verb} container {container.id} which is being removed")


async def changes(container: Container) -> AsyncIterator[diff.Change]:
    """Yields what the container changed. Raises Failed."""
    layers, upper = container.environment.layers, f"{container.directory}/upper"
    if not os.path.isdir(upper):
        return
    async with layers.below(container.directory, container.record.layer_messages()) as below:
        if await asyncio.to_thread(_is_few, upper):
            try:
                found = await asyncio.to_thread(lambda: list(diff.diff(upper, below)))
            except OSError as error:
                raise Failed(f"cannot read the changes of container {container.id}: {error}") from error
            for change in found:
                yield change
            return
        left = b""
        async for piece in process.output([*_COMMAND, "diff", upper, below], timeout=_SECONDS, env=_environ()):
            *lines, left = (left + piece).split(b"\0")
            for line in lines:
                yield line[1:], diff.Kind(int(line[:1]))


async def export(container: Container) -> AsyncIterator[bytes]:
    """Yields the container's root file system as a tar, in pieces of at most 1 MiB. Raises Conflict, Failed."""
    async with _exporting(container) as root:
        async for piece in process.output([*_COMMAND, "root", root], timeout=_SECONDS, env=_environ()):
            yield piece


async def export_by_path(container: Container) -> AsyncIterator[str]:
    """Yields the path of a FIFO, once, then writes the tar into it for a reader on this machine. Raises Conflict, Unavailable, Failed."""
    async with _exporting(container) as root:
        path = f"{container.directory}/export-{new_id()[:8]}"
        os.mkfifo(path, 0o600)
        try:
            yield path
            fd = await _reader_of(path)
        finally:
            os.unlink(path)
        try:
            await process.run([*_COMMAND, "root", root], timeout=_SECONDS, env=_environ(), stdout=fd)
        finally:
            os.close(fd)


@asynccontextmanager
async def _exporting(container: Container) -> AsyncIterator[str]:
    refuse_gone(container, "export")
    await container.publish("export")
    async with container.environment.layers.rooted(container.directory, container.record.layer_messages()) as root:
        yield root


async def _reader_of(path: str) -> int:
    """Opens a FIFO for writing as soon as it has a reader. Raises Unavailable."""
    deadline = time.monotonic() + _READER_SECONDS
    while True:
        try:
            # O_NONBLOCK only means that there is an answer; the writer itself waits for room.
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise Failed(f"export: {error}") from error
            if time.monotonic() > deadline:
                raise Unavailable("export: nobody reads") from None
            await asyncio.sleep(_READER_PAUSE)
            continue
        os.set_blocking(fd, True)
        process.widen(fd)
        return fd


async def thaw(container: Container) -> None:
    """Undoes the pause of a commit, also of one that a killed service had begun. Nothing when there is none."""
    mark = f"{container.directory}/{_MARK}"
    if not os.path.exists(mark):
        return
    try:
        if container.state.phase is Phase.PAUSED:
            await stop.unpause(container)
        elif container.state.phase is Phase.RUNNING:
            await container.runtime.resume(container.id)  # killed before the record said so
    except SkerryError:
        pass  # it ended, or somebody else thawed it
    finally:
        os.unlink(mark)


@asynccontextmanager
async def _paused(container: Container, *, wanted: bool) -> AsyncIterator[None]:
    """Keeps a running container's processes frozen. As in Docker, one that does not run, or is paused, is left as it is."""
    if not wanted or container.state.phase is not Phase.RUNNING:
        yield
        return
    with open(f"{container.directory}/{_MARK}", "wb"):  # noqa: ASYNC230 - an empty file
        pass
    try:
        try:
            await container.environment.finish(stop.pause(container), f"pause {container.id[:12]}")
        except SkerryError:
            pass  # it has just ended
        yield
    finally:
        await container.environment.finish(thaw(container), f"thaw {container.id[:12]}")


async def _pack(upper: str, below: str, target: str) -> tuple[Packed, int, bool]:
    """Writes the layer; returns what went in, its size, and whether that was little work."""
    if await asyncio.to_thread(_is_few, upper):
        try:
            return *await asyncio.to_thread(produce.layer, upper, below, target), True
        except OSError as error:
            raise Failed(f"cannot make a layer: {error}") from error
    done = await process.run([*_COMMAND, "layer", upper, below, target], timeout=_SECONDS, env=_environ(), check=False)
    if done.status != 0:
        raise Failed(f"cannot make a layer: {done.last_line()}")
    entries, content, size = (int(word) for word in done.stdout.split())
    return Packed(entries, content), size, False


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def _is_few(directory: str) -> bool:
    """Tells whether there are so few entries below directory that a walk over them takes no time."""
    count = 0
    pending = [directory]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    count += 1
                    if count > _FEW:
                        return False
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError:
            continue  # removed by the container meanwhile
    return True
