"""What every catalog owes to pushes: SQLite, MongoDB."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from skerry.api.events.v1 import events_pb2
from skerry.images.catalog import Catalog, Form, ImageRecord, LayerRecord
from skerry.images.catalog.mongo import open_mongo_catalog
from skerry.images.catalog.sqlite import open_catalog

IMAGE, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
LAYER, ELSE = "sha256:" + "1" * 64, "sha256:" + "2" * 64
SAID = events_pb2.Event(type="image", action="push")


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


@pytest.fixture(params=["sqlite", "mongo"])
async def catalog(request: pytest.FixtureRequest, tmp_path: Path, mongo_database: Callable[[], str]) -> AsyncIterator[Catalog]:
    async with open_catalog(str(tmp_path / "db")) if request.param == "sqlite" else open_mongo_catalog(mongo_database()) as one:
        yield one


async def test_forms_come_kept_first_then_newest_first(catalog: Catalog) -> None:
    await catalog.remember([Form(LAYER, digest(1), 10)])
    await catalog.remember([Form(LAYER, digest(2), 20)])
    await catalog.remember([Form(LAYER, digest(3), 30, kept=True)])
    await catalog.remember([Form(LAYER, digest(4), 40), Form(ELSE, digest(5), 50, compression="zstd")])
    assert [(form.digest, form.size, form.kept) for form in await catalog.forms(LAYER)] == [
        (digest(3), 30, True),
        (digest(4), 40, False),
        (digest(2), 20, False),
        (digest(1), 10, False),
    ]
    assert await catalog.forms(ELSE) == [Form(ELSE, digest(5), 50, compression="zstd")]
    assert await catalog.forms("sha256:" + "9" * 64) == []


async def test_a_kept_form_stays_kept_when_it_is_seen_again(catalog: Catalog) -> None:
    await catalog.remember([Form(LAYER, digest(1), 10, kept=True)])
    await catalog.remember([Form(LAYER, digest(1), 10)])
    assert await catalog.forms(LAYER) == [Form(LAYER, digest(1), 10, kept=True)]
    await catalog.remember([Form(ELSE, digest(2), 10)])
    await catalog.remember([Form(ELSE, digest(2), 10, kept=True)])
    assert (await catalog.forms(ELSE))[0].kept


async def test_only_the_newest_are_remembered(catalog: Catalog) -> None:
    await catalog.remember([Form(LAYER, digest(0), 1, kept=True)])
    for number in range(1, 40):
        await catalog.remember([Form(LAYER, digest(number), 1)])
        await catalog.saw("r", f"x{number}", [LAYER])
    forms, places = await catalog.forms(LAYER), await catalog.seen_in("r", LAYER)
    assert (forms[0].digest, forms[1].digest) == (digest(0), digest(39))
    assert len(forms) < 20
    assert places[0] == "x39"
    assert len(places) < 20


async def test_repositories_are_known_per_registry(catalog: Catalog) -> None:
    await catalog.saw("r", "a", [LAYER, ELSE])
    await catalog.saw("r", "b/c", [LAYER])
    await catalog.saw("other", "d", [LAYER])
    assert await catalog.seen_in("r", LAYER) == ["b/c", "a"]
    await catalog.saw("r", "a", [LAYER])
    assert await catalog.seen_in("r", LAYER) == ["a", "b/c"]
    assert await catalog.seen_in("r", ELSE) == ["a"]
    assert await catalog.seen_in("nowhere", LAYER) == []


async def test_kept_forms_are_in_use_as_long_as_an_image_has_the_layer(catalog: Catalog) -> None:
    await catalog.remember([Form(LAYER, digest(1), 1, kept=True), Form(LAYER, digest(2), 1), Form(ELSE, digest(3), 1, kept=True)])
    assert await catalog.blobs_in_use() == set()
    await catalog.add(ImageRecord(IMAGE, b"{}", (LayerRecord(LAYER, 1),), 1), [], [], [], [])
    assert await catalog.blobs_in_use() == {LAYER, digest(1)}
    await catalog.remove(await catalog.get(IMAGE), (), delete=True, events=[])
    assert await catalog.blobs_in_use() == set()


async def test_a_push_gives_a_name_and_keeps_its_document(catalog: Catalog) -> None:
    await catalog.add(ImageRecord(IMAGE, b"{}", (), 1), ["d/x:1"], [], [digest(7)], [])
    await catalog.pushed(IMAGE, "d/x@" + digest(8), digest(8), [SAID])
    await catalog.pushed(IMAGE, "d/x@" + digest(8), digest(8), [SAID])
    entry = await catalog.by_name("d/x@" + digest(8))
    assert (entry.image.id, entry.names.tags, entry.names.digests) == (IMAGE, ("d/x:1",), ("d/x@" + digest(8),))
    assert await catalog.documents(IMAGE) == [digest(7), digest(8)]
    assert {digest(7), digest(8)} <= await catalog.blobs_in_use()


async def test_an_image_that_was_removed_during_its_push_stays_removed(catalog: Catalog) -> None:
    await catalog.pushed(OTHER, "d/x@" + digest(8), digest(8), [SAID])
    assert await catalog.all() == []
    assert await catalog.documents(OTHER) == []
    assert await catalog.blobs_in_use() == set()


async def test_what_pushes_saw_elsewhere_is_no_blob_of_this_store(catalog: Catalog) -> None:
    await catalog.saw("r", "a", [LAYER])
    assert await catalog.blobs_in_use() == set()
    assert await catalog.used_bytes("") == 0
