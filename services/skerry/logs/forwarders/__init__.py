"""Forwarders: drivers that also send a container's records to a collector.

A forwarder works from the store with a cursor of its own that moves only when the collector acknowledged. json-file has none to send to
and is the store itself; a driver that forwards is a module here and a line in FORWARDERS.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from skerry.logs.stores import Store


class Forwarder(Protocol):
    """Sends one container's records to one collector."""

    async def run(self) -> None:
        """Sends until cancelled; never raises for a collector that is away."""

    async def drained(self, timeout: float) -> bool:
        """Waits until the collector has all that was accepted; False when timeout seconds passed before."""


# Driver name -> maker of its forwarder.
FORWARDERS: dict[str, Callable[[Store, Mapping[str, str]], Forwarder]] = {}
