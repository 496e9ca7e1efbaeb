"""Pulling images: which registry is asked, what is fetched, what the user is told, all or nothing."""

import asyncio
from collections.abc import Callable

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, InvalidArgument, NotFound, SkerryError, Unauthorized
from skerry.core.ids import short
from skerry.images import config as configs
from skerry.images import library, manifest
from skerry.images.blobs import Blobs
from skerry.images.catalog import Catalog, Entry, Form, PushRecords
from skerry.images.collector import Collector
from skerry.images.fetches import Fetches, Tell
from skerry.images.ingest import Ingest
from skerry.images.layers import Stored
from skerry.images.platforms import choose, own_platform, parse_platform
from skerry.images.reference import Reference, parse
from skerry.images.registry.reach import Registries
from skerry.images.registry.repository import Repository
from skerry.images.storing import Incoming, Storing

_SCHEMA1 = (
    "[DEPRECATION NOTICE] Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the "
    "author of {} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More information at "
    "https://docs.docker.com/go/deprecated-image-specs/"
)
_PLUGIN = "application/vnd.docker.plugin.v1+json"
# Configurations of images. The generic ones were written by old registries and tools.
_IMAGES = frozenset(
    {
        manifest.DOCKER_CONFIG,
        "application/vnd.oci.image.config.v1+json",
        "application/octet-stream",
        "application/json",
        "text/html",
        "",
    }
)
TellPulled = Callable[[pb.Progress | pb.Layer], None]


class _Manifests(msgspec.Struct):
    """What a registry says an image is: the digest people see, the documents, those kept with the image."""

    digest: str
    image: manifest.Manifest
    documents: list[bytes]


class Pulls:
    """Fetches images from registries."""

    def __init__(
        self,
        registries: Registries,
        catalog: Catalog,
        blobs: Blobs,
        storing: Storing,
        fetches: Fetches,
        ingest: Ingest,
        collector: Collector,
    ) -> None:
        self._registries = registries
        self._catalog = catalog
        self._blobs = blobs
        self._storing = storing
        self._fetches = fetches
        self._ingest = ingest
        self._collector = collector

    async def pull(self, request: pb.PullRequest, tell: TellPulled) -> list[Entry]:
        """Fetches an image, or all tags of a repository. Raises InvalidArgument, NotFound, Unauthorized, Failed, Unavailable."""
        reference = parse(request.reference)
        if reference.digest:
            # As Docker: a digest says all, a tag beside it is not looked at.
            reference = msgspec.structs.replace(reference, tag="")
        wanted = parse_platform(request.platform, own_platform())
        last: SkerryError = Failed(f"no registry for {reference.familiar}")
        async for repository in self._registries.repositories(reference, request.auth):
            try:
                await repository.ping()
                async with self._collector.taking():
                    if request.all_tags and not reference.digest:
                        return await self._all_tags(repository, reference, wanted, tell)
                    return [await self._one(repository, reference.with_default_tag(), wanted, tell)]
            except Unauthorized as error:
                last = Failed(str(error))  # Docker's status is 500 too
            except SkerryError as error:
                last = error  # a mirror may lack it, or lie: the registry itself decides
        raise last

    async def _all_tags(self, repository: Repository, reference: Reference, wanted: manifest.Platform, tell: TellPulled) -> list[Entry]:
        tags = await repository.tags()
        entries, fresh = [], False
        for tag in tags:
            # One pull is one event: it comes with the last.
            event_for = reference.familiar_name if tag == tags[-1] else ""
            entry, moved = await self._fetch(repository, msgspec.structs.replace(reference, tag=tag), wanted, event_for, tell)
            entries.append(entry)
            fresh |= moved
        _status(reference.familiar_name, fresh, tell)
        return entries

    async def _one(self, repository: Repository, reference: Reference, wanted: manifest.Platform, tell: TellPulled) -> Entry:
        entry, fresh = await self._fetch(repository, reference, wanted, reference.familiar, tell)
        _status(reference.familiar, fresh, tell)
        return entry

    async def _fetch(
        self, repository: Repository, reference: Reference, wanted: manifest.Platform, event_for: str, tell: TellPulled
    ) -> tuple[Entry, bool]:
        """Returns the stored image, and whether the name points at another image than before. No event for an empty event_for."""
        found = await self._manifests(repository, reference, wanted, tell)
        image_id = found.image.config.digest
        entry = await self._present(image_id)
        if entry is None:
            config = await _config(repository, image_id)
            document = configs.admit(config)
            claimed = [image_id, *document.diff_ids(), *(one.digest for one in found.image.layers)]
            async with self._ingest.claim(image_id, claimed):
                layers = await self._layers(repository, found.image, document, tell)
                return await self._store(reference, found, Incoming(config, layers), event_for, tell)
        incoming = Incoming(entry.image.config, [Stored(one.diff_id, one.size, one.compressed, one.files) for one in entry.image.layers])
        return await self._store(reference, found, incoming, event_for, tell)

    async def _store(
        self, reference: Reference, found: _Manifests, incoming: Incoming, event_for: str, tell: TellPulled
    ) -> tuple[Entry, bool]:
        by_digest = f"{reference.repository}@{found.digest}"
        name = library.full_name(reference) if reference.tag else by_digest
        image_id = found.image.config.digest
        fresh = not await self._points(name, image_id)
        events = [library.event("pull", event_for, incoming.config, reference.familiar_name)] if event_for else []
        entry = await self._storing.store(incoming, [name] if reference.tag else [], [by_digest], found.documents, events)
        await note(self._catalog, reference, found.image, incoming.layers)
        tell(pb.Progress(status=f"Digest: {found.digest}"))
        return entry, fresh

    async def _manifests(self, repository: Repository, reference: Reference, wanted: manifest.Platform, tell: TellPulled) -> _Manifests:
        data, media_type, digest = await repository.manifest(reference.digest or reference.tag)
        shown = reference.tag or f"{reference.repository}@{reference.digest}"
        documents = [data]
        try:
            document = manifest.decode(data, media_type)
        except manifest.Schema1:
            raise InvalidArgument(_SCHEMA1.format(reference.familiar)) from None
        if isinstance(document, manifest.Manifest):
            _admit(document)
        tell(pb.Progress(id=shown, status=f"Pulling from {reference.path}"))
        if isinstance(document, manifest.Index):
            chosen = choose(document, wanted)
            inner, inner_type, _ = await repository.manifest(chosen.digest)
            documents.append(inner)
            document = manifest.decode(inner, inner_type or chosen.media_type)
            if isinstance(document, manifest.Index):
                raise InvalidArgument("manifest list within a manifest list")
            _admit(document)
        return _Manifests(digest, document, documents)

    async def _present(self, image_id: str) -> Entry | None:
        """Returns the image when it is here with all its layers; a store that lost one has it repaired."""
        try:
            entry = await self._catalog.get(image_id)
        except NotFound:
            return None
        whole = await asyncio.to_thread(lambda: all(self._blobs.has(layer.diff_id) for layer in entry.image.layers))
        return entry if whole else None

    async def _points(self, name: str, image_id: str) -> bool:
        try:
            return (await self._catalog.by_name(name)).image.id == image_id
        except NotFound:
            return False

    async def _layers(self, repository: Repository, image: manifest.Manifest, document: configs.Document, tell: TellPulled) -> list[Stored]:
        diff_ids = document.diff_ids()
        if len(diff_ids) != len(image.layers):
            raise Failed(f"image config has {len(diff_ids)} layers, its manifest {len(image.layers)}")
        known = await asyncio.to_thread(lambda: {diff_id for diff_id in diff_ids if self._blobs.has(diff_id)})
        pairs = list(zip(image.layers, diff_ids, strict=True))
        for descriptor, diff_id in pairs:
            tell(pb.Progress(id=short(descriptor.digest), status="Already exists" if diff_id in known else "Pulling fs layer"))
        try:
            async with asyncio.TaskGroup() as group:
                every = zip(image.layers, configs.chain_ids(diff_ids), diff_ids, strict=True)
                tasks = [group.create_task(self._layer(repository, *one, tell)) for one in every]
        except BaseExceptionGroup as failed:
            raise _first(failed) from None
        return [task.result() for task in tasks]

    async def _layer(
        self, repository: Repository, descriptor: manifest.Descriptor, chain_id: str, diff_id: str, tell: TellPulled
    ) -> Stored:
        stored = await self._fetches.layer(repository, descriptor, diff_id, tell)
        # The node can index it while the others still come.
        tell(pb.Layer(diff_id=diff_id, chain_id=chain_id, size=stored.size))
        return stored


def _admit(image: manifest.Manifest) -> None:
    """Raises InvalidArgument in Docker's words for what is no image: a plugin, a chart, a signature."""
    kind = image.config.media_type
    if kind not in _IMAGES:
        raise InvalidArgument(f'Encountered remote "{kind[:200]}"({"plugin" if kind == _PLUGIN else "unknown"}) when fetching')


async def _config(repository: Repository, digest: str) -> bytes:
    try:
        return await repository.small_blob(digest)
    except NotFound as error:
        raise NotFound(f"error pulling image configuration: download failed after attempts=1: {error}") from None
    except Failed as error:
        raise Failed(f"error pulling image configuration: {error}") from None


async def note(records: PushRecords, reference: Reference, image: manifest.Manifest, layers: list[Stored]) -> None:
    """Remembers for pushes that this repository has these layers, and the forms that were decompressed here."""
    pairs = list(zip(image.layers, layers, strict=True))
    # Of a layer that was here already the manifest alone says what it is compressed to: it may lie.
    came = [(one, layer) for one, layer in pairs if layer.kind and layer.came == one.digest]
    await records.remember([Form(layer.diff_id, one.digest, one.size, compression=layer.kind) for one, layer in came])
    await records.saw(reference.domain, reference.path, [one.digest for one in image.layers])


def _status(what: str, fresh: bool, tell: Tell) -> None:
    tell(pb.Progress(status=f"Status: {'Downloaded newer image for' if fresh else 'Image is up to date for'} {what}"))


def _first(failed: BaseException) -> BaseException:
    while isinstance(failed, BaseExceptionGroup):
        failed = failed.exceptions[0]
    return failed
