"""The catalog in one SQLite file."""

import functools
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from skerry.api.events.v1 import events_pb2
from skerry.core.errors import InvalidArgument, NotFound
from skerry.core.journal import SCHEMA as JOURNAL
from skerry.core.journal import Journal, append
from skerry.core.sqlite import Database, open_database
from skerry.images.catalog import Entry, ImageRecord, LayerRecord, Names
from skerry.images.catalog.sqlite_pushes import PUSHES, SqlitePushes, kept_forms
from skerry.images.catalog.sqlite_repositories import REPOSITORIES, SqliteRepositories, kept_contents

# image(id, body = ImageRecord as msgpack) <- name(name, image, is_digest, time) and lease(image, holder)
_MIGRATIONS = [
    """
CREATE TABLE image (id TEXT PRIMARY KEY, created_ns INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE name (
  name TEXT PRIMARY KEY,
  image TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
  is_digest INTEGER NOT NULL,
  time_ns INTEGER NOT NULL
) STRICT;
CREATE INDEX name_image ON name (image);
CREATE TABLE lease (
  image TEXT NOT NULL REFERENCES image (id),
  holder TEXT NOT NULL,
  PRIMARY KEY (holder, image)
) STRICT;
CREATE INDEX lease_image ON lease (image);
"""
    + JOURNAL,
    # document(digest of a manifest or a list in the blob store, image it is kept for)
    """
CREATE TABLE document (
  digest TEXT NOT NULL,
  image TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
  PRIMARY KEY (image, digest)
) STRICT;
""",
    # kept(layer that no image need have, holder it is kept for)
    """
CREATE TABLE kept (
  diff_id TEXT NOT NULL,
  holder TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (holder, diff_id)
) STRICT;
CREATE INDEX kept_layer ON kept (diff_id);
""",
    PUSHES,
    # child(image that was made here, image it was made of; empty: of none)
    """
CREATE TABLE child (
  image TEXT PRIMARY KEY REFERENCES image (id) ON DELETE CASCADE,
  parent TEXT NOT NULL
) STRICT;
CREATE INDEX child_parent ON child (parent);
""",
    REPOSITORIES,
]
_RECORD = msgspec.msgpack.Decoder(ImageRecord)
# Bytes of a stored image up to which its decoded form is remembered: nearly all, and together a few MiB.
_REMEMBERED = 4096


@functools.lru_cache(maxsize=2048)
def _remembered(body: bytes) -> ImageRecord:
    return _RECORD.decode(body)


class SqliteCatalog(SqlitePushes, SqliteRepositories):
    """Catalog over a Database. Made by `open_catalog`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.journal = Journal(database)
        # The counters of `revision` begin anew with each process.
        self._name = os.urandom(8).hex()

    async def add(
        self,
        image: ImageRecord,
        names: list[str],
        digests: list[str],
        documents: list[str],
        events: list[events_pb2.Event],
        *,
        holder: str = "",
    ) -> None:
        def work(db: sqlite3.Connection) -> None:
            body = msgspec.msgpack.encode(image)
            db.execute("INSERT INTO image VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (image.id, image.created_ns, body))
            db.execute("INSERT INTO child VALUES (?, ?) ON CONFLICT DO NOTHING", (image.id, image.parent))
            for name in names:
                _point(db, name, image.id, is_digest=False)
            for digest in digests:
                _point(db, digest, image.id, is_digest=True)
            db.executemany("INSERT INTO document VALUES (?, ?) ON CONFLICT DO NOTHING", [(one, image.id) for one in documents])
            if holder:
                _lease(db, image.id, holder)
            for event in events:
                append(db, event)

        await self._database.transact(work)
        self._tell(events)

    async def get(self, image_id: str) -> Entry:
        return await self._database.read(lambda db: _entry(db, image_id))

    async def by_name(self, name: str) -> Entry:
        def work(db: sqlite3.Connection) -> Entry:
            row = db.execute("SELECT image FROM name WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise NotFound(f"No such image: {name}")
            return _entry(db, row[0])

        return await self._database.read(work)

    async def by_prefix(self, prefix: str) -> Entry:
        def work(db: sqlite3.Connection) -> Entry:
            low, high = f"sha256:{prefix}", f"sha256:{prefix}g"  # g follows f: the end of this prefix's range
            rows = db.execute("SELECT id FROM image WHERE id >= ? AND id < ? LIMIT 2", (low, high)).fetchall()
            if not rows:
                raise NotFound(f"No such image: {prefix}")
            if len(rows) > 1:
                raise InvalidArgument(f"image ID prefix {prefix} is ambiguous")
            return _entry(db, rows[0][0])

        return await self._database.read(work)

    async def all(self) -> list[Entry]:
        def work(db: sqlite3.Connection) -> list[Entry]:
            names: dict[str, list[tuple[str, int, int]]] = {}
            for image, *name in db.execute("SELECT image, name, is_digest, time_ns FROM name ORDER BY name"):
                names.setdefault(image, []).append((name[0], name[1], name[2]))
            holders: dict[str, list[str]] = {}
            for image, holder in db.execute("SELECT image, holder FROM lease ORDER BY holder"):
                holders.setdefault(image, []).append(holder)
            rows = db.execute("SELECT id, body FROM image ORDER BY created_ns DESC, id").fetchall()
            return [_made(body, names.get(image, ()), holders.get(image, ())) for image, body in rows]

        return await self._database.read(work)

    async def revision(self) -> str:
        def work(db: sqlite3.Connection) -> str:
            # The first tells what others wrote into the file, the second what this connection did.
            (others,) = db.execute("PRAGMA data_version").fetchone()
            return f"{self._name}.{others}.{db.total_changes}"

        return await self._database.read(work)

    async def children(self, parent: str) -> list[ImageRecord]:
        def work(db: sqlite3.Connection) -> list[ImageRecord]:
            rows = db.execute(
                "SELECT body FROM child JOIN image ON image.id = child.image WHERE parent = ? ORDER BY created_ns DESC, id", (parent,)
            )
            return [msgspec.msgpack.decode(body, type=ImageRecord) for (body,) in rows]

        return await self._database.read(work)

    async def tag(self, image_id: str, name: str, event: events_pb2.Event) -> None:
        def work(db: sqlite3.Connection) -> None:
            _entry(db, image_id)
            _point(db, name, image_id, is_digest=False)
            append(db, event)

        await self._database.transact(work)
        self._tell([event])

    async def remove(self, seen: Entry, untag: tuple[str, ...], *, delete: bool, events: list[events_pb2.Event]) -> bool:
        image_id = seen.image.id

        def work(db: sqlite3.Connection) -> bool:
            now = _entry(db, image_id)
            if (now.names.tags, now.names.digests, now.holders) != (seen.names.tags, seen.names.digests, seen.holders):
                return False
            db.executemany("DELETE FROM name WHERE name = ? AND image = ?", [(name, image_id) for name in untag])
            if delete:
                db.execute("DELETE FROM image WHERE id = ?", (image_id,))
            for event in events:
                append(db, event)
            return True

        try:
            done = await self._database.transact(work)
        except NotFound:
            return False
        if done:
            self._tell(events)
        return done

    async def acquire(self, image_id: str, holder: str) -> Entry:
        def work(db: sqlite3.Connection) -> Entry:
            _entry(db, image_id)
            _lease(db, image_id, holder)
            return _entry(db, image_id)

        return await self._database.transact(work)

    async def keep(self, layer: LayerRecord, holder: str) -> None:
        values = (layer.diff_id, holder, msgspec.msgpack.encode(layer))
        await self._database.transact(lambda db: db.execute("INSERT INTO kept VALUES (?, ?, ?) ON CONFLICT DO NOTHING", values))

    async def layer(self, diff_id: str) -> LayerRecord:
        def work(db: sqlite3.Connection) -> LayerRecord:
            row = db.execute("SELECT body FROM kept WHERE diff_id = ?", (diff_id,)).fetchone()
            if row is not None:
                return msgspec.msgpack.decode(row[0], type=LayerRecord)
            for (body,) in db.execute("SELECT body FROM image WHERE instr(body, CAST(? AS BLOB))", (diff_id,)):
                for layer in msgspec.msgpack.decode(body, type=ImageRecord).layers:
                    if layer.diff_id == diff_id:
                        return layer
            raise NotFound(f"No such layer: {diff_id}")

        return await self._database.read(work)

    async def release(self, holder: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM lease WHERE holder = ?", (holder,))
            db.execute("DELETE FROM kept WHERE holder = ?", (holder,))

        await self._database.transact(work)

    async def leases(self, holder_prefix: str, image_id: str) -> list[tuple[str, str]]:
        def work(db: sqlite3.Connection) -> list[tuple[str, str]]:
            rows = db.execute("SELECT image, holder FROM lease UNION SELECT '', holder FROM kept ORDER BY holder").fetchall()
            return [(image, holder) for image, holder in rows if holder.startswith(holder_prefix) and image_id in ("", image)]

        return await self._database.read(work)

    async def blobs_in_use(self) -> set[str]:
        def work(db: sqlite3.Connection) -> set[str]:
            found = {digest for (digest,) in db.execute("SELECT digest FROM document")}
            forms = kept_forms(db)
            for (body,) in db.execute("SELECT body FROM image"):
                for layer in _RECORD.decode(body).layers:
                    found |= {layer.diff_id, layer.compressed, *forms.get(layer.diff_id, ())}
            for (body,) in db.execute("SELECT body FROM kept"):
                layer = msgspec.msgpack.decode(body, type=LayerRecord)
                found |= {layer.diff_id, layer.compressed, *forms.get(layer.diff_id, ())}
            # Stores written before documents were recorded: the digests in names.
            found |= {name.partition("@")[2] for (name,) in db.execute("SELECT name FROM name WHERE is_digest")}
            return (found | kept_contents(db)) - {""}

        return await self._database.read(work)

    async def pushed(self, image_id: str, name: str, document: str, events: list[events_pb2.Event]) -> None:
        def work(db: sqlite3.Connection) -> None:
            for event in events:
                append(db, event)
            if db.execute("SELECT 1 FROM image WHERE id = ?", (image_id,)).fetchone() is None:
                return
            _point(db, name, image_id, is_digest=True)
            db.execute("INSERT INTO document VALUES (?, ?) ON CONFLICT DO NOTHING", (document, image_id))

        await self._database.transact(work)
        self._tell(events)

    def _tell(self, events: list[events_pb2.Event]) -> None:
        for event in events:
            self.journal.published(event)


def _point(db: sqlite3.Connection, name: str, image_id: str, *, is_digest: bool) -> None:
    db.execute(
        "INSERT INTO name VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET image = excluded.image, time_ns = excluded.time_ns",
        (name, image_id, int(is_digest), time.time_ns()),
    )


def _lease(db: sqlite3.Connection, image_id: str, holder: str) -> None:
    db.execute("INSERT INTO lease VALUES (?, ?) ON CONFLICT DO NOTHING", (image_id, holder))


def _entry(db: sqlite3.Connection, image_id: str) -> Entry:
    row = db.execute("SELECT body FROM image WHERE id = ?", (image_id,)).fetchone()
    if row is None:
        raise NotFound(f"No such image: {image_id}")
    names = db.execute("SELECT name, is_digest, time_ns FROM name WHERE image = ? ORDER BY name", (image_id,)).fetchall()
    holders = db.execute("SELECT holder FROM lease WHERE image = ? ORDER BY holder", (image_id,)).fetchall()
    return _made(row[0], names, [holder for (holder,) in holders])


def _made(body: bytes, names: Sequence[tuple[str, int, int]], holders: Sequence[str]) -> Entry:
    record = _remembered(body) if len(body) <= _REMEMBERED else _RECORD.decode(body)
    if len(names) == 1 and not names[0][1]:
        # Most images: lists of thousands are made of them.
        return Entry(record, Names((names[0][0],), (), names[0][2]), tuple(holders))
    return Entry(
        record,
        Names(
            tuple(name for name, is_digest, _ in names if not is_digest),
            tuple(name for name, is_digest, _ in names if is_digest),
            max((time_ns for *_, time_ns in names), default=0),
        ),
        tuple(holders),
    )


@asynccontextmanager
async def open_catalog(path: str) -> AsyncIterator[SqliteCatalog]:
    """Opens, or makes, the catalog in a file."""
    async with open_database(path, _MIGRATIONS) as database:
        yield SqliteCatalog(database)
