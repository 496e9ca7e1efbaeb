"""Network drivers: how an endpoint reaches its network. A new driver is one module here and one line in `sandbox.drivers`.

Methods run on the worker's thread and raise OSError.
"""

from typing import Protocol

from skerry.networks.records import Endpoint, Network


class Driver(Protocol):
    """What every driver can do. Each method is idempotent."""

    def ensure(self, network: Network) -> None:
        """Makes what the network needs on the host."""

    def attach(self, network: Network, endpoint: Endpoint, netns_path: str) -> None:
        """Gives the namespace its interface, addresses and routes."""

    def detach(self, endpoint: Endpoint) -> None:
        """Takes the interface off the network: when this returns, its address can be given to another."""


class NoDevices:
    """The host and null drivers: endpoints exist in records only."""

    def ensure(self, network: Network) -> None:
        """Needs nothing."""

    def attach(self, network: Network, endpoint: Endpoint, netns_path: str) -> None:
        """Needs nothing."""

    def detach(self, endpoint: Endpoint) -> None:
        """Needs nothing."""
