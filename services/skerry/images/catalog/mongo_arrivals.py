"""Names that are about to be pointed at an image (see mongo.py): written down with the image first, so that whoever comes next ends what a
service that died had begun.

An arrival is an element of the image's `arriving`: token, time, names with whether they are by digest, and events to be published. One that
is older than ARRIVAL_SECONDS is some dead service's. It is taken over by changing its time; its names are pointed unless they were pointed
anew since, its events are published, and then it goes. A service that dies between the last two publishes twice: better than never.
"""

import asyncio
import logging
import time

from pymongo.errors import DuplicateKeyError

from skerry.api.events.v1 import events_pb2
from skerry.core import failpoints
from skerry.core.errors import NotFound, SkerryError
from skerry.core.ids import new_id
from skerry.images.catalog.mongo_answers import Collection, Document, answered
from skerry.images.catalog.mongo_events import MongoJournal

failpoints.declare("images.catalog", "added", "named", "said")

# Pointing names takes milliseconds. One that takes longer than this has died over it.
ARRIVAL_SECONDS = 20.0
LOOK_SECONDS = 10.0
_LOG = logging.getLogger(__name__)
_ALIVE = {"dead": False}


def arrival(names: list[tuple[str, bool]], events: list[events_pb2.Event]) -> Document:
    """Returns what is written down: names with whether they are by digest."""
    now = time.time_ns()
    for event in events:
        if not event.time_ns:
            event.time_ns = now
    return {
        "token": new_id()[:32],
        "time": now / 1e9,
        "time_ns": now,
        "names": [{"name": name, "is_digest": is_digest} for name, is_digest in names],
        "events": [event.SerializeToString() for event in events],
    }


def late(one: Document) -> bool:
    """Tells whether whoever wrote it is dead."""
    return bool(one["time"] <= time.time() - ARRIVAL_SECONDS)


class MongoArrivals:
    """The part of the catalog that points names."""

    _images: Collection
    _names: Collection
    journal: MongoJournal

    async def arrive(self, image_id: str, told: Document) -> None:
        """Ends an arrival that the image says already. Raises NotFound when it took so long that the image was removed meanwhile."""
        await failpoints.reached("images.catalog.added")
        tokens = [await self._aim(image_id, one, told["time_ns"], older=False) for one in told.get("names", ())]
        await failpoints.reached("images.catalog.named")
        for event in told.get("events", ()):
            await self.journal.publish(events_pb2.Event.FromString(event))
        await failpoints.reached("images.catalog.said")
        if not await self._arrived(image_id, told):
            await self._names.delete_many({"token": {"$in": tokens}})
            raise NotFound(f"No such image: {image_id}")

    async def _arrived(self, image_id: str, told: Document) -> bool:
        update = {"$pull": {"arriving": {"token": told["token"]}}, "$inc": {"version": 1}, "$set": {"fresh": False}}
        return (await self._images.update_one({"_id": image_id, **_ALIVE}, update)).matched_count == 1

    async def _aim(self, image_id: str, one: Document, time_ns: int, *, older: bool) -> str:
        """Points a name; older: only when it was not pointed since time_ns. Returns the token that it has then."""
        name, token = one["name"], new_id()[:32]
        target = {"image": image_id, "is_digest": one["is_digest"], "time_ns": time_ns, "token": token}
        old = await self._names.find_one({"_id": name})
        if old is not None and older and old["time_ns"] >= time_ns:
            return token
        if old is not None and old["image"] != image_id:
            # Who has just decided on that image's removal by its names decides anew.
            await self._images.update_one({"_id": old["image"]}, {"$inc": {"version": 1}})
        wanted = {"_id": name, "token": old["token"]} if older and old is not None else {"_id": name}
        try:
            await self._names.update_one(wanted, {"$set": target}, upsert=True)
        except DuplicateKeyError:  # made, or pointed, by another service at the same time
            if not older:
                await self._names.update_one({"_id": name}, {"$set": target})
        return token

    async def take_over(self, image: Document) -> bool:
        """Ends the late arrivals of an image, as it was read; tells whether there were any."""
        found = [one for one in image["arriving"] if late(one)]
        if not found:
            return False
        now = time.time()
        mine = [{**one, "time": now} if late(one) else one for one in image["arriving"]]
        claim = {"$set": {"arriving": mine}, "$inc": {"version": 1}}
        if (await self._images.update_one({"_id": image["_id"], "version": image["version"], **_ALIVE}, claim)).matched_count == 0:
            return True  # somebody else is about it
        for told in found:
            for one in told.get("names", ()):
                await self._aim(image["_id"], one, told["time_ns"], older=True)
            for event in told.get("events", ()):
                await self.journal.publish(events_pb2.Event.FromString(event))
            await self._arrived(image["_id"], told)
        return True

    @answered
    async def take_over_all(self) -> None:
        """Ends all late arrivals."""
        wanted = {"arriving.time": {"$lte": time.time() - ARRIVAL_SECONDS}, **_ALIVE}
        for image in await self._images.find(wanted).to_list():
            await self.take_over(image)

    async def taking_over(self) -> None:
        """Looks for ever for what dead services had begun."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.take_over_all()
            except SkerryError as error:
                _LOG.debug("the catalog is away: %s", error)  # whoever needs it says so
