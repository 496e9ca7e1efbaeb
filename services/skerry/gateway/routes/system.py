"""ping, version, info, and the nouns that this engine has none of: plugins, swarm."""

import asyncio

import grpc.aio
from aiohttp import web

from skerry.api.containers.v1 import containers_pb2
from skerry.api.images.v1 import images_pb2
from skerry.core.errors import NotFound, NotSupported, SkerryError, Unavailable
from skerry.core.rpc.channel import call_again
from skerry.gateway.call import COMMON_HEADERS, Call, Handler, Route, json
from skerry.gateway.docker import system

_PING_HEADERS = {**COMMON_HEADERS, "Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Swarm": "inactive"}


async def ping(call: Call) -> web.StreamResponse:
    """GET and HEAD /_ping: the gateway itself answers; what a service lacks shows in what it is asked for."""
    if call.request.method == "HEAD":
        return web.Response(headers={**_PING_HEADERS, "Content-Length": "0"}, content_type="text/plain")
    return web.Response(body=b"OK", headers=_PING_HEADERS, content_type="text/plain")


async def version(call: Call) -> web.StreamResponse:
    """GET /version."""
    return json(system.version(call.version))


async def info(call: Call) -> web.StreamResponse:
    """GET /info."""
    node, store = await asyncio.gather(_node(call), _images(call))
    return json(system.info(node, store, call.peers.node, call.peers.event_listeners, call.version))


async def _node(call: Call) -> containers_pb2.InfoResponse:
    return await call_again(lambda: call.peers.containers.Info(containers_pb2.InfoRequest()), what="the container service")


async def _images(call: Call) -> images_pb2.InfoResponse | None:
    try:
        return await call_again(lambda: call.peers.images.Info(images_pb2.InfoRequest()), patience=0.5, what="the image store")
    except (SkerryError, grpc.aio.AioRpcError):
        return None


async def plugins(call: Call) -> web.StreamResponse:
    """GET /plugins."""
    return json([])


async def plugin(call: Call) -> web.StreamResponse:
    """GET /plugins/{name}/json."""
    raise NotFound(f'plugin "{call.params["name"]}" not found')


async def swarm(call: Call) -> web.StreamResponse:
    """All of swarm."""
    raise Unavailable(
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'
    )


def _not_yet(what: str) -> Handler:
    async def refuse(call: Call) -> web.StreamResponse:
        raise NotSupported(f"{what} is not supported yet")

    return refuse


ROUTES: list[Route] = [
    ("GET", "/_ping", ping),
    ("HEAD", "/_ping", ping),
    ("GET", "/version", version),
    ("GET", "/info", info),
    ("GET", "/plugins/privileges", _not_yet("managed plugins")),
    *(("POST", f"/plugins/{what}", _not_yet("managed plugins")) for what in ("pull", "create")),
    *(("POST", f"/plugins/{{name...}}/{what}", _not_yet("managed plugins")) for what in ("enable", "disable", "upgrade", "push", "set")),
    ("DELETE", "/plugins/{name...}", _not_yet("managed plugins")),
    ("GET", "/plugins", plugins),
    ("GET", "/plugins/{name...}/json", plugin),
    *(
        (method, path, swarm)
        for noun in ("swarm", "nodes", "services", "tasks", "secrets", "configs")
        for method in ("GET", "POST", "DELETE")
        for path in (f"/{noun}", f"/{noun}/{{rest...}}")
    ),
]
