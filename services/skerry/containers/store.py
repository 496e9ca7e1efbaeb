"""Where the node's records lie. The protocol is small on purpose; tests/contract/test_container_store.py is its definition."""

import sqlite3
from collections.abc import Sequence
from typing import Protocol

import msgspec

from skerry.api.events.v1 import events_pb2
from skerry.containers import volume_store
from skerry.containers.record import Record
from skerry.core import journal
from skerry.core.errors import Conflict
from skerry.core.sqlite import Database

MIGRATIONS = [
    f"""
CREATE TABLE container (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_ns INTEGER NOT NULL, document BLOB NOT NULL) STRICT;
{journal.SCHEMA}
""",
    volume_store.SCHEMA,
]


class ContainerStore(Protocol):
    """Records and, in the same transactions, events. Each method is one transaction."""

    async def add(self, record: Record, events: Sequence[events_pb2.Event] = ()) -> None:
        """Adds record and appends events. Raises Conflict in Docker's words when its name is taken; the same id again: nothing happens."""
        ...

    async def save(self, record: Record, events: Sequence[events_pb2.Event] = ()) -> None:
        """Stores a known record (not its name) and appends events, which get their sequence. A record that was removed stays so."""
        ...

    async def rename(self, container_id: str, name: str, events: Sequence[events_pb2.Event] = ()) -> None:
        """Changes a name. Raises Conflict when it is taken."""
        ...

    async def remove(self, container_id: str, events: Sequence[events_pb2.Event] = ()) -> None:
        """Removes a record; its name is free. Idempotent."""
        ...

    async def all(self) -> list[Record]:
        """Returns all records, newest first."""
        ...


def name_in_use(name: str, holder: str) -> Conflict:
    """Returns Docker's error for a taken name."""
    return Conflict(
        f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )


class SqliteContainerStore:
    """The store in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Record)

    async def add(self, record: Record, events: Sequence[events_pb2.Event] = ()) -> None:
        document = self._encoder.encode(record)

        def work(db: sqlite3.Connection) -> None:
            if db.execute("SELECT 1 FROM container WHERE id = ?", (record.id,)).fetchone():
                return
            _refuse_taken(db, record.id, record.name)
            db.execute("INSERT INTO container VALUES (?, ?, ?, ?)", (record.id, record.name, record.created_ns, document))
            _append(db, events)

        await self._database.transact(work)

    async def save(self, record: Record, events: Sequence[events_pb2.Event] = ()) -> None:
        document = self._encoder.encode(record)

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE container SET document = ? WHERE id = ?", (document, record.id))
            _append(db, events)

        await self._database.transact(work)

    async def rename(self, container_id: str, name: str, events: Sequence[events_pb2.Event] = ()) -> None:
        def work(db: sqlite3.Connection) -> None:
            _refuse_taken(db, container_id, name)
            db.execute("UPDATE container SET name = ? WHERE id = ?", (name, container_id))
            _append(db, events)

        await self._database.transact(work)

    async def remove(self, container_id: str, events: Sequence[events_pb2.Event] = ()) -> None:
        def work(db: sqlite3.Connection) -> None:
            if db.execute("DELETE FROM container WHERE id = ?", (container_id,)).rowcount:
                _append(db, events)

        await self._database.transact(work)

    async def all(self) -> list[Record]:
        def read(db: sqlite3.Connection) -> list[tuple[str, bytes]]:
            return db.execute("SELECT name, document FROM container ORDER BY created_ns DESC").fetchall()

        # The column is the truth for the name: a rename does not rewrite the document.
        rows = await self._database.read(read)
        return [msgspec.structs.replace(self._decoder.decode(document), name=name) for name, document in rows]


def _refuse_taken(db: sqlite3.Connection, container_id: str, name: str) -> None:
    row = db.execute("SELECT id FROM container WHERE name = ? AND id != ?", (name, container_id)).fetchone()
    if row is not None:
        raise name_in_use(name, row[0])


def _append(db: sqlite3.Connection, events: Sequence[events_pb2.Event]) -> None:
    for event in events:
        journal.append(db, event)
