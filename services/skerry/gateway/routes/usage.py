"""GET /system/df."""

import asyncio
from collections import Counter
from typing import Any

from aiohttp import web

from skerry.api.containers.v1 import containers_pb2
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.core.rpc.channel import call_again
from skerry.gateway.call import Call, Route, json
from skerry.gateway.docker.images import summary as image_summary
from skerry.gateway.docker.ps import summary as container_summary
from skerry.gateway.docker.volumes import volume
from skerry.gateway.routes.listing import Names, containers, images, sandboxes
from skerry.gateway.routes.volumes import every_volume
from skerry.gateway.versions import DISK_USAGE_BY_TYPE

_TYPES = ("container", "image", "volume", "build-cache")


async def disk_usage(call: Call) -> web.StreamResponse:
    """GET /system/df: only the types that were asked for are measured."""
    wanted = _wanted(call)
    every: list[containers_pb2.Container] = []
    if "container" in wanted or "image" in wanted:
        every = await containers(call.peers, size="container" in wanted)
    store = await _store(call) if "image" in wanted else None
    document: dict[str, Any] = {
        "LayersSize": store.layers_size if store is not None else 0,
        "Images": _images(call, store, every) if store is not None else None,
        "Containers": await _containers(call, every) if "container" in wanted else None,
        "Volumes": await _volumes(call) if "volume" in wanted else None,
        # What the classic builder leaves are images, as in Docker.
        "BuildCache": [] if "build-cache" in wanted and call.version >= DISK_USAGE_BY_TYPE else None,
    }
    if call.version < DISK_USAGE_BY_TYPE:
        document["BuilderSize"] = 0
    return json(document)


def _wanted(call: Call) -> set[str]:
    asked = call.request.query.getall("type", []) if call.version >= DISK_USAGE_BY_TYPE else []
    for one in asked:
        if one not in _TYPES:
            raise InvalidArgument(f"unknown object type: {one}")
    return set(asked or _TYPES)


async def _store(call: Call) -> pb.DiskUsageResponse:
    return await call_again(lambda: call.peers.images.DiskUsage(pb.DiskUsageRequest()), what="the image store")


def _images(call: Call, store: pb.DiskUsageResponse, every: list[containers_pb2.Container]) -> list[dict[str, Any]]:
    uses = Counter(container.image_id for container in every)
    return [image_summary(one.image, call.version, containers=uses[one.image.id], shared_size=one.shared_size) for one in store.images]


async def _containers(call: Call, every: list[containers_pb2.Container]) -> list[dict[str, Any]]:
    boxes, known = await asyncio.gather(sandboxes(call.peers), images(call.peers))
    names = Names(known)
    return [container_summary(container, boxes.get(container.id), names, call.version) for container in every]


async def _volumes(call: Call) -> list[dict[str, Any]]:
    return [volume(one, usage=True) for one in await every_volume(call.peers, size=True)]


ROUTES: list[Route] = [
    ("GET", "/system/df", disk_usage),
]
