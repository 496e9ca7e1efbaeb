"""The network manager's double: the bridge, host and none; addresses are counted, ports taken once."""

import time
from collections.abc import AsyncIterator
from typing import Any

from gateway_doubles.events import Events
from skerry.api.networks.v1 import networks_pb2 as pb
from skerry.api.networks.v1.networks_pb2_grpc import NetworksServiceServicer
from skerry.core.errors import Conflict, Failed, NotFound


class Networks(NetworksServiceServicer):
    def __init__(self) -> None:
        self.known = {
            name: pb.Network(id=digit * 64, name=name, driver=driver, scope="local", created_ns=1)
            for name, driver, digit in (("bridge", "bridge", "b"), ("host", "host", "c"), ("none", "null", "d"))
        }
        self.known["bridge"].pools.append(pb.IpamPool(subnet="172.17.0.0/16", gateway="172.17.0.1"))
        self.boxes: dict[str, pb.Sandbox] = {}
        self.requests: list[pb.CreateSandboxRequest] = []
        self.released: list[tuple[str, int]] = []
        self.events = Events()

    async def CreateSandbox(self, request: pb.CreateSandboxRequest, context: Any) -> pb.CreateSandboxResponse:
        self.requests.append(request)
        old = self.boxes.get(request.container_id)
        if old is not None and old.run == request.run:
            return pb.CreateSandboxResponse(sandbox=old)
        if request.mode == pb.NETWORK_MODE_CONTAINER and request.join_container_id not in self.boxes:
            raise Conflict(f"cannot join network of a non running container: {request.join_container_id}")
        box = pb.Sandbox(
            container_id=request.container_id,
            run=request.run,
            mode=request.mode,
            sandbox_id="e" * 64,
            hostname=request.hostname,
            netns_path=f"/run/netns/{request.container_id[:12]}",
            hosts_path="/x/hosts",
            hostname_path="/x/hostname",
            resolv_conf_path="/x/resolv.conf",
            created_ns=time.time_ns(),
        )
        taken = {(port.host_port, port.protocol) for other in self.boxes.values() for port in other.ports}
        for wanted in request.endpoints:
            network = self._network(wanted.network)
            box.endpoints.append(
                pb.Endpoint(
                    id="f" * 64,
                    network_id=network.id,
                    network_name=network.name,
                    container_id=request.container_id,
                    container_name=request.container_name,
                    ipv4_address=f"172.17.0.{len(self.boxes) + 2}",
                    ipv4_prefix=16,
                    ipv4_gateway="172.17.0.1",
                    mac_address="02:42:ac:11:00:02",
                )
            )
        for port in request.ports:
            number = port.host_port or 32768
            if (number, port.protocol) in taken:
                raise Failed(f"Bind for 0.0.0.0:{number} failed: port is already allocated")
            for address in [port.host_ip] if port.host_ip else ["0.0.0.0", "::"]:
                box.ports.append(
                    pb.PortBinding(protocol=port.protocol, container_port=port.container_port, host_ip=address, host_port=number)
                )
        self.boxes[request.container_id] = box
        self.events.add("network", "connect", "b" * 64, container=request.container_id, name="bridge", type="bridge")
        return pb.CreateSandboxResponse(sandbox=box)

    def _network(self, name: str) -> pb.Network:
        for network in self.known.values():
            if name == network.name or network.id.startswith(name):
                return network
        raise NotFound(f"network {name} not found")

    async def ReleaseSandbox(self, request: pb.ReleaseSandboxRequest, context: Any) -> pb.ReleaseSandboxResponse:
        box = self.boxes.get(request.container_id)
        if box is not None and (not request.run or box.run <= request.run):
            del self.boxes[request.container_id]
            self.released.append((request.container_id, request.run))
        return pb.ReleaseSandboxResponse()

    async def GetSandbox(self, request: pb.GetSandboxRequest, context: Any) -> pb.GetSandboxResponse:
        if request.container_id not in self.boxes:
            raise NotFound(f"no sandbox of {request.container_id}")
        return pb.GetSandboxResponse(sandbox=self.boxes[request.container_id])

    async def ListSandboxes(self, request: pb.ListSandboxesRequest, context: Any) -> AsyncIterator[pb.ListSandboxesResponse]:
        for box in list(self.boxes.values()):
            yield pb.ListSandboxesResponse(sandbox=box)

    async def RenameSandbox(self, request: pb.RenameSandboxRequest, context: Any) -> pb.RenameSandboxResponse:
        return pb.RenameSandboxResponse()

    async def RemoveSandbox(self, request: pb.RemoveSandboxRequest, context: Any) -> pb.RemoveSandboxResponse:
        self.boxes.pop(request.container_id, None)
        return pb.RemoveSandboxResponse()

    async def GetNetwork(self, request: pb.GetNetworkRequest, context: Any) -> pb.GetNetworkResponse:
        network = pb.Network()
        network.CopyFrom(self._network(request.network))
        for box in self.boxes.values():
            network.endpoints.extend(endpoint for endpoint in box.endpoints if endpoint.network_id == network.id)
        return pb.GetNetworkResponse(network=network)

    async def ListNetworks(self, request: pb.ListNetworksRequest, context: Any) -> AsyncIterator[pb.ListNetworksResponse]:
        for network in self.known.values():
            yield pb.ListNetworksResponse(network=network)

    async def Subscribe(self, request: pb.SubscribeRequest, context: Any) -> AsyncIterator[pb.SubscribeResponse]:
        async for item in self.events.subscribe(request.subscription):
            yield pb.SubscribeResponse(item=item)
