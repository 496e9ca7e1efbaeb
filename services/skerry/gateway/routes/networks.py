"""Networks: list and inspect. Making them is not this engine's business yet."""

from aiohttp import web

from skerry.api.networks.v1 import networks_pb2 as pb
from skerry.core.errors import NotSupported
from skerry.core.rpc.channel import call_again
from skerry.gateway import filters
from skerry.gateway.call import Call, Handler, Route, json
from skerry.gateway.docker.networks import network

_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
_PREDEFINED = frozenset({"bridge", "host", "none"})


async def listing(call: Call) -> web.StreamResponse:
    """GET /networks."""
    wanted = filters.parse(call.text("filters"), _FILTERS)

    async def read() -> list[pb.Network]:
        return [item.network async for item in call.peers.networks.ListNetworks(pb.ListNetworksRequest())]

    found = await call_again(read, what="the network service")
    return json([network(value, endpoints=False) for value in found if _keep(value, wanted)])


def _keep(value: pb.Network, wanted: filters.Filters) -> bool:
    kind = "builtin" if value.name in _PREDEFINED else "custom"
    return (
        ("id" not in wanted or any(prefix in value.id for prefix in wanted.get("id")))
        and ("name" not in wanted or any(part in value.name for part in wanted.get("name")))
        and wanted.matches("driver", [value.driver])
        and wanted.matches("scope", [value.scope or "local"])
        and wanted.matches("type", [kind])
        and wanted.labels_match(dict(value.labels))
        and (wanted.boolean("dangling") is not True or kind == "custom")
    )


async def inspect(call: Call) -> web.StreamResponse:
    """GET /networks/{id}."""
    request = pb.GetNetworkRequest(network=call.params["id"])
    found = (await call_again(lambda: call.peers.networks.GetNetwork(request), what="the network service")).network
    return json(network(found, endpoints=True))


async def prune(call: Call) -> web.StreamResponse:
    """POST /networks/prune: there are only the predefined networks, which no prune removes."""
    filters.parse(call.text("filters"), {"label", "label!", "until"})
    return json({"NetworksDeleted": None})


def _not_yet(what: str) -> Handler:
    async def refuse(call: Call) -> web.StreamResponse:
        raise NotSupported(f"{what} is not supported yet")

    return refuse


ROUTES: list[Route] = [
    ("GET", "/networks", listing),
    ("POST", "/networks/create", _not_yet("creating networks")),
    ("POST", "/networks/prune", prune),
    ("GET", "/networks/{id}", inspect),
    ("DELETE", "/networks/{id}", _not_yet("removing networks")),
    ("POST", "/networks/{id}/connect", _not_yet("connecting containers to networks")),
    ("POST", "/networks/{id}/disconnect", _not_yet("disconnecting containers from networks")),
]
