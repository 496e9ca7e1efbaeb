"""GET /containers/json and POST /containers/prune."""

import asyncio
import time
from typing import Any

import grpc.aio
from aiohttp import web

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.api.networks.v1 import networks_pb2
from skerry.core.errors import InvalidArgument, SkerryError, Unavailable
from skerry.core.rpc.channel import call_again
from skerry.gateway import filters
from skerry.gateway.call import Call, Route, json
from skerry.gateway.coordinator.leftover import soon
from skerry.gateway.coordinator.remove import remove
from skerry.gateway.docker.names import familiar
from skerry.gateway.docker.ps import summary
from skerry.gateway.docker.times import timestamp
from skerry.gateway.errors import BadInput
from skerry.gateway.peers import Peers
from skerry.gateway.routes.selection import FILTERS, Selection

_PRUNE_FILTERS = frozenset({"label", "label!", "until"})
_LIVE = frozenset({pb.STATUS_RUNNING, pb.STATUS_PAUSED, pb.STATUS_RESTARTING})


async def containers(peers: Peers, *, size: bool = False) -> list[pb.Container]:
    """Returns all containers, newest first."""

    async def read() -> list[pb.Container]:
        return [item.container async for item in peers.containers.List(pb.ListRequest(size=size))]

    return await call_again(read, what="the container service")


async def sandboxes(peers: Peers) -> dict[str, networks_pb2.Sandbox]:
    """Returns the sandboxes by container; none while the network service is away: `ps` must not fail for that."""

    async def read() -> dict[str, networks_pb2.Sandbox]:
        request = networks_pb2.ListSandboxesRequest()
        return {item.sandbox.container_id: item.sandbox async for item in peers.networks.ListSandboxes(request)}

    try:
        return await call_again(read, patience=0.5, what="the network service")
    except Unavailable:
        return {}


async def images(peers: Peers) -> list[images_pb2.Image] | None:
    """Returns all images without their layers and configurations; None while the image store is away."""

    async def read() -> list[images_pb2.Image]:
        return (await peers.image_lists.ask(peers.images, images_pb2.ListRequest(brief=True))).images

    try:
        return await call_again(read, patience=0.5, what="the image store")
    except (SkerryError, grpc.aio.AioRpcError):
        return None


class Names:
    """What `ps` shows as image: the name the container was made with, or the id when that name means another image by now."""

    def __init__(self, known: list[images_pb2.Image] | None) -> None:
        self._ids: dict[str, str] | None = None
        if known is not None:
            self._ids = {name: image.id for image in known for name in (*image.repo_tags, *image.repo_digests)}

    def __call__(self, container: pb.Container) -> str:
        name = container.image_name
        if self._ids is None or not name or container.image_id.removeprefix("sha256:").startswith(name.removeprefix("sha256:")):
            return name
        return name if self._ids.get(familiar(name)) == container.image_id else container.image_id


async def listing(call: Call) -> web.StreamResponse:
    """GET /containers/json."""
    wanted = filters.parse(call.text("filters"), FILTERS)
    limit = call.number("limit") or 0
    every, boxes, known = await asyncio.gather(containers(call.peers, size=call.flag("size")), sandboxes(call.peers), images(call.peers))
    keep = await Selection.of(call.peers, wanted, every, known or [])
    show_all = call.flag("all") or limit > 0 or "status" in wanted
    names = Names(known)
    chosen: list[dict[str, Any]] = []
    for container in every:
        if not show_all and container.state.status not in _LIVE:
            continue
        box = boxes.get(container.id)
        if keep(container, box):
            chosen.append(summary(container, box, names, call.version))
            if 0 < limit <= len(chosen):
                break
    return json(chosen)


async def prune(call: Call) -> web.StreamResponse:
    """POST /containers/prune: removes what does not run."""
    try:
        wanted = filters.parse(call.text("filters"), _PRUNE_FILTERS)
    except BadInput as error:
        raise InvalidArgument(str(error)) from None  # here, but not in lists, dockerd says 400 in every version
    until = _until(wanted)
    deleted: list[str] = []
    reclaimed = 0
    for container in await containers(call.peers, size=True):
        labels = dict(container.spec.labels)
        if (
            container.state.status in _LIVE
            or (until and container.created_ns >= until)
            or not wanted.labels_match(labels)
            or (wanted.get("label!") and not wanted.no_label_matches(labels))
        ):
            continue
        try:
            await remove(call.peers, container.id, volumes=False, force=False)
        except SkerryError:
            continue  # it started, or somebody else removed it
        deleted.append(container.id)
        reclaimed += container.size_rw
    told = pb.RecordPruneRequest(reclaimed=reclaimed)
    await soon(call.peers, "prune of containers", lambda: call.peers.containers.RecordPrune(told))
    return json({"ContainersDeleted": deleted or None, "SpaceReclaimed": reclaimed})


def _until(wanted: filters.Filters) -> int:
    if len(wanted.get("until")) > 1:
        raise BadInput("more than one until filter specified")
    try:
        return timestamp(wanted.one("until"), time.time_ns())
    except InvalidArgument as error:
        raise BadInput(str(error)) from None


ROUTES: list[Route] = [("GET", "/containers/json", listing), ("POST", "/containers/prune", prune)]
