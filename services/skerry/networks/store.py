"""The durable records: networks, address leases, sandboxes with their ports, events. tests/contract/test_network_store.py defines it."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

import msgspec

from skerry.api.events.v1 import events_pb2
from skerry.core import journal
from skerry.core.errors import Conflict
from skerry.core.sqlite import Database, open_database
from skerry.networks.ipam import lowest_free
from skerry.networks.records import Endpoint, Network, Sandbox

SCHEMA = """
CREATE TABLE network (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, body BLOB NOT NULL) STRICT;
CREATE TABLE sandbox (container_id TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE lease (
    network_id TEXT NOT NULL REFERENCES network (id),
    address BLOB NOT NULL,
    container_id TEXT NOT NULL REFERENCES sandbox (container_id) ON DELETE CASCADE,
    PRIMARY KEY (network_id, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_container ON lease (container_id);
"""
MIGRATIONS = [SCHEMA + journal.SCHEMA]


class Wanted(msgspec.Struct, frozen=True):
    """An endpoint that needs an address of a subnet; empty network.subnet: none."""

    network: Network
    endpoint: Endpoint


class NetworkStore(Protocol):
    """Each method is one transaction."""

    async def networks(self) -> list[Network]:
        """Returns all, sorted by name."""

    async def put_network(self, network: Network) -> None:
        """Adds a network or replaces it by id. Raises Conflict when another has its name."""

    async def begin(self, sandbox: Sandbox, wanted: Sequence[Wanted]) -> Sandbox:
        """Records a sandbox that is not ready and leases the lowest free address for each wanted endpoint; returns it with those.

        Raises Conflict when the container has one, Failed when a subnet is full.
        """

    async def complete(self, sandbox: Sandbox, events: Sequence[events_pb2.Event]) -> None:
        """Replaces the sandbox's record and writes the events, which get their sequence. Raises Conflict when it is not there."""

    async def sandboxes(self) -> list[Sandbox]:
        """Returns all, also those not ready, oldest first."""

    async def find(self, container_id: str) -> Sandbox | None:
        """Returns a container's."""

    async def release(self, container_id: str, events: Sequence[events_pb2.Event]) -> None:
        """Forgets the sandbox, gives its addresses back and writes the events. Does nothing when it is not there."""


class SqliteNetworkStore:
    """NetworkStore in one SQLite file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def networks(self) -> list[Network]:
        def read(db: sqlite3.Connection) -> list[Network]:
            return [_network(body) for (body,) in db.execute("SELECT body FROM network ORDER BY name")]

        return await self._database.read(read)

    async def put_network(self, network: Network) -> None:
        def write(db: sqlite3.Connection) -> None:
            try:
                db.execute(
                    "INSERT INTO network (id, name, body) VALUES (?, ?, ?) "
                    "ON CONFLICT (id) DO UPDATE SET name = excluded.name, body = excluded.body",
                    (network.id, network.name, msgspec.msgpack.encode(network)),
                )
            except sqlite3.IntegrityError:
                raise Conflict(f"network with name {network.name} already exists") from None

        await self._database.transact(write)

    async def begin(self, sandbox: Sandbox, wanted: Sequence[Wanted]) -> Sandbox:
        def write(db: sqlite3.Connection) -> Sandbox:
            try:
                db.execute("INSERT INTO sandbox (container_id, body) VALUES (?, x'')", (sandbox.container_id,))
            except sqlite3.IntegrityError:
                raise Conflict(f"container {sandbox.container_id} has a sandbox already") from None
            begun = msgspec.structs.replace(sandbox, ready=False, endpoints=tuple(_lease(db, sandbox.container_id, w) for w in wanted))
            _put(db, begun)
            return begun

        return await self._database.transact(write)

    async def complete(self, sandbox: Sandbox, events: Sequence[events_pb2.Event]) -> None:
        def write(db: sqlite3.Connection) -> None:
            if _put(db, sandbox) == 0:
                raise Conflict(f"container {sandbox.container_id} has no sandbox")
            for event in events:
                journal.append(db, event)

        await self._database.transact(write)

    async def sandboxes(self) -> list[Sandbox]:
        def read(db: sqlite3.Connection) -> list[Sandbox]:
            return [_sandbox(body) for (body,) in db.execute("SELECT body FROM sandbox ORDER BY rowid")]

        return await self._database.read(read)

    async def find(self, container_id: str) -> Sandbox | None:
        def read(db: sqlite3.Connection) -> Sandbox | None:
            row = db.execute("SELECT body FROM sandbox WHERE container_id = ?", (container_id,)).fetchone()
            return None if row is None else _sandbox(row[0])

        return await self._database.read(read)

    async def release(self, container_id: str, events: Sequence[events_pb2.Event]) -> None:
        def write(db: sqlite3.Connection) -> None:
            if db.execute("DELETE FROM sandbox WHERE container_id = ?", (container_id,)).rowcount:
                for event in events:
                    journal.append(db, event)

        await self._database.transact(write)


def _network(body: bytes) -> Network:
    return msgspec.msgpack.decode(body, type=Network)


def _sandbox(body: bytes) -> Sandbox:
    return msgspec.msgpack.decode(body, type=Sandbox)


def _put(db: sqlite3.Connection, sandbox: Sandbox) -> int:
    body = msgspec.msgpack.encode(sandbox)
    return db.execute("UPDATE sandbox SET body = ? WHERE container_id = ?", (body, sandbox.container_id)).rowcount


def _lease(db: sqlite3.Connection, container_id: str, wanted: Wanted) -> Endpoint:
    network = wanted.network
    if not network.subnet:
        return wanted.endpoint
    subnet = IPv4Network(network.subnet)
    rows = db.execute("SELECT address FROM lease WHERE network_id = ? ORDER BY address", (network.id,))
    leased = (IPv4Address(address) for (address,) in rows)
    address = lowest_free(subnet, [IPv4Address(network.gateway)], leased, f"{network.name} ({network.id})")
    db.execute("INSERT INTO lease (network_id, address, container_id) VALUES (?, ?, ?)", (network.id, address.packed, container_id))
    return msgspec.structs.replace(wanted.endpoint, address=str(address), prefix=subnet.prefixlen, gateway=network.gateway)


@asynccontextmanager
async def open_store(path: str) -> AsyncIterator[tuple[SqliteNetworkStore, journal.Journal]]:
    """Opens or makes the file at path; yields the store and its events."""
    async with open_database(path, MIGRATIONS) as database:
        yield SqliteNetworkStore(database), journal.Journal(database)
