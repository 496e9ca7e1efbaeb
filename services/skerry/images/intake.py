"""Taking images in from clients: load and import."""

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.images import changes, library, manifest
from skerry.images import config as configs
from skerry.images.archive.load import Archive
from skerry.images.blobs import Blobs
from skerry.images.catalog import Entry
from skerry.images.collector import Collector
from skerry.images.layers import take
from skerry.images.platforms import own_platform, parse_platform
from skerry.images.reference import parse
from skerry.images.storing import Incoming, Storing
from skerry.images.streams import Streams


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


class Intake:
    """Stores what comes in archives."""

    def __init__(self, blobs: Blobs, storing: Storing, streams: Streams, collector: Collector, limits: Limits) -> None:
        self._blobs = blobs
        self._storing = storing
        self._streams = streams
        self._collector = collector
        self._limits = limits

    async def load(self, chunks: AsyncIterator[bytes]) -> list[tuple[Entry, list[str]]]:
        """Stores the images of an archive; returns each with the familiar names it was given. Raises InvalidArgument."""
        limits = self._limits
        archive = Archive(self._blobs, keep_compressed=limits.keep_compressed, limit=limits.layer_bytes, ratio=limits.layer_ratio)
        # An archive may hold more than its images use.
        async with self._collector.taking(leaves=True):
            await self._streams.read(chunks, archive.read, idle=self._limits.idle)
            # Small layers may still be made of what looked like documents: a thread's work too.
            images = await self._streams.read(_nothing(), lambda _: archive.images(), idle=self._limits.idle)
            result = []
            for found in images:
                image_id = manifest.digest_of(found.config)
                said = library.event("load", image_id, found.config, image_id)
                documents = [found.manifest] if found.manifest else []
                entry = await self._storing.store(Incoming(found.config, found.layers), found.names, [], documents, [said])
                result.append((entry, [library.familiar(name) for name in found.names]))
            return result

    def plan_import(self, header: pb.ImportHeader) -> ImportPlan:
        """Checks what an import shall make. Raises InvalidArgument before anything is read."""
        name = ""
        if header.name:
            reference = parse(header.name)
            if reference.digest:
                raise InvalidArgument("cannot import digest reference")
            name = library.full_name(reference)
        wanted = parse_platform(header.platform, own_platform())
        return ImportPlan(name, wanted, changes.applied({}, list(header.changes)), header.message or "Imported from -")

    async def import_(self, plan: ImportPlan, chunks: AsyncIterator[bytes]) -> Entry:
        """Makes a one-layer image of a root file system. Raises InvalidArgument."""
        limits = self._limits
        async with self._collector.taking():
            stored = await self._streams.read(
                chunks,
                lambda source: take(source, self._blobs, keep_compressed=False, limit=limits.layer_bytes, ratio=limits.layer_ratio),
                idle=self._limits.idle,
            )
            config = _document(plan, stored.diff_id)
            image_id = manifest.digest_of(config)
            events = [library.event("import", image_id, config, image_id)]
            if plan.name:
                events.insert(0, library.event("tag", image_id, config, library.familiar(plan.name)))
            return await self._storing.store(Incoming(config, [stored]), [plan.name] if plan.name else [], [], [], events)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


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
