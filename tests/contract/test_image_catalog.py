"""What every catalog owes; SQLite is the first."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skerry.api.events.v1 import events_pb2
from skerry.core.errors import Conflict, InvalidArgument, NotFound
from skerry.images.catalog import Catalog, ImageRecord, LayerRecord
from skerry.images.catalog.sqlite import open_catalog

A, B = "sha256:" + "a" * 64, "sha256:" + "a" * 63 + "b"
SAID = events_pb2.Event(type="image", action="test")


@pytest.fixture(params=["sqlite"])
async def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Catalog]:
    async with open_catalog(str(tmp_path / "db")) as one:
        yield one


def image(image_id: str, created_ns: int = 1, layer: str = "sha256:" + "1" * 64) -> ImageRecord:
    return ImageRecord(image_id, b'{"rootfs":{}}', (LayerRecord(layer, 10, "sha256:" + "2" * 64),), created_ns)


async def test_an_image_is_found_by_id_name_and_prefix(catalog: Catalog) -> None:
    await catalog.add(image(A), ["d/x:1"], ["d/x@" + B], [SAID])
    for entry in (
        await catalog.get(A),
        await catalog.by_name("d/x:1"),
        await catalog.by_name("d/x@" + B),
        await catalog.by_prefix("aaaa"),
    ):
        assert (entry.image.id, entry.names.tags, entry.names.digests) == (A, ("d/x:1",), ("d/x@" + B,))


async def test_what_is_not_there_is_not_found(catalog: Catalog) -> None:
    for missing in (catalog.get(A), catalog.by_name("x"), catalog.by_prefix("ab"), catalog.tag(A, "x", SAID), catalog.acquire(A, "h")):
        with pytest.raises(NotFound):
            await missing
    with pytest.raises(NotFound):
        await catalog.remove(A, SAID)
    assert not await catalog.untag("x", SAID)


async def test_an_ambiguous_prefix_is_refused(catalog: Catalog) -> None:
    await catalog.add(image(A), [], [], [])
    await catalog.add(image(B), [], [], [])
    with pytest.raises(InvalidArgument):
        await catalog.by_prefix("aaa")
    assert (await catalog.by_prefix("a" * 63 + "b")).image.id == B


async def test_a_name_moves(catalog: Catalog) -> None:
    await catalog.add(image(A), ["x:1"], [], [])
    await catalog.add(image(B), ["x:1"], [], [])
    assert (await catalog.by_name("x:1")).image.id == B
    assert (await catalog.get(A)).names.tags == ()
    await catalog.tag(A, "x:1", SAID)
    assert (await catalog.by_name("x:1")).image.id == A


async def test_newest_comes_first(catalog: Catalog) -> None:
    await catalog.add(image(A, 1), [], [], [])
    await catalog.add(image(B, 2), [], [], [])
    assert [entry.image.id for entry in await catalog.all()] == [B, A]


async def test_a_lease_keeps_an_image(catalog: Catalog) -> None:
    await catalog.add(image(A), ["x:1"], [], [])
    await catalog.acquire(A, "node/1")
    await catalog.acquire(A, "node/1")
    assert (await catalog.get(A)).holders == ("node/1",)
    with pytest.raises(Conflict):
        await catalog.remove(A, SAID)
    assert await catalog.leases("node/", "") == [(A, "node/1")]
    assert await catalog.leases("other/", "") == []
    await catalog.release("node/1")
    await catalog.release("node/1")
    await catalog.remove(A, SAID)
    assert await catalog.all() == []
    with pytest.raises(NotFound):
        await catalog.by_name("x:1")


async def test_adding_again_adds_names_only(catalog: Catalog) -> None:
    await catalog.add(image(A), ["x:1"], [], [])
    await catalog.add(image(A), ["x:2"], [], [])
    assert (await catalog.get(A)).names.tags == ("x:1", "x:2")


async def test_blobs_in_use_are_those_of_the_images(catalog: Catalog) -> None:
    await catalog.add(image(A), [], ["d/x@" + B], [])
    assert await catalog.blobs_in_use() == {"sha256:" + "1" * 64, "sha256:" + "2" * 64, B}
