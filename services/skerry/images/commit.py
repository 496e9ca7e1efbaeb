"""Images made here: a parent, at most one more layer that a node made, and a configuration."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core import failpoints
from skerry.core.errors import Failed, InvalidArgument, NotFound
from skerry.images import changes, library, manifest
from skerry.images import config as configs
from skerry.images.blobs import Blobs, PathWriter
from skerry.images.catalog import Catalog, Entry, ImageRecord, LayerRecord
from skerry.images.collector import Collector
from skerry.images.intake import Limits
from skerry.images.layers import Stored, take
from skerry.images.manifest import MAX_CONFIG
from skerry.images.measure import FileSizes
from skerry.images.platforms import own_platform, parse_platform
from skerry.images.reference import is_digest, parse
from skerry.images.streams import Streams

failpoints.declare("images.commit", "taken", "kept", "documented")

# A tar without entries. As in Docker, an image has no layer for a step that changed nothing.
EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"


class Commits:
    """Takes layers from nodes and makes images of them."""

    def __init__(self, catalog: Catalog, blobs: Blobs, streams: Streams, collector: Collector, limits: Limits) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._streams = streams
        self.collector = collector
        self._limits = limits

    async def take_written(self, writer: PathWriter, expected: str, holder: str) -> LayerRecord:
        """Takes a layer that a node wrote to the writer's path. Raises InvalidArgument, Failed. Within `collector.taking`."""
        files = FileSizes()
        diff_id, size = await asyncio.to_thread(writer.take, self._limits.layer_bytes, files.feed)
        return await self._keep(LayerRecord(diff_id, size, files=files.total), expected, holder)

    async def take_sent(self, chunks: AsyncIterator[bytes], expected: Callable[[], str], holder: str) -> LayerRecord:
        """Takes a layer that comes in pieces; its digest is told after the last. Within `collector.taking`.

        Raises InvalidArgument, Failed.
        """
        stored: Stored = await self._streams.read(
            chunks,
            lambda source: take(source, self._blobs, keep_compressed=False, limit=self._limits.layer_bytes),
            idle=self._limits.idle,
        )
        return await self._keep(LayerRecord(stored.diff_id, stored.size, stored.compressed, stored.files), expected(), holder)

    async def _keep(self, layer: LayerRecord, expected: str, holder: str) -> LayerRecord:
        if expected and layer.diff_id != expected:
            raise Failed(f"layer verification failed: expected {expected}, got {layer.diff_id}")
        await failpoints.reached("images.commit.taken")
        await self._catalog.keep(layer, holder)
        await failpoints.reached("images.commit.kept")
        return layer

    async def commit(self, request: pb.CommitRequest) -> Entry:
        """Makes an image and gives it its name. All or nothing. Raises NotFound, InvalidArgument in Docker's words."""
        name = _full_name(request.name)
        wanted = parse_platform(request.platform, own_platform())
        # What the parent has is not swept while the new image is not there to need it.
        async with self.collector.taking():
            parent = (await library.find(self._catalog, request.parent))[0].image if request.parent else None
            layer = await self._layer(request.diff_id)
            config = document(request, parent, wanted, layer, time.time_ns())
            created = configs.parse_time(configs.admit(config).created)
            await failpoints.reached("images.commit.documented")
            layers = (*(parent.layers if parent else ()), *((layer,) if layer else ()))
            record = ImageRecord(
                manifest.digest_of(config), config, layers, created, parent=parent.id if parent else "", stored_ns=time.time_ns()
            )
            events = [library.event("tag", record.id, config, library.familiar(name))] if name else []
            await self._catalog.add(record, [name] if name else [], [], [], events, holder=request.holder)
            return await self._catalog.get(record.id)

    async def _layer(self, diff_id: str) -> LayerRecord | None:
        if not diff_id or diff_id == EMPTY_LAYER:
            return None
        if not is_digest(diff_id):
            raise InvalidArgument(f"invalid layer digest {diff_id[:100]!r}")
        layer = await self._catalog.layer(diff_id)
        if not await asyncio.to_thread(self._blobs.has, diff_id):
            raise NotFound(f"No such layer: {diff_id}")
        return layer


def _full_name(text: str) -> str:
    if not text:
        return ""
    reference = parse(text)
    if reference.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    return library.full_name(reference)


def document(
    request: pb.CommitRequest, parent: ImageRecord | None, platform: manifest.Platform, layer: LayerRecord | None, now_ns: int
) -> bytes:
    """Returns the new image's configuration, as dockerd's NewChildImage makes it. Raises InvalidArgument."""
    old: dict[str, Any] = msgspec.json.decode(parent.config) if parent else {}
    given = _object(request.config_json, "config") if request.config_json else old.get("config") or {}
    own = _object(request.container_config_json, "container_config") if request.container_config_json else {}
    config = changes.applied(given, list(request.changes))
    now = configs.format_time(now_ns)
    item: dict[str, Any] = {"created": now, "author": request.author, "created_by": request.created_by, "comment": request.comment}
    item = {key: value for key, value in item.items() if value}
    if layer is None:
        item["empty_layer"] = True
    diff_ids = [one.diff_id for one in parent.layers] if parent else []
    new: dict[str, Any] = {
        "architecture": old.get("architecture") or platform.architecture,
        "author": request.author,
        "config": filled(config, own) if request.fill else config,
        "container": request.container_id,
        "container_config": own,
        "created": now,
        "docker_version": request.docker_version,
        "history": [*(old.get("history") or []), item],
        "os": old.get("os") or platform.os,
        "os.features": old.get("os.features"),
        "os.version": old.get("os.version"),
        "rootfs": {"type": "layers", "diff_ids": [*diff_ids, *([layer.diff_id] if layer else [])]},
        "variant": old.get("variant") if parent else platform.variant,
    }
    return msgspec.json.encode({key: value for key, value in new.items() if value})


def filled(config: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Returns config with what it leaves open taken from a container's own. Source: dockerd's daemon/commit.go, merge."""
    # In Docker's order, and with the fields that Docker writes in any case.
    blank = {key: {str: "", bool: False}.get(type(value)) for key, value in own.items()}
    new = {**blank, **config}
    for key in ("User", "WorkingDir", "StopSignal"):
        if not new.get(key) and own.get(key):
            new[key] = own[key]
    names = {one.partition("=")[0] for one in new.get("Env") or []}
    new["Env"] = [*(new.get("Env") or []), *(one for one in own.get("Env") or [] if one.partition("=")[0] not in names)]
    new["Labels"] = {**(own.get("Labels") or {}), **(new.get("Labels") or {})}
    for key in ("ExposedPorts", "Volumes"):
        if new.get(key) or own.get(key):
            new[key] = {**(own.get(key) or {}), **(new.get(key) or {})}
    if not new.get("Entrypoint"):
        if not new.get("Cmd"):
            new["Cmd"] = own.get("Cmd")
        if new.get("Entrypoint") is None:
            new["Entrypoint"] = own.get("Entrypoint")
    if own.get("Healthcheck"):
        new["Healthcheck"] = {**own["Healthcheck"], **{key: value for key, value in (new.get("Healthcheck") or {}).items() if value}}
    return {key: value for key, value in new.items() if value is not None or key not in _OPTIONAL}


# Fields that Docker leaves out when they say nothing.
_OPTIONAL = frozenset({"ExposedPorts", "Healthcheck", "StopSignal", "StopTimeout", "Shell", "MacAddress", "NetworkDisabled", "ArgsEscaped"})


def _object(text: str, what: str) -> dict[str, Any]:
    if len(text) > MAX_CONFIG:
        raise InvalidArgument(f"{what} is larger than {MAX_CONFIG} characters")
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"invalid {what}: {error}") from None
    if not isinstance(value, dict):
        raise InvalidArgument(f"invalid {what}: not an object")
    return value
