"""Sweeps and intakes of services that share a store, as one of them sees it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skerry.core.errors import Unavailable
from skerry.core.lifecycle import Tasks
from skerry.images import collector as module
from skerry.images.blobs.files import FileBlobs
from skerry.images.catalog.sqlite import SqliteCatalog, open_catalog
from skerry.images.collector import Collector


class Others:
    """Turns in a store where others do as the test says."""

    def __init__(self) -> None:
        self.sweeping = self.taking = self.away = False
        self.held: list[str] = []

    async def begin_intake(self, name: str, seconds: float) -> bool:
        if not self.sweeping:
            self.held.append(name)
        return not self.sweeping

    async def renew_intake(self, name: str, seconds: float) -> bool:
        if self.away:
            raise Unavailable("away")
        return name in self.held

    async def end_intake(self, name: str) -> None:
        self.held.remove(name)

    async def begin_sweep(self, name: str, seconds: float) -> bool:
        return not (self.sweeping or self.taking)

    async def end_sweep(self, name: str) -> None:
        assert not self.sweeping


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[SqliteCatalog]:
    async with open_catalog(str(tmp_path / "db")) as one:
        yield one


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    one = FileBlobs(str(tmp_path))
    with one.writer() as out:
        out.write(b"garbage")
        out.commit()
    return one


async def test_a_sweep_waits_for_others_intakes(catalog: SqliteCatalog, blobs: FileBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.05)
    others = Others()
    others.taking = True
    async with Tasks() as tasks:
        collector = Collector(catalog, blobs, tasks, turns=others)
        assert await collector.collect() is None
        assert len(list(blobs.all())) == 1
        others.taking = False
        async with asyncio.timeout(5):
            while list(blobs.all()):
                await asyncio.sleep(0.01)


async def test_an_intake_waits_for_anothers_sweep_and_gives_its_turn_back(catalog: SqliteCatalog, blobs: FileBlobs) -> None:
    others = Others()
    others.sweeping = True
    async with Tasks() as tasks:
        collector = Collector(catalog, blobs, tasks, turns=others)
        entered = asyncio.Event()

        async def intake() -> None:
            async with collector.taking(), collector.taking():
                entered.set()

        running = asyncio.ensure_future(intake())
        await asyncio.sleep(0.1)
        assert not entered.is_set()
        others.sweeping = False
        await running
        async with asyncio.timeout(5):
            while others.held:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["away", "over"])
async def test_an_intake_whose_turn_is_lost_gives_up(
    catalog: SqliteCatalog, blobs: FileBlobs, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(module, "_TURN_SECONDS", 0.2)
    others = Others()
    async with Tasks() as tasks:
        collector = Collector(catalog, blobs, tasks, turns=others)
        with pytest.raises(Unavailable, match="catalog was away"):
            async with collector.taking():
                await asyncio.sleep(0.3)  # renewed meanwhile
                others.away = how == "away"
                if how == "over":
                    others.held.clear()
                    others.held.append("somebody")
                await asyncio.sleep(5)
        others.away, others.held = False, [collector._name]


async def test_young_blobs_stay(catalog: SqliteCatalog, blobs: FileBlobs) -> None:
    async with Tasks() as tasks:
        assert await Collector(catalog, blobs, tasks, grace=60).collect() == 0
        assert await Collector(catalog, blobs, tasks, grace=0).collect() == len(b"garbage")
