"""The last step of every intake: documents to the blob store, then image, names and events to the catalog in one transaction."""

import asyncio
import time

import msgspec

from skerry.api.events.v1 import events_pb2
from skerry.core.errors import NotFound
from skerry.images import config as configs
from skerry.images import manifest
from skerry.images.blobs import Blobs
from skerry.images.catalog import Catalog, Entry, ImageRecord, LayerRecord
from skerry.images.layers import Stored
from skerry.images.measure import measured


class Incoming(msgspec.Struct, frozen=True):
    """An image whose layers are in the blob store already."""

    config: bytes
    layers: list[Stored]
    # Image id of the parent when it is here; else empty.
    parent: str = ""


class Storing:
    """Makes images of what came in."""

    def __init__(self, catalog: Catalog, blobs: Blobs) -> None:
        self._catalog = catalog
        self._blobs = blobs

    async def store(
        self, incoming: Incoming, names: list[str], digests: list[str], documents: list[bytes], events: list[events_pb2.Event]
    ) -> Entry:
        """Stores an image with full names, "repository@digest" names and the manifests it came with. Raises InvalidArgument."""
        document = configs.admit(incoming.config)
        kept = [await asyncio.to_thread(self._keep, data) for data in documents]
        record = ImageRecord(
            manifest.digest_of(incoming.config),
            incoming.config,
            tuple([await self._recorded(layer) for layer in incoming.layers]),
            configs.parse_time(document.created),
            parent=incoming.parent,
            stored_ns=time.time_ns(),
        )
        await self._catalog.add(record, names, digests, kept, events)
        return await self._catalog.get(record.id)

    async def _recorded(self, layer: Stored) -> LayerRecord:
        files = layer.files
        if files < 0:
            # It was here already.
            try:
                files = (await self._catalog.layer(layer.diff_id)).files
            except NotFound:
                pass  # of a pull that was interrupted
        if files < 0:
            files = await asyncio.to_thread(measured, self._blobs, layer.diff_id)
        return LayerRecord(layer.diff_id, layer.size, layer.compressed, files)

    def _keep(self, data: bytes) -> str:
        with self._blobs.writer() as out:
            out.write(data)
            return out.commit()[0]
