"""What every VolumeStore must do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from skerry.api.events.v1 import events_pb2
from skerry.containers.store import MIGRATIONS
from skerry.containers.volume_store import SqliteVolumeStore, Use, VolumeRecord, VolumeStore
from skerry.core.sqlite import open_database


@asynccontextmanager
async def sqlite(path: str) -> AsyncIterator[VolumeStore]:
    async with open_database(path, MIGRATIONS) as database:
        yield SqliteVolumeStore(database)


@pytest.fixture(params=[sqlite])
async def store(request: pytest.FixtureRequest, tmp_path: object) -> AsyncIterator[VolumeStore]:
    async with request.param(f"{tmp_path}/containers.db") as one:
        yield one


ONE = VolumeRecord(name="one", created_ns=1, options={"type": "tmpfs"}, labels={"a": "b"}, anonymous=True)
TWO = VolumeRecord(name="two", created_ns=2)


async def test_records_come_back_whole_and_by_name(store: VolumeStore) -> None:
    await store.add(TWO)
    await store.add(ONE)
    assert await store.all() == [ONE, TWO]


async def test_a_second_record_of_a_name_changes_nothing(store: VolumeStore) -> None:
    await store.add(ONE)
    event = events_pb2.Event(action="create")
    await store.add(VolumeRecord(name="one", created_ns=9), [event])
    assert await store.all() == [ONE] and event.sequence == 0


async def test_removing_is_idempotent_and_told_once(store: VolumeStore) -> None:
    await store.add(ONE)
    first, second = events_pb2.Event(action="destroy"), events_pb2.Event(action="destroy")
    await store.remove("one", [first])
    await store.remove("one", [second])
    assert await store.all() == [] and (first.sequence > 0, second.sequence) == (True, 0)


async def test_records_survive_a_restart(tmp_path: object) -> None:
    async with sqlite(f"{tmp_path}/containers.db") as store:
        await store.add(ONE)
    async with sqlite(f"{tmp_path}/containers.db") as store:
        assert await store.all() == [ONE]


async def test_a_known_record_is_stored_anew(store: VolumeStore) -> None:
    await store.add(ONE)
    changed = msgspec.structs.replace(ONE, uses={"container:/x": Use("id", "/mnt", over=True)})
    await store.save(changed)
    # One that was removed stays so.
    await store.save(TWO)
    assert await store.all() == [changed]
