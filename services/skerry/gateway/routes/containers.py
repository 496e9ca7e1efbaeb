"""Containers: everything but their streams (attach, logs, wait) and the list."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from aiohttp import web

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.networks.v1 import networks_pb2
from skerry.core.errors import InvalidArgument, NotFound, NotSupported, Unavailable
from skerry.core.rpc.channel import call_again
from skerry.gateway.call import Call, Handler, Route, empty, json
from skerry.gateway.coordinator import create as creating
from skerry.gateway.coordinator import remove as removing
from skerry.gateway.coordinator import start as starting
from skerry.gateway.coordinator import stop as stopping
from skerry.gateway.coordinator.leftover import soon
from skerry.gateway.coordinator.owned import owned as owned_by
from skerry.gateway.docker.checks import check_signal
from skerry.gateway.docker.create import parse_create
from skerry.gateway.docker.inspect import inspect as inspect_document
from skerry.gateway.docker.sandbox import network_name
from skerry.gateway.errors import BadInput
from skerry.gateway.peers import Peers
from skerry.gateway.routes.execs import size
from skerry.gateway.versions import HEALTH_START_INTERVAL, STOP_SIGNAL

T = TypeVar("T")


async def owned(call: Call, work: Coroutine[Any, Any, T], name: str) -> T:
    """Awaits work that goes on to its end when the client leaves."""
    return await owned_by(call.peers, work, name)


async def create(call: Call) -> web.StreamResponse:
    """POST /containers/create."""
    wanted = parse_create(await call.json_body(), call.text("name"), call.text("platform"), call.version)
    if call.version < HEALTH_START_INTERVAL:
        wanted.without_start_interval()
    answer = await owned(call, creating.create(call.peers, wanted), "create")
    return json({"Id": answer.container.id, "Warnings": [*answer.warnings, *wanted.warnings]}, 201)


async def inspect(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/json."""
    container = await call.container(size=call.flag("size"))
    sandbox = await sandbox_of(call.peers, container.id)
    network = None
    if not (sandbox and sandbox.endpoints) and (name := network_name(container.spec)):
        network = await _network(call.peers, name)
    return json(inspect_document(container, sandbox, network, call.version))


async def sandbox_of(peers: Peers, container_id: str) -> networks_pb2.Sandbox | None:
    """Returns the container's sandbox; None also while the network service is away, as inspect must not fail for that."""
    request = networks_pb2.GetSandboxRequest(container_id=container_id)
    try:
        return (await call_again(lambda: peers.networks.GetSandbox(request), patience=1, what="the network service")).sandbox
    except (NotFound, Unavailable):
        return None


async def _network(peers: Peers, name: str) -> networks_pb2.Network | None:
    request = networks_pb2.GetNetworkRequest(network=name)
    try:
        return (await call_again(lambda: peers.networks.GetNetwork(request), patience=1, what="the network service")).network
    except (NotFound, Unavailable):
        return None


async def start(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/start. A body was a HostConfig once; it is refused as in newer engines."""
    if len(await call.body()) > 2:
        raise InvalidArgument("starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
    await owned(call, starting.start(call.peers, await call.container_id()), "start")
    return empty()


def _timeout(call: Call) -> int | None:
    value = call.number("t")
    if value is not None and not -(2**31) <= value < 2**31:
        raise BadInput(f'strconv.Atoi: parsing "{value}": value out of range')
    return value


def _stop_signal(call: Call) -> str:
    signal = call.text("signal") if call.version >= STOP_SIGNAL else ""
    check_signal(signal)
    return signal


async def stop(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/stop."""
    timeout, signal = _timeout(call), _stop_signal(call)
    await owned(call, stopping.stop(call.peers, await call.container_id(), timeout, signal), "stop")
    return empty()


async def restart(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/restart."""
    timeout, signal = _timeout(call), _stop_signal(call)
    await owned(call, stopping.restart(call.peers, await call.container_id(), timeout, signal), "restart")
    return empty()


async def kill(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/kill."""
    signal = call.text("signal")
    check_signal(signal)
    name = call.params["id"]
    try:
        container_id = await call.container_id()
    except NotFound as error:
        raise NotFound(f"Cannot kill container: {name}: {error}") from None
    try:
        await owned(call, stopping.kill(call.peers, container_id, name, signal), "kill")
    except InvalidArgument as error:
        raise BadInput(str(error)) from None
    return empty()


async def pause(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/pause."""
    request = pb.PauseRequest(id=await call.container_id())
    await call_again(lambda: call.peers.containers.Pause(request), what="the container service")
    return empty()


async def unpause(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/unpause."""
    request = pb.UnpauseRequest(id=await call.container_id())
    await call_again(lambda: call.peers.containers.Unpause(request), what="the container service")
    return empty()


async def rename(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/rename."""
    container_id = await call.container_id()  # 404 before a bad name's 400, as dockerd
    name = call.text("name")
    if not name:
        raise InvalidArgument("Neither old nor new names may be empty")
    request = pb.RenameRequest(id=container_id, name=name.removeprefix("/"))
    answer = await call_again(lambda: call.peers.containers.Rename(request), what="the container service")
    told = networks_pb2.RenameSandboxRequest(container_id=answer.id, name=answer.new_name)
    await soon(call.peers, "rename in the network service", lambda: call.peers.networks.RenameSandbox(told))
    return empty()


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /containers/{id}."""
    if call.flag("link"):
        raise NotSupported("removing links is not supported yet")
    container_id = await call.container_id()
    await owned(call, removing.remove(call.peers, container_id, volumes=call.flag("v"), force=call.flag("force")), "remove")
    return empty()


async def resize(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/resize."""
    height, width = size(call)
    request = pb.ResizeRequest(id=await call.container_id(), height=height, width=width)
    await call_again(lambda: call.peers.containers.Resize(request), what="the container service")
    return empty(200)


async def top(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/top."""
    request = pb.TopRequest(id=await call.container_id(), ps_args=call.text("ps_args"))
    answer = await call_again(lambda: call.peers.containers.Top(request), what="the container service")
    return json({"Titles": list(answer.titles), "Processes": [list(row.columns) for row in answer.processes] or None})


def not_yet(what: str) -> Handler:
    """Returns a handler that says that this engine does not do that yet; the container must exist."""

    async def refuse(call: Call) -> web.StreamResponse:
        await call.container()
        raise NotSupported(f"{what} is not supported yet")

    return refuse


ROUTES: list[Route] = [
    ("POST", "/containers/create", create),
    ("GET", "/containers/{id}/json", inspect),
    ("POST", "/containers/{id}/start", start),
    ("POST", "/containers/{id}/stop", stop),
    ("POST", "/containers/{id}/restart", restart),
    ("POST", "/containers/{id}/kill", kill),
    ("POST", "/containers/{id}/pause", pause),
    ("POST", "/containers/{id}/unpause", unpause),
    ("POST", "/containers/{id}/rename", rename),
    ("DELETE", "/containers/{id}", remove),
    ("POST", "/containers/{id}/resize", resize),
    ("GET", "/containers/{id}/top", top),
]
