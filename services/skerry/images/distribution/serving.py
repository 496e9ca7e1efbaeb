"""The store's images as what a registry has: under the manifests they came with, or one that is made once, their layers compressed once."""

import asyncio

from skerry.core.errors import InvalidArgument, NotFound
from skerry.images import library, manifest
from skerry.images.blobs import Blobs
from skerry.images.catalog import Entry
from skerry.images.catalog.repositories import BlobPlace, ManifestRecord
from skerry.images.compress import GZIP, Compressing, Forms
from skerry.images.distribution import documents
from skerry.images.distribution.refusals import Refusal
from skerry.images.distribution.shelf import Shelf
from skerry.images.layers import compression
from skerry.images.manifest import Descriptor
from skerry.images.reference import parse
from skerry.images.singly import Singly


class Serving:
    """Finds manifests and blobs of a repository: those of the API, and those of the images."""

    def __init__(self, shelf: Shelf, compressing: Compressing) -> None:
        self._shelf = shelf
        self._compressing = compressing
        self._forms = Forms(shelf.catalog, shelf.blobs, shelf.streams)
        self._turns = Singly()

    async def by_digest(self, repository: str, digest: str) -> ManifestRecord:
        """Raises NotFound."""
        records = self._shelf.records
        try:
            return await records.manifest(repository, digest)
        except NotFound:
            pass
        for image_id in await records.images_in(repository):
            if digest in await self._shelf.catalog.documents(image_id):
                entry = await self._shelf.catalog.get(image_id)
                async with self._shelf.collector.taking():
                    return await self._recorded(repository, entry, digest, [])
        raise NotFound(f"no manifest {digest} in {repository}")

    async def by_tag(self, repository: str, tag: str) -> ManifestRecord:
        """Raises NotFound."""
        records = self._shelf.records
        try:
            return await records.manifest(repository, (await records.tagged(repository, tag)).digest)
        except NotFound:
            entry = await self._shelf.catalog.by_name(f"{repository}:{tag}")
        # What one client has asked for is made once, whoever else asks.
        async with self._turns.of((repository, entry.image.id)):
            try:
                return await records.manifest(repository, (await records.tagged(repository, tag)).digest)
            except NotFound:
                return await self._made(repository, entry, tag)

    async def blob(self, repository: str, digest: str) -> BlobPlace | None:
        """Returns a blob that the repository has, or an image in it; None: it has none."""
        shelf = self._shelf
        try:
            return await shelf.records.blob(repository, digest)
        except NotFound:
            pass
        for image_id in await shelf.records.images_in(repository):
            try:
                entry = await shelf.catalog.get(image_id)
            except NotFound:
                continue
            if digest != image_id and not any(digest == layer.compressed for layer in entry.image.layers):
                continue
            async with shelf.collector.taking():
                place = await shelf.keep(entry.image.config) if digest == image_id else None
                if place is None and await shelf.has(digest):
                    place = BlobPlace(digest, digest, await asyncio.to_thread(shelf.blobs.size, digest))
                if place is not None:
                    await shelf.records.put_blob(repository, place, shelf.loose_until())
                    return place
        return None

    async def _made(self, repository: str, entry: Entry, tag: str) -> ManifestRecord:
        async with self._shelf.collector.taking(leaves=True):
            kept = await self._kept(repository, entry)
            if kept is None:
                kept = await self._written(entry)
            return await self._recorded(repository, entry, kept, [tag])

    async def _kept(self, repository: str, entry: Entry) -> str | None:
        """Returns the digest of a manifest that came with the image and all of whose blobs are here; those of this repository first."""
        own = {name.digest for name in map(parse, entry.names.digests) if name.repository == repository}
        for digest in sorted(await self._shelf.catalog.documents(entry.image.id), key=lambda one: (one not in own, one)):
            try:
                data = await asyncio.to_thread(self._shelf.blobs.read, digest, manifest.MAX_MANIFEST)
                document = documents.read(data, "")
            except (NotFound, InvalidArgument, Refusal):
                continue
            if document.config is None or document.config.digest != entry.image.id:
                continue
            needed = [one.digest for one in documents.blobs_of(document)[1:]]
            plain = {layer.diff_id for layer in entry.image.layers}
            # An archive's manifest may name plain tars; they go out compressed.
            if not all([one not in plain and await self._shelf.has(one) for one in needed]):
                continue
            # What a manifest of elsewhere says of layers that were here when it came nobody has seen: see docs/decisions/0009.
            if digest in own or await self._are(entry, needed):
                return digest
        return None

    async def _are(self, entry: Entry, digests: list[str]) -> bool:
        """Tells whether these blobs are the image's layers."""
        layers = entry.image.layers
        return len(layers) == len(digests) and all([await self._forms.has(layer, one) for layer, one in zip(layers, digests, strict=True)])

    async def _written(self, entry: Entry) -> str:
        """Writes a manifest for the image, of layers compressed once; returns its digest."""
        layers = []
        for layer in entry.image.layers:
            digest = layer.compressed
            if not digest or not await asyncio.to_thread(_is_gzip, self._shelf.blobs, digest) or not await self._forms.has(layer, digest):
                digest = (await self._compressing.form(layer.diff_id, lambda done: None)).digest
            layers.append(Descriptor(digest, await asyncio.to_thread(self._shelf.blobs.size, digest)))
        data = manifest.write(Descriptor(entry.image.id, len(entry.image.config)), layers)
        return (await self._shelf.keep(data)).digest

    async def _recorded(self, repository: str, entry: Entry, digest: str, tags: list[str]) -> ManifestRecord:
        """Makes a manifest of the image the repository's."""
        shelf = self._shelf
        data = await asyncio.to_thread(shelf.blobs.read, digest, manifest.MAX_MANIFEST)
        document = documents.read(data, "")
        record = documents.record(document, digest, digest, len(data), entry.image.id)
        places = []
        for one in documents.blobs_of(document):
            if one.digest == entry.image.id:
                await shelf.keep(entry.image.config)
            if await shelf.has(one.digest):
                places.append(BlobPlace(one.digest, one.digest, one.size))
        await shelf.records.put_manifest(repository, record, tags, places)
        return record

    async def unname(self, repository: str, wanted: set[str]) -> None:
        """Takes names ("repository:tag", "repository@digest") from their images; an image without any name and holder goes too."""
        for name in sorted(wanted):
            while True:
                try:
                    entry = await self._shelf.catalog.by_name(name)
                except NotFound:
                    break
                if await self._untagged(entry, name):
                    break

    async def _untagged(self, entry: Entry, name: str) -> bool:
        image = entry.image
        left = [one for one in (*entry.names.tags, *entry.names.digests) if one != name]
        delete = not left and not entry.holders and not any(one.image.parent == image.id for one in await self._shelf.catalog.all())
        events = [library.event("untag", image.id, image.config, image.id)]
        if delete:
            events.append(library.event("delete", image.id, b"", image.id))
        return await self._shelf.catalog.remove(entry, (name,), delete=delete, events=events)


def _is_gzip(blobs: Blobs, digest: str) -> bool:
    """Tells whether a blob is here and gzip. Blocks."""
    if not blobs.has(digest):
        return False
    with blobs.open(digest) as file:
        return compression(file.read(2)) == GZIP
