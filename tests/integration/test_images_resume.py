"""Pulls that are interrupted: by their client, by the network, by the death of the service. They go on where they stopped."""

import asyncio
import contextlib
import gzip
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import zstandard

from integration.images_fake import FakeRegistry, digest_of, fake_registry
from integration.images_registry import Store, store
from integration.netns import Namespace, namespace
from skerry.core.rpc.channel import translated

pytestmark = pytest.mark.root
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1, mtime=0),
    "zstd": lambda data: zstandard.ZstdCompressor(level=1).compress(data),
    "plain": bytes,
}


@pytest.fixture(scope="module")
def inside() -> Iterator[Namespace]:
    with namespace("res") as one:
        yield one


@pytest.fixture
def fake(inside: Namespace) -> Iterator[FakeRegistry]:
    with fake_registry(inside) as one:
        yield one


def layer(size: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("data")
        info.size = size
        tar.addfile(info, io.BytesIO(os.urandom(size)))
    return out.getvalue()


def ranges(fake: FakeRegistry, digest: str) -> list[str]:
    return [headers.get("Range", "") for path, headers in fake.requests if path.endswith(digest)]


def parts(folder: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_size for path in (folder / "root/images/ingest").glob("*.part")}


async def until(condition: Callable[[], Any], what: str) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)
    assert condition(), what


async def begin(images: Store, fake: FakeRegistry, name: str, sent: int) -> "asyncio.Task[Any]":
    """Starts a pull and returns when the registry has sent so much of it."""
    fake.sent, fake.pause = 0, 0.02
    pulling = asyncio.get_running_loop().create_task(images.pull(name))
    await until(lambda: fake.sent > sent or pulling.done(), "the pull is under way")
    assert not pulling.done()
    return pulling


async def give_up(pulling: "asyncio.Task[Any]") -> None:
    pulling.cancel()
    with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
        await pulling


@pytest.mark.parametrize("form", FORMS)
async def test_after_the_death_of_the_service_a_pull_goes_on_where_it_stopped(
    inside: Namespace, fake: FakeRegistry, tmp_path: Path, form: str
) -> None:
    small, large = layer(1000), layer(5_000_000)
    fake.add("1", [small, large], compress=FORMS[form])
    name, digest = f"{fake.address}/x:1", digest_of(FORMS[form](large))
    async with store(inside, tmp_path) as images:
        pulling = await begin(images, fake, name, 2_000_000)
        images.kill()
        await give_up(pulling)
    had = parts(tmp_path)[digest[7:]]
    assert had > 500_000
    fake.requests.clear()
    fake.pause = 0
    async with store(inside, tmp_path) as images:
        _, image = await images.pull(name)
        assert ranges(fake, digest) == [f"bytes={had}-"]
        # The layer that was whole is not asked for again, although no image had it.
        assert ranges(fake, digest_of(FORMS[form](small))) == []
        assert [one.diff_id for one in image.layers] == [digest_of(small), digest_of(large)]
        blob = tmp_path / "root/images/blobs/sha256"
        assert (blob / digest_of(large)[7:]).read_bytes() == large
        assert form == "plain" or (blob / digest[7:]).read_bytes() == FORMS[form](large)
    assert list((tmp_path / "root/images/ingest").iterdir()) == []


async def test_a_pull_given_up_goes_on_where_it_stopped_at_another_registry(inside: Namespace, fake: FakeRegistry, tmp_path: Path) -> None:
    large = layer(5_000_000)
    fake.add("1", [large])
    async with store(inside, tmp_path) as images:
        await give_up(await begin(images, fake, f"{fake.address}/x:1", 1_000_000))
        await until(lambda: parts(tmp_path), "the part stays")
        with fake_registry(inside) as other:
            other.add("1", [large])
            await images.pull(f"{other.address}/x:1")
            assert ranges(other, digest_of(large))[0] > "bytes=0-"


async def test_when_the_network_is_cut_for_good_the_pull_fails_clearly_and_the_next_goes_on(
    inside: Namespace, fake: FakeRegistry, tmp_path: Path
) -> None:
    large = layer(5_000_000)
    async with store(inside, tmp_path) as images:
        with fake_registry(inside) as cut:
            cut.add("1", [large])
            pulling = await begin(images, cut, f"{cut.address}/x:1", 1_000_000)
            cut.broken = True
            await asyncio.sleep(0.1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pulling
        assert f'Get "http://{cut.address}/v2/"' in str(translated(caught.value))
        had = parts(tmp_path)[digest_of(large)[7:]]
        assert had > 500_000
        fake.add("1", [large])
        await images.pull(f"{fake.address}/x:1")
        assert ranges(fake, digest_of(large)) == [f"bytes={had}-"]


async def test_a_registry_without_range_is_read_from_the_start(inside: Namespace, fake: FakeRegistry, tmp_path: Path) -> None:
    large = layer(3_000_000)
    fake.add("1", [large])
    fake.ranges = False
    async with store(inside, tmp_path) as images:
        await give_up(await begin(images, fake, f"{fake.address}/x:1", 1_000_000))
        fake.pause = 0
        _, image = await images.pull(f"{fake.address}/x:1")
        assert image.layers[0].diff_id == digest_of(large)


@pytest.mark.parametrize("form", FORMS)
async def test_a_part_that_was_damaged_is_fetched_anew(inside: Namespace, fake: FakeRegistry, tmp_path: Path, form: str) -> None:
    large = layer(3_000_000)
    data = FORMS[form](large)
    fake.add("1", [large], compress=FORMS[form])
    folder = tmp_path / "root/images/ingest"
    folder.mkdir(parents=True)
    (folder / f"{digest_of(data)[7:]}.part").write_bytes(b"\0" * 10_000 + data[10_000:1_000_000])
    async with store(inside, tmp_path) as images:
        _, image = await images.pull(f"{fake.address}/x:1")
        assert image.layers[0].diff_id == digest_of(large)
        assert ranges(fake, digest_of(data))[-1] == ""


async def test_a_whole_part_needs_no_request(inside: Namespace, fake: FakeRegistry, tmp_path: Path) -> None:
    large = layer(100_000)
    fake.add("1", [large])
    folder = tmp_path / "root/images/ingest"
    folder.mkdir(parents=True)
    (folder / f"{digest_of(large)[7:]}.part").write_bytes(large)
    async with store(inside, tmp_path, keep_compressed="never") as images:
        _, image = await images.pull(f"{fake.address}/x:1")
        assert image.layers[0].diff_id == digest_of(large)
        assert ranges(fake, digest_of(large)) == []


async def test_leftover_parts_are_collected_by_age(inside: Namespace, fake: FakeRegistry, tmp_path: Path) -> None:
    folder = tmp_path / "root/images/ingest"
    folder.mkdir(parents=True)
    for name, changed in (("a", 1), ("b", 2e9)):
        (folder / f"{name * 64}.part").write_bytes(b"x")
        os.utime(folder / f"{name * 64}.part", (changed, changed))
    async with store(inside, tmp_path) as images:
        await images.images()
        await until(lambda: list(parts(tmp_path)) == ["b" * 64], "the old one goes")
