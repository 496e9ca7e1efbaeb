"""Taking images in from clients: load and import."""

import asyncio
import contextlib
import time
from typing import Any

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument, NotFound
from skerry.images import changes, library, manifest
from skerry.images import config as configs
from skerry.images.archive.found import Found
from skerry.images.archive.load import Archive
from skerry.images.blobs import Blobs
from skerry.images.catalog import Catalog, Entry
from skerry.images.collector import Collector
from skerry.images.fetches import Tell
from skerry.images.layers import take
from skerry.images.platforms import own_platform, parse_platform
from skerry.images.reference import parse
from skerry.images.storing import Incoming, Storing
from skerry.images.streams import Streams
from skerry.images.uploads import Upload


class Limits(msgspec.Struct, frozen=True):
    """What a client's upload may cost, and how it is kept."""

    layer_bytes: int
    layer_ratio: float
    keep_compressed: bool
    # Seconds in which at least something must come.
    idle: float


class ImportPlan(msgspec.Struct, frozen=True):
    """What an import will make: full name (empty: none), platform, configuration, comment."""

    name: str
    platform: manifest.Platform
    config: dict[str, Any]
    message: str


class Load(msgspec.Struct, frozen=True):
    """One loaded image, its familiar names, and which of them were another's before (name, image id)."""

    entry: Entry
    names: list[str]
    moved: list[tuple[str, str]]


class Intake:
    """Stores what comes in archives."""

    def __init__(self, catalog: Catalog, blobs: Blobs, storing: Storing, streams: Streams, collector: Collector, limits: Limits) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._storing = storing
        self._streams = streams
        self._collector = collector
        self._limits = limits

    async def load(self, upload: Upload, platform: str, tell: Tell) -> list[Load]:
        """Stores the images of an archive. Raises InvalidArgument."""
        limits = self._limits
        wanted = parse_platform(platform, own_platform()) if platform else None
        loop = asyncio.get_running_loop()

        def show(name: str, current: int, total: int) -> None:
            loop.call_soon_threadsafe(tell, pb.Progress(id=name, status="Loading layer", current=current, total=total))

        archive = Archive(
            self._blobs, keep_compressed=limits.keep_compressed, limit=limits.layer_bytes, ratio=limits.layer_ratio, show=show
        )
        # An archive may hold more than its images use.
        async with self._collector.taking(leaves=True):
            await upload.read(archive.read)
            # Small layers may still be made of what looked like documents: a thread's work too.
            images = await self._streams.run(lambda: archive.images(wanted))
            return [await self._loaded(found, {manifest.digest_of(one.config) for one in images}) for found in images]

    async def _loaded(self, found: Found, beside: set[str]) -> Load:
        image_id = manifest.digest_of(found.config)
        said = library.event("load", image_id, found.config, image_id)
        documents = [found.manifest] if found.manifest else []
        moved = []
        for name in found.names:
            with contextlib.suppress(NotFound):
                if (old := await self._catalog.by_name(name)).image.id != image_id:
                    moved.append((library.familiar(name), old.image.id))
        parent = found.parent if found.parent in beside and found.parent != image_id else ""
        entry = await self._storing.store(Incoming(found.config, found.layers, parent), found.names, [], documents, [said])
        return Load(entry, [library.familiar(name) for name in found.names], moved)

    def plan_import(self, header: pb.ImportHeader) -> ImportPlan:
        """Checks what an import shall make. Raises InvalidArgument before anything is read."""
        name = ""
        if header.name:
            reference = parse(header.name)
            if reference.digest:
                raise InvalidArgument("cannot import digest reference")
            name = library.full_name(reference)
        wanted = parse_platform(header.platform, own_platform())
        if wanted.os != "linux":
            raise InvalidArgument("operating system is not supported")
        message = header.message or f"Imported from {header.source or '-'}"
        return ImportPlan(name, wanted, changes.applied({}, list(header.changes)), message)

    async def import_(self, plan: ImportPlan, upload: Upload) -> Entry:
        """Makes a one-layer image of a root file system. Raises InvalidArgument."""
        limits = self._limits
        async with self._collector.taking():
            stored = await upload.read(
                lambda source: take(source, self._blobs, keep_compressed=False, limit=limits.layer_bytes, ratio=limits.layer_ratio)
            )
            config = _document(plan, stored.diff_id)
            image_id = manifest.digest_of(config)
            events = [library.event("import", image_id, config, image_id)]
            if plan.name:
                events.insert(0, library.event("tag", image_id, config, library.familiar(plan.name)))
            return await self._storing.store(Incoming(config, [stored]), [plan.name] if plan.name else [], [], [], events)


def _document(plan: ImportPlan, diff_id: str) -> bytes:
    now = configs.format_time(time.time_ns())
    document: dict[str, Any] = {
        "architecture": plan.platform.architecture,
        "comment": plan.message,
        "config": plan.config,
        "created": now,
        "history": [{"created": now, "comment": plan.message}],
        "os": plan.platform.os,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    if plan.platform.variant:
        document["variant"] = plan.platform.variant
    return msgspec.json.encode(document)
