"""What an image came as: the manifest or list that its name means in registries, and which manifests of a list are here."""

import asyncio

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument, NotFound
from skerry.images import config as configs
from skerry.images import manifest
from skerry.images.blobs import Blobs
from skerry.images.catalog import Catalog, Entry
from skerry.images.reference import parse

# BuildKit's mark of a manifest that says how another one was made.
_KIND, _ATTESTATION, _SUBJECT = "vnd.docker.reference.type", "attestation-manifest", "vnd.docker.reference.digest"


class _Document(msgspec.Struct, frozen=True):
    """A kept document."""

    descriptor: manifest.Descriptor
    content: manifest.Manifest | manifest.Index


class Origins:
    """Reads the documents that are kept with images."""

    def __init__(self, catalog: Catalog, blobs: Blobs) -> None:
        self._catalog = catalog
        self._blobs = blobs

    async def add(self, image: pb.Image, entry: Entry) -> None:
        """Sets descriptor and manifests; leaves them unset when the image came without any document, or was made here."""
        target = _target(entry, await self._documents(entry))
        if target is None:
            return
        image.descriptor.CopyFrom(_described(target.descriptor))
        parts = target.content.manifests if isinstance(target.content, manifest.Index) else [target.descriptor]
        image.manifests.extend([await self._part(one) for one in parts])

    async def _documents(self, entry: Entry) -> list[_Document]:
        digests = await self._catalog.documents(entry.image.id)
        found = await asyncio.to_thread(lambda: [self._read(digest) for digest in digests])
        return [one for one in found if one is not None]

    def _read(self, digest: str, media_type: str = "") -> _Document | None:
        try:
            data = self._blobs.read(digest, manifest.MAX_MANIFEST)
            content = manifest.decode(data, media_type)
        except (NotFound, InvalidArgument):
            return None
        kind = content.media_type or manifest.OCI_INDEX if isinstance(content, manifest.Index) else manifest.kind_of(content)
        return _Document(manifest.Descriptor(digest, len(data), kind), content)

    async def _part(self, one: manifest.Descriptor) -> pb.ManifestSummary:
        """Tells what is here of one manifest."""
        platform = str(one.platform) if one.platform is not None else ""
        summary = pb.ManifestSummary(descriptor=_described(one), platform=platform)
        if one.annotations.get(_KIND) == _ATTESTATION:
            summary.attests = one.annotations.get(_SUBJECT, "")
        document = await asyncio.to_thread(self._read, one.digest, one.media_type)
        if document is None or not isinstance(document.content, manifest.Manifest):
            return summary
        entry = await self._entry(document.content.config.digest)
        blobs = list({layer.digest: layer.size for layer in document.content.layers}.items())
        kept = await asyncio.to_thread(lambda: sum(size for digest, size in blobs if self._blobs.has(digest)))
        summary.content_size = document.descriptor.size + kept
        if entry is not None:
            summary.available = True
            summary.image_id = entry.image.id
            summary.content_size += len(entry.image.config)
            summary.unpacked_size = sum(layer.shown for layer in entry.image.layers)
            summary.platform = platform or _platform(entry)
        return summary

    async def _entry(self, image_id: str) -> Entry | None:
        try:
            return await self._catalog.get(image_id)
        except NotFound:
            return None


def _target(entry: Entry, documents: list[_Document]) -> _Document | None:
    """Returns the document that the image's name means: what a name has before others, a list before its manifests."""
    named = {parse(name).digest for name in entry.names.digests}
    own = {one.descriptor.digest for one in documents if isinstance(one.content, manifest.Manifest) and _is_of(one.content, entry)}

    def fits(one: _Document) -> bool:
        if isinstance(one.content, manifest.Index):
            return any(part.digest in own for part in one.content.manifests)
        return one.descriptor.digest in own

    fitting = [one for one in documents if fits(one)]
    rank = sorted(fitting, key=lambda one: (one.descriptor.digest not in named, not isinstance(one.content, manifest.Index)))
    return rank[0] if rank else None


def _is_of(content: manifest.Manifest, entry: Entry) -> bool:
    return content.config.digest == entry.image.id


def _platform(entry: Entry) -> str:
    document = configs.decode(entry.image.config)
    return str(manifest.Platform(document.os or "linux", document.architecture or "", document.variant or ""))


def _described(one: manifest.Descriptor) -> pb.Descriptor:
    return pb.Descriptor(
        media_type=one.media_type or manifest.DOCKER_MANIFEST,
        digest=one.digest,
        size=one.size,
        platform=str(one.platform) if one.platform is not None else "",
        annotations=one.annotations,
        urls=one.urls,
    )
