"""The catalog in MongoDB, for image stores that several services share. Needs no transactions: a standalone server will do.

    images   _id = image id, body = ImageRecord as msgpack, blobs and documents = digests it needs, holders = its leases
    names    _id = full name, image = where it points, token = new each time it is pointed
    kept     a layer that no image need have, for a holder

A name moves by one update of its document, a lease comes and goes by one of its image's. What spans both is decided by one conditional
update of the image: `version` counts all changes of its leases and names, `arriving` says which names are about to be pointed at it (no
removal succeeds meanwhile, see mongo_arrivals.py), `dead` and `leaving` (tokens of names) say that it or they are gone. From then on no
reader sees them; who comes next finishes what is left to be done, if the one that decided did not.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from skerry.api.events.v1 import events_pb2
from skerry.core.errors import InvalidArgument, NotFound
from skerry.core.lifecycle import background
from skerry.images.catalog import Entry, ImageRecord, LayerRecord, Names
from skerry.images.catalog.mongo_answers import Db, Document, answered, open_mongo
from skerry.images.catalog.mongo_arrivals import MongoArrivals, arrival
from skerry.images.catalog.mongo_events import MongoJournal
from skerry.images.catalog.mongo_pushes import MongoPushes
from skerry.images.catalog.mongo_repositories import MongoRepositories
from skerry.images.catalog.mongo_turns import MongoTurns

_PAUSE = 0.05
_RECORD = msgspec.msgpack.Decoder(ImageRecord)
_LAYER = msgspec.msgpack.Decoder(LayerRecord)
_ALIVE = {"dead": False}
# Of an image that was just added: not listed before it has its names.
_SHOWN = {"dead": False, "fresh": False}


class MongoCatalog(MongoPushes, MongoRepositories, MongoTurns, MongoArrivals):
    """Catalog over a database. Made by `open_mongo_catalog`."""

    def __init__(self, database: Db) -> None:
        MongoPushes.__init__(self, database)
        MongoRepositories.__init__(self, database)
        MongoTurns.__init__(self, database)
        self._images = database.images
        self._names = database.names
        self._kept = database.kept
        self.journal = MongoJournal(database)

    @answered
    async def prepare(self) -> None:
        """Makes the indexes, and ends what a service that died had decided. To be called once, before all else."""
        for field in ("image", "token"):
            await self._names.create_index(field)
        for field in ("holders", "leaving", "dead", "blobs", "parent", "arriving.time"):
            await self._images.create_index(field)
        for field in ("holder", "diff_id"):
            await self._kept.create_index(field)
        await self.prepare_pushes()
        await self.prepare_repositories()
        await self.journal.prepare()
        await self._finish_all()

    @answered
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
        told = arrival([*((name, False) for name in names), *((name, True) for name in digests)], events)
        holders = [holder] if holder else []
        more = {"documents": {"$each": documents}, "holders": {"$each": holders}}
        while True:
            update = {"$addToSet": more, "$push": {"arriving": told}, "$inc": {"version": 1}}
            if (await self._images.update_one({"_id": image.id, **_ALIVE}, update)).matched_count:
                break
            try:
                await self._images.insert_one(_document(image, documents, holders, told))
                break
            except DuplicateKeyError:
                await self._finish(image.id)  # it is dead, or another service added it now
        await self.arrive(image.id, told)

    @answered
    async def tag(self, image_id: str, name: str, event: events_pb2.Event) -> None:
        told = arrival([(name, False)], [event])
        update = {"$push": {"arriving": told}, "$inc": {"version": 1}}
        if (await self._images.update_one({"_id": image_id, **_ALIVE}, update)).matched_count == 0:
            raise NotFound(f"No such image: {image_id}")
        await self.arrive(image_id, told)

    @answered
    async def children(self, parent: str) -> list[ImageRecord]:
        made = [_RECORD.decode(image["body"]) async for image in self._images.find({"parent": parent, **_SHOWN})]
        return sorted(made, key=lambda image: (-image.created_ns, image.id))

    async def _entry(self, image: Document) -> Entry:
        return _made(image, [name async for name in self._names.find({"image": image["_id"]})])

    @answered
    async def get(self, image_id: str) -> Entry:
        image = await self._images.find_one({"_id": image_id, **_ALIVE})
        if image is None:
            raise NotFound(f"No such image: {image_id}")
        return await self._entry(image)

    @answered
    async def by_name(self, name: str) -> Entry:
        token = ""
        while True:
            pointer = await self._names.find_one({"_id": name})
            if pointer is None or pointer["token"] == token:
                raise NotFound(f"No such image: {name}")
            token = pointer["token"]
            image = await self._images.find_one({"_id": pointer["image"], **_ALIVE})
            if image is not None:
                entry = await self._entry(image)
                if name in entry.names.tags or name in entry.names.digests:
                    return entry
            # Removed or moved while we looked: the next look tells which.

    @answered
    async def by_prefix(self, prefix: str) -> Entry:
        low, high = f"sha256:{prefix}", f"sha256:{prefix}g"  # g follows f: the end of this prefix's range
        found = await self._images.find({"_id": {"$gte": low, "$lt": high}, **_ALIVE}).limit(2).to_list()
        if not found:
            raise NotFound(f"No such image: {prefix}")
        if len(found) > 1:
            raise InvalidArgument(f"image ID prefix {prefix} is ambiguous")
        return await self._entry(found[0])

    @answered
    async def all(self) -> list[Entry]:
        images = [image async for image in self._images.find(_SHOWN)]
        names: dict[str, list[Document]] = {}
        async for name in self._names.find({}):
            names.setdefault(name["image"], []).append(name)
        images.sort(key=lambda image: (-image["created_ns"], image["_id"]))
        return [_made(image, names.get(image["_id"], [])) for image in images]

    async def revision(self) -> str:
        return ""  # a database of many writers, which counts nothing

    @answered
    async def remove(self, seen: Entry, untag: tuple[str, ...], *, delete: bool, events: list[events_pb2.Event]) -> bool:
        image_id = seen.image.id
        # The image first, its names then: what changes in between changes the version.
        image = await self._images.find_one({"_id": image_id, **_ALIVE})
        if image is None:
            return False
        names = [name async for name in self._names.find({"image": image_id})]
        now = _made(image, names)
        if (now.names.tags, now.names.digests, now.holders) != (seen.names.tags, seen.names.digests, seen.holders):
            return False
        if await self.take_over(image):
            return False
        if image["arriving"]:
            await asyncio.sleep(_PAUSE)
            return False
        leaving = [name["token"] for name in names if delete or name["_id"] in untag]
        decided = await self._images.update_one(
            {"_id": image_id, "version": image["version"], **_ALIVE},
            {"$set": {"dead": delete, "leaving": [*image["leaving"], *leaving]}, "$inc": {"version": 1}},
        )
        if decided.matched_count == 0:
            return False
        await self._finish(image_id)
        await self._say(events)
        return True

    async def _finish(self, image_id: str) -> None:
        """Deletes what was decided to go. Done by several at once, or again, it does no harm: tokens are never used twice."""
        image = await self._images.find_one({"_id": image_id})
        if image is None:
            return
        if image["leaving"]:
            await self._names.delete_many({"token": {"$in": image["leaving"]}})
        if image["dead"]:
            await self._images.delete_one({"_id": image_id, "dead": True})
        elif image["leaving"]:
            await self._images.update_one({"_id": image_id}, {"$pullAll": {"leaving": image["leaving"]}})

    async def _finish_all(self) -> None:
        async for image in self._images.find({"$or": [{"dead": True}, {"leaving": {"$ne": []}}]}, {"_id": 1}):
            await self._finish(image["_id"])
        await self.take_over_all()

    @answered
    async def acquire(self, image_id: str, holder: str) -> Entry:
        image = await self._images.find_one_and_update(
            {"_id": image_id, **_ALIVE},
            {"$addToSet": {"holders": holder}, "$inc": {"version": 1}},
            return_document=ReturnDocument.AFTER,
        )
        if image is None:
            raise NotFound(f"No such image: {image_id}")
        return await self._entry(image)

    @answered
    async def keep(self, layer: LayerRecord, holder: str) -> None:
        kept = {"holder": holder, "diff_id": layer.diff_id, "body": msgspec.msgpack.encode(layer)}
        await self._kept.update_one({"_id": f"{layer.diff_id} {holder}"}, {"$setOnInsert": kept}, upsert=True)

    @answered
    async def layer(self, diff_id: str) -> LayerRecord:
        kept = await self._kept.find_one({"diff_id": diff_id})
        if kept is not None:
            return _LAYER.decode(kept["body"])
        image = await self._images.find_one({"blobs": diff_id, **_ALIVE})
        for layer in _RECORD.decode(image["body"]).layers if image is not None else ():
            if layer.diff_id == diff_id:
                return layer
        raise NotFound(f"No such layer: {diff_id}")

    @answered
    async def release(self, holder: str) -> None:
        await self._images.update_many({"holders": holder}, {"$pull": {"holders": holder}, "$inc": {"version": 1}})
        await self._kept.delete_many({"holder": holder})

    @answered
    async def leases(self, holder_prefix: str, image_id: str) -> list[tuple[str, str]]:
        wanted = {"holders": {"$ne": []}, **_ALIVE, **({"_id": image_id} if image_id else {})}
        found = {(holder, image["_id"]) async for image in self._images.find(wanted, {"holders": 1}) for holder in image["holders"]}
        if not image_id:
            found |= {(kept["holder"], "") async for kept in self._kept.find({}, {"holder": 1})}
        return [(image, holder) for holder, image in sorted(found) if holder.startswith(holder_prefix)]

    @answered
    async def blobs_in_use(self) -> set[str]:
        await self._finish_all()
        # What is kept first: a layer that becomes an image's in between is seen twice rather than never.
        found: set[str] = set()
        async for kept in self._kept.find({}):
            layer = _LAYER.decode(kept["body"])
            found |= {layer.diff_id, layer.compressed}
        async for image in self._images.find(_ALIVE, {"blobs": 1, "documents": 1}):
            found.update(image["blobs"], image["documents"])
        for diff_id, forms in (await self.kept_forms()).items():
            if diff_id in found:
                found.update(forms)
        return (found | await self.kept_contents()) - {""}

    @answered
    async def documents(self, image_id: str) -> list[str]:
        image = await self._images.find_one({"_id": image_id, **_ALIVE}, {"documents": 1})
        return sorted(image["documents"]) if image is not None else []

    @answered
    async def pushed(self, image_id: str, name: str, document: str, events: list[events_pb2.Event]) -> None:
        told = arrival([(name, True)], events)
        update = {"$addToSet": {"documents": document}, "$push": {"arriving": told}, "$inc": {"version": 1}}
        if (await self._images.update_one({"_id": image_id, **_ALIVE}, update)).matched_count == 0:
            await self._say(events)
            return
        try:
            await self.arrive(image_id, told)
        except NotFound:
            pass  # removed meanwhile

    async def _say(self, events: list[events_pb2.Event]) -> None:
        for event in events:
            await self.journal.publish(event)


def _document(image: ImageRecord, documents: list[str], holders: list[str], told: Document) -> Document:
    blobs = {blob for layer in image.layers for blob in (layer.diff_id, layer.compressed)} - {""}
    return {
        "_id": image.id,
        "created_ns": image.created_ns,
        "parent": image.parent,
        "body": msgspec.msgpack.encode(image),
        "blobs": sorted(blobs),
        "documents": sorted(set(documents)),
        "holders": holders,
        "version": 0,
        "dead": False,
        "fresh": True,
        "stored": time.time(),
        "leaving": [],
        "arriving": [told],
    }


def _made(image: Document, names: list[Document]) -> Entry:
    here = sorted((name for name in names if name["token"] not in image["leaving"]), key=lambda name: str(name["_id"]))
    return Entry(
        _RECORD.decode(image["body"]),
        Names(
            tuple(name["_id"] for name in here if not name["is_digest"]),
            tuple(name["_id"] for name in here if name["is_digest"]),
            max((name["time_ns"] for name in here), default=0),
        ),
        tuple(sorted(image["holders"])),
    )


@asynccontextmanager
async def open_mongo_catalog(url: str) -> AsyncIterator[MongoCatalog]:
    """Opens, or makes, the catalog in mongodb://HOST[,HOST]/DATABASE. Raises InvalidArgument, Unavailable, Failed."""
    async with open_mongo(url) as database:
        catalog = MongoCatalog(database)
        await catalog.prepare()
        async with background(catalog.journal.follow()), background(catalog.taking_over()):
            yield catalog
