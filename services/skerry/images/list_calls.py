"""List on the wire: whole images one by one, or what `docker images` shows of them in few messages."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.images import library, usage
from skerry.images.catalog import Catalog, Entry
from skerry.images.origins import Origins

_BATCH = 250


class _Config(msgspec.Struct):
    labels: dict[str, str | None] | None = msgspec.field(name="Labels", default=None)


class _Document(msgspec.Struct):
    config: _Config | None = None


_decoder = msgspec.json.Decoder(_Document)


class ListCalls:
    """The image store's part that lists."""

    _catalog: Catalog
    origins: Origins

    async def List(self, request: pb.ListRequest, context: Any) -> AsyncIterator[pb.ListResponse]:
        revision = await self._catalog.revision() if request.brief else ""
        if revision and revision == request.known_revision:
            yield pb.ListResponse(revision=revision, unchanged=True)
            return
        wanted = await library.understand(self._catalog, request)
        entries = await self._catalog.all()
        # As in Docker: what others were built on is not dangling.
        hidden = usage.intermediate(entries) if request.hide_intermediate or wanted.dangling is True else frozenset()
        admitted = (one for entry in entries if entry.image.id not in hidden and (one := wanted.admits(entry)) is not None)
        if not request.brief:
            for entry in admitted:
                image = library.to_proto(entry)
                if request.origin:
                    await self.origins.add(image, entry)
                yield pb.ListResponse(image=image)
            return
        batch = [_brief(entry) for entry in itertools.islice(admitted, _BATCH)]
        yield pb.ListResponse(images=batch, revision=revision)
        while batch := [_brief(entry) for entry in itertools.islice(admitted, _BATCH)]:
            yield pb.ListResponse(images=batch)


def _brief(entry: Entry) -> pb.Image:
    image, names = entry.image, entry.names
    config = _decoder.decode(image.config).config
    labels = {key: value or "" for key, value in (config.labels or {}).items()} if config else {}
    return pb.Image(
        id=image.id,
        repo_tags=[library.familiar(name) for name in names.tags],
        repo_digests=[library.familiar(name) for name in names.digests],
        parent=image.parent,
        created_ns=image.created_ns,
        size=sum(layer.shown for layer in image.layers),
        config=pb.ImageConfig(labels=labels) if labels else None,
        last_tagged_ns=names.last_tagged_ns,
        leases=len(entry.holders),
    )
