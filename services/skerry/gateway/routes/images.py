"""Images: list, inspect, history, tag, remove, prune."""

import time
from typing import Any

from aiohttp import web

from skerry.api.containers.v1 import containers_pb2
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument, NotFound, SkerryError
from skerry.core.rpc.channel import call as once
from skerry.core.rpc.channel import call_again
from skerry.gateway import filters, platforms
from skerry.gateway.call import Call, Route, empty, encoded, json, json_text
from skerry.gateway.docker import origins
from skerry.gateway.docker.images import history as history_document
from skerry.gateway.docker.images import inspect as inspect_document
from skerry.gateway.docker.images import join_reference, summary
from skerry.gateway.docker.names import familiar
from skerry.gateway.docker.times import timestamp
from skerry.gateway.routes.listing import containers
from skerry.gateway.versions import IMAGE_ORIGIN, MANIFESTS_OF_LIST, PLATFORM_OF_INSPECT, PLATFORMS_OF_REMOVAL, SHORT_IMAGE_TEXT

_FILTERS = frozenset({"before", "dangling", "label", "reference", "since", "until"})
_PRUNE_FILTERS = frozenset({"dangling", "label", "label!", "until"})
_LIVE = frozenset({containers_pb2.STATUS_RUNNING, containers_pb2.STATUS_PAUSED, containers_pb2.STATUS_RESTARTING})
_WHAT = "the image store"


async def listing(call: Call) -> web.StreamResponse:
    """GET /images/json."""
    wanted = filters.parse(call.text("filters"), _FILTERS)
    request = pb.ListRequest(
        references=wanted.get("reference") + ([call.text("filter")] if call.text("filter") else []),
        labels=wanted.get("label"),
        before=wanted.one("before"),
        since=wanted.one("since"),
        until_ns=timestamp(wanted.one("until"), time.time_ns()),
    )
    if (dangling := wanted.boolean("dangling")) is not None:
        request.dangling = dangling
    request.hide_intermediate = not call.flag("all")
    request.origin = call.version >= MANIFESTS_OF_LIST and call.flag("manifests")
    if not call.flag("shared-size") and not request.origin:
        request.brief = True
        return await _brief(call, request)

    async def read() -> list[pb.Image]:
        return [item.image async for item in call.peers.images.List(request)]

    found = await call_again(read, what=_WHAT)
    shared = _shared_sizes(found) if call.flag("shared-size") else {}
    documents = [summary(image, call.version, shared_size=shared.get(image.id, -1)) for image in found]
    if request.origin:
        every = await containers(call.peers)
        for image, document in zip(found, documents, strict=True):
            if image.HasField("descriptor"):
                document["Manifests"] = origins.manifests(image, every)
                if call.version >= IMAGE_ORIGIN:
                    document["Descriptor"] = origins.descriptor(image.descriptor)
    return json(documents)


async def _brief(call: Call, request: pb.ListRequest) -> web.StreamResponse:
    listed = await call_again(lambda: call.peers.image_lists.ask(call.peers.images, request), what=_WHAT)
    answer = listed.encoded(call.version)
    if answer is None:
        answer = encoded([summary(image, call.version) for image in listed.images])
        listed.keep(call.version, answer)
    return json_text(answer)


def _shared_sizes(images: list[pb.Image]) -> dict[str, int]:
    users: dict[str, int] = {}
    for image in images:
        for layer in image.layers:
            users[layer.chain_id] = users.get(layer.chain_id, 0) + 1
    return {image.id: sum(layer.files_size for layer in image.layers if users[layer.chain_id] > 1) for image in images}


async def get(call: Call, name: str, *, origin: bool = False) -> pb.Image:
    """Returns an image. Raises NotFound in the words of the request's version."""
    request = pb.GetRequest(image=name, origin=origin)
    try:
        return (await call_again(lambda: call.peers.images.Get(request), what=_WHAT)).image
    except NotFound:
        text = f"No such image: {familiar(name)}"
        raise NotFound(text if call.version >= SHORT_IMAGE_TEXT else f"no such image: {name}: {text}") from None


async def inspect(call: Call) -> web.StreamResponse:
    """GET /images/{name}/json."""
    name = call.params["name"]
    wanted = platforms.parameter(call, PLATFORM_OF_INSPECT)
    origin = call.version >= IMAGE_ORIGIN
    manifests = origin and call.flag("manifests")
    if wanted and manifests:
        raise InvalidArgument("conflicting options: manifests and platform options cannot both be set")
    image = await get(call, name, origin=origin)
    if wanted:
        platforms.check(wanted, name, image)
    document = inspect_document(image, call.version)
    if image.HasField("descriptor"):
        document["Descriptor"] = origins.descriptor(image.descriptor)
        if manifests:
            document["Manifests"] = origins.manifests(image, await containers(call.peers))
    return json(document)


async def history(call: Call) -> web.StreamResponse:
    """GET /images/{name}/history."""
    name = call.params["name"]
    if wanted := platforms.parameter(call):
        platforms.check(wanted, name, await get(call, name))
    answer = await call_again(lambda: call.peers.images.GetHistory(pb.GetHistoryRequest(image=name)), what=_WHAT)
    return json(history_document(answer.items))


async def tag(call: Call) -> web.StreamResponse:
    """POST /images/{name}/tag."""
    repository = call.text("repo")
    if not repository:
        raise InvalidArgument("repository name must have at least one component")
    request = pb.TagRequest(image=call.params["name"], target=join_reference(repository, call.text("tag")))
    await call_again(lambda: call.peers.images.Tag(request), what=_WHAT)
    return empty(201)


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /images/{name}."""
    name = call.params["name"]
    if wanted := platforms.several(call, PLATFORMS_OF_REMOVAL):
        # An image of this store is for one platform: that is what goes.
        image = await get(call, name)
        for one in wanted:
            platforms.check(one, name, image)
    request = pb.RemoveRequest(
        image=name, force=call.flag("force"), no_prune=call.flag("noprune"), running_holders=await _running_holders(call)
    )
    # Not repeated: a second try after a lost answer would say that there is no such image.
    answer = await once(lambda: call.peers.images.Remove(request))
    return json([_removal(item) for item in answer.removals])


async def _running_holders(call: Call) -> list[str]:
    try:
        every = await containers(call.peers)
    except SkerryError:
        return []  # the leases alone decide then
    return [call.peers.holder(container.id) for container in every if container.state.status in _LIVE]


def _removal(item: pb.Removal) -> dict[str, str]:
    return {"Untagged": item.untagged} if item.WhichOneof("what") == "untagged" else {"Deleted": item.deleted}


async def prune(call: Call) -> web.StreamResponse:
    """POST /images/prune."""
    wanted = filters.parse(call.text("filters"), _PRUNE_FILTERS)
    dangling = wanted.boolean("dangling")
    if len(wanted.get("until")) > 1:
        raise InvalidArgument("more than one until filter specified")
    request = pb.PruneRequest(
        dangling=dangling is not False,
        until_ns=timestamp(wanted.one("until"), time.time_ns()),
        labels=wanted.get("label"),
        not_labels=wanted.get("label!"),
    )
    answer = await call_again(lambda: call.peers.images.Prune(request), what=_WHAT)
    removals: list[Any] = [_removal(item) for item in answer.removals]
    return json({"ImagesDeleted": removals or None, "SpaceReclaimed": answer.space_reclaimed})


ROUTES: list[Route] = [
    ("GET", "/images/json", listing),
    ("POST", "/images/prune", prune),
    ("GET", "/images/{name...}/json", inspect),
    ("GET", "/images/{name...}/history", history),
    ("POST", "/images/{name...}/tag", tag),
    ("DELETE", "/images/{name...}", remove),
]
