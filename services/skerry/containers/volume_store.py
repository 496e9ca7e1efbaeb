"""Where the node's volumes are written down. tests/contract/test_volume_store.py is the protocol's definition."""

import sqlite3
from collections.abc import Sequence
from typing import Protocol

import msgspec

from skerry.api.containers.v1 import volumes_pb2 as pb
from skerry.api.events.v1 import events_pb2
from skerry.core import journal
from skerry.core.sqlite import Database

SCHEMA = "CREATE TABLE volume (name TEXT PRIMARY KEY, document BLOB NOT NULL) STRICT;"


class Use(msgspec.Struct, frozen=True):
    """One mount of a plugin's volume that the plugin was asked for and is still to be told the end of."""

    # What the plugin knows it by.
    id: str
    # Empty: the plugin has not answered yet.
    mountpoint: str = ""


class VolumeRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One volume; see volumes.proto."""

    name: str
    created_ns: int
    driver: str = "local"
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    anonymous: bool = False
    # Of a plugin's volume, by container and target ("ID:/target").
    uses: dict[str, Use] = {}

    def message(self, mountpoint: str, users: int) -> pb.Volume:
        """Returns the wire's view."""
        return pb.Volume(
            name=self.name,
            driver=self.driver,
            mountpoint=mountpoint,
            created_ns=self.created_ns,
            labels=self.labels,
            options=self.options,
            anonymous=self.anonymous,
            ref_count=users,
        )


class VolumeStore(Protocol):
    """Records and, in the same transactions, events."""

    async def add(self, record: VolumeRecord, events: Sequence[events_pb2.Event] = ()) -> None:
        """Adds a record and appends events; one of that name stays as it is, and nothing is appended."""
        ...

    async def save(self, record: VolumeRecord) -> None:
        """Stores a known record anew. One that was removed stays so."""
        ...

    async def remove(self, name: str, events: Sequence[events_pb2.Event] = ()) -> None:
        """Removes a record and appends events. Idempotent: of an unknown one nothing is told."""
        ...

    async def all(self) -> list[VolumeRecord]:
        """Returns all records by name."""
        ...


class SqliteVolumeStore:
    """The store in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._decoder = msgspec.msgpack.Decoder(VolumeRecord)

    async def add(self, record: VolumeRecord, events: Sequence[events_pb2.Event] = ()) -> None:
        document = msgspec.msgpack.encode(record)

        def work(db: sqlite3.Connection) -> None:
            if db.execute("INSERT INTO volume VALUES (?, ?) ON CONFLICT DO NOTHING", (record.name, document)).rowcount:
                _append(db, events)

        await self._database.transact(work)

    async def save(self, record: VolumeRecord) -> None:
        document = msgspec.msgpack.encode(record)

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE volume SET document = ? WHERE name = ?", (document, record.name))

        await self._database.transact(work)

    async def remove(self, name: str, events: Sequence[events_pb2.Event] = ()) -> None:
        def work(db: sqlite3.Connection) -> None:
            if db.execute("DELETE FROM volume WHERE name = ?", (name,)).rowcount:
                _append(db, events)

        await self._database.transact(work)

    async def all(self) -> list[VolumeRecord]:
        def read(db: sqlite3.Connection) -> list[tuple[bytes]]:
            return db.execute("SELECT document FROM volume ORDER BY name").fetchall()

        return [self._decoder.decode(document) for (document,) in await self._database.read(read)]


def _append(db: sqlite3.Connection, events: Sequence[events_pb2.Event]) -> None:
    for event in events:
        journal.append(db, event)
