"""A service's last events, durable and numbered, and those who follow them."""

import asyncio
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from skerry.api.events.v1 import events_pb2 as pb
from skerry.core.sqlite import Database

KEEP = 1000
# Append this to a service's migrations.
SCHEMA = """
CREATE TABLE event (sequence INTEGER PRIMARY KEY AUTOINCREMENT, time_ns INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX event_time ON event (time_ns);
"""


def append(db: sqlite3.Connection, event: pb.Event) -> None:
    """Writes event inside the caller's transaction and gives it its sequence (and time, when 0). Call Journal.published afterwards."""
    if not event.time_ns:
        event.time_ns = time.time_ns()
    cursor = db.execute("INSERT INTO event (time_ns, body) VALUES (?, ?)", (event.time_ns, event.SerializeToString()))
    event.sequence = cursor.lastrowid or 0
    if event.sequence % 100 == 0:
        db.execute("DELETE FROM event WHERE sequence <= ?", (event.sequence - KEEP,))


class EventJournal(ABC):
    """Replays and follows a service's events, wherever they are kept.

    A follower that falls more than KEEP events behind is ended; it asks again.
    """

    def __init__(self) -> None:
        self._followers: set[asyncio.Queue[pb.Event | None]] = set()

    @abstractmethod
    async def publish(self, event: pb.Event) -> None:
        """Keeps one event, giving it its sequence (and time, when 0), and tells the followers."""

    @abstractmethod
    async def replay(self, request: pb.SubscribeRequest) -> list[pb.Event]:
        """Returns the kept events that the request asks for, in order."""

    def published(self, event: pb.Event) -> None:
        """Tells the followers of an event that is kept already."""
        for queue in list(self._followers):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self._followers.discard(queue)
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)

    async def subscribe(self, request: pb.SubscribeRequest, stopping: asyncio.Event) -> AsyncIterator[pb.SubscribeResponse]:
        """Yields what SubscribeRequest asks for, until its end, until stopping, or until the follower is too slow."""
        queue: asyncio.Queue[pb.Event | None] = asyncio.Queue(KEEP)
        self._followers.add(queue)
        stop: asyncio.Future[Any] = asyncio.ensure_future(stopping.wait())
        try:
            last = 0
            for event in await self.replay(request):
                last = event.sequence
                yield pb.SubscribeResponse(event=event)
            yield pb.SubscribeResponse(live=pb.Live())
            while (event_or_end := await _next(queue, stop, request.until_ns)) is not None:
                if event_or_end.sequence > last:
                    if request.until_ns and event_or_end.time_ns > request.until_ns:
                        return
                    yield pb.SubscribeResponse(event=event_or_end)
        finally:
            stop.cancel()
            self._followers.discard(queue)


class Journal(EventJournal):
    """The journal in a service's SQLite file, in the table of SCHEMA."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    async def publish(self, event: pb.Event) -> None:
        """Writes it in a transaction of its own."""
        await self._database.transact(lambda db: append(db, event))
        self.published(event)

    async def replay(self, request: pb.SubscribeRequest) -> list[pb.Event]:
        if not (request.since_ns or request.after_sequence):
            return []
        until = request.until_ns or 2**63 - 1

        def read(db: sqlite3.Connection) -> list[tuple[int, bytes]]:
            if request.after_sequence:
                where, value = "sequence > ?", request.after_sequence
            else:
                where, value = "time_ns >= ?", request.since_ns
            return db.execute(
                f"SELECT sequence, body FROM event WHERE {where} AND time_ns <= ? ORDER BY sequence",  # noqa: S608 - two constants
                (value, until),
            ).fetchall()

        events = []
        for sequence, body in await self._database.read(read):
            event = pb.Event.FromString(body)
            event.sequence = sequence
            events.append(event)
        return events


async def _next(queue: "asyncio.Queue[pb.Event | None]", stop: "asyncio.Future[Any]", until_ns: int) -> pb.Event | None:
    get: asyncio.Future[Any] = asyncio.ensure_future(queue.get())
    timeout = max(0.0, (until_ns - time.time_ns()) / 1e9) if until_ns else None
    try:
        await asyncio.wait({get, stop}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return get.result() if get.done() else None
    finally:
        get.cancel()
