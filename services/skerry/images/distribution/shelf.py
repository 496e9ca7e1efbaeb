"""What all handlers of the API work with."""

import asyncio
import time

import msgspec

from skerry.core.errors import NotFound
from skerry.images.blobs import Blobs
from skerry.images.catalog import Catalog
from skerry.images.catalog.repositories import BlobPlace, ManifestRecord, Repositories
from skerry.images.collector import Collector
from skerry.images.distribution.access import Gate
from skerry.images.distribution.refusals import Refusal
from skerry.images.distribution.settings import DistributionSettings
from skerry.images.distribution.uploads import Uploads
from skerry.images.storing import Storing
from skerry.images.streams import Streams


class Shelf(msgspec.Struct, frozen=True):
    """The store, and the rules under which it is a registry."""

    catalog: Catalog
    records: Repositories
    blobs: Blobs
    streams: Streams
    collector: Collector
    storing: Storing
    gate: Gate
    uploads: Uploads
    settings: DistributionSettings

    def loose_until(self) -> int:
        """Returns until when (Unix nanoseconds) a blob that nobody names yet is kept from now on."""
        return time.time_ns() + int(self.settings.distribution_loose_seconds * 1e9)

    async def has(self, content: str) -> bool:
        """Tells whether the blob store has it."""
        return await asyncio.to_thread(self.blobs.has, content)

    async def document(self, record: ManifestRecord) -> bytes:
        """Returns a manifest's bytes. Raises Refusal MANIFEST_UNKNOWN when a sweep, or damage, took it."""
        try:
            return await asyncio.to_thread(self.blobs.read, record.content, self.settings.distribution_max_manifest)
        except NotFound:
            raise Refusal("MANIFEST_UNKNOWN", "manifest unknown") from None

    async def keep(self, data: bytes) -> BlobPlace:
        """Stores a document as a blob. While the caller takes in (`Collector.taking`)."""

        def work() -> BlobPlace:
            with self.blobs.writer() as out:
                out.write(data)
                digest, size = out.commit()
                return BlobPlace(digest, digest, size)

        return await asyncio.to_thread(work)

    async def room(self, repository: str) -> int:
        """Returns how many bytes the next blob may have. Raises Refusal DENIED when none may."""
        room = self.settings.distribution_max_blob
        for quota, whose in ((self.settings.distribution_repository_quota, repository), (self.settings.distribution_quota, "")):
            if quota:
                room = min(room, quota - await self.records.used_bytes(whose))
        if room <= 0:
            raise Refusal("DENIED", "quota exceeded", status=413)
        return room
