"""What pushes remember, in the catalog's SQLite file."""

import sqlite3
import time

from skerry.core.sqlite import Database
from skerry.images.catalog import Form

# form(a compressed form of a layer), place(a repository of a registry that had a blob)
PUSHES = """
CREATE TABLE form (
  diff_id TEXT NOT NULL,
  digest TEXT NOT NULL,
  size INTEGER NOT NULL,
  kept INTEGER NOT NULL,
  time_ns INTEGER NOT NULL,
  compression TEXT NOT NULL,
  PRIMARY KEY (diff_id, digest)
) STRICT;
CREATE INDEX form_time ON form (time_ns);
CREATE TABLE place (
  registry TEXT NOT NULL,
  digest TEXT NOT NULL,
  repository TEXT NOT NULL,
  time_ns INTEGER NOT NULL,
  PRIMARY KEY (registry, digest, repository)
) STRICT;
CREATE INDEX place_time ON place (time_ns);
"""
PER_LAYER = 8
PER_BLOB = 16
# Rows of each table; far more than the layers of the images that a store holds.
_ROWS = 100_000
_FORM = """
INSERT INTO form VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET kept = max(kept, excluded.kept), time_ns = excluded.time_ns
"""
_PLACE = "INSERT INTO place VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET time_ns = excluded.time_ns"
# Kept forms are not counted away: blobs hang on them.
_OLD_FORMS = """
DELETE FROM form WHERE diff_id = ? AND kept = 0 AND digest NOT IN (SELECT digest FROM form WHERE diff_id = ? ORDER BY time_ns DESC LIMIT ?)
"""
_OLD_PLACES = """
DELETE FROM place WHERE registry = ? AND digest = ?
AND repository NOT IN (SELECT repository FROM place WHERE registry = ? AND digest = ? ORDER BY time_ns DESC LIMIT ?)
"""
_OLDEST_FORMS = "DELETE FROM form WHERE kept = 0 AND rowid IN (SELECT rowid FROM form ORDER BY time_ns DESC LIMIT -1 OFFSET ?)"
_OLDEST_PLACES = "DELETE FROM place WHERE rowid IN (SELECT rowid FROM place ORDER BY time_ns DESC LIMIT -1 OFFSET ?)"


class SqlitePushes:
    """The part of SqliteCatalog that pushes use."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remember(self, forms: list[Form]) -> None:
        def work(db: sqlite3.Connection) -> None:
            now = time.time_ns()
            for form in forms:
                db.execute(_FORM, (form.diff_id, form.digest, form.size, int(form.kept), now, form.compression))
                db.execute(_OLD_FORMS, (form.diff_id, form.diff_id, PER_LAYER))
            db.execute(_OLDEST_FORMS, (_ROWS,))

        if forms:
            await self._database.transact(work)

    async def forms(self, diff_id: str) -> list[Form]:
        def work(db: sqlite3.Connection) -> list[Form]:
            rows = db.execute(
                "SELECT digest, size, kept, compression FROM form WHERE diff_id = ? ORDER BY kept DESC, time_ns DESC, digest", (diff_id,)
            )
            return [Form(diff_id, digest, size, bool(kept), compression) for digest, size, kept, compression in rows]

        return await self._database.read(work)

    async def saw(self, registry: str, repository: str, digests: list[str]) -> None:
        def work(db: sqlite3.Connection) -> None:
            now = time.time_ns()
            for digest in digests:
                db.execute(_PLACE, (registry, digest, repository, now))
                db.execute(_OLD_PLACES, (registry, digest, registry, digest, PER_BLOB))
            db.execute(_OLDEST_PLACES, (_ROWS,))

        if digests:
            await self._database.transact(work)

    async def seen_in(self, registry: str, digest: str) -> list[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            rows = db.execute(
                "SELECT repository FROM place WHERE registry = ? AND digest = ? ORDER BY time_ns DESC, repository", (registry, digest)
            )
            return [repository for (repository,) in rows]

        return await self._database.read(work)

    async def documents(self, image_id: str) -> list[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            return [digest for (digest,) in db.execute("SELECT digest FROM document WHERE image = ? ORDER BY digest", (image_id,))]

        return await self._database.read(work)


def kept_forms(db: sqlite3.Connection) -> dict[str, list[str]]:
    """Returns the kept forms' digests by diff_id."""
    found: dict[str, list[str]] = {}
    for diff_id, digest in db.execute("SELECT diff_id, digest FROM form WHERE kept"):
        found.setdefault(diff_id, []).append(digest)
    return found
