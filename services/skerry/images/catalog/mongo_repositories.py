"""What the distribution API keeps (see catalog.repositories), in MongoDB.

repository_manifests, repository_tags, repository_blobs: `_id` is "REPOSITORY KEY". What a method does to several documents it does in an
order in which a death in between leaves what `expire` removes, or what is asked for again.
"""

import time
from collections.abc import Iterable

import msgspec

from skerry.core.errors import NotFound
from skerry.images.catalog.mongo_answers import Collection, Db, Document, answered
from skerry.images.catalog.repositories import BlobPlace, ManifestRecord, Row, TagPlace, dead, in_order

_RECORD = msgspec.msgpack.Decoder(ManifestRecord)
_BATCH = 1000


class MongoRepositories:
    """The part of MongoCatalog that the distribution API uses."""

    def __init__(self, database: Db) -> None:
        self._pictures = database.images
        self._pointers = database.names
        self._manifests = database.repository_manifests
        self._tags = database.repository_tags
        self._places = database.repository_blobs

    @answered
    async def prepare_repositories(self) -> None:
        """Makes the indexes."""
        for collection in (self._manifests, self._tags, self._places):
            await collection.create_index("repository")
            await collection.create_index("digest")
        await self._manifests.create_index("subject")

    @answered
    async def put_manifest(self, repository: str, record: ManifestRecord, tags: Iterable[str], blobs: Iterable[BlobPlace]) -> None:
        for blob in blobs:
            await self._place(repository, blob, 0)
        document = {
            "repository": repository,
            "digest": record.digest,
            "content": record.content,
            "image": record.image,
            "subject": record.subject,
            "body": msgspec.msgpack.encode(record),
        }
        await self._manifests.update_one({"_id": f"{repository} {record.digest}"}, {"$set": document}, upsert=True)
        tag = {"repository": repository, "digest": record.digest, "image": record.image, "copied": record.expires_ns > 0}
        for name in tags:
            values = {"$set": {**tag, "tag": name, "time_ns": time.time_ns()}}
            await self._tags.update_one({"_id": f"{repository} {name}"}, values, upsert=True)
        # The manifest keeps them now; when it goes they need not stay.
        await self._places.update_many({"_id": {"$in": [f"{repository} {part}" for part in record.parts]}}, {"$set": {"loose_ns": 0}})

    async def _alive(self, image: str) -> bool:
        return not image or await self._pictures.find_one({"_id": image, "dead": False}, {"_id": 1}) is not None

    @answered
    async def manifest(self, repository: str, digest: str) -> ManifestRecord:
        found = await self._manifests.find_one({"_id": f"{repository} {digest}"})
        if found is None or not await self._alive(found["image"]):
            raise NotFound(f"no manifest {digest} in {repository}")
        return _RECORD.decode(found["body"])

    async def _holds(self, tag: Document) -> bool:
        """A tag of an image holds while the image has that name, any other until an image gets it."""
        name = await self._pointers.find_one({"_id": f"{tag['repository']}:{tag['tag']}"})
        if tag["image"]:
            return name is not None and name["image"] == tag["image"] and await self._alive(tag["image"])
        return name is None or name["time_ns"] <= tag["time_ns"] or not await self._alive(name["image"])

    @answered
    async def tagged(self, repository: str, tag: str) -> TagPlace:
        found = await self._tags.find_one({"_id": f"{repository} {tag}"})
        if found is None or not await self._holds(found):
            raise NotFound(f"no tag {tag} in {repository}")
        return TagPlace(found["digest"], found["image"], found["copied"])

    @answered
    async def tags(self, repository: str) -> list[str]:
        found = {tag["tag"] async for tag in self._tags.find({"repository": repository}) if await self._holds(tag)}
        names = await self._named(repository)
        found |= {name["_id"][len(repository) + 1 :] for name in names if not name["is_digest"]}
        known = bool(found or names)
        for collection in (self._manifests, self._places):
            known = known or await collection.find_one({"repository": repository}, {"_id": 1}) is not None
        if not known:
            raise NotFound(f"repository {repository} is not known")
        return in_order(found)

    async def _named(self, repository: str) -> list[Document]:
        """Returns the names that images have in a repository. ; and A are what follows : and @."""
        ranges = [{"_id": {"$gt": f"{repository}:", "$lt": f"{repository};"}}, {"_id": {"$gt": f"{repository}@", "$lt": f"{repository}A"}}]
        found = await self._pointers.find({"$or": ranges}).to_list()
        alive = {image for image in {name["image"] for name in found} if await self._alive(image)}
        return [name for name in found if name["image"] in alive]

    @answered
    async def untag(self, repository: str, tag: str) -> bool:
        return (await self._tags.delete_one({"_id": f"{repository} {tag}"})).deleted_count > 0

    @answered
    async def drop_manifest(self, repository: str, digest: str) -> bool:
        await self._tags.delete_many({"repository": repository, "digest": digest})
        return (await self._manifests.delete_one({"_id": f"{repository} {digest}"})).deleted_count > 0

    @answered
    async def referrers(self, repository: str, subject: str) -> list[ManifestRecord]:
        found = await self._manifests.find({"repository": repository, "subject": subject}).to_list()
        records = [_RECORD.decode(one["body"]) for one in found if await self._alive(one["image"])]
        return sorted(records, key=lambda record: record.digest)

    async def _place(self, repository: str, blob: BlobPlace, until_ns: int) -> None:
        values = {"repository": repository, "digest": blob.digest, "content": blob.content, "size": blob.size}
        update = {"$set": values, "$max": {"loose_ns": until_ns}}
        await self._places.update_one({"_id": f"{repository} {blob.digest}"}, update, upsert=True)

    @answered
    async def put_blob(self, repository: str, blob: BlobPlace, until_ns: int) -> None:
        await self._place(repository, blob, until_ns)

    @answered
    async def blob(self, repository: str, digest: str) -> BlobPlace:
        found = await self._places.find_one({"_id": f"{repository} {digest}"})
        if found is None:
            raise NotFound(f"no blob {digest} in {repository}")
        return BlobPlace(digest, found["content"], found["size"])

    @answered
    async def touch_blob(self, repository: str, digest: str, until_ns: int) -> None:
        await self._places.update_one({"_id": f"{repository} {digest}"}, {"$max": {"loose_ns": until_ns}})

    @answered
    async def drop_blob(self, repository: str, digest: str) -> bool:
        return (await self._places.delete_one({"_id": f"{repository} {digest}"})).deleted_count > 0

    @answered
    async def holders(self, digest: str) -> list[str]:
        return sorted([one["repository"] async for one in self._places.find({"digest": digest}, {"repository": 1})])

    @answered
    async def touch_manifest(self, repository: str, digest: str, expires_ns: int) -> None:
        key = {"_id": f"{repository} {digest}"}
        found = await self._manifests.find_one(key)
        if found is not None:
            record = msgspec.structs.replace(_RECORD.decode(found["body"]), expires_ns=expires_ns)
            await self._manifests.update_one({**key, "body": found["body"]}, {"$set": {"body": msgspec.msgpack.encode(record)}})

    @answered
    async def used_bytes(self, repository: str) -> int:
        wanted = {"repository": repository} if repository else {}
        found = self._places.find(wanted, {"content": 1, "size": 1, "digest": 1})
        if repository:
            return sum([int(one["size"]) async for one in found])
        return sum({one["content"]: int(one["size"]) async for one in found}.values())

    @answered
    async def repositories(self, after: str, count: int) -> list[str]:
        found = {one["repository"] async for one in self._manifests.find({}, {"repository": 1})}
        async for name in self._pointers.find({}, {"is_digest": 1}):
            found.add(name["_id"].rpartition("@" if name["is_digest"] else ":")[0])
        return sorted(name for name in found if name > after)[:count]

    @answered
    async def images_in(self, repository: str) -> list[str]:
        return sorted({name["image"] for name in await self._named(repository)})

    @answered
    async def expire(self, now_ns: int) -> None:
        records = {one["_id"]: (one["repository"], _RECORD.decode(one["body"])) async for one in self._manifests.find({})}
        images = {image["_id"] async for image in self._pictures.find({"dead": False}, {"_id": 1})}
        tags = await self._tags.find({}).to_list()
        rows = [Row(name, one.digest, one.image, one.expires_ns, one.children) for name, one in records.values()]
        gone = dead(rows, images, {(tag["repository"], tag["digest"]) for tag in tags}, now_ns)
        over = [tag["_id"] for tag in tags if (tag["repository"], tag["digest"]) in gone or not await self._holds(tag)]
        await _delete(self._tags, over)
        await _delete(self._manifests, [f"{repository} {digest}" for repository, digest in gone])
        named = {f"{name} {part}" for name, one in records.values() if (name, one.digest) not in gone for part in one.parts}
        loose = [one["_id"] async for one in self._places.find({"loose_ns": {"$lt": now_ns}}, {"_id": 1}) if one["_id"] not in named]
        await _delete(self._places, loose)

    async def kept_contents(self) -> set[str]:
        """Returns the digests, in the blob store, of all that repositories have."""
        found: set[str] = set()
        for collection in (self._manifests, self._places):
            found |= {one["content"] async for one in collection.find({}, {"content": 1})}
        return found


async def _delete(collection: Collection, keys: list[str]) -> None:
    for start in range(0, len(keys), _BATCH):
        await collection.delete_many({"_id": {"$in": keys[start : start + _BATCH]}})
