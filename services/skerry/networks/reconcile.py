"""Records against the kernel: at start, what is alive is adopted and what is not is dropped; later, a flushed firewall is restored."""

import asyncio
import logging
import os
import shutil
import socket
import struct

from skerry.core import process
from skerry.core.errors import SkerryError
from skerry.core.ids import is_id
from skerry.networks import namespaces
from skerry.networks.drivers.bridge import BridgeDriver, device_exists
from skerry.networks.firewall import Firewall
from skerry.networks.netlink import NETFILTER
from skerry.networks.nftables import NftablesError
from skerry.networks.ports import Ports
from skerry.networks.records import CONTAINER, HOST, Network, Sandbox
from skerry.networks.sandbox import Sandboxes
from skerry.networks.store import NetworkStore
from skerry.networks.worker import Worker

_log = logging.getLogger(__name__)
_GROUP_NFTABLES = 7
_NFTABLES = 10
_DELETED = {2, 5, 8}  # table, chain, rule


async def reconcile(
    store: NetworkStore, sandboxes: Sandboxes, worker: Worker, bridge: BridgeDriver, firewall: Firewall, ports: Ports, directory: str
) -> None:
    """Makes kernel and records agree. Needs the bridges to be there; afterwards the table is loaded and ports are reserved."""
    live = []
    recorded = await store.sandboxes()
    alive = await worker.run(_alive, recorded)
    for sandbox in recorded:
        if sandbox.container_id in alive:
            live.append(sandbox)
            continue
        _log.info("dropping a sandbox that is gone", extra={"container": sandbox.container_id})
        try:
            await sandboxes.release(sandbox.container_id)
        except SkerryError as error:
            _log.warning("cannot drop it yet", extra={"container": sandbox.container_id, "error": str(error)})
    networks = [network for network in sandboxes.networks() if network.device]
    swept = await worker.run(_sweep, directory, live, bridge, networks)
    if swept:
        _log.info("removed leftovers", extra={"names": " ".join(swept)})
    await worker.run(_load, firewall, networks, live)
    for sandbox in live:
        for port in ports.hold_again(sandbox.container_id, sandbox.ports, sandbox.address):
            _log.warning("a published port was taken by a program of the host", extra={"port": f"{port.host_port}/{port.protocol}"})


def _alive(recorded: list[Sandbox]) -> set[str]:
    """Returns the containers whose sandboxes are complete; those that join another's live and die with it."""
    alive = {sandbox.container_id for sandbox in recorded if sandbox.ready and _complete(sandbox)}
    joined = {sandbox.container_id for sandbox in recorded if sandbox.ready and sandbox.mode == CONTAINER and sandbox.join in alive}
    return alive | joined


def _complete(sandbox: Sandbox) -> bool:
    if sandbox.mode == HOST:
        return True
    if sandbox.mode == CONTAINER:
        return False
    devices = (endpoint.device for endpoint in sandbox.endpoints if endpoint.device)
    return namespaces.exists(sandbox.netns_path) and all(map(device_exists, devices))


def _sweep(directory: str, live: list[Sandbox], bridge: BridgeDriver, networks: list[Network]) -> list[str]:
    kept = {os.path.basename(sandbox.netns_path) for sandbox in live}
    strays = [name for name in os.listdir(directory) if is_id(name) and name not in kept]
    for name in strays:
        namespaces.drop(os.path.join(directory, name))
    devices = {endpoint.device for sandbox in live for endpoint in sandbox.endpoints if endpoint.device}
    return strays + [name for network in networks for name in bridge.sweep(network, devices)]


def _load(firewall: Firewall, networks: list[Network], live: list[Sandbox]) -> None:
    for network in networks:
        firewall.add_network(network)
    for sandbox in live:
        firewall.remember(sandbox)
    firewall.load()


async def warn_of_forbidding_chains(worker: Worker, firewall: Firewall) -> list[str]:
    """Says in the log which other firewalls cut containers off by dropping what they forward; returns their chains."""
    chains = await worker.run(firewall.forbidding_chains)
    if shutil.which("iptables-legacy") and _legacy_in_use():
        result = await process.run(["iptables-legacy", "-w", "5", "-S", "FORWARD"], check=False, timeout=10)
        if b"-P FORWARD DROP" in result.stdout:
            chains.append("iptables-legacy filter FORWARD")
    for chain in chains:
        _log.warning(
            "another firewall drops forwarded packets: containers cannot reach out nor be reached from other hosts until it accepts "
            "traffic of our bridges",
            extra={"chain": chain},
        )
    return chains


def _legacy_in_use() -> bool:
    try:
        with open("/proc/thread-self/net/ip_tables_names", encoding="ascii") as file:
            return "filter" in file.read().split()
    except OSError:
        return False


async def keep_firewall(worker: Worker, firewall: Firewall) -> None:
    """Loads our table again whenever somebody deleted or flushed it (`nft flush ruleset`, a firewall's restart). Runs until cancelled."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETFILTER) as monitor:
        monitor.bind((0, 1 << (_GROUP_NFTABLES - 1)))

        def ready() -> None:
            try:
                if _tells_of_deletion(monitor.recv(1 << 17)):
                    changed.set()
            except BlockingIOError:
                return
            except OSError:
                changed.set()  # ENOBUFS: more than we could read happened, so look

        loop.add_reader(monitor, ready)
        try:
            while True:
                await changed.wait()
                await asyncio.sleep(0.05)  # a reload of rules is many messages
                changed.clear()
                try:
                    if await worker.run(firewall.restore):
                        _log.warning("our firewall table was flushed by somebody; it is loaded again")
                except NftablesError as error:
                    _log.warning("cannot load our firewall table again", extra={"error": str(error)})
        finally:
            loop.remove_reader(monitor)


def _tells_of_deletion(data: bytes) -> bool:
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if kind >> 8 == _NFTABLES and kind & 0xFF in _DELETED:
            return True
        offset += max(16, (length + 3) & ~3)
    return False
