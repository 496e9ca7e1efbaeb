"""The build cache: which image was made of a parent by a step before. Source: moby's image/cache at 20.10."""

import time
from typing import Any

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument, NotFound
from skerry.images import config as configs
from skerry.images import library
from skerry.images.catalog import Catalog, Entry, ImageRecord, LayerRecord
from skerry.images.collector import Collector
from skerry.images.manifest import MAX_CONFIG, digest_of

_SAME = ("AttachStdout", "AttachStderr", "User", "Tty")
_LISTS = ("Cmd", "Env", "Entrypoint")
_MAPS = ("Labels", "ExposedPorts", "Volumes")


def same_step(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tells whether two container configurations make the same of the same image: what Docker compares, and no more."""
    if one.get("OpenStdin") or other.get("OpenStdin"):
        return False
    return (
        all((one.get(key) or None) == (other.get(key) or None) for key in _SAME)
        and all(list(one.get(key) or ()) == list(other.get(key) or ()) for key in _LISTS)
        and all(dict(one.get(key) or {}) == dict(other.get(key) or {}) for key in _MAPS)
    )


async def find_child(catalog: Catalog, collector: Collector, request: pb.FindChildRequest) -> Entry | None:
    """Returns the newest image made of the parent by this step, leased when asked; None: there is none.

    With cache_from only what those images came from counts; a step that they alone know of is made anew from their layers and history.
    Raises InvalidArgument.
    """
    wanted = _object(request.container_config_json)
    local = await _local(catalog, request.parent, wanted)
    if not request.cache_from:
        return await _leased(catalog, local, request.holder)
    sources = [found for name in request.cache_from if (found := await _source(catalog, name)) is not None]
    if local is not None and any([await _descends(catalog, source, local.id) for source in sources]):
        return await _leased(catalog, local, request.holder)
    parent = (await library.find(catalog, request.parent))[0].image if request.parent else None
    for source in sources:
        step = _next_step(source, parent)
        if step is None or step.get("created_by", "") != " ".join(wanted.get("Cmd") or []):
            continue
        if len(_history(source)) == (len(_history(parent)) if parent is not None else 0) + 1:
            return await _leased(catalog, source, request.holder)
        async with collector.taking():
            record = _restored(source, parent, wanted, step)
            await catalog.add(record, [], [], [], [], holder=request.holder)
        return await catalog.get(record.id)
    return None


def _object(text: str) -> dict[str, Any]:
    if len(text) > MAX_CONFIG:
        raise InvalidArgument(f"container_config is larger than {MAX_CONFIG} characters")
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"invalid container_config: {error}") from None
    if not isinstance(value, dict):
        raise InvalidArgument("invalid container_config: not an object")
    return value


async def _local(catalog: Catalog, parent: str, wanted: dict[str, Any]) -> ImageRecord | None:
    for record in await catalog.children(parent):
        own = msgspec.json.decode(record.config).get("container_config")
        if own and same_step(own, wanted):
            return record
    return None


async def _leased(catalog: Catalog, record: ImageRecord | None, holder: str) -> Entry | None:
    if record is None:
        return None
    try:
        return await catalog.acquire(record.id, holder) if holder else await catalog.get(record.id)
    except NotFound:
        return None  # removed just now


async def _source(catalog: Catalog, name: str) -> ImageRecord | None:
    try:
        return (await library.find(catalog, name))[0].image
    except (NotFound, InvalidArgument):
        return None  # as in Docker: what is not here is no cache


async def _descends(catalog: Catalog, record: ImageRecord, ancestor: str) -> bool:
    seen: set[str] = set()
    while record.parent and record.parent not in seen:
        if record.parent == ancestor:
            return True
        seen.add(record.parent)
        try:
            record = (await catalog.get(record.parent)).image
        except NotFound:
            return False
    return False


def _history(record: ImageRecord) -> list[dict[str, Any]]:
    return msgspec.json.decode(record.config).get("history") or []


def _next_step(source: ImageRecord, parent: ImageRecord | None) -> dict[str, Any] | None:
    """Returns the step by which source goes on from parent; None when it does not come from there."""
    history, before = _history(source), _history(parent) if parent is not None else []
    layers = parent.layers if parent is not None else ()
    if len(history) <= len(before) or history[: len(before)] != before:
        return None
    if [one.diff_id for one in source.layers[: len(layers)]] != [one.diff_id for one in layers]:
        return None
    return history[len(before)]


def _restored(source: ImageRecord, parent: ImageRecord | None, config: dict[str, Any], step: dict[str, Any]) -> ImageRecord:
    """Returns the image that source was right after the step."""
    layers: tuple[LayerRecord, ...] = parent.layers if parent is not None else ()
    if not step.get("empty_layer"):
        layers = source.layers[: len(layers) + 1]
    old = msgspec.json.decode(source.config)
    history = _history(source)[: (len(_history(parent)) if parent is not None else 0) + 1]
    new = {
        "architecture": old.get("architecture"),
        "author": old.get("author"),
        "config": config,
        "created": step.get("created"),
        "docker_version": old.get("docker_version"),
        "history": history,
        "os": old.get("os"),
        "os.features": old.get("os.features"),
        "os.version": old.get("os.version"),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "variant": old.get("variant"),
    }
    data = msgspec.json.encode({key: value for key, value in new.items() if value})
    created = configs.parse_time(configs.admit(data).created)
    return ImageRecord(digest_of(data), data, layers, created, parent=parent.id if parent is not None else "", stored_ns=time.time_ns())
