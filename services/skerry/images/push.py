"""Pushing images: which tags of which image go where, and under which manifest."""

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, NotFound, Unauthorized
from skerry.core.ids import short
from skerry.images import library, manifest
from skerry.images.blobs import Blobs
from skerry.images.catalog import Catalog, Entry, Form, LayerRecord
from skerry.images.collector import Collector
from skerry.images.fetches import Tell
from skerry.images.manifest import Descriptor
from skerry.images.push_layers import LayerPush, Missing
from skerry.images.reference import Reference, parse
from skerry.images.registry.reach import Registries
from skerry.images.registry.upload import Target

T = TypeVar("T")
_ASKED = re.compile(r'\A[A-Z][a-z]+ "[^"]*": ')
TellPushed = Callable[[pb.Progress | pb.Pushed], None]


class Document(msgspec.Struct, frozen=True):
    """A manifest to push: its bytes, their type and digest."""

    data: bytes
    media_type: str
    digest: str


class Pushes:
    """Sends images to registries."""

    def __init__(
        self, registries: Registries, catalog: Catalog, blobs: Blobs, layers: LayerPush, collector: Collector, *, leaves: bool
    ) -> None:
        """leaves: compressed layers do not stay, so that there is something to collect after each push."""
        self._registries = registries
        self._catalog = catalog
        self._blobs = blobs
        self._layers = layers
        self._collector = collector
        self._leaves = leaves

    async def push(self, request: pb.PushRequest, tell: TellPushed) -> None:
        """Pushes a tag, or all tags of a repository. Raises InvalidArgument, NotFound, Unauthorized, Forbidden, Failed, Unavailable."""
        try:
            await self._push(request, tell)
        except Unauthorized as error:
            # As Docker: of a push the registry's own words are told, without what was asked.
            raise Unauthorized(_ASKED.sub("", str(error))) from None

    async def _push(self, request: pb.PushRequest, tell: TellPushed) -> None:
        reference = parse(request.reference)
        tell(pb.Progress(status=f"The push refers to repository [{reference.repository}]"))
        if reference.digest:
            raise Failed("cannot push a digest reference")
        entries = await self._tagged(reference)
        target = await self._target(reference, request.auth)
        if reference.tag or not request.all_tags:
            wanted = reference.with_default_tag()
            entry = entries.get(wanted.tag)
            if entry is None:
                raise NotFound(f"tag does not exist: {wanted.familiar}")
            entries = {wanted.tag: entry}
            event_for = wanted.familiar
        else:
            event_for = reference.familiar_name
            if not entries:
                raise NotFound(f"no tags to push for {reference.familiar_name}")
        async with self._collector.taking(leaves=self._leaves):
            for tag, entry in sorted(entries.items()):
                document = await self._image(target, entry, tag, tell)
                # One push is one event: it comes with the last.
                last = tag == max(entries)
                events = [library.event("push", event_for, entry.image.config, reference.familiar_name)] if last else []
                await self._catalog.pushed(entry.image.id, f"{reference.repository}@{document.digest}", document.digest, events)
                size = len(document.data)
                tell(pb.Progress(status=f"{tag}: digest: {document.digest} size: {size}"))
                tell(pb.Pushed(tag=tag, digest=document.digest, size=size))

    async def _tagged(self, reference: Reference) -> dict[str, Entry]:
        """Returns the repository's images by tag. Raises NotFound when nothing is named so."""
        if reference.tag:
            try:
                return {reference.tag: await self._catalog.by_name(library.full_name(reference))}
            except NotFound:
                pass
        named = [(parse(name), entry) for entry in await self._catalog.all() for name in (*entry.names.tags, *entry.names.digests)]
        here = [(name, entry) for name, entry in named if name.repository == reference.repository]
        if not here:
            raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
        return {name.tag: entry for name, entry in here if name.tag}

    async def _target(self, reference: Reference, auth: pb.RegistryAuth) -> Target:
        return Target(await self._registries.repository(reference, auth, "pull,push"), reference.domain, reference.path)

    async def _image(self, target: Target, entry: Entry, tag: str, tell: Tell) -> Document:
        image = entry.image
        for layer in reversed(image.layers):
            tell(pb.Progress(id=short(layer.diff_id), status="Preparing"))
        document = await self._as_it_came(target, entry, tell)
        if document is None:
            forms = await _all([self._layers.settle(target, layer, tell) for layer in reversed(_distinct(entry))])
            by_diff = {form.diff_id: form for form in forms}
            config = Descriptor(image.id, len(image.config))
            data = manifest.write(config, [Descriptor(by_diff[one.diff_id].digest, by_diff[one.diff_id].size) for one in image.layers])
            document = Document(data, manifest.DOCKER_MANIFEST, manifest.digest_of(data))
            await self._catalog.saw(target.registry, target.path, [form.digest for form in forms])
            await asyncio.to_thread(self._keep, data)
        await self._layers.document(target, image.id, image.config)
        await target.manifest(tag, document.data, document.media_type)
        return document

    async def _as_it_came(self, target: Target, entry: Entry, tell: Tell) -> Document | None:
        """Brings the layers of a manifest that is kept with the image; None when there is none that the repository can have."""
        for document, layers, own in await self._candidates(target, entry):
            if not own and not await self._honest(entry, layers):
                continue
            forms = [
                Form(layer.diff_id, one.digest, one.size)
                for layer, one in zip(entry.image.layers, layers, strict=True)
                if not manifest.is_foreign(one.media_type)
            ]
            for layer, one in zip(entry.image.layers, layers, strict=True):
                if manifest.is_foreign(one.media_type):
                    tell(pb.Progress(id=short(layer.diff_id), status="Skipped foreign layer"))
            distinct = list({form.digest: form for form in reversed(forms)}.values())
            absent = [form for form in distinct if not await self._layers.has(form.digest)]
            try:
                # First what is not here: when the registry lacks it too, another manifest has to do.
                await _all([self._layers.settle_exactly(target, form, tell) for form in absent])
                await _all([self._layers.settle_exactly(target, form, tell) for form in distinct if form not in absent])
            except Missing:
                continue
            await self._catalog.saw(target.registry, target.path, [form.digest for form in distinct])
            return document
        return None

    async def _honest(self, entry: Entry, layers: list[Descriptor]) -> bool:
        """Tells whether a manifest's layers are the image's. One whose layers were here when it was pulled is some registry's word only:
        pushed elsewhere it could bring the image another content.
        """
        pairs = zip(entry.image.layers, layers, strict=True)
        return all([await self._layers.known.has(layer, one.digest) for layer, one in pairs])

    async def _candidates(self, target: Target, entry: Entry) -> list[tuple[Document, list[Descriptor], bool]]:
        """Returns the kept manifests of this very image, best first: those that this repository is known to have (True), then others."""
        names = [parse(name) for name in entry.names.digests]
        own = {name.digest for name in names if (name.domain, name.path) == (target.registry, target.path)}
        anywhere = {name.digest for name in names}
        kept = await self._catalog.documents(entry.image.id)
        kept.sort(key=lambda digest: (digest not in own, digest not in anywhere, digest))
        diff_ids = [layer.diff_id for layer in entry.image.layers]

        def read() -> list[tuple[Document, list[Descriptor], bool]]:
            found = []
            for digest in kept:
                data = self._blobs.read(digest, manifest.MAX_MANIFEST)
                document = manifest.decode(data, "")
                if not isinstance(document, manifest.Manifest) or document.config.digest != entry.image.id:
                    continue
                plain = any(one.digest == diff_id for one, diff_id in zip(document.layers, diff_ids, strict=False))
                # An archive's manifest may list plain tars; those go compressed, unless a registry had them so.
                if len(document.layers) == len(diff_ids) and (digest in anywhere or not plain):
                    found.append((Document(data, manifest.kind_of(document), digest), document.layers, digest in own))
            return found

        return await asyncio.to_thread(read)

    def _keep(self, data: bytes) -> None:
        with self._blobs.writer() as out:
            out.write(data)
            out.commit()


def _distinct(entry: Entry) -> list[LayerRecord]:
    return list({layer.diff_id: layer for layer in entry.image.layers}.values())


async def _all(work: list[Coroutine[Any, Any, T]]) -> list[T]:
    """Awaits all, the first failure ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failed:
        error: BaseException = failed
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
    return [task.result() for task in tasks]
