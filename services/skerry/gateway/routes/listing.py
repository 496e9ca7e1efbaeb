"""GET /containers/json and POST /containers/prune."""

import asyncio
import re
import time
from collections.abc import Iterable
from typing import Any

import grpc.aio
from aiohttp import web

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.api.networks.v1 import networks_pb2
from skerry.core.errors import InvalidArgument, NotFound, SkerryError, Unavailable
from skerry.core.rpc.channel import call_again
from skerry.gateway import filters
from skerry.gateway.call import Call, Route, find, json
from skerry.gateway.coordinator.leftover import soon
from skerry.gateway.coordinator.remove import remove
from skerry.gateway.docker.inspect import STATUS
from skerry.gateway.docker.names import familiar
from skerry.gateway.docker.ports import parse_port
from skerry.gateway.docker.ps import summary
from skerry.gateway.docker.sandbox import network_name
from skerry.gateway.docker.times import timestamp
from skerry.gateway.errors import BadInput
from skerry.gateway.peers import Peers

_FILTERS = frozenset(
    {
        "ancestor",
        "before",
        "exited",
        "expose",
        "health",
        "id",
        "is-task",
        "isolation",
        "label",
        "name",
        "network",
        "publish",
        "since",
        "status",
        "volume",
    }
)
_PRUNE_FILTERS = frozenset({"label", "label!", "until"})
_HEALTH = frozenset({"none", "starting", "healthy", "unhealthy"})
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
    wanted = filters.parse(call.text("filters"), _FILTERS)
    limit = call.number("limit") or 0
    every, boxes, known = await asyncio.gather(containers(call.peers, size=call.flag("size")), sandboxes(call.peers), images(call.peers))
    keep = await _Selection.of(call.peers, wanted, known or [])
    show_all = call.flag("all") or limit > 0 or any(name in wanted for name in ("status", "exited", "before", "since"))
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


class _Selection:
    """Decides by ?filters=."""

    def __init__(self, wanted: filters.Filters) -> None:
        self._wanted = wanted
        self._before = self._since = 0
        self._ancestors: set[str] | None = None
        self._networks: set[str] = set(wanted.get("network"))
        self._exits = {_number(text) for text in wanted.get("exited")}
        self._names = [_pattern(text) for text in wanted.get("name")]
        self._published = _wanted_ports(wanted, "publish")
        self._exposed = _wanted_ports(wanted, "expose")
        if (unknown := set(wanted.get("status")) - set(STATUS.values())) != set():
            raise InvalidArgument(f"Invalid filter 'status={min(unknown)}'")
        if (unknown := set(wanted.get("health")) - _HEALTH) != set():
            raise InvalidArgument(f"Unrecognised filter value for health: {min(unknown)}")
        self._tasks = wanted.boolean("is-task")

    @classmethod
    async def of(cls, peers: Peers, wanted: filters.Filters, known: list[images_pb2.Image]) -> "_Selection":
        """Looks up what the filters name. Raises InvalidArgument, NotFound."""
        selection = cls(wanted)
        if "before" in wanted:
            selection._before = await _created(peers, wanted.one("before"))
        if "since" in wanted:
            selection._since = await _created(peers, wanted.one("since"))
        if "ancestor" in wanted:
            selection._ancestors = _descendants(wanted.get("ancestor"), known)
        return selection

    def __call__(self, container: pb.Container, box: networks_pb2.Sandbox | None) -> bool:
        wanted, name = self._wanted, container.name
        return (
            wanted.matches("status", [STATUS[container.state.status]])
            and (not self._exits or (container.state.exit_code in self._exits and container.state.status == pb.STATUS_EXITED))
            and ("id" not in wanted or any(container.id.startswith(prefix) for prefix in wanted.get("id")))
            and (not self._names or any(pattern.search(text) for pattern in self._names for text in (name, f"/{name}")))
            and wanted.labels_match(dict(container.spec.labels))
            and (not self._before or container.created_ns < self._before)
            and (not self._since or container.created_ns > self._since)
            and (self._ancestors is None or container.image_id in self._ancestors)
            and self._tasks is not True
            and wanted.matches("health", [container.state.health.status or "none"])
            and wanted.matches("volume", [text for mount in container.mount_points for text in (mount.name, mount.destination)])
            and self._on_network(container, box)
            and self._has_ports(container, box)
        )

    def _on_network(self, container: pb.Container, box: networks_pb2.Sandbox | None) -> bool:
        if not self._networks:
            return True
        mine = {network_name(container.spec)}
        for endpoint in box.endpoints if box else ():
            mine |= {endpoint.network_name, endpoint.network_id}
        return not mine.isdisjoint(self._networks)

    def _has_ports(self, container: pb.Container, box: networks_pb2.Sandbox | None) -> bool:
        published = {(port.container_port, port.protocol) for port in (box.ports if box else ())}
        published_host = {(port.host_port, port.protocol) for port in (box.ports if box else ())}
        if self._published and self._published.isdisjoint(published | published_host):
            return False
        return not self._exposed or not self._exposed.isdisjoint(_ports(container.spec.exposed_ports) | published)


def _descendants(names: list[str], known: list[images_pb2.Image]) -> set[str]:
    """Returns the ids of the named images and of all that were made from them."""
    found: set[str] = set()
    for name in names:
        full = familiar(name)
        for image in known:
            if (
                full in image.repo_tags
                or full in image.repo_digests
                or image.id.removeprefix("sha256:").startswith(name.removeprefix("sha256:"))
            ):
                found.add(image.id)
    grown = True
    while grown:
        more = {image.id for image in known if image.parent in found} - found
        found |= more
        grown = bool(more)
    return found


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadInput(f'strconv.Atoi: parsing "{text}": invalid syntax') from None


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error:
        return re.compile(re.escape(text))


def _ports(texts: Iterable[str]) -> set[tuple[int, str]]:
    result: set[tuple[int, str]] = set()
    for text in texts:
        first, last, protocol = parse_port(text)
        result |= {(port, protocol) for port in range(first, last + 1)}
    return result


def _wanted_ports(wanted: filters.Filters, name: str) -> set[tuple[int, str]]:
    """Ports of a filter, of whatever protocol."""
    found: set[tuple[int, str]] = set()
    for text in wanted.get(name):
        numbers, _, protocol = text.partition("/")
        try:
            first, last, _ = parse_port(numbers)
        except InvalidArgument:
            raise BadInput(f'error while looking up for {name} {text}: strconv.ParseUint: parsing "{text}": invalid syntax') from None
        found |= {(port, protocol.lower() or "tcp") for port in range(first, last + 1)}
    return found


async def _created(peers: Peers, name: str) -> int:
    try:
        return (await find(peers, name)).created_ns
    except NotFound:
        raise BadInput(f"no such container {name}") from None


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
