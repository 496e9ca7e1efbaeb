"""Layers under way: one layer is fetched once however many pulls want it, and only as long as one of them does."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, InvalidArgument, SkerryError
from skerry.core.ids import short
from skerry.core.lifecycle import Tasks
from skerry.images.blobs import Blobs
from skerry.images.ingest import Ingest, Part
from skerry.images.layers import Stored, take
from skerry.images.manifest import Descriptor
from skerry.images.registry.repository import Repository
from skerry.images.streams import Streams

Tell = Callable[[pb.Progress], None]
_PROGRESS_SECONDS = 0.1
_PIECE = 1 << 20
# The registry client has its own, shorter timeouts.
_IDLE_SECONDS = 600.0


class _Fetch:
    """One layer on its way, and the pulls that watch it."""

    def __init__(self) -> None:
        self.task: asyncio.Task[Stored | SkerryError]
        self.watchers: list[Tell] = []

    def tell(self, progress: pb.Progress) -> None:
        for watcher in self.watchers:
            watcher(progress)


class Fetches:
    """Fetches layers, `parallel` at once."""

    def __init__(
        self,
        blobs: Blobs,
        streams: Streams,
        tasks: Tasks,
        ingest: Ingest,
        *,
        parallel: int,
        keep_compressed: bool,
        layer_bytes: int,
        layer_ratio: float,
    ) -> None:
        self._ingest = ingest
        self._blobs = blobs
        self._streams = streams
        self._tasks = tasks
        self._keep = keep_compressed
        self._limit = layer_bytes
        self._ratio = layer_ratio
        self._slots = asyncio.Semaphore(parallel)
        self._under_way: dict[tuple[str, str], _Fetch] = {}

    async def layer(self, repository: Repository, descriptor: Descriptor, diff_id: str, tell: Tell) -> Stored:
        """Returns the layer, fetched from repository unless it is here or on its way. Raises as Repository.blob and `take`."""
        name = short(descriptor.digest)
        while True:
            if (stored := await asyncio.to_thread(self._stored, descriptor, diff_id)) is not None:
                return stored
            key = (descriptor.digest, diff_id)
            own = key not in self._under_way
            if own:
                self._under_way[key] = self._start(key, repository, descriptor)
            else:
                tell(pb.Progress(id=name, status="Waiting"))
            outcome = await self._watch(key, self._under_way[key], tell)
            if isinstance(outcome, Stored):
                tell(pb.Progress(id=name, status="Pull complete"))
                return outcome
            if own:
                raise outcome
            # Another pull's registry failed: ours may not.

    def _stored(self, descriptor: Descriptor, diff_id: str) -> Stored | None:
        if not self._blobs.has(diff_id):
            return None
        kept = descriptor.digest if descriptor.digest != diff_id and self._blobs.has(descriptor.digest) else ""
        return Stored(diff_id, self._blobs.size(diff_id), kept)

    def _start(self, key: tuple[str, str], repository: Repository, descriptor: Descriptor) -> _Fetch:
        fetch = _Fetch()

        async def outcome() -> Stored | SkerryError:
            try:
                async with self._slots:
                    return await self._fetch(repository, descriptor, key[1], fetch.tell)
            except SkerryError as error:
                return error
            finally:
                if self._under_way.get(key) is fetch:
                    del self._under_way[key]

        fetch.task = self._tasks.spawn(outcome(), f"fetch {short(descriptor.digest)}")
        return fetch

    async def _watch(self, key: tuple[str, str], fetch: _Fetch, tell: Tell) -> Stored | SkerryError:
        fetch.watchers.append(tell)
        try:
            return await asyncio.shield(fetch.task)
        finally:
            fetch.watchers.remove(tell)
            if not fetch.watchers and not fetch.task.done():
                # Nobody wants it any more. A pull that comes now begins anew.
                if self._under_way.get(key) is fetch:
                    del self._under_way[key]
                fetch.task.cancel()
                await asyncio.wait({fetch.task})

    async def _fetch(self, repository: Repository, descriptor: Descriptor, diff_id: str, tell: Tell) -> Stored:
        async with self._ingest.part(descriptor.digest, descriptor.size) as part:
            resumed = part.begin > 0
            try:
                return await self._take(repository, descriptor, diff_id, part, tell)
            except (Failed, InvalidArgument):
                if not (resumed and part.unwanted):
                    raise
            # What lay here may have been at fault, after a power cut for one: once more, all of it.
            await asyncio.to_thread(part.restart)
            return await self._take(repository, descriptor, diff_id, part, tell)

    async def _take(self, repository: Repository, descriptor: Descriptor, diff_id: str, part: Part, tell: Tell) -> Stored:
        return await self._streams.read(
            _chunks(repository, descriptor, part, tell),
            lambda source: take(
                source,
                self._blobs,
                keep_compressed=self._keep,
                limit=self._limit,
                ratio=self._ratio,
                expected_diff=diff_id,
                expected=descriptor.digest,
                part=part,
            ),
            idle=_IDLE_SECONDS,
        )


async def _chunks(repository: Repository, descriptor: Descriptor, part: Part, tell: Tell) -> AsyncIterator[bytes]:
    """Yields a layer's bytes, first those that an earlier fetch left, then the registry's."""
    name, done = short(descriptor.digest), 0

    def retrying(pause: float) -> None:
        seconds = max(1, round(pause))
        tell(pb.Progress(id=name, status=f"Retrying in {seconds} second{'s' if seconds > 1 else ''}"))

    while data := await asyncio.to_thread(part.read, done, _PIECE):
        done += len(data)
        yield data
    shown = 0.0
    async for chunk in repository.blob(descriptor.digest, descriptor.size, done, descriptor.foreign_urls(), retrying):
        done += len(chunk)
        if (now := time.monotonic()) - shown > _PROGRESS_SECONDS:
            shown = now
            tell(pb.Progress(id=name, status="Downloading", current=done, total=descriptor.size))
        yield chunk
    tell(pb.Progress(id=name, status="Verifying Checksum"))
    tell(pb.Progress(id=name, status="Download complete"))
    tell(pb.Progress(id=name, status="Extracting", current=done, total=descriptor.size))
