"""Taking images in: pull, load, import. One layer is fetched once however many want it; what is under way is safe from the collector."""

import asyncio
import contextlib
import logging
import platform as host
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, BinaryIO, TypeVar, cast

import aiohttp
import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, InvalidArgument, NotFound, NotSupported, SkerryError
from skerry.core.ids import short
from skerry.core.lifecycle import Tasks
from skerry.images import changes, library, manifest
from skerry.images import config as configs
from skerry.images.archive.load import Archive
from skerry.images.blobs import Blobs
from skerry.images.catalog import Catalog, Entry, ImageRecord, LayerRecord
from skerry.images.layers import Stored, take
from skerry.images.pipe import Pipe
from skerry.images.reference import Reference, parse
from skerry.images.registry.client import Credentials, Repository, endpoints

T = TypeVar("T")
Tell = Callable[[pb.Progress], None]
_log = logging.getLogger(__name__)
_PROGRESS_SECONDS = 0.1
# How long the rest of a refused upload is read.
DRAIN_SECONDS = 30.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


class Limits(msgspec.Struct, frozen=True):
    """How much a client may make us store, and how."""

    layer_bytes: int
    keep_compressed: bool
    parallel_layers: int
    mirrors: list[str]
    insecure: list[str]


class ImportPlan(msgspec.Struct, frozen=True):
    """What an import will make: full names, platform, configuration, comment."""

    names: list[str]
    platform: manifest.Platform
    config: dict[str, Any]
    message: str


def own_platform() -> manifest.Platform:
    """Returns the platform of this machine in Docker's words."""
    machine = host.machine()
    return manifest.Platform("linux", _ARCHITECTURES.get(machine, machine))


class Intake:
    """Stores what comes from registries and archives."""

    def __init__(self, catalog: Catalog, blobs: Blobs, session: aiohttp.ClientSession, limits: Limits, tasks: Tasks) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._session = session
        self._limits = limits
        self._tasks = tasks
        self._fetches: dict[str, asyncio.Task[Stored]] = {}
        self._slots = asyncio.Semaphore(limits.parallel_layers)
        # Taken shared by intakes (a count) and whole by the collector.
        self._intakes = 0
        self._collecting = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def _taking(self) -> AsyncIterator[None]:
        async with self._collecting:
            self._intakes += 1
        try:
            yield
        finally:
            self._intakes -= 1

    async def collect(self) -> int:
        """Removes blobs that no image needs; returns bytes freed. Does nothing while anything is being taken in."""
        async with self._collecting:
            if self._intakes:
                return 0
            used = await self._catalog.blobs_in_use()

            def sweep() -> int:
                return sum(self._blobs.remove(digest) for digest in list(self._blobs.all()) if digest not in used)

            return await asyncio.to_thread(sweep)

    async def pull(self, request: pb.PullRequest, tell: Tell) -> Entry:
        """Fetches an image. Raises InvalidArgument, NotFound, Failed, Unavailable in Docker's words."""
        if request.all_tags:
            raise NotSupported("pulling all tags of a repository is not supported yet")
        reference = parse(request.reference).with_default_tag()
        auth = request.auth
        user = Credentials(auth.username, auth.password, auth.identity_token, auth.registry_token)
        async with self._taking():
            return await self._from_any(reference, request.platform, user, tell)

    async def _from_any(self, reference: Reference, platform: str, user: Credentials, tell: Tell) -> Entry:
        wanted = manifest.parse_platform(platform, own_platform())
        last: SkerryError = Failed(f"no registry for {reference.familiar}")
        for endpoint in endpoints(reference.domain, self._limits.mirrors, self._limits.insecure):
            repository = Repository(self._session, reference, endpoint, Credentials() if endpoint.mirror else user)
            try:
                found = await repository.manifest(reference.digest or reference.tag)
            except SkerryError as error:
                last = error
                continue
            return await self._from(repository, reference, wanted, found, tell)
        raise last

    async def _from(
        self, repository: Repository, reference: Reference, wanted: manifest.Platform, found: tuple[bytes, str, str], tell: Tell
    ) -> Entry:
        data, media_type, top_digest = found
        tell(pb.Progress(id=reference.tag or reference.digest, status=f"Pulling from {reference.path}"))
        document = manifest.decode(data, media_type)
        if isinstance(document, manifest.Index):
            chosen = manifest.choose(document, wanted, reference.familiar)
            inner, inner_type, _ = await repository.manifest(chosen.digest)
            document = manifest.decode(inner, inner_type or chosen.media_type)
            if isinstance(document, manifest.Index):
                raise InvalidArgument("manifest list within a manifest list")
            await self._store_document(data)
            data = inner
        config = await repository.small_blob(document.config.digest)
        image = configs.decode(config)
        diff_ids = image.rootfs.diff_ids if image.rootfs else []
        if len(diff_ids) != len(document.layers):
            raise Failed(f"image config has {len(diff_ids)} layers, its manifest {len(document.layers)}")
        layers = await self._layers(repository, list(zip(document.layers, diff_ids, strict=True)), tell)
        await self._store_document(data)
        names = [library.full_name(reference)] if reference.tag else []
        entry, fresh = await self._add(config, layers, names, [f"{reference.repository}@{top_digest}"], "pull", reference.familiar)
        tell(pb.Progress(status=f"Digest: {top_digest}"))
        status = "Downloaded newer image for" if fresh else "Image is up to date for"
        tell(pb.Progress(status=f"Status: {status} {reference.familiar}"))
        return entry

    async def _store_document(self, data: bytes) -> None:
        def write() -> None:
            with self._blobs.writer() as out:
                out.write(data)
                out.commit()

        await asyncio.to_thread(write)

    async def _layers(self, repository: Repository, wanted: list[tuple[manifest.Descriptor, str]], tell: Tell) -> list[Stored]:
        for descriptor, diff_id in wanted:
            known = await asyncio.to_thread(self._blobs.has, diff_id)
            tell(pb.Progress(id=short(descriptor.digest), status="Already exists" if known else "Pulling fs layer"))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._layer(repository, descriptor, diff_id, tell)) for descriptor, diff_id in wanted]
        return [task.result() for task in tasks]

    async def _layer(self, repository: Repository, descriptor: manifest.Descriptor, diff_id: str, tell: Tell) -> Stored:
        if await asyncio.to_thread(self._blobs.has, diff_id):
            size = await asyncio.to_thread(self._blobs.size, diff_id)
            kept = descriptor.digest if await asyncio.to_thread(self._blobs.has, descriptor.digest) else ""
            return Stored(diff_id, size, "" if kept == diff_id else kept)
        fetch = self._fetches.get(diff_id)
        if fetch is None or fetch.done():
            fetch = self._tasks.spawn(self._fetch(repository, descriptor, diff_id, tell), f"fetch {short(diff_id)}")
            self._fetches[diff_id] = fetch
            fetch.add_done_callback(lambda done: self._forget(diff_id, done))
        else:
            tell(pb.Progress(id=short(descriptor.digest), status="Waiting"))
        # Another pull may have begun it: a pull that is cancelled does not end what others wait for.
        stored = await asyncio.shield(fetch)
        tell(pb.Progress(id=short(descriptor.digest), status="Pull complete"))
        return stored

    def _forget(self, diff_id: str, done: "asyncio.Task[Stored]") -> None:
        if self._fetches.get(diff_id) is done:
            del self._fetches[diff_id]

    async def _fetch(self, repository: Repository, descriptor: manifest.Descriptor, diff_id: str, tell: Tell) -> Stored:
        name = short(descriptor.digest)
        async with self._taking(), self._slots:
            shown, done = 0.0, 0

            async def chunks() -> AsyncIterator[bytes]:
                nonlocal shown, done
                async for chunk in repository.blob(descriptor.digest, descriptor.size):
                    done += len(chunk)
                    if (now := time.monotonic()) - shown > _PROGRESS_SECONDS:
                        shown = now
                        tell(pb.Progress(id=name, status="Downloading", current=done, total=descriptor.size))
                    yield chunk
                tell(pb.Progress(id=name, status="Verifying Checksum"))
                tell(pb.Progress(id=name, status="Download complete"))
                tell(pb.Progress(id=name, status="Extracting", current=done, total=descriptor.size))

            return await through_thread(
                chunks(),
                lambda source: take(
                    source,
                    self._blobs,
                    keep_compressed=self._limits.keep_compressed,
                    limit=self._limits.layer_bytes,
                    expected_diff=diff_id,
                    expected=descriptor.digest,
                ),
            )

    async def load(self, chunks: AsyncIterator[bytes]) -> list[tuple[Entry, list[str]]]:
        """Stores the images of an archive; returns each with the familiar names it was given. Raises InvalidArgument."""
        archive = Archive(self._blobs, keep_compressed=self._limits.keep_compressed, limit=self._limits.layer_bytes)
        async with self._taking():
            await through_thread(chunks, archive.read)
            result = []
            for found in archive.images():
                if found.manifest:
                    await self._store_document(found.manifest)
                entry, _ = await self._add(found.config, found.layers, found.names, [], "load", "")
                result.append((entry, [library.familiar(name) for name in found.names]))
            return result

    def plan_import(self, header: pb.ImportHeader) -> "ImportPlan":
        """Checks what an import shall make. Raises InvalidArgument before anything is read."""
        names = []
        if header.name:
            reference = parse(header.name)
            if reference.digest:
                raise InvalidArgument("cannot import digest reference")
            names = [library.full_name(reference)]
        wanted = manifest.parse_platform(header.platform, own_platform())
        config = changes.applied({}, list(header.changes))
        return ImportPlan(names, wanted, config, header.message or "Imported from -")

    async def import_(self, plan: "ImportPlan", chunks: AsyncIterator[bytes]) -> Entry:
        """Makes a one-layer image of a root file system. Raises InvalidArgument."""
        async with self._taking():
            stored = await through_thread(
                chunks, lambda source: take(source, self._blobs, keep_compressed=False, limit=self._limits.layer_bytes)
            )
            document: dict[str, Any] = {
                "architecture": plan.platform.architecture,
                "comment": plan.message,
                "config": plan.config,
                "container_config": {},
                "created": configs.format_time(time.time_ns()),
                "history": [{"created": configs.format_time(time.time_ns()), "comment": plan.message}],
                "os": plan.platform.os,
                "rootfs": {"type": "layers", "diff_ids": [stored.diff_id]},
            }
            entry, _ = await self._add(msgspec.json.encode(document), [stored], plan.names, [], "import", "")
            return entry

    async def _add(
        self, config: bytes, layers: list[Stored], names: list[str], digests: list[str], action: str, name: str
    ) -> tuple[Entry, bool]:
        document = configs.decode(config)
        image_id = manifest.digest_of(config)
        record = ImageRecord(
            image_id,
            config,
            tuple(LayerRecord(layer.diff_id, layer.size, layer.compressed) for layer in layers),
            configs.parse_time(document.created),
            stored_ns=time.time_ns(),
        )
        fresh = await self._is_fresh(image_id, names)
        actor = name or image_id
        said = library.event(action, actor, None, name or image_id)
        await self._catalog.add(record, names, digests, [said])
        return await self._catalog.get(image_id), fresh

    async def _is_fresh(self, image_id: str, names: list[str]) -> bool:
        try:
            entry = await self._catalog.get(image_id)
        except NotFound:
            return True
        return any(name not in entry.names.tags for name in names)


async def through_thread(chunks: AsyncIterator[bytes], work: Callable[[BinaryIO], T]) -> T:
    """Feeds chunks to work, which reads them on a thread. An error on either side ends both; the reader's own error rises first."""
    pipe = Pipe()

    def body() -> T:
        try:
            return work(cast("BinaryIO", pipe))
        finally:
            pipe.abandon()

    async def feed() -> None:
        try:
            async for chunk in chunks:
                await pipe.put(chunk)
        except BaseException as error:
            # A cancelled feed must not reach the thread as CancelledError: that is the loop's own business.
            pipe.finish(error if isinstance(error, Exception) else EOFError("cancelled"))
            raise
        pipe.finish()

    reading = asyncio.ensure_future(asyncio.to_thread(body))
    feeding = asyncio.ensure_future(feed())
    try:
        return await asyncio.shield(reading)
    except Exception:
        # A client that still writes when its call ends loses the error (grpc.aio): the rest is read and dropped.
        await asyncio.wait({feeding}, timeout=DRAIN_SECONDS)
        raise
    finally:
        feeding.cancel()
        pipe.finish(EOFError("cancelled"))
        await asyncio.wait({reading, feeding})
        _mark_retrieved(reading, feeding)


def _mark_retrieved(*futures: "asyncio.Future[Any]") -> None:
    for one in futures:
        if not one.cancelled():
            one.exception()


def unwrapped(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Returns the first error of a failed group of layer tasks: what the user is told."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
