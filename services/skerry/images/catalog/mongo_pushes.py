"""What pushes remember (see catalog.PushRecords), in MongoDB."""

import time

from skerry.images.catalog import Form
from skerry.images.catalog.mongo_answers import Collection, Db, Document, answered

PER_LAYER = 8
PER_BLOB = 16
# Documents of each kind; far more than the layers of the images that a store holds.
_ALL = 100_000
_NEWEST = [("time_ns", -1), ("_id", 1)]


class MongoPushes:
    """forms: a compressed form of a layer. places: a repository of a registry that had a blob."""

    def __init__(self, database: Db) -> None:
        self._push_forms = database.forms
        self._seen_places = database.places

    @answered
    async def prepare_pushes(self) -> None:
        """Makes the indexes."""
        for collection, key in ((self._push_forms, "diff_id"), (self._seen_places, "blob")):
            await collection.create_index(key)
            await collection.create_index("time_ns")

    @answered
    async def remember(self, forms: list[Form]) -> None:
        now = time.time_ns()
        for form in forms:
            update: Document = {
                "$set": {
                    "diff_id": form.diff_id,
                    "digest": form.digest,
                    "size": form.size,
                    "compression": form.compression,
                    "time_ns": now,
                }
            }
            if form.kept:
                update["$set"]["kept"] = True
            else:
                update["$setOnInsert"] = {"kept": False}
            await self._push_forms.update_one({"_id": f"{form.diff_id} {form.digest}"}, update, upsert=True)
            await _drop_old(self._push_forms, {"diff_id": form.diff_id}, PER_LAYER)
        if forms and await self._push_forms.estimated_document_count() > _ALL:
            await _drop_old(self._push_forms, {}, _ALL)

    @answered
    async def forms(self, diff_id: str) -> list[Form]:
        found = await self._push_forms.find({"diff_id": diff_id}).to_list()
        found.sort(key=lambda form: (not form["kept"], -form["time_ns"], form["digest"]))
        return [Form(diff_id, form["digest"], form["size"], form["kept"], form["compression"]) for form in found]

    @answered
    async def saw(self, registry: str, repository: str, digests: list[str]) -> None:
        now = time.time_ns()
        for digest in digests:
            blob = f"{registry} {digest}"
            place = {"blob": blob, "repository": repository, "time_ns": now}
            await self._seen_places.update_one({"_id": f"{blob} {repository}"}, {"$set": place}, upsert=True)
            await _drop_old(self._seen_places, {"blob": blob}, PER_BLOB)
        if digests and await self._seen_places.estimated_document_count() > _ALL:
            await _drop_old(self._seen_places, {}, _ALL)

    @answered
    async def seen_in(self, registry: str, digest: str) -> list[str]:
        return [place["repository"] async for place in self._seen_places.find({"blob": f"{registry} {digest}"}, sort=_NEWEST)]

    async def kept_forms(self) -> dict[str, list[str]]:
        """Returns the kept forms' digests by diff_id."""
        found: dict[str, list[str]] = {}
        async for form in self._push_forms.find({"kept": True}):
            found.setdefault(form["diff_id"], []).append(form["digest"])
        return found


async def _drop_old(collection: Collection, of: Document, count: int) -> None:
    """Deletes all but the newest; kept forms are not counted away: blobs hang on them."""
    old = [one["_id"] async for one in collection.find(of, {"_id": 1, "time_ns": 1}, sort=_NEWEST, skip=count)]
    if old:
        await collection.delete_many({"_id": {"$in": old}, "kept": {"$ne": True}})
