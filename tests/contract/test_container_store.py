"""What every ContainerStore must do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from skerry.api.events.v1 import events_pb2
from skerry.containers.record import Record
from skerry.containers.state import Phase, State
from skerry.containers.store import MIGRATIONS, ContainerStore, SqliteContainerStore
from skerry.core.errors import Conflict
from skerry.core.journal import Journal
from skerry.core.sqlite import Database, open_database

ONE, TWO = "1" * 64, "2" * 64


@asynccontextmanager
async def sqlite(path: str) -> AsyncIterator[tuple[ContainerStore, Database]]:
    async with open_database(path, MIGRATIONS) as database:
        yield SqliteContainerStore(database), database


@pytest.fixture(params=[sqlite])
async def opened(request: pytest.FixtureRequest, tmp_path: object) -> AsyncIterator[tuple[ContainerStore, Database]]:
    async with request.param(f"{tmp_path}/containers.db") as pair:
        yield pair


@pytest.fixture
def store(opened: tuple[ContainerStore, Database]) -> ContainerStore:
    return opened[0]


def record(container_id: str, name: str, created_ns: int = 1) -> Record:
    return Record(
        id=container_id,
        name=name,
        created_ns=created_ns,
        state=State(id=container_id),
        spec=b"",
        log=b"",
        layers=(),
        image_id="sha256:0",
        image_name="busybox",
    )


async def test_what_was_added_comes_back_newest_first(store: ContainerStore) -> None:
    await store.add(record(ONE, "one", 1))
    await store.add(record(TWO, "two", 2))
    assert await store.all() == [record(TWO, "two", 2), record(ONE, "one", 1)]


async def test_a_taken_name_is_refused_with_its_holder(store: ContainerStore) -> None:
    await store.add(record(ONE, "one"))
    with pytest.raises(Conflict) as error:
        await store.add(record(TWO, "one"))
    assert str(error.value) == (
        f'Conflict. The container name "/one" is already in use by container "{ONE}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )
    assert [each.id for each in await store.all()] == [ONE]


async def test_adding_the_same_id_again_does_nothing(store: ContainerStore) -> None:
    await store.add(record(ONE, "one"))
    await store.add(record(ONE, "other"))
    assert [each.name for each in await store.all()] == ["one"]


async def test_save_stores_the_state_but_not_the_name(store: ContainerStore) -> None:
    first = record(ONE, "one")
    await store.add(first)
    await store.rename(ONE, "renamed")
    await store.save(msgspec.structs.replace(first, state=State(id=ONE, phase=Phase.RUNNING, run=3)))
    (found,) = await store.all()
    assert (found.name, found.state.phase, found.state.run) == ("renamed", Phase.RUNNING, 3)


async def test_rename_frees_the_old_name_and_refuses_a_taken_one(store: ContainerStore) -> None:
    await store.add(record(ONE, "one"))
    await store.rename(ONE, "uno")
    await store.add(record(TWO, "one"))
    with pytest.raises(Conflict, match="already in use"):
        await store.rename(TWO, "uno")


async def test_remove_frees_the_name_and_is_idempotent(store: ContainerStore) -> None:
    await store.add(record(ONE, "one"))
    await store.remove(ONE)
    await store.remove(ONE)
    await store.save(record(ONE, "one"))
    assert await store.all() == []
    await store.add(record(TWO, "one"))


async def test_events_are_written_with_the_record(opened: tuple[ContainerStore, Database]) -> None:
    store, database = opened
    first, second = events_pb2.Event(action="create", time_ns=5), events_pb2.Event(action="start", time_ns=6)
    await store.add(record(ONE, "one"), [first])
    await store.save(record(ONE, "one"), [second])
    assert (first.sequence, second.sequence) == (1, 2)
    with pytest.raises(Conflict):
        await store.add(record(TWO, "one"), [events_pb2.Event(action="create")])
    replayed = await Journal(database).replay(events_pb2.SubscribeRequest(since_ns=1))
    assert [event.action for event in replayed] == ["create", "start"]
