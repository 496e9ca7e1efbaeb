"""What every store of repositories owes: SQLite, MongoDB."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from skerry.api.events.v1 import events_pb2
from skerry.core.errors import NotFound
from skerry.images.catalog import Catalog, ImageRecord, LayerRecord
from skerry.images.catalog.mongo import open_mongo_catalog
from skerry.images.catalog.repositories import BlobPlace, ManifestRecord, TagPlace
from skerry.images.catalog.sqlite import open_catalog

R, OTHER = "docker.io/team/app", "docker.io/team/app2"
A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")
SAID = events_pb2.Event(type="image", action="test")
FOREVER = 1 << 62


@pytest.fixture(params=["sqlite", "mongo"])
async def catalog(request: pytest.FixtureRequest, tmp_path: Path, mongo_database: Callable[[], str]) -> AsyncIterator[Catalog]:
    async with open_catalog(str(tmp_path / "db")) if request.param == "sqlite" else open_mongo_catalog(mongo_database()) as one:
        yield one


def record(digest: str, **more: object) -> ManifestRecord:
    return ManifestRecord(digest, digest, "test/manifest", 10, **more)  # type: ignore[arg-type]


async def an_image(catalog: Catalog, image_id: str, *names: str) -> None:
    await catalog.add(ImageRecord(image_id, b'{"rootfs":{}}', (LayerRecord(D, 10),), 1), list(names), [], [], [SAID])


async def remove(catalog: Catalog, image_id: str) -> None:
    entry = await catalog.get(image_id)
    assert await catalog.remove(entry, entry.names.tags, delete=True, events=[SAID])


async def test_a_manifest_is_found_by_digest_and_tag_in_its_repository_only(catalog: Catalog) -> None:
    one = record(A, subject=B, artifact_type="x", annotations={"a": "b"}, parts=(C,), children=(D,), expires_ns=5)
    await catalog.put_manifest(R, one, ["t", "u"], [])
    assert await catalog.manifest(R, A) == one
    assert await catalog.tagged(R, "t") == TagPlace(A, "", True)
    tags = (catalog.tagged(OTHER, "t"), catalog.tagged(R, "v"), catalog.tags(OTHER))
    for missing in (catalog.manifest(OTHER, A), catalog.manifest(R, B), *tags):
        with pytest.raises(NotFound):
            await missing
    assert await catalog.tags(R) == ["t", "u"]


async def test_tags_move_and_go(catalog: Catalog) -> None:
    await catalog.put_manifest(R, record(A), ["t", "u"], [])
    await catalog.put_manifest(R, record(B), ["t"], [])
    assert ((await catalog.tagged(R, "t")).digest, (await catalog.tagged(R, "u")).digest) == (B, A)
    assert await catalog.untag(R, "t")
    assert not await catalog.untag(R, "t")
    assert await catalog.drop_manifest(R, A)
    assert not await catalog.drop_manifest(R, A)
    assert await catalog.tags(R) == []
    assert (await catalog.manifest(R, B)).digest == B


async def test_tags_of_images_are_tags_and_are_in_order(catalog: Catalog) -> None:
    await an_image(catalog, C, f"{R}:B", f"{R}:d", f"{OTHER}:z")
    await catalog.put_manifest(R, record(A), ["c", "a"], [])
    assert await catalog.tags(R) == ["a", "B", "c", "d"]
    assert await catalog.images_in(R) == [C]
    assert await catalog.images_in("docker.io/team/ap") == []


async def test_a_tag_of_an_image_holds_while_the_image_has_the_name(catalog: Catalog) -> None:
    await an_image(catalog, C, f"{R}:t")
    await catalog.put_manifest(R, record(A, image=C), ["t"], [])
    assert await catalog.tagged(R, "t") == TagPlace(A, C, False)
    await an_image(catalog, D, f"{R}:t")
    with pytest.raises(NotFound):
        await catalog.tagged(R, "t")
    assert await catalog.tags(R) == ["t"]
    assert (await catalog.manifest(R, A)).image == C
    await remove(catalog, C)
    with pytest.raises(NotFound):
        await catalog.manifest(R, A)


async def test_an_image_that_takes_an_artifacts_tag_has_it(catalog: Catalog) -> None:
    await catalog.put_manifest(R, record(A), ["t"], [])
    time.sleep(0.001)
    await an_image(catalog, C, f"{R}:t")
    with pytest.raises(NotFound):
        await catalog.tagged(R, "t")
    time.sleep(0.001)
    await catalog.put_manifest(R, record(A), ["t"], [])
    assert (await catalog.tagged(R, "t")).digest == A


async def test_referrers_are_those_of_the_subject(catalog: Catalog) -> None:
    for digest in (C, B):
        await catalog.put_manifest(R, record(digest, subject=A), [], [])
    await catalog.put_manifest(R, record(D, subject=B), [], [])
    await catalog.put_manifest(OTHER, record(D, subject=A), [], [])
    assert [one.digest for one in await catalog.referrers(R, A)] == [B, C]
    assert await catalog.referrers(R, D) == []


async def test_blobs_are_their_repositorys(catalog: Catalog) -> None:
    place = BlobPlace("sha512:x", A, 7)
    await catalog.put_blob(R, place, FOREVER)
    await catalog.put_blob(OTHER, place, FOREVER)
    assert await catalog.blob(R, "sha512:x") == place
    assert await catalog.holders("sha512:x") == [R, OTHER]
    assert await catalog.drop_blob(R, "sha512:x")
    assert not await catalog.drop_blob(R, "sha512:x")
    with pytest.raises(NotFound):
        await catalog.blob(R, "sha512:x")
    assert await catalog.tags(OTHER) == []


async def test_bytes_are_counted_once_where_all_are_asked_for(catalog: Catalog) -> None:
    for repository in (R, OTHER):
        await catalog.put_blob(repository, BlobPlace(A, A, 7), FOREVER)
    await catalog.put_blob(R, BlobPlace(B, B, 5), FOREVER)
    assert [await catalog.used_bytes(name) for name in (R, OTHER, "docker.io/x", "")] == [12, 7, 0, 12]


async def test_repositories_are_listed_in_order(catalog: Catalog) -> None:
    await an_image(catalog, C, "docker.io/b/b:1", "127.0.0.1:5000/x:latest")
    await catalog.put_manifest(R, record(A), [], [])
    assert await catalog.repositories("", 10) == ["127.0.0.1:5000/x", "docker.io/b/b", R]
    assert await catalog.repositories("127.0.0.1:5000/x", 1) == ["docker.io/b/b"]


async def test_what_repositories_have_is_in_use(catalog: Catalog) -> None:
    await catalog.put_manifest(R, ManifestRecord("sha512:m", A, "t", 1), [], [])
    await catalog.put_blob(R, BlobPlace("sha512:b", B, 1), FOREVER)
    assert {A, B} <= await catalog.blobs_in_use()


async def test_a_blob_that_nothing_names_goes_when_its_time_is_over(catalog: Catalog) -> None:
    await catalog.put_blob(R, BlobPlace(A, A, 1), 10)
    await catalog.put_blob(R, BlobPlace(B, B, 1), 10)
    await catalog.put_blob(R, BlobPlace(C, C, 1), 10)
    await catalog.touch_blob(R, C, 20)
    await catalog.put_manifest(R, record(D, parts=(A,)), ["t"], [])
    await catalog.expire(15)
    assert [await catalog.used_bytes(R), (await catalog.blob(R, A)).digest, (await catalog.blob(R, C)).digest] == [2, A, C]
    await catalog.drop_manifest(R, D)
    await catalog.expire(15)
    assert await catalog.used_bytes(R) == 1


async def test_with_an_image_goes_what_it_was_pushed_as(catalog: Catalog) -> None:
    await an_image(catalog, C, f"{R}:t")
    await catalog.put_manifest(R, record(A), [], [])
    await catalog.put_manifest(R, record(B, image=C, children=(A,), parts=(D,)), ["t"], [BlobPlace(D, D, 1)])
    await catalog.expire(1)
    assert (await catalog.manifest(R, A)).digest == A
    await remove(catalog, C)
    await catalog.expire(1)
    with pytest.raises(NotFound):
        await catalog.tags(R)
    assert await catalog.blobs_in_use() == set()


async def test_copies_go_when_nobody_asked_for_long(catalog: Catalog) -> None:
    await catalog.put_manifest(R, record(A, expires_ns=10), ["t"], [])
    await catalog.put_manifest(R, record(B, expires_ns=10), [], [])
    await catalog.touch_manifest(R, B, 30)
    await catalog.touch_manifest(R, C, 30)
    await catalog.expire(20)
    assert await catalog.tags(R) == []
    assert (await catalog.manifest(R, B)).expires_ns == 30
