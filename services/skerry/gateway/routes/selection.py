"""Which containers `docker ps` shows: its filters, by dockerd's rules (daemon/list.go)."""

import re

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.api.networks.v1 import networks_pb2
from skerry.core.errors import InvalidArgument, NotFound
from skerry.core.rpc.channel import call_again
from skerry.gateway import filters
from skerry.gateway.call import find
from skerry.gateway.docker.inspect import STATUS
from skerry.gateway.docker.names import familiar
from skerry.gateway.docker.ports import port_list
from skerry.gateway.docker.sandbox import network_name
from skerry.gateway.errors import BadInput
from skerry.gateway.peers import Peers

FILTERS = frozenset(
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
_HEALTH = frozenset({"none", "starting", "healthy", "unhealthy"})
_LIVE = frozenset({pb.STATUS_RUNNING, pb.STATUS_PAUSED, pb.STATUS_RESTARTING})


class Selection:
    """Decides by ?filters=, whose names are among FILTERS."""

    def __init__(self, wanted: filters.Filters) -> None:
        self._wanted = wanted
        self._before = self._since = 0
        self._ids: set[str] | None = None
        self._ancestors: set[str] | None = None
        # Names of networks; those that were named by their ids apart: a container has these only once it was started.
        self._networks = set(wanted.get("network"))
        self._networks_by_id: set[str] = set()
        self._exits = {_number(text) for text in wanted.get("exited")}
        self._names = [_pattern(text) for text in wanted.get("name")]
        self._published = _ports(wanted, "publish")
        self._exposed = _ports(wanted, "expose")
        if (unknown := set(wanted.get("status")) - set(STATUS.values())) != set():
            raise InvalidArgument(f"Invalid filter 'status={min(unknown)}'")
        if (unknown := set(wanted.get("health")) - _HEALTH) != set():
            raise InvalidArgument(f"Unrecognised filter value for health: {min(unknown)}")
        if not set(wanted.get("is-task")) <= {"true", "false"}:
            raise InvalidArgument(f"Invalid filter 'is-task=[{' '.join(wanted.get('is-task'))}]'")

    @classmethod
    async def of(cls, peers: Peers, wanted: filters.Filters, every: list[pb.Container], images: list[images_pb2.Image]) -> "Selection":
        """Looks up what the filters name among all containers and images. Raises InvalidArgument, BadInput."""
        selection = cls(wanted)
        if "before" in wanted:
            selection._before = min([await _created(peers, name) for name in wanted.get("before")])
        if "since" in wanted:
            selection._since = max([await _created(peers, name) for name in wanted.get("since")])
        if "id" in wanted:
            selection._ids = {found for prefix in wanted.get("id") if (found := _only(prefix, every))}
        if "ancestor" in wanted:
            selection._ancestors = _descendants(wanted.get("ancestor"), images)
        if "network" in wanted:
            selection._networks_by_id = await _networks_by_id(peers, wanted.get("network"))
        return selection

    def __call__(self, container: pb.Container, box: networks_pb2.Sandbox | None) -> bool:
        wanted, name = self._wanted, container.name
        return (
            wanted.matches("status", [STATUS[container.state.status]])
            and (not self._exits or self._exited(container.state))
            and (self._ids is None or container.id in self._ids)
            and (not self._names or any(pattern.search(text) for pattern in self._names for text in (name, f"/{name}")))
            and wanted.labels_match(dict(container.spec.labels))
            and (not self._before or container.created_ns < self._before)
            and (not self._since or container.created_ns > self._since)
            and (self._ancestors is None or container.image_id in self._ancestors)
            and wanted.matches("is-task", ["false"])
            and wanted.matches("health", [container.state.health.status or "none"])
            and wanted.matches(
                "volume", [text for mount in container.mount_points for text in (mount.name or mount.source, mount.destination)]
            )
            and self._on_network(container, box)
            and self._has_ports(container, box)
        )

    def _exited(self, state: pb.State) -> bool:
        return state.exit_code in self._exits and state.status not in _LIVE and state.started_ns != 0

    def _on_network(self, container: pb.Container, box: networks_pb2.Sandbox | None) -> bool:
        if not self._networks:
            return True
        mine = {network_name(container.spec)} | {endpoint.network_name for endpoint in (box.endpoints if box else ())}
        started = container.state.started_ns or container.state.error
        return not mine.isdisjoint(self._networks) or bool(started and not mine.isdisjoint(self._networks_by_id))

    def _has_ports(self, container: pb.Container, box: networks_pb2.Sandbox | None) -> bool:
        """One of the published or of the exposed ports, of those that `ps` shows."""
        if not (self._wanted.get("publish") or self._wanted.get("expose")):
            return True
        if box is None or container.state.status not in _LIVE:
            return False
        shown = port_list(box.ports, container.spec.exposed_ports if box.endpoints else ())
        return any(
            (port.get("PublicPort"), port["Type"]) in self._published or (port["PrivatePort"], port["Type"]) in self._exposed
            for port in shown
        )


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


def _only(prefix: str, every: list[pb.Container]) -> str:
    """Returns the id that begins so; empty when several do, or none."""
    found = [container.id for container in every if container.id.startswith(prefix)]
    return found[0] if len(found) == 1 else ""


async def _networks_by_id(peers: Peers, prefixes: list[str]) -> set[str]:
    """Returns the names of the networks whose ids begin so."""

    async def read() -> list[networks_pb2.Network]:
        return [item.network async for item in peers.networks.ListNetworks(networks_pb2.ListNetworksRequest())]

    found = await call_again(read, what="the network service")
    return {network.name for network in found if any(network.id.startswith(prefix) for prefix in prefixes)}


async def _created(peers: Peers, name: str) -> int:
    try:
        return (await find(peers, name)).created_ns
    except NotFound:
        raise BadInput(f"no such container {name}") from None


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


def _ports(wanted: filters.Filters, name: str) -> set[tuple[int, str]]:
    """Ports and protocols of a filter: "80", "80-90/udp". Raises BadInput."""
    found: set[tuple[int, str]] = set()
    for text in wanted.get(name):
        if ":" in text:
            raise BadInput(f"filter for '{name}' should not contain ':': {text}")
        numbers, _, protocol = text.partition("/")
        ends = [_port(name, text, word) for word in numbers.split("-", 1)]
        found |= {(port, protocol.lower() or "tcp") for port in range(ends[0], ends[-1] + 1)}
    return found


def _port(name: str, text: str, word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise BadInput(f'error while looking up for {name} {text}: strconv.ParseUint: parsing "{word}": invalid syntax')
    if int(word[:6]) > 65535:
        raise BadInput(f'error while looking up for {name} {text}: strconv.ParseUint: parsing "{word}": value out of range')
    return int(word)
