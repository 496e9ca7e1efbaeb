"""What the network manager remembers: plain values, stored whole."""

import msgspec

from skerry.api.networks.v1 import networks_pb2 as pb

Mode = pb.NetworkMode
NETWORKS = pb.NETWORK_MODE_NETWORKS
HOST = pb.NETWORK_MODE_HOST
NONE = pb.NETWORK_MODE_NONE
CONTAINER = pb.NETWORK_MODE_CONTAINER


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """One network. subnet and gateway are empty for drivers without addresses; device is the host's bridge."""

    id: str
    name: str
    driver: str
    created_ns: int
    subnet: str = ""
    gateway: str = ""
    device: str = ""
    options: dict[str, str] = {}


class Port(msgspec.Struct, frozen=True):
    """One published port; host_port is never 0 and host_ip never empty."""

    protocol: str
    container_port: int
    host_ip: str
    host_port: int


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox on a network. address is empty for drivers without addresses; device is the host's end of the veth pair."""

    id: str
    network_id: str
    network_name: str
    driver: str
    address: str = ""
    prefix: int = 0
    gateway: str = ""
    mac: str = ""
    device: str = ""
    aliases: tuple[str, ...] = ()
    # Addresses besides, with prefix lengths.
    link_local: tuple[str, ...] = ()


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """A container's place on the network. Not ready: being made, or left over by a crash while it was."""

    container_id: str
    container_name: str
    run: int
    mode: int
    sandbox_id: str
    created_ns: int
    join: str = ""
    netns_path: str = ""
    hosts_path: str = ""
    hostname_path: str = ""
    resolv_conf_path: str = ""
    hostname: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[Port, ...] = ()
    ready: bool = False

    @property
    def own_namespace(self) -> bool:
        """Tells whether the namespace belongs to this container alone."""
        return self.mode in (NETWORKS, NONE)

    @property
    def address(self) -> str:
        """Returns the address that ports are published to; empty without one."""
        return next((endpoint.address for endpoint in self.endpoints if endpoint.address), "")
