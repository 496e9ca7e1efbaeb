import asyncio
import sqlite3
from pathlib import Path

import pytest

from skerry.api.events.v1 import events_pb2 as pb
from skerry.core.errors import Failed
from skerry.core.journal import KEEP, SCHEMA, Journal
from skerry.core.sqlite import open_database


async def test_migrations_run_once_each_and_in_order(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    first = ["CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1)"]
    async with open_database(path, first):
        pass
    async with open_database(path, [*first, "ALTER TABLE a ADD COLUMN y INTEGER DEFAULT 2"]) as db:
        assert await db.read(lambda c: c.execute("SELECT x, y FROM a").fetchall()) == [(1, 2)]


async def test_a_file_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    async with open_database(path, ["SELECT 1", "SELECT 2"]):
        pass
    with pytest.raises(Failed, match="newer Skerry"):
        async with open_database(path, ["SELECT 1"]):
            pass


async def test_a_failed_migration_changes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    with pytest.raises(sqlite3.OperationalError):
        async with open_database(path, ["CREATE TABLE a (x INTEGER); CREATE TABLE a (x INTEGER)"]):
            pass
    async with open_database(path, ["CREATE TABLE a (x INTEGER)"]) as db:
        assert await db.read(lambda c: c.execute("SELECT count(*) FROM a").fetchone()) == (0,)


async def test_a_transaction_that_raises_is_rolled_back() -> None:
    async with open_database(":memory:", ["CREATE TABLE a (x INTEGER UNIQUE)"]) as db:

        def twice(c: sqlite3.Connection) -> None:
            c.execute("INSERT INTO a VALUES (1)")
            c.execute("INSERT INTO a VALUES (1)")

        with pytest.raises(sqlite3.IntegrityError):
            await db.transact(twice)
        assert await db.read(lambda c: c.execute("SELECT count(*) FROM a").fetchone()) == (0,)


async def take(journal: Journal, request: pb.SubscribeRequest, stopping: asyncio.Event) -> list[str]:
    found = []
    async for item in journal.subscribe(request, stopping):
        found.append(item.event.action if item.HasField("event") else "live")
    return found


async def test_events_are_replayed_over_a_restart_and_then_followed(tmp_path: Path) -> None:
    path, stopping = str(tmp_path / "db"), asyncio.Event()
    async with open_database(path, [SCHEMA]) as db:
        await Journal(db).publish(pb.Event(type="image", action="pull"))
        await Journal(db).publish(pb.Event(type="image", action="tag"))
    async with open_database(path, [SCHEMA]) as db:
        journal = Journal(db)
        reading = asyncio.ensure_future(take(journal, pb.SubscribeRequest(after_sequence=1), stopping))
        await asyncio.sleep(0.05)
        await journal.publish(pb.Event(type="image", action="untag"))
        await asyncio.sleep(0.05)
        stopping.set()
        assert await reading == ["tag", "live", "untag"]


async def test_until_ends_the_stream(tmp_path: Path) -> None:
    async with open_database(str(tmp_path / "db"), [SCHEMA]) as db:
        journal = Journal(db)
        await journal.publish(pb.Event(type="image", action="old", time_ns=10))
        await journal.publish(pb.Event(type="image", action="late", time_ns=30))
        assert await take(journal, pb.SubscribeRequest(since_ns=5, until_ns=20), asyncio.Event()) == ["old", "live"]


async def test_a_follower_that_does_not_read_is_ended_and_holds_nothing(tmp_path: Path) -> None:
    async with open_database(str(tmp_path / "db"), [SCHEMA]) as db:
        journal = Journal(db)
        stream = journal.subscribe(pb.SubscribeRequest(), asyncio.Event())
        assert (await anext(stream)).HasField("live")
        for number in range(KEEP + 1):
            journal.published(pb.Event(sequence=number + 1, action=str(number)))
        with pytest.raises(StopAsyncIteration):
            while True:
                await asyncio.wait_for(anext(stream), 5)


async def test_only_the_last_events_are_kept(tmp_path: Path) -> None:
    async with open_database(str(tmp_path / "db"), [SCHEMA]) as db:
        journal = Journal(db)
        for number in range(KEEP + 200):
            await journal.publish(pb.Event(action=str(number)))
        kept = await take(journal, pb.SubscribeRequest(since_ns=1, until_ns=2**62), _set())
        assert len(kept) - 1 <= KEEP + 100
        assert kept[-2] == str(KEEP + 199)


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event
