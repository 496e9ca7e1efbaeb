"""Starts the network manager: python -m skerry.networks."""

import asyncio
import logging
import os
import re
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from skerry.api.networks.v1.networks_pb2_grpc import add_NetworksServiceServicer_to_server
from skerry.core import lifecycle, linux, log
from skerry.core.errors import Failed, InvalidArgument
from skerry.core.rpc.endpoint import endpoint
from skerry.core.settings import Common, from_env
from skerry.networks import predefined
from skerry.networks.drivers import NoDevices
from skerry.networks.drivers.bridge import BridgeDriver, enable_forwarding
from skerry.networks.firewall import Firewall, check_table
from skerry.networks.ipam import DEFAULT_POOLS
from skerry.networks.pool import Pool
from skerry.networks.ports import Ports
from skerry.networks.reconcile import keep_firewall, reconcile, warn_of_forbidding_chains
from skerry.networks.relay import Relay
from skerry.networks.request import resolver
from skerry.networks.sandbox import Places, Sandboxes
from skerry.networks.service import NAME, NetworksService
from skerry.networks.store import open_store
from skerry.networks.worker import Worker, open_worker

_log = logging.getLogger(__name__)
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")


class Settings(Common, frozen=True, kw_only=True):
    """Read from SKERRY_NETWORKS_*. All of it acts in the network namespace that the service is started in."""

    # Device of the default bridge; when somebody else has it, skerry0.
    bridge: str = "docker0"
    # ADDRESS/PREFIX of the default bridge, as dockerd's bip; empty: the first pool that the host does not use.
    bridge_address: str = ""
    # "BASE/PREFIX:SIZE" each, as dockerd's default-address-pools.
    pools: tuple[str, ...] = DEFAULT_POOLS
    # Where ports are published that name no host address; empty: everywhere.
    publish_address: str = ""
    mtu: int = 1500
    # For containers without settings of their own; empty: as the host.
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    # What host-gateway means in extra hosts; empty: the gateway of the default bridge.
    host_gateway: str = ""
    # Name of the nftables table; each engine on a host needs its own.
    table: str = "skerry"
    # Network namespaces that are made before they are needed.
    namespaces_ahead: int = 4
    # Let the host forward IPv4 packets when it does not yet.
    forwarding: bool = True


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[str]:
    """Runs the service; yields its address. Sandboxes outlive it."""
    _check(settings)
    _raise_descriptor_limit()
    root, namespaces = os.path.join(settings.root, "networks"), os.path.join(settings.run, "netns")
    os.makedirs(os.path.join(root, "sandboxes"), mode=0o711, exist_ok=True)
    try:
        linux.make_shared(namespaces)
    except OSError as error:
        raise Failed(f"cannot keep network namespaces at {namespaces}: {error.strerror} (root is needed)") from None
    stopping = asyncio.Event()
    async with (
        open_worker() as worker,
        open_store(os.path.join(root, "networks.db")) as (store, journal),
        _kernel_parts(worker, settings) as (bridge, firewall, pool),
        lifecycle.Tasks() as tasks,
        AsyncExitStack() as stack,
    ):
        ports = Ports(Relay(tasks), publish_address=settings.publish_address)
        stack.callback(ports.close)
        networks = await predefined.ensure(store, worker, _bridge_settings(settings))
        for network in networks.values():
            if network.device:
                await worker.run(bridge.ensure, network)
        if settings.forwarding and await worker.run(enable_forwarding):
            _log.info("IPv4 forwarding was off in this network namespace; it is on now")
        sandboxes = Sandboxes(
            store=store,
            journal=journal,
            worker=worker,
            pool=pool,
            firewall=firewall,
            ports=ports,
            drivers={"bridge": bridge, "host": NoDevices(), "null": NoDevices()},
            networks=networks,
            places=Places(namespaces, os.path.join(root, "sandboxes")),
            tasks=tasks,
            resolver=resolver(settings.dns, settings.dns_search, settings.dns_options),
            host_gateway=settings.host_gateway,
        )
        await reconcile(store, sandboxes, worker, bridge, firewall, ports, namespaces)
        await warn_of_forbidding_chains(worker, firewall)
        add = partial(add_NetworksServiceServicer_to_server, NetworksService(sandboxes, journal, stopping))
        async with (
            lifecycle.background(keep_firewall(worker, firewall), pool.refill(worker)),
            endpoint(settings, "networks", [add], [NAME], stopping) as address,
        ):
            yield address


@asynccontextmanager
async def _kernel_parts(worker: Worker, settings: Settings) -> AsyncIterator[tuple[BridgeDriver, Firewall, Pool]]:
    """What belongs to the worker's thread."""
    bridge, firewall = BridgeDriver(settings.mtu), await worker.run(Firewall, settings.table)
    pool = Pool(settings.namespaces_ahead, asyncio.get_running_loop())
    try:
        yield bridge, firewall, pool
    finally:
        await worker.run(pool.close)
        await worker.run(bridge.close)
        await worker.run(firewall.close)


def _bridge_settings(settings: Settings) -> predefined.BridgeSettings:
    return predefined.BridgeSettings(settings.bridge, settings.bridge_address, settings.pools, settings.mtu, settings.publish_address)


def _check(settings: Settings) -> None:
    if not _DEVICE.match(settings.bridge):
        raise InvalidArgument(f"invalid device name {settings.bridge!r}")
    check_table(settings.table)
    if not 576 <= settings.mtu <= 65535:
        raise InvalidArgument(f"invalid MTU {settings.mtu}")
    resolver(filter(None, [settings.publish_address, settings.host_gateway]), (), ())


def _raise_descriptor_limit() -> None:
    """A published port costs one or two descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Runs until SIGTERM."""
    try:
        settings = from_env(Settings, "SKERRY_NETWORKS_")
    except InvalidArgument as error:
        raise SystemExit(f"error: {error}") from None
    log.configure("networks", settings.log_level, settings.log_format)
    lifecycle.run(service(settings))


if __name__ == "__main__":
    main()
