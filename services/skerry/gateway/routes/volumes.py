"""Volumes: create, list, inspect, remove, prune."""

import re

from aiohttp import web

from skerry.api.containers.v1 import volumes_pb2 as pb
from skerry.core.errors import InvalidArgument, NotSupported
from skerry.core.rpc.channel import call as once
from skerry.core.rpc.channel import call_again
from skerry.gateway import filters
from skerry.gateway.call import Call, Route, empty, json
from skerry.gateway.docker.golang import parse
from skerry.gateway.docker.shapes import VOLUME_CREATE
from skerry.gateway.docker.volumes import volume
from skerry.gateway.errors import BadInput
from skerry.gateway.peers import Peers
from skerry.gateway.versions import PRUNE_ANONYMOUS_VOLUMES

_FILTERS = frozenset({"dangling", "driver", "label", "name"})
_PRUNE_FILTERS = frozenset({"label", "label!"})
_WHAT = "the container service"


async def every_volume(peers: Peers, *, size: bool = False) -> list[pb.Volume]:
    """Returns all volumes of the node by name, with their sizes when asked for."""
    return (await _volumes_and_warnings(peers, size=size))[0]


async def _volumes_and_warnings(peers: Peers, *, size: bool = False) -> tuple[list[pb.Volume], list[str]]:
    async def read() -> list[pb.ListVolumesResponse]:
        return [item async for item in peers.volumes.ListVolumes(pb.ListVolumesRequest(size=size))]

    items = await call_again(read, what=_WHAT)
    return [item.volume for item in items if item.HasField("volume")], [item.warning for item in items if item.warning]


async def listing(call: Call) -> web.StreamResponse:
    """GET /volumes."""
    wanted = filters.parse(call.text("filters"), _FILTERS)
    dangling = wanted.boolean("dangling")
    volumes, warnings = await _volumes_and_warnings(call.peers)
    found = [
        value
        for value in volumes
        if (dangling is None or dangling == (value.ref_count == 0))
        and wanted.matches("driver", [value.driver])
        and ("name" not in wanted or any(_named(value.name, text) for text in wanted.get("name")))
        and wanted.labels_match(dict(value.labels))
    ]
    return json({"Volumes": [volume(value) for value in found], "Warnings": warnings or None})


def _named(name: str, text: str) -> bool:
    try:
        return re.search(text, name) is not None
    except re.error:
        return text in name


async def create(call: Call) -> web.StreamResponse:
    """POST /volumes/create."""
    try:
        wanted = parse(await call.json_body(), VOLUME_CREATE, "VolumeCreateBody")
    except BadInput as error:
        # Of this endpoint also the old versions answer 400.
        raise InvalidArgument(str(error)) from None
    if wanted.get("ClusterVolumeSpec"):
        raise NotSupported("cluster volumes are not supported: this engine has no swarm")
    request = pb.CreateVolumeRequest(
        name=wanted.get("Name", ""),
        driver=wanted.get("Driver", ""),
        options=wanted.get("DriverOpts", {}),
        labels=wanted.get("Labels", {}),
    )
    # Only one that is named can be asked for twice.
    answer = await call_again(lambda: call.peers.volumes.CreateVolume(request), patience=10 if request.name else 0, what=_WHAT)
    return json(volume(answer.volume), 201)


async def inspect(call: Call) -> web.StreamResponse:
    """GET /volumes/{name}."""
    request = pb.GetVolumeRequest(name=call.params["name"])
    return json(volume((await call_again(lambda: call.peers.volumes.GetVolume(request), what=_WHAT)).volume))


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /volumes/{name}."""
    request = pb.RemoveVolumeRequest(name=call.params["name"], force=call.flag("force"))
    await once(lambda: call.peers.volumes.RemoveVolume(request))
    return empty()


async def prune(call: Call) -> web.StreamResponse:
    """POST /volumes/prune: all that nobody uses below API 1.42, from there on only anonymous ones unless all=true."""
    by_name = call.version >= PRUNE_ANONYMOUS_VOLUMES
    wanted = filters.parse(call.text("filters"), _PRUNE_FILTERS | {"all"} if by_name else _PRUNE_FILTERS)
    named = not by_name or wanted.boolean("all") is True
    names = [
        value.name
        for value in await every_volume(call.peers)
        if (named or value.anonymous)
        and value.ref_count == 0
        # Nor are plugins' volumes.
        and value.driver == "local"
        # What its options mount is not ours to delete, as in Docker.
        and not value.options
        and wanted.labels_match(dict(value.labels))
        and (not wanted.get("label!") or wanted.no_label_matches(dict(value.labels)))
    ]
    answer = await once(lambda: call.peers.volumes.PruneVolumes(pb.PruneVolumesRequest(names=names)))
    return json({"VolumesDeleted": list(answer.names), "SpaceReclaimed": answer.reclaimed})


async def update(call: Call) -> web.StreamResponse:
    """PUT /volumes/{name}: only swarm's cluster volumes can be changed."""
    raise NotSupported("updating cluster volumes is not supported: this engine has no swarm")


ROUTES: list[Route] = [
    ("GET", "/volumes", listing),
    ("POST", "/volumes/create", create),
    ("POST", "/volumes/prune", prune),
    ("GET", "/volumes/{name}", inspect),
    ("DELETE", "/volumes/{name}", remove),
    ("PUT", "/volumes/{name}", update),
]
