"""Sandboxes: made step by step with an undo for each, given back the same way, each container's work in turn."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address
from typing import Any, TypeVar

import msgspec

from skerry.api.events.v1 import events_pb2
from skerry.core import failpoints
from skerry.core.errors import Conflict, Failed, InvalidArgument, NotFound, SkerryError
from skerry.core.ids import new_id
from skerry.core.journal import Journal
from skerry.core.lifecycle import Tasks
from skerry.networks import conntrack, files, namespaces
from skerry.networks.drivers import Driver
from skerry.networks.drivers.bridge import veth_name
from skerry.networks.firewall import Firewall
from skerry.networks.ipam import mac_of
from skerry.networks.nftables import NftablesError
from skerry.networks.pool import Pool
from skerry.networks.ports import Binding, Ports
from skerry.networks.records import CONTAINER, HOST, NETWORKS, Endpoint, Network, Sandbox
from skerry.networks.store import NetworkStore, Wanted
from skerry.networks.worker import Worker

_log = logging.getLogger(__name__)
T = TypeVar("T")

# In the order of the steps; each is reached when its step is done.
STEPS = ("recorded", "ports", "files", "namespace", "attached", "published")
failpoints.declare("networks.create", *STEPS)
failpoints.declare("networks.release", "taken_back", "forgotten")


class Attachment(msgspec.Struct, frozen=True):
    """A wish to be on a network, by name or id. mac empty: from the address."""

    network: str
    mac: str = ""
    aliases: tuple[str, ...] = ()
    # With prefix lengths.
    link_local: tuple[str, ...] = ()


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """All that a sandbox is asked to be; already checked (`request.py`)."""

    container_id: str
    container_name: str
    run: int
    mode: int
    join: str = ""
    attachments: tuple[Attachment, ...] = ()
    bindings: tuple[Binding, ...] = ()
    hostname: str = ""
    domainname: str = ""
    resolver: files.Resolver = files.Resolver()
    extra_hosts: tuple[str, ...] = ()
    link_hosts: tuple[tuple[str, str], ...] = ()


class Places(msgspec.Struct, frozen=True):
    """Directories and host files that sandboxes use. Empty host files: the usual ones."""

    namespaces: str
    sandboxes: str
    resolv_conf: str = ""
    hosts: str = ""


class Sandboxes:
    """Makes and releases sandboxes. Different containers' work runs side by side; one container's in turn."""

    def __init__(
        self,
        *,
        store: NetworkStore,
        journal: Journal,
        worker: Worker,
        pool: Pool,
        firewall: Firewall,
        ports: Ports,
        drivers: dict[str, Driver],
        networks: dict[str, Network],
        places: Places,
        tasks: Tasks,
        resolver: files.Resolver,
        host_gateway: str = "",
    ) -> None:
        self._store = store
        self._journal = journal
        self._worker = worker
        self._pool = pool
        self._firewall = firewall
        self._ports = ports
        self._drivers = drivers
        self._networks = networks
        self._places = places
        self._tasks = tasks
        self._resolver = resolver
        self._host_gateway = host_gateway
        self._turns: dict[str, list[asyncio.Lock]] = {}

    async def create(self, wish: Wish) -> Sandbox:
        """Returns the container's sandbox for wish.run, made now unless it is there. A caller that goes away does not stop it half way.

        Raises NotFound, Conflict, InvalidArgument, Failed; then nothing is left of it.
        """
        return await self._to_the_end(self._create(wish), f"create {wish.container_id}")

    async def release(self, container_id: str, run: int = 0) -> None:
        """Gives a sandbox of this run or an earlier one back (0: of any). Does nothing when there is none. Raises Failed; call again."""
        await self._to_the_end(self._release_in_turn(container_id, run), f"release {container_id}")

    async def remove(self, container_id: str) -> None:
        """Releases and drops the files. Idempotent."""
        await self.release(container_id)
        async with self._turn(container_id):
            await asyncio.to_thread(files.remove, self._directory(container_id))

    async def rename(self, container_id: str, name: str) -> None:
        """Keeps the container's new name. Does nothing when it has no sandbox: the next one is made with the name."""
        async with self._turn(container_id):
            if (sandbox := await self._store.find(container_id)) is not None:
                await self._store.complete(msgspec.structs.replace(sandbox, container_name=name), ())

    async def get(self, container_id: str) -> Sandbox:
        """Returns a ready sandbox. Raises NotFound."""
        sandbox = await self._store.find(container_id)
        if sandbox is None or not sandbox.ready:
            raise NotFound(f"No sandbox of container {container_id}")
        return sandbox

    async def all(self) -> list[Sandbox]:
        """Returns all that are ready, oldest first."""
        return [sandbox for sandbox in await self._store.sandboxes() if sandbox.ready]

    def network(self, name: str) -> Network:
        """Returns a network by name, id or unambiguous id prefix. Raises NotFound, InvalidArgument."""
        for network in self._networks.values():
            if name in (network.name, network.id):
                return network
        found = [network for network in self._networks.values() if name and network.id.startswith(name)]
        if len(found) > 1:
            raise InvalidArgument(f"network {name} is ambiguous ({len(found)} matches found based on ID prefix)")
        if not found:
            raise NotFound(f"network {name} not found")
        return found[0]

    def networks(self) -> list[Network]:
        """Returns all, sorted by name."""
        return sorted(self._networks.values(), key=lambda network: network.name)

    async def _to_the_end(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Awaits work, which goes on when the caller goes away. Expected errors are the caller's and not logged as a failed task."""

        async def outcome() -> T | SkerryError:
            try:
                return await work
            except SkerryError as error:
                return error

        result: T | SkerryError = await asyncio.shield(self._tasks.spawn(outcome(), name))
        if isinstance(result, SkerryError):
            raise result
        return result

    @asynccontextmanager
    async def _turn(self, container_id: str) -> AsyncIterator[None]:
        """Waits for the container's turn. The lock is forgotten with its last user."""
        locks = self._turns.setdefault(container_id, [asyncio.Lock()])
        locks.append(locks[0])
        try:
            async with locks[0]:
                yield
        finally:
            locks.pop()
            if len(locks) == 1:
                self._turns.pop(container_id, None)

    def _directory(self, container_id: str) -> str:
        return os.path.join(self._places.sandboxes, container_id)

    # Making one

    async def _create(self, wish: Wish) -> Sandbox:
        async with self._turn(wish.container_id):
            sandbox, wanted = self._draft(wish) if wish.mode != CONTAINER else (await self._joined(wish), [])
            try:
                begun = await self._store.begin(sandbox, wanted)
            except Conflict:
                old = await self._store.find(wish.container_id)
                assert old is not None
                if old.ready and old.run == wish.run:
                    return old
                if old.run > wish.run:
                    raise Conflict(f"container {wish.container_id} has a sandbox of run {old.run}, later than {wish.run}") from None
                await self._release(old)
                begun = await self._store.begin(sandbox, wanted)
            return await self._make(wish, _with_macs(begun))

    async def _make(self, wish: Wish, sandbox: Sandbox) -> Sandbox:
        try:
            await failpoints.reached("networks.create.recorded")
            if wish.bindings and sandbox.mode == NETWORKS:
                sandbox = self._reserve(wish, sandbox)
            await failpoints.reached("networks.create.ports")
            # Both to their ends, also when one fails: the undo must not meet them still at work.
            done = await asyncio.gather(self._prepare_files(wish, sandbox), self._wire(sandbox), return_exceptions=True)
            for failure in done:
                if isinstance(failure, BaseException):
                    raise failure
            ready = msgspec.structs.replace(sandbox, ready=True)
            events = [_event("connect", ready, endpoint) for endpoint in ready.endpoints]
            await self._store.complete(ready, events)
        except BaseException:
            await self._undo(sandbox)
            raise
        for event in events:
            self._journal.published(event)
        return ready

    async def _prepare_files(self, wish: Wish, sandbox: Sandbox) -> None:
        if sandbox.mode != CONTAINER:
            await asyncio.to_thread(self._write_files, wish, sandbox)
        await failpoints.reached("networks.create.files")

    async def _wire(self, sandbox: Sandbox) -> None:
        if not sandbox.own_namespace:
            return
        try:
            await self._worker.run(self._connect, sandbox)
        except (OSError, NftablesError) as error:
            raise Failed(f"failed to set up container networking: {error}") from error

    def _connect(self, sandbox: Sandbox) -> None:
        """All kernel steps in one go: each hop between threads would cost as much as a step. Worker's thread."""
        self._pool.take(sandbox.netns_path)
        failpoints.passed("networks.create.namespace")
        for endpoint in sandbox.endpoints:
            self._drivers[endpoint.driver].attach(self._networks[endpoint.network_id], endpoint, sandbox.netns_path)
        failpoints.passed("networks.create.attached")
        if sandbox.ports:
            self._firewall.publish(sandbox)
            conntrack.forget_udp(udp_ports(sandbox))
        failpoints.passed("networks.create.published")

    async def _undo(self, sandbox: Sandbox) -> None:
        """Releasing is idempotent step by step, so it also is the undo of a sandbox that was not finished."""
        try:
            await self._release(sandbox)
        except Failed:
            # Its record stays, not ready: the next create for this container, or the next start, tries again.
            _log.exception("could not undo", extra={"container": sandbox.container_id})

    def _draft(self, wish: Wish) -> tuple[Sandbox, list[Wanted]]:
        """Fills in all that can be known before anything is taken."""
        sandbox = _blank(wish)
        directory = self._directory(wish.container_id)
        sandbox = msgspec.structs.replace(
            sandbox,
            hostname=os.uname().nodename if wish.mode == HOST and not wish.hostname else wish.hostname,
            netns_path=os.path.join(self._places.namespaces, wish.container_id) if sandbox.own_namespace else "",
            hosts_path=os.path.join(directory, "hosts"),
            hostname_path=os.path.join(directory, "hostname"),
            resolv_conf_path=os.path.join(directory, "resolv.conf"),
        )
        return sandbox, [_wanted(self.network(attachment.network), attachment) for attachment in wish.attachments]

    async def _joined(self, wish: Wish) -> Sandbox:
        other = await self._store.find(wish.join)
        if other is None or not other.ready:
            raise Conflict(f"cannot join network of a non running container: {wish.join}")
        return msgspec.structs.replace(
            _blank(wish),
            netns_path=other.netns_path,
            hosts_path=other.hosts_path,
            hostname_path=other.hostname_path,
            resolv_conf_path=other.resolv_conf_path,
            hostname=other.hostname,
        )

    def _write_files(self, wish: Wish, sandbox: Sandbox) -> None:
        host = files.read_resolv_conf(self._places.resolv_conf)
        extra = [*files.extra_hosts(wish.extra_hosts, self._gateway()), *wish.link_hosts]
        own = wish.resolver
        resolver = files.Resolver(
            own.servers or self._resolver.servers, own.search or self._resolver.search, own.options or self._resolver.options
        )
        if sandbox.mode == HOST and not extra:
            hosts = files.read_hosts(self._places.hosts)
        else:
            addresses = [endpoint.address for endpoint in sandbox.endpoints if endpoint.address]
            hosts = files.hosts(sandbox.hostname, wish.domainname, addresses, extra)
        resolv_conf = host if sandbox.mode == HOST and resolver.empty else files.resolv_conf(host, resolver)
        files.write(self._directory(sandbox.container_id), files.Texts(hosts, f"{sandbox.hostname}\n".encode(), resolv_conf))

    def _gateway(self) -> str:
        return self._host_gateway or next((network.gateway for network in self.networks() if network.gateway), "")

    def _reserve(self, wish: Wish, sandbox: Sandbox) -> Sandbox:
        endpoint = next((endpoint for endpoint in sandbox.endpoints if endpoint.address), None)
        if endpoint is None:
            return sandbox
        ports = self._ports.reserve(sandbox.container_id, wish.bindings, f"{sandbox.container_name} ({endpoint.id})", endpoint.address)
        return msgspec.structs.replace(sandbox, ports=ports)

    # Giving one back

    async def _release_in_turn(self, container_id: str, run: int) -> None:
        async with self._turn(container_id):
            sandbox = await self._store.find(container_id)
            if sandbox is not None and (run == 0 or sandbox.run <= run):
                await self._release(sandbox)

    async def _release(self, sandbox: Sandbox) -> None:
        """Takes all back, whatever fails on the way; the record goes last, and only when all the rest is gone."""
        if errors := await self._worker.run(self._take_back, sandbox):
            for error in errors:
                _log.warning("could not take back", extra={"container": sandbox.container_id, "error": error})
            raise Failed(f"failed to release the network of container {sandbox.container_id}: {'; '.join(errors)}")
        await failpoints.reached("networks.release.taken_back")
        events = [_event("disconnect", sandbox, endpoint) for endpoint in sandbox.endpoints] if sandbox.ready else []
        await self._store.release(sandbox.container_id, events)
        self._ports.free(sandbox.container_id)
        await failpoints.reached("networks.release.forgotten")
        for event in events:
            self._journal.published(event)

    def _take_back(self, sandbox: Sandbox) -> list[str]:
        """Does all that the kernel knows of a sandbox; returns what failed. Worker's thread."""
        errors: list[str] = []
        works: list[Callable[[], object]] = []
        if sandbox.ports:
            works.append(lambda: self._firewall.withdraw(sandbox.container_id))
            works.append(lambda: conntrack.forget_udp(udp_ports(sandbox)))
        if sandbox.own_namespace:
            works += [partial(self._drivers[endpoint.driver].detach, endpoint) for endpoint in sandbox.endpoints]
            works.append(lambda: namespaces.drop(sandbox.netns_path))
        for work in works:
            try:
                work()
            except (OSError, NftablesError) as error:
                errors.append(str(error))
        return errors


def udp_ports(sandbox: Sandbox) -> set[int]:
    """Returns the host's UDP ports that the sandbox has."""
    return {port.host_port for port in sandbox.ports if port.protocol == "udp"}


def _blank(wish: Wish) -> Sandbox:
    return Sandbox(
        container_id=wish.container_id,
        container_name=wish.container_name,
        run=wish.run,
        mode=wish.mode,
        join=wish.join,
        sandbox_id=new_id(),
        created_ns=time.time_ns(),
    )


def _wanted(network: Network, attachment: Attachment) -> Wanted:
    endpoint = Endpoint(
        id=new_id(),
        network_id=network.id,
        network_name=network.name,
        driver=network.driver,
        device=veth_name() if network.subnet else "",
        mac=attachment.mac,
        aliases=attachment.aliases,
        link_local=attachment.link_local,
    )
    return Wanted(network, endpoint)


def _with_macs(sandbox: Sandbox) -> Sandbox:
    endpoints = (
        msgspec.structs.replace(endpoint, mac=endpoint.mac or mac_of(IPv4Address(endpoint.address))) if endpoint.address else endpoint
        for endpoint in sandbox.endpoints
    )
    return msgspec.structs.replace(sandbox, endpoints=tuple(endpoints))


def _event(action: str, sandbox: Sandbox, endpoint: Endpoint) -> events_pb2.Event:
    attributes = {"container": sandbox.container_id, "name": endpoint.network_name, "type": endpoint.driver}
    return events_pb2.Event(type="network", action=action, actor_id=endpoint.network_id, attributes=attributes, scope="local")
