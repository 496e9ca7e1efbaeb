"""NetworksService on the wire: translation only."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from skerry.api.networks.v1 import networks_pb2 as pb
from skerry.api.networks.v1 import networks_pb2_grpc
from skerry.core.errors import InvalidArgument
from skerry.core.ids import is_id
from skerry.core.journal import Journal
from skerry.networks import request as requests
from skerry.networks.records import Endpoint, Network, Sandbox
from skerry.networks.sandbox import Sandboxes

NAME = "skerry.api.networks.v1.NetworksService"
Context = grpc.aio.ServicerContext[Any, Any]


class NetworksService(networks_pb2_grpc.NetworksServiceServicer):
    """Answers the calls of protos/skerry/api/networks/v1/networks.proto."""

    def __init__(self, sandboxes: Sandboxes, journal: Journal, stopping: asyncio.Event) -> None:
        self._sandboxes = sandboxes
        self._journal = journal
        self._stopping = stopping

    async def CreateSandbox(self, request: pb.CreateSandboxRequest, context: Context) -> pb.CreateSandboxResponse:
        return pb.CreateSandboxResponse(sandbox=_sandbox(await self._sandboxes.create(requests.wish(request))))

    async def ReleaseSandbox(self, request: pb.ReleaseSandboxRequest, context: Context) -> pb.ReleaseSandboxResponse:
        await self._sandboxes.release(_id(request.container_id), request.run)
        return pb.ReleaseSandboxResponse()

    async def GetSandbox(self, request: pb.GetSandboxRequest, context: Context) -> pb.GetSandboxResponse:
        return pb.GetSandboxResponse(sandbox=_sandbox(await self._sandboxes.get(request.container_id)))

    async def ListSandboxes(self, request: pb.ListSandboxesRequest, context: Context) -> AsyncIterator[pb.ListSandboxesResponse]:
        for sandbox in await self._sandboxes.all():
            yield pb.ListSandboxesResponse(sandbox=_sandbox(sandbox))

    async def RenameSandbox(self, request: pb.RenameSandboxRequest, context: Context) -> pb.RenameSandboxResponse:
        await self._sandboxes.rename(_id(request.container_id), requests.container_name(request.name))
        return pb.RenameSandboxResponse()

    async def RemoveSandbox(self, request: pb.RemoveSandboxRequest, context: Context) -> pb.RemoveSandboxResponse:
        await self._sandboxes.remove(_id(request.container_id))
        return pb.RemoveSandboxResponse()

    async def GetNetwork(self, request: pb.GetNetworkRequest, context: Context) -> pb.GetNetworkResponse:
        network = self._sandboxes.network(request.network)
        message = _network(network)
        for sandbox in await self._sandboxes.all():
            message.endpoints.extend(_endpoint(e, sandbox) for e in sandbox.endpoints if e.network_id == network.id)
        return pb.GetNetworkResponse(network=message)

    async def ListNetworks(self, request: pb.ListNetworksRequest, context: Context) -> AsyncIterator[pb.ListNetworksResponse]:
        for network in self._sandboxes.networks():
            yield pb.ListNetworksResponse(network=_network(network))

    async def Subscribe(self, request: pb.SubscribeRequest, context: Context) -> AsyncIterator[pb.SubscribeResponse]:
        async for item in self._journal.subscribe(request.subscription, self._stopping):
            yield pb.SubscribeResponse(item=item)


def _id(container_id: str) -> str:
    """The id becomes a path component."""
    if not is_id(container_id):
        raise InvalidArgument(f"invalid container id {container_id!r}")
    return container_id


def _sandbox(sandbox: Sandbox) -> pb.Sandbox:
    return pb.Sandbox(
        container_id=sandbox.container_id,
        run=sandbox.run,
        mode=pb.NetworkMode.Name(sandbox.mode),
        netns_path=sandbox.netns_path,
        hosts_path=sandbox.hosts_path,
        hostname_path=sandbox.hostname_path,
        resolv_conf_path=sandbox.resolv_conf_path,
        hostname=sandbox.hostname,
        endpoints=[_endpoint(endpoint, sandbox) for endpoint in sandbox.endpoints],
        ports=[
            pb.PortBinding(protocol=p.protocol, container_port=p.container_port, host_ip=p.host_ip, host_port=p.host_port)
            for p in sandbox.ports
        ],
        sandbox_id=sandbox.sandbox_id,
        created_ns=sandbox.created_ns,
    )


def _endpoint(endpoint: Endpoint, sandbox: Sandbox) -> pb.Endpoint:
    return pb.Endpoint(
        id=endpoint.id,
        network_id=endpoint.network_id,
        network_name=endpoint.network_name,
        container_id=sandbox.container_id,
        container_name=sandbox.container_name,
        ipv4_address=endpoint.address,
        ipv4_prefix=endpoint.prefix,
        ipv4_gateway=endpoint.gateway,
        mac_address=endpoint.mac,
        aliases=endpoint.aliases,
    )


def _network(network: Network) -> pb.Network:
    return pb.Network(
        id=network.id,
        name=network.name,
        driver=network.driver,
        scope="local",
        created_ns=network.created_ns,
        pools=[pb.IpamPool(subnet=network.subnet, gateway=network.gateway)] if network.subnet else [],
        ipam_driver="default",
        options=network.options,
    )
