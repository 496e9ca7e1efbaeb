"""What the distribution API keeps, in the catalog's SQLite file."""

import sqlite3
import time
from collections.abc import Iterable

import msgspec

from skerry.core.errors import NotFound
from skerry.core.sqlite import Database
from skerry.images.catalog.repositories import BlobPlace, ManifestRecord, Row, TagPlace, dead, in_order

# Manifests, tags and blobs of repositories; loose_ns: how long a blob stays that no manifest names.
REPOSITORIES = """
CREATE TABLE repository_manifest (
  repository TEXT NOT NULL,
  digest TEXT NOT NULL,
  content TEXT NOT NULL,
  image TEXT NOT NULL,
  subject TEXT NOT NULL,
  expires_ns INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (repository, digest)
) STRICT;
CREATE INDEX repository_manifest_subject ON repository_manifest (repository, subject);
CREATE TABLE repository_tag (
  repository TEXT NOT NULL,
  tag TEXT NOT NULL,
  digest TEXT NOT NULL,
  image TEXT NOT NULL,
  copied INTEGER NOT NULL,
  time_ns INTEGER NOT NULL,
  PRIMARY KEY (repository, tag)
) STRICT;
CREATE TABLE repository_blob (
  repository TEXT NOT NULL,
  digest TEXT NOT NULL,
  content TEXT NOT NULL,
  size INTEGER NOT NULL,
  loose_ns INTEGER NOT NULL,
  PRIMARY KEY (repository, digest)
) STRICT;
CREATE INDEX repository_blob_digest ON repository_blob (digest);
"""
_MANIFEST = """
SELECT body FROM repository_manifest AS m WHERE repository = ? AND digest = ?
AND (image = '' OR EXISTS (SELECT 1 FROM image WHERE image.id = m.image))
"""
_REFERRERS = """
SELECT body FROM repository_manifest AS m WHERE repository = ? AND subject = ?
AND (image = '' OR EXISTS (SELECT 1 FROM image WHERE image.id = m.image)) ORDER BY digest
"""
# A tag of an image holds while the image has that name, any other until an image gets it.
_TAG_HOLDS = """
(t.image = '' AND NOT EXISTS (SELECT 1 FROM name WHERE name.name = t.repository || ':' || t.tag AND name.time_ns > t.time_ns))
OR EXISTS (SELECT 1 FROM name WHERE name.name = t.repository || ':' || t.tag AND name.image = t.image)
"""
_PUT_MANIFEST = "INSERT OR REPLACE INTO repository_manifest VALUES (?, ?, ?, ?, ?, ?, ?)"
_PUT_BLOB = """
INSERT INTO repository_blob VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET content = excluded.content, size = excluded.size, loose_ns = max(loose_ns, excluded.loose_ns)
"""
_ALL = """
SELECT DISTINCT repository FROM (
  SELECT repository FROM repository_manifest WHERE repository > ?1
  UNION SELECT substr(name, 1, instr(name, '@') - 1) FROM name WHERE is_digest
  UNION SELECT rtrim(rtrim(name, replace(name, ':', '')), ':') FROM name WHERE NOT is_digest
) WHERE repository > ?1 ORDER BY repository LIMIT ?2
"""


class SqliteRepositories:
    """The part of SqliteCatalog that the distribution API uses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_manifest(self, repository: str, record: ManifestRecord, tags: Iterable[str], blobs: Iterable[BlobPlace]) -> None:
        tags, blobs = list(tags), list(blobs)

        def work(db: sqlite3.Connection) -> None:
            row = (repository, record.digest, record.content, record.image, record.subject, record.expires_ns)
            db.execute(_PUT_MANIFEST, (*row, msgspec.msgpack.encode(record)))
            now = time.time_ns()
            db.executemany(
                "INSERT OR REPLACE INTO repository_tag VALUES (?, ?, ?, ?, ?, ?)",
                [(repository, tag, record.digest, record.image, int(record.expires_ns > 0), now) for tag in tags],
            )
            db.executemany(_PUT_BLOB, [(repository, blob.digest, blob.content, blob.size, 0) for blob in blobs])
            # The manifest keeps them now; when it goes they need not stay.
            db.executemany(
                "UPDATE repository_blob SET loose_ns = 0 WHERE repository = ? AND digest = ?", [(repository, one) for one in record.parts]
            )

        await self._database.transact(work)

    async def manifest(self, repository: str, digest: str) -> ManifestRecord:
        row = await self._database.read(lambda db: db.execute(_MANIFEST, (repository, digest)).fetchone())
        if row is None:
            raise NotFound(f"no manifest {digest} in {repository}")
        return msgspec.msgpack.decode(row[0], type=ManifestRecord)

    async def tagged(self, repository: str, tag: str) -> TagPlace:
        query = f"SELECT digest, image, copied FROM repository_tag AS t WHERE repository = ? AND tag = ? AND ({_TAG_HOLDS})"  # noqa: S608
        row = await self._database.read(lambda db: db.execute(query, (repository, tag)).fetchone())
        if row is None:
            raise NotFound(f"no tag {tag} in {repository}")
        return TagPlace(row[0], row[1], bool(row[2]))

    async def tags(self, repository: str) -> list[str]:
        query = f"SELECT tag FROM repository_tag AS t WHERE repository = ? AND ({_TAG_HOLDS})"  # noqa: S608

        def work(db: sqlite3.Connection) -> list[str] | None:
            found = {tag for (tag,) in db.execute(query, (repository,))}
            names = db.execute("SELECT name FROM name WHERE NOT is_digest AND name > ? AND name < ?", (f"{repository}:", f"{repository};"))
            found |= {name[len(repository) + 1 :] for (name,) in names}
            if found or any(db.execute(query, (repository, repository)).fetchone() for query in _KNOWN):
                return in_order(found)
            by_digest = (f"{repository}@", f"{repository}A")
            return [] if db.execute("SELECT 1 FROM name WHERE is_digest AND name > ? AND name < ?", by_digest).fetchone() else None

        found = await self._database.read(work)
        if found is None:
            raise NotFound(f"repository {repository} is not known")
        return found

    async def untag(self, repository: str, tag: str) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            return db.execute("DELETE FROM repository_tag WHERE repository = ? AND tag = ?", (repository, tag)).rowcount > 0

        return await self._database.transact(work)

    async def drop_manifest(self, repository: str, digest: str) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            db.execute("DELETE FROM repository_tag WHERE repository = ? AND digest = ?", (repository, digest))
            return db.execute("DELETE FROM repository_manifest WHERE repository = ? AND digest = ?", (repository, digest)).rowcount > 0

        return await self._database.transact(work)

    async def referrers(self, repository: str, subject: str) -> list[ManifestRecord]:
        rows = await self._database.read(lambda db: db.execute(_REFERRERS, (repository, subject)).fetchall())
        return [msgspec.msgpack.decode(body, type=ManifestRecord) for (body,) in rows]

    async def put_blob(self, repository: str, blob: BlobPlace, until_ns: int) -> None:
        values = (repository, blob.digest, blob.content, blob.size, until_ns)
        await self._database.transact(lambda db: db.execute(_PUT_BLOB, values))

    async def blob(self, repository: str, digest: str) -> BlobPlace:
        query = "SELECT content, size FROM repository_blob WHERE repository = ? AND digest = ?"
        row = await self._database.read(lambda db: db.execute(query, (repository, digest)).fetchone())
        if row is None:
            raise NotFound(f"no blob {digest} in {repository}")
        return BlobPlace(digest, row[0], row[1])

    async def touch_blob(self, repository: str, digest: str, until_ns: int) -> None:
        query = "UPDATE repository_blob SET loose_ns = max(loose_ns, ?) WHERE repository = ? AND digest = ?"
        await self._database.transact(lambda db: db.execute(query, (until_ns, repository, digest)))

    async def drop_blob(self, repository: str, digest: str) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            return db.execute("DELETE FROM repository_blob WHERE repository = ? AND digest = ?", (repository, digest)).rowcount > 0

        return await self._database.transact(work)

    async def holders(self, digest: str) -> list[str]:
        query = "SELECT repository FROM repository_blob WHERE digest = ? ORDER BY repository"
        return await self._database.read(lambda db: [repository for (repository,) in db.execute(query, (digest,))])

    async def touch_manifest(self, repository: str, digest: str, expires_ns: int) -> None:
        def work(db: sqlite3.Connection) -> None:
            row = db.execute(_MANIFEST, (repository, digest)).fetchone()
            if row is None:
                return
            record = msgspec.structs.replace(msgspec.msgpack.decode(row[0], type=ManifestRecord), expires_ns=expires_ns)
            query = "UPDATE repository_manifest SET expires_ns = ?, body = ? WHERE repository = ? AND digest = ?"
            db.execute(query, (expires_ns, msgspec.msgpack.encode(record), repository, digest))

        await self._database.transact(work)

    async def used_bytes(self, repository: str) -> int:
        one = "SELECT coalesce(sum(size), 0) FROM repository_blob WHERE repository = ?"
        every = "SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT content, size FROM repository_blob)"
        query, values = (one, (repository,)) if repository else (every, ())
        return int((await self._database.read(lambda db: db.execute(query, values).fetchone()))[0])

    async def repositories(self, after: str, count: int) -> list[str]:
        return await self._database.read(lambda db: [name for (name,) in db.execute(_ALL, (after, count))])

    async def images_in(self, repository: str) -> list[str]:
        query = "SELECT DISTINCT image FROM name WHERE (name > ?1 || ':' AND name < ?1 || ';') OR (name > ?1 || '@' AND name < ?1 || 'A')"
        return await self._database.read(lambda db: [image for (image,) in db.execute(query, (repository,))])

    async def expire(self, now_ns: int) -> None:
        await self._database.transact(lambda db: _expire(db, now_ns))


_KNOWN = (
    "SELECT 1 FROM repository_manifest WHERE repository = ? AND repository = ?",
    "SELECT 1 FROM repository_blob WHERE repository = ? AND repository = ?",
)


def _expire(db: sqlite3.Connection, now_ns: int) -> None:
    records: dict[tuple[str, str], ManifestRecord] = {
        (repository, digest): msgspec.msgpack.decode(body, type=ManifestRecord)
        for repository, digest, body in db.execute("SELECT repository, digest, body FROM repository_manifest")
    }
    tagged = {(repository, digest) for repository, digest in db.execute("SELECT repository, digest FROM repository_tag")}
    images = {image for (image,) in db.execute("SELECT id FROM image")}
    rows = [Row(name, one.digest, one.image, one.expires_ns, one.children) for (name, _), one in records.items()]
    gone = dead(rows, images, tagged, now_ns)
    db.executemany("DELETE FROM repository_manifest WHERE repository = ? AND digest = ?", list(gone))
    db.execute(f"DELETE FROM repository_tag AS t WHERE NOT ({_TAG_HOLDS})")  # noqa: S608
    db.executemany("DELETE FROM repository_tag WHERE repository = ? AND digest = ?", list(gone))
    named = {(name, part) for (name, digest), one in records.items() if (name, digest) not in gone for part in one.parts}
    loose = db.execute("SELECT repository, digest FROM repository_blob WHERE loose_ns < ?", (now_ns,)).fetchall()
    db.executemany("DELETE FROM repository_blob WHERE repository = ? AND digest = ?", [key for key in loose if key not in named])


def kept_contents(db: sqlite3.Connection) -> set[str]:
    """Returns the digests, in the blob store, of all that repositories have."""
    found = {content for (content,) in db.execute("SELECT content FROM repository_manifest")}
    return found | {content for (content,) in db.execute("SELECT content FROM repository_blob")}
