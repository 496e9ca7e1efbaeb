"""How an image came to be, as `docker history` tells it: the configuration's history, with the ids of the parents that are here."""

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument, NotFound
from skerry.images import config as configs
from skerry.images.catalog import Catalog, Entry
from skerry.images.reference import parse

_MISSING = "<missing>"


class _Step(msgspec.Struct):
    created: str | None = None
    created_by: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


class _Document(msgspec.Struct):
    history: list[_Step] | None = None


async def history(catalog: Catalog, entry: Entry) -> list[pb.HistoryItem]:
    """Returns the steps, newest first. Raises InvalidArgument when the configuration's history is none."""
    items = steps(entry)
    described: Entry | None = entry
    for item in items:
        if described is None:
            break
        item.id = described.image.id
        item.tags.extend(parse(name).familiar for name in described.names.tags)
        described = await _parent(catalog, described)
    return items


def steps(entry: Entry) -> list[pb.HistoryItem]:
    """Returns the steps without ids, newest first."""
    try:
        document = msgspec.json.decode(entry.image.config, type=_Document)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"invalid image history: {error}") from None
    layers = iter(entry.image.layers)
    items = []
    for step in document.history or []:
        layer = None if step.empty_layer else next(layers, None)
        item = pb.HistoryItem(
            id=_MISSING, created_by=step.created_by or "", comment=step.comment or "", size=layer.shown if layer is not None else 0
        )
        if step.created is not None:
            item.created_ns = configs.parse_time(step.created)
        items.append(item)
    items.reverse()
    return items


async def _parent(catalog: Catalog, entry: Entry) -> Entry | None:
    if not entry.image.parent:
        return None
    try:
        return await catalog.get(entry.image.parent)
    except NotFound:
        return None
