"""What every catalog owes: SQLite, MongoDB."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from skerry.api.events.v1 import events_pb2
from skerry.core.errors import InvalidArgument, NotFound
from skerry.images.catalog import Catalog, Entry, ImageRecord, LayerRecord, Names
from skerry.images.catalog.mongo import open_mongo_catalog
from skerry.images.catalog.sqlite import open_catalog

A, B = "sha256:" + "a" * 64, "sha256:" + "a" * 63 + "b"
SAID = events_pb2.Event(type="image", action="test")


@pytest.fixture(params=["sqlite", "mongo"])
async def catalog(request: pytest.FixtureRequest, tmp_path: Path, mongo_database: Callable[[], str]) -> AsyncIterator[Catalog]:
    async with open_catalog(str(tmp_path / "db")) if request.param == "sqlite" else open_mongo_catalog(mongo_database()) as one:
        yield one


def image(image_id: str, created_ns: int = 1, layer: str = "sha256:" + "1" * 64) -> ImageRecord:
    return ImageRecord(image_id, b'{"rootfs":{}}', (LayerRecord(layer, 10, "sha256:" + "2" * 64),), created_ns)


async def test_an_image_is_found_by_id_name_and_prefix(catalog: Catalog) -> None:
    await catalog.add(image(A), ["d/x:1"], ["d/x@" + B], [], [SAID])
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
    assert not await catalog.remove(Entry(image(A), Names()), (), delete=True, events=[SAID])


async def test_an_ambiguous_prefix_is_refused(catalog: Catalog) -> None:
    await catalog.add(image(A), [], [], [], [])
    await catalog.add(image(B), [], [], [], [])
    with pytest.raises(InvalidArgument):
        await catalog.by_prefix("aaa")
    assert (await catalog.by_prefix("a" * 63 + "b")).image.id == B


async def test_a_name_moves(catalog: Catalog) -> None:
    await catalog.add(image(A), ["x:1"], [], [], [])
    await catalog.add(image(B), ["x:1"], [], [], [])
    assert (await catalog.by_name("x:1")).image.id == B
    assert (await catalog.get(A)).names.tags == ()
    await catalog.tag(A, "x:1", SAID)
    assert (await catalog.by_name("x:1")).image.id == A


async def test_newest_comes_first(catalog: Catalog) -> None:
    await catalog.add(image(A, 1), [], [], [], [])
    await catalog.add(image(B, 2), [], [], [], [])
    assert [entry.image.id for entry in await catalog.all()] == [B, A]


async def test_a_known_revision_is_never_that_of_a_changed_catalog(catalog: Catalog) -> None:
    seen = [await catalog.revision()]
    await catalog.add(image(A), ["x:1"], [], [], [])
    seen.append(await catalog.revision())
    await catalog.tag(A, "x:2", SAID)
    seen.append(await catalog.revision())
    await catalog.acquire(A, "h")
    seen.append(await catalog.revision())
    await catalog.release("h")
    seen.append(await catalog.revision())
    assert await catalog.remove(await catalog.get(A), ("x:1", "x:2"), delete=True, events=[SAID])
    seen.append(await catalog.revision())
    known = [one for one in seen if one]
    assert len(set(known)) == len(known) and len(known) in (0, len(seen))
    assert await catalog.revision() == seen[-1]


async def test_a_revision_tells_what_others_wrote_into_the_file(tmp_path: Path) -> None:
    async with open_catalog(str(tmp_path / "db")) as one, open_catalog(str(tmp_path / "db")) as other:
        before = await one.revision()
        await other.add(image(A), ["x:1"], [], [], [])
        assert await one.revision() != before != await other.revision()


async def test_a_lease_keeps_an_image(catalog: Catalog) -> None:
    await catalog.add(image(A), ["x:1"], [], [], [])
    await catalog.acquire(A, "node/1")
    await catalog.acquire(A, "node/1")
    assert (await catalog.get(A)).holders == ("node/1",)
    assert await catalog.leases("node/", "") == [(A, "node/1")]
    assert await catalog.leases("other/", "") == []
    await catalog.release("node/1")
    await catalog.release("node/1")
    assert await catalog.remove(await catalog.get(A), (), delete=True, events=[SAID])
    assert await catalog.all() == []
    with pytest.raises(NotFound):
        await catalog.by_name("x:1")


async def test_adding_again_adds_names_only(catalog: Catalog) -> None:
    await catalog.add(image(A), ["x:1"], [], [], [])
    await catalog.add(image(A), ["x:2"], [], [], [])
    assert (await catalog.get(A)).names.tags == ("x:1", "x:2")


async def test_blobs_in_use_are_those_of_the_images(catalog: Catalog) -> None:
    layers, documents = {"sha256:" + "1" * 64, "sha256:" + "2" * 64}, ["sha256:" + "3" * 64, "sha256:" + "4" * 64]
    await catalog.add(image(A), [], ["d/x@" + documents[0]], documents, [])
    await catalog.add(image(A), [], [], [documents[1]], [])
    await catalog.add(image(B), [], [], [documents[0]], [])
    assert await catalog.blobs_in_use() == {*layers, *documents}
    await catalog.remove(await catalog.get(A), (), delete=True, events=[])
    assert await catalog.blobs_in_use() == {*layers, documents[0]}


async def test_names_go_one_by_one_or_with_the_image(catalog: Catalog) -> None:
    await catalog.add(image(A), ["d/x:1", "d/y:1"], ["d/x@" + B], [], [])
    assert await catalog.remove(await catalog.get(A), ("d/x:1", "d/x@" + B), delete=False, events=[SAID])
    left = await catalog.get(A)
    assert (left.names.tags, left.names.digests) == (("d/y:1",), ())
    assert await catalog.remove(left, ("d/y:1",), delete=True, events=[SAID])
    assert await catalog.all() == []


@pytest.mark.parametrize("change", ["a lease", "one more name", "one name less"])
async def test_a_removal_decided_from_an_older_state_does_nothing(catalog: Catalog, change: str) -> None:
    await catalog.add(image(A), ["d/x:1", "d/y:1"], [], [], [])
    await catalog.add(image(B), [], [], [], [])
    seen = await catalog.get(A)
    if change == "a lease":
        await catalog.acquire(A, "node/1")
    else:
        await catalog.tag(A if change == "one more name" else B, "d/z:1" if change == "one more name" else "d/y:1", SAID)
    now = await catalog.get(A)
    assert not await catalog.remove(seen, ("d/x:1",), delete=True, events=[SAID])
    assert await catalog.get(A) == now


LAYER = LayerRecord("sha256:" + "5" * 64, 10, "sha256:" + "6" * 64)


async def test_a_layer_is_kept_for_its_holders(catalog: Catalog) -> None:
    with pytest.raises(NotFound):
        await catalog.layer(LAYER.diff_id)
    for holder in ("node/1", "node/2", "node/1"):
        await catalog.keep(LAYER, holder)
    assert await catalog.layer(LAYER.diff_id) == LAYER
    assert await catalog.blobs_in_use() == {LAYER.diff_id, LAYER.compressed}
    assert await catalog.leases("node/", "") == [("", "node/1"), ("", "node/2")]
    assert await catalog.leases("", A) == []
    await catalog.release("node/1")
    assert await catalog.layer(LAYER.diff_id) == LAYER
    await catalog.release("node/2")
    assert await catalog.blobs_in_use() == set()
    with pytest.raises(NotFound):
        await catalog.layer(LAYER.diff_id)


async def test_a_layer_of_an_image_is_found_without_being_kept(catalog: Catalog) -> None:
    await catalog.add(image(A), [], [], [], [])
    assert await catalog.layer("sha256:" + "1" * 64) == image(A).layers[0]
    with pytest.raises(NotFound):
        await catalog.layer(LAYER.diff_id)


async def test_an_image_may_come_with_a_lease(catalog: Catalog) -> None:
    await catalog.keep(LAYER, "node/1")
    await catalog.add(image(A, layer=LAYER.diff_id), ["x:1"], [], [], [], holder="node/1")
    assert (await catalog.get(A)).holders == ("node/1",)
    await catalog.release("node/1")
    assert (await catalog.get(A)).holders == ()
    assert LAYER.diff_id in await catalog.blobs_in_use()


async def test_children_are_the_images_made_of_a_parent_newest_first(catalog: Catalog) -> None:
    other = "sha256:" + "c" * 64
    await catalog.add(image(A), [], [], [], [])
    for number, child in ((5, B), (7, other)):
        await catalog.add(msgspec.structs.replace(image(child, number), parent=A), [], [], [], [])
    assert [one.id for one in await catalog.children(A)] == [other, B]
    assert [one.id for one in await catalog.children("")] == [A]
    assert await catalog.children(B) == []
    assert await catalog.remove(await catalog.get(other), (), delete=True, events=[])
    assert [one.id for one in await catalog.children(A)] == [B]


async def test_children_are_found_newest_first_and_go_with_themselves(catalog: Catalog) -> None:
    made = [
        ImageRecord(f"sha256:{number:064x}", b"{}", (), created_ns=number, parent=parent)
        for number, parent in ((1, ""), (2, A), (3, A), (4, f"sha256:{2:064x}"))
    ]
    for record in made:
        await catalog.add(record, [], [], [], [])
    assert await catalog.children(A) == [made[2], made[1]]
    assert await catalog.children("") == [made[0]]
    assert await catalog.children(made[1].id) == [made[3]] and await catalog.children(B) == []
    entry = await catalog.get(made[2].id)
    assert await catalog.remove(entry, (), delete=True, events=[])
    assert await catalog.children(A) == [made[1]]
