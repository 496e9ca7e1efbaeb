"""What a catalog owes that several image stores share. MongoDB is the first."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from skerry.api.events.v1 import events_pb2
from skerry.core.errors import InvalidArgument, NotFound, Unavailable
from skerry.images.catalog import Entry, ImageRecord, LayerRecord, mongo_arrivals
from skerry.images.catalog.mongo import MongoCatalog, open_mongo_catalog
from skerry.images.catalog.mongo_answers import open_mongo
from skerry.images.catalog.mongo_arrivals import arrival

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
LAYER = "sha256:" + "1" * 64


def said(name: str = "test") -> events_pb2.Event:
    return events_pb2.Event(type="image", action=name)


def image(image_id: str) -> ImageRecord:
    return ImageRecord(image_id, b"{}", (LayerRecord(LAYER, 10),), 1)


@pytest.fixture
def uri(mongo_database: Callable[[], str]) -> str:
    return mongo_database()


@pytest.fixture
async def both(uri: str) -> AsyncIterator[tuple[MongoCatalog, MongoCatalog]]:
    async with open_mongo_catalog(uri) as one, open_mongo_catalog(uri) as other:
        yield one, other


async def test_what_one_stores_the_other_has(both: tuple[MongoCatalog, MongoCatalog]) -> None:
    one, other = both
    await one.add(image(A), ["d/x:1"], ["d/x@" + B], [B], [])
    assert await other.all() == await one.all()
    await other.acquire(A, "node/1")
    assert (await one.by_name("d/x:1")).holders == ("node/1",)


async def test_a_name_that_many_move_points_at_one_image(both: tuple[MongoCatalog, MongoCatalog]) -> None:
    one, other = both
    for image_id in (A, B):
        await one.add(image(image_id), [], [], [], [])
    await asyncio.gather(*(catalog.tag(image_id, "d/x:1", said()) for catalog in both for image_id in (A, B) for _ in range(3)))
    entry = await other.by_name("d/x:1")
    assert [found.names.tags for found in await one.all()].count(("d/x:1",)) == 1
    assert entry == await one.get(entry.image.id)


async def _removed(catalog: MongoCatalog, image_id: str) -> bool:
    """Removes an image without leases as `docker rmi` does: decided anew whenever it has changed."""
    while True:
        try:
            entry = await catalog.get(image_id)
        except NotFound:
            return False
        if entry.holders:
            return False
        if await catalog.remove(entry, (*entry.names.tags, *entry.names.digests), delete=True, events=[said("delete")]):
            return True


@pytest.mark.parametrize("_again", range(5))
async def test_a_lease_and_a_removal_at_once_never_both_succeed(both: tuple[MongoCatalog, MongoCatalog], _again: int) -> None:
    one, other = both
    await one.add(image(A), ["d/x:1"], [], [], [])
    leased, removed = await asyncio.gather(one.acquire(A, "node/1"), _removed(other, A), return_exceptions=True)
    assert isinstance(leased, Entry) is not removed
    assert len(await one.all()) == (0 if removed else 1)


@pytest.mark.parametrize("_again", range(5))
async def test_a_new_name_and_a_removal_at_once_leave_no_name_without_image(
    both: tuple[MongoCatalog, MongoCatalog], uri: str, _again: int
) -> None:
    one, other = both
    await one.add(image(A), ["d/x:1"], [], [], [])
    tagged, removed, _ = await asyncio.gather(
        one.tag(A, "d/y:1", said()), _removed(other, A), one.add(image(B), ["d/x:1"], [], [], []), return_exceptions=True
    )
    assert removed is True  # it has no lease: sooner or later it goes
    assert tagged is None or isinstance(tagged, NotFound)
    assert [entry.names.tags for entry in await one.all()] == [("d/x:1",)]
    with pytest.raises(NotFound):
        await one.by_name("d/y:1")
    async with open_mongo(uri) as database:
        assert await database.names.count_documents({}) == 1


async def test_a_removal_that_was_decided_is_finished_by_others(uri: str) -> None:
    async with open_mongo_catalog(uri) as catalog, open_mongo(uri) as database:
        for image_id in (A, B):
            await catalog.add(image(image_id), [f"d/{image_id[-1]}:1", f"d/{image_id[-1]}:2"], [], [], [])
        # As a service leaves it that dies behind its decision.
        tokens = {name["_id"]: name["token"] async for name in database.names.find({})}
        await database.images.update_one({"_id": A}, {"$set": {"dead": True, "leaving": [tokens["d/a:1"], tokens["d/a:2"]]}})
        await database.images.update_one({"_id": B}, {"$set": {"leaving": [tokens["d/b:1"]]}})
        for gone in ("d/a:1", "d/b:1"):
            with pytest.raises(NotFound):
                await catalog.by_name(gone)
        assert [entry.names.tags for entry in await catalog.all()] == [("d/b:2",)]
        # The same name again, before anybody has finished.
        await catalog.tag(B, "d/b:1", said())
        await catalog.add(image(A), ["d/a:1"], [], [], [])
        assert (await catalog.by_name("d/a:1")).names.tags == ("d/a:1",)
        await catalog.blobs_in_use()
        assert (await catalog.get(B)).names.tags == ("d/b:1", "d/b:2")
        assert await database.images.count_documents({"leaving": {"$ne": []}}) == 0


async def test_an_arrival_under_way_holds_a_removal_off(uri: str) -> None:
    async with open_mongo_catalog(uri) as catalog, open_mongo(uri) as database:
        await catalog.add(image(A), [], [], [], [])
        told = arrival([("d/x:1", False)], [said("pull")])
        await database.images.update_one({"_id": A}, {"$push": {"arriving": told}})
        assert not await catalog.remove(await catalog.get(A), (), delete=True, events=[])
        late = {**told, "time": told["time"] - 60}
        await database.images.update_one({"_id": A}, {"$set": {"arriving": [late], "fresh": True}})
        assert await catalog.all() == []
        # Who wants to remove it ends it first, and decides anew.
        assert not await catalog.remove(await catalog.get(A), (), delete=True, events=[])
        assert [entry.names.tags for entry in await catalog.all()] == [("d/x:1",)]
        assert await catalog.remove(await catalog.get(A), ("d/x:1",), delete=True, events=[])


_ADDING = """
import asyncio, sys
from skerry.api.events.v1 import events_pb2
from skerry.images.catalog import ImageRecord
from skerry.images.catalog.mongo import open_mongo_catalog

async def main(uri, image_id):
    async with open_mongo_catalog(uri) as catalog:
        event = events_pb2.Event(type="image", action="pull")
        await catalog.add(ImageRecord(image_id, b"{}", (), 1), ["d/x:1", "d/y:1"], ["d/x@" + image_id], [], [event], holder="node/1")

asyncio.run(main(*sys.argv[1:]))
"""


def _killed(uri: str, point: str, image_id: str = A) -> None:
    """Has a service add an image, and die at a point of that."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SKERRY_FAILPOINTS": f"images.catalog.{point}=kill"}
    done = subprocess.run([sys.executable, "-c", _ADDING, uri, image_id], env=environ, timeout=30, check=False)
    assert done.returncode == -signal.SIGKILL


async def _until(check: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 10
    while not await check():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead are held for dead at once."""
    monkeypatch.setattr(mongo_arrivals, "ARRIVAL_SECONDS", 0.5)
    monkeypatch.setattr(mongo_arrivals, "LOOK_SECONDS", 0.2)


async def _seen(catalog: MongoCatalog) -> list[str]:
    return [event.action for event in await catalog.journal.replay(events_pb2.SubscribeRequest(since_ns=1))]


@pytest.mark.parametrize("point", ["added", "named", "said"])
async def test_what_a_killed_service_was_adding_gets_its_names(uri: str, point: str, soon: None) -> None:
    async with open_mongo_catalog(uri) as catalog:
        await catalog.add(image(B), ["d/y:1"], [], [], [])
        await asyncio.to_thread(_killed, uri, point)

        async def whole() -> bool:
            return len(await catalog.all()) == 2

        await _until(whole)
        entry = await catalog.by_name("d/x:1")
        assert (entry.names.tags, entry.names.digests, entry.holders) == (("d/x:1", "d/y:1"), ("d/x@" + A,), ("node/1",))
        assert (await catalog.get(B)).names.tags == ()
        # Nothing is left to do; the event is told at least once.
        async with open_mongo(uri) as database:
            assert await database.images.count_documents({"arriving": {"$ne": []}}) == 0
        assert await _seen(catalog) == ["pull"] * (2 if point == "said" else 1)


async def test_names_that_were_pointed_since_stay_where_they_are(uri: str, soon: None) -> None:
    async with open_mongo_catalog(uri) as catalog:
        await catalog.add(image(B), [], [], [], [])
        await asyncio.to_thread(_killed, uri, "added")
        await catalog.tag(B, "d/y:1", said())

        async def whole() -> bool:
            return len(await catalog.all()) == 2

        await _until(whole)
        assert (await catalog.by_name("d/x:1")).image.id == A
        assert (await catalog.by_name("d/y:1")).image.id == B


async def test_adding_again_what_a_killed_service_was_adding_ends_it_at_once(uri: str) -> None:
    async with open_mongo_catalog(uri) as catalog:
        await asyncio.to_thread(_killed, uri, "added")
        assert await catalog.all() == []
        await catalog.add(image(A), ["d/x:1"], [], [], [])
        assert [entry.names.tags for entry in await catalog.all()] == [("d/x:1",)]


async def test_events_of_all_are_numbered_without_gaps_and_seen_by_all(both: tuple[MongoCatalog, MongoCatalog]) -> None:
    stopping = asyncio.Event()

    async def follow(catalog: MongoCatalog) -> list[int]:
        seen = []
        async for response in catalog.journal.subscribe(events_pb2.SubscribeRequest(), stopping):
            if response.HasField("event"):
                seen.append(response.event.sequence)
                if len(seen) == 20:
                    break
        return seen

    await both[0].journal.publish(said("before"))
    followers = [asyncio.ensure_future(follow(catalog)) for catalog in both]
    await asyncio.sleep(0.1)
    await asyncio.gather(*(catalog.journal.publish(said(str(n))) for n in range(10) for catalog in both))
    assert await asyncio.wait_for(asyncio.gather(*followers), 10) == [list(range(2, 22))] * 2
    replayed = await both[1].journal.replay(events_pb2.SubscribeRequest(after_sequence=19))
    assert [event.sequence for event in replayed] == [20, 21]
    since = await both[1].journal.replay(events_pb2.SubscribeRequest(since_ns=1, until_ns=time.time_ns()))
    assert [event.sequence for event in since] == list(range(1, 22))


async def test_intakes_of_many_hold_a_sweep_off_and_a_sweep_holds_them_off(both: tuple[MongoCatalog, MongoCatalog]) -> None:
    one, other = both
    assert await one.begin_intake("a", 60) and await other.begin_intake("b", 60)
    assert not await one.begin_sweep("a", 60)
    await other.end_intake("b")
    assert await one.begin_sweep("a", 60)  # its own intakes it knows itself
    assert not await other.begin_intake("b", 60)
    assert not await other.begin_sweep("b", 60)
    assert await one.begin_sweep("a", 60)
    await one.end_sweep("a")
    assert await other.begin_intake("b", 60)


async def test_turns_of_the_dead_run_out(both: tuple[MongoCatalog, MongoCatalog]) -> None:
    one, other = both
    assert await one.begin_intake("a", -100)
    assert await other.begin_sweep("b", -100)
    assert not await one.renew_intake("a", 60)
    assert await one.begin_intake("a", 60)
    assert await one.renew_intake("a", 60)
    assert not await other.begin_sweep("b", 60)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_server_that_is_away_is_said() -> None:
    with pytest.raises(Unavailable, match="not reachable"):
        async with open_mongo_catalog("mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=200"):
            pass
    with pytest.raises(InvalidArgument):
        async with open_mongo_catalog("mongodb://[::1"):
            pass
    gc.collect()  # pymongo 4.20 drops sockets that were refused without closing them: here, not in some later test
