"""The journal of image events in MongoDB, one for all services over it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from pymongo.errors import DuplicateKeyError

from skerry.api.events.v1 import events_pb2 as pb
from skerry.core.errors import SkerryError
from skerry.core.journal import KEEP, EventJournal
from skerry.images.catalog.mongo_answers import Db, Document, answered

# What another service published is seen this much later. Change streams would need a replica set.
POLL_SECONDS = 0.5
_LOG = logging.getLogger(__name__)


class MongoJournal(EventJournal):
    """Events by their sequence. Each service's followers get all of them, in the same order."""

    def __init__(self, database: Db) -> None:
        super().__init__()
        self._events = database.events
        self._seen = -1
        self._polling = asyncio.Lock()

    @answered
    async def prepare(self) -> None:
        """Finds out where the journal stands. To be called once, before all else."""
        await self._events.create_index("time_ns")
        self._seen = await self._last()

    async def _last(self) -> int:
        newest = await self._events.find_one({}, {"_id": 1}, sort=[("_id", -1)])
        return int(newest["_id"]) if newest else 0

    @answered
    async def publish(self, event: pb.Event) -> None:
        """Writes it behind the newest one, whoever wrote that: a number is never seen before those below it."""
        if not event.time_ns:
            event.time_ns = time.time_ns()
        while True:
            sequence = await self._last() + 1
            document = {"_id": sequence, "time_ns": event.time_ns, "body": event.SerializeToString()}
            try:
                await self._events.insert_one(document)
                break
            except DuplicateKeyError:
                continue  # another service took the number
        event.sequence = sequence
        if sequence % 100 == 0:
            await self._events.delete_many({"_id": {"$lte": sequence - KEEP}})
        await self.poll()

    @answered
    async def poll(self) -> None:
        """Tells the followers what is new, by whichever service."""
        async with self._polling:
            async for document in self._events.find({"_id": {"$gt": self._seen}}, sort=[("_id", 1)]):
                self._seen = document["_id"]
                self.published(_event(document))

    async def follow(self) -> None:
        """Polls for ever; a server that is away is asked again."""
        told = False
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.poll()
                told = False
            except SkerryError as error:
                if not told:
                    _LOG.warning("image events of other services are not seen: %s", error)
                told = True

    async def subscribe(self, request: pb.SubscribeRequest, stopping: asyncio.Event) -> AsyncIterator[pb.SubscribeResponse]:
        """See EventJournal. What happened before it is told to earlier followers first, so that this one does not take it for new."""
        await self.poll()
        async for response in super().subscribe(request, stopping):
            yield response

    @answered
    async def replay(self, request: pb.SubscribeRequest) -> list[pb.Event]:
        if not (request.since_ns or request.after_sequence):
            return []
        if request.after_sequence:
            wanted: Document = {"_id": {"$gt": request.after_sequence}}
        else:
            wanted = {"time_ns": {"$gte": request.since_ns}}
        if request.until_ns:
            wanted = {"$and": [wanted, {"time_ns": {"$lte": request.until_ns}}]}
        return [_event(document) async for document in self._events.find(wanted, sort=[("_id", 1)])]


def _event(document: Document) -> pb.Event:
    event = pb.Event.FromString(document["body"])
    event.sequence = document["_id"]
    return event
