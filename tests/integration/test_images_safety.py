"""The store keeps what it has: damage is found and mended, nothing needed is swept, deaths and full disks leave no half images."""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import zstandard

from images.busybox import archive
from integration.containers_node import containers_node
from integration.images_registry import REGISTRY, Registry, Store, registry, store
from integration.netns import namespace
from skerry.api.containers.v1 import containers_pb2
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.core.rpc.channel import translated

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]
_CLIENTS = 8


def tar_of(**files: bytes) -> bytes:
    """Returns a layer of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def noise(generator: random.Random, size: int = 300_000) -> bytes:
    """Returns a layer that nobody else has."""
    return tar_of(noise=generator.randbytes(size))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("r")) as one:
        yield one


def fsck(folder: Path, *options: str) -> tuple[int, list[str]]:
    """Runs `skerry images fsck`; returns its exit status and its lines."""
    argv = [sys.executable, "-m", "skerry.cli", "images", "fsck", "--run", str(folder), *options]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
    return result.returncode, (result.stdout + result.stderr).splitlines()


async def checked(folder: Path, *options: str) -> tuple[int, list[str]]:
    return await asyncio.to_thread(fsck, folder, *options)


def blob(images: Store, digest: str) -> Path:
    return images.root / "images/blobs/sha256" / digest.removeprefix("sha256:")


def damage(images: Store, digest: str) -> None:
    """Changes one byte, as a failing disk does."""
    with open(blob(images, digest), "r+b") as file:
        file.seek(-1000, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def compressed_of(images: Store, image: pb.Image) -> list[str]:
    """Digests of the compressed layers that the registry sent."""
    every = {f"sha256:{name}" for name in images.files() if len(name) == 64}
    small = {digest for digest in every if blob(images, digest).read_bytes()[:1] == b"{"}
    return sorted(every - {layer.diff_id for layer in image.layers} - small)


async def test_a_sound_store_has_no_findings(server: Registry, tmp_path: Path) -> None:
    server.push("sound:1", [noise(random.Random(1)), noise(random.Random(2))])
    async with store(server.inside, tmp_path) as images:
        await images.pull(f"{REGISTRY}/sound:1")
        status, lines = await checked(tmp_path)
        assert status == 0 and len(lines) == 1 and lines[0].startswith("1 images, ") and lines[0].endswith("0 findings, 0 mended")


async def test_a_damaged_layer_is_rebuilt_from_its_compressed_form(server: Registry, tmp_path: Path) -> None:
    server.push("broken:1", [noise(random.Random(3))])
    async with store(server.inside, tmp_path) as images:
        _, image = await images.pull(f"{REGISTRY}/broken:1")
        layer = image.layers[0].diff_id
        damage(images, layer)
        status, lines = await checked(tmp_path)
        assert status == 1
        assert lines[0] == (
            f"found: damaged {layer} ({REGISTRY}/broken:1): its content is not what its digest says: `--repair` rebuilds it"
        )
        assert (await checked(tmp_path, "--repair"))[0] == 0
        assert hashlib.sha256(blob(images, layer).read_bytes()).hexdigest() == layer.removeprefix("sha256:")
        assert (await checked(tmp_path))[1][-1].endswith("0 findings, 0 mended")


async def test_a_damaged_compressed_form_is_given_up(server: Registry, tmp_path: Path) -> None:
    server.push("packed:1", [noise(random.Random(4))])
    async with store(server.inside, tmp_path) as images:
        _, image = await images.pull(f"{REGISTRY}/packed:1")
        (packed,) = compressed_of(images, image)
        damage(images, packed)
        assert (await checked(tmp_path))[0] == 1
        assert (await checked(tmp_path, "--repair"))[0] == 0
        assert not blob(images, packed).exists()
        assert (await checked(tmp_path))[1][-1].endswith("0 findings, 0 mended")


async def test_what_cannot_be_rebuilt_is_told_until_the_image_comes_again(tmp_path: Path) -> None:
    data = archive([noise(random.Random(5))], ["lost:1"])
    with namespace("img") as inside:
        async with store(inside, tmp_path) as images:
            layer = (await images.load(data))[0].image.layers[0].diff_id
            damage(images, layer)
            status, lines = await checked(tmp_path, "--repair")
            assert status == 1 and lines[0].startswith(f"found: damaged {layer} (lost:1): ") and "load the image again" in lines[0]
            assert not blob(images, layer).exists()
            status, lines = await checked(tmp_path)
            assert status == 1 and lines[0].startswith(f"found: missing {layer} (lost:1): it is not there: ")
            await images.load(data)
            assert (await checked(tmp_path))[0] == 0


async def test_blobs_that_no_image_needs_are_removed(tmp_path: Path) -> None:
    with namespace("img") as inside:
        async with store(inside, tmp_path) as images:
            await images.load(archive([noise(random.Random(6))], ["kept:1"]))
            await asyncio.sleep(1)  # the load's own collection is over
            stray = hashlib.sha256(b"stray").hexdigest()
            blob(images, f"sha256:{stray}").write_bytes(b"stray")
            status, lines = await checked(tmp_path)
            assert status == 0 and lines[0].startswith(f"found: unused sha256:{stray}: ")
            status, lines = await checked(tmp_path, "--repair")
            assert status == 0 and lines[0].startswith("mended: unused") and not blob(images, f"sha256:{stray}").exists()


async def test_fsck_without_a_store_says_so(tmp_path: Path) -> None:
    status, lines = await checked(tmp_path)
    assert status == 2 and "is it running?" in lines[0]


class _Client:
    """Does at random what clients do to a store, and looks that what it holds stays."""

    def __init__(self, number: int, images: Store, generator: random.Random) -> None:
        self.name = f"client-{number}"
        self._images = images
        self._random = generator
        self.done = 0

    async def run(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < deadline:
            step = self._random.choice((self._load, self._load, self._pull, self._hold, self._prune, self._retag))
            with contextlib.suppress(grpc.aio.AioRpcError):
                # Another client may have removed, or hold, what this one wants: such answers are right.
                await step()
            self.done += 1

    async def _load(self) -> None:
        size = self._random.choice((5_000, 200_000, 2_000_000))
        await self._images.load(archive([noise(self._random, size)], [f"{self.name}:{self._random.randrange(3)}"]))

    async def _pull(self) -> None:
        await self._images.pull(f"{REGISTRY}/shared:{self._random.randrange(3)}")

    async def _prune(self) -> None:
        await self._images.stub.Prune(pb.PruneRequest(dangling=self._random.random() < 0.7))

    async def _retag(self) -> None:
        if not (images := await self._images.images()):
            return
        await self._images.stub.Tag(pb.TagRequest(image=self._random.choice(images).id, target=f"{self.name}:moved"))
        await self._images.stub.Remove(pb.RemoveRequest(image=self._random.choice(images).id, force=True))

    async def _hold(self) -> None:
        """What is leased is there, whole, whatever the others do."""
        if not (images := await self._images.images()):
            return
        lease = pb.AcquireLeaseRequest(image=self._random.choice(images).id, holder=f"{self.name}/c")
        held = (await self._images.stub.AcquireLease(lease)).image
        try:
            for _ in range(3):
                for layer in held.layers:
                    data = await asyncio.to_thread(blob(self._images, layer.diff_id).read_bytes)
                    assert hashlib.sha256(data).hexdigest() == layer.diff_id.removeprefix("sha256:")
                await asyncio.sleep(self._random.random() / 10)
            assert (await self._images.stub.Get(pb.GetRequest(image=held.id))).image.id == held.id
        finally:
            await self._images.stub.ReleaseLease(pb.ReleaseLeaseRequest(holder=f"{self.name}/c"))


async def _stressed(server: Registry, folder: Path, seconds: float) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    generator = random.Random(seed)
    base = noise(generator, 1_000_000)
    for number in range(3):
        server.push(f"shared:{number}", [base, noise(generator)])
    async with store(server.inside, folder) as images:
        await images.images()
        clients = [_Client(number, images, random.Random(seed + number)) for number in range(_CLIENTS)]
        deadline = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.run(deadline))
        print(f"{sum(client.done for client in clients)} operations")
        assert all(client.done > 3 for client in clients)
        # What is left over is waiting for a collection and nothing else.
        status, lines = await checked(folder, "--repair")
        assert status == 0 and not any("damaged" in line or "missing" in line for line in lines), lines
        assert (await checked(folder))[1][-1].endswith("0 findings, 0 mended")
        await images.stub.Prune(pb.PruneRequest(dangling=False))
        assert await images.images() == [] and images.files() == []


async def test_eight_clients_never_lose_what_they_hold(server: Registry, tmp_path: Path) -> None:
    """The short form."""
    await _stressed(server, tmp_path, 10)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_eight_clients_never_lose_what_they_hold_in_full(server: Registry, tmp_path: Path) -> None:
    await _stressed(server, tmp_path, 300)


async def _killed(server: Registry, folder: Path, rounds: int) -> None:
    """The store dies at random moments of load, pull and prune; each time it comes back whole, and goes on."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    generator = random.Random(seed)
    server.push("mortal:1", [noise(generator, 3_000_000), noise(generator, 5_000_000)])
    for number in range(rounds):
        data = archive([noise(generator, 4_000_000), noise(generator, 1_000_000)], [f"round:{number}"])
        async with store(server.inside, folder) as images:
            before = {image.id for image in await images.images()}
            status, lines = await checked(folder)
            assert status == 0, f"round {number}: {lines}"
            works: list[Any] = [images.load(data), images.pull(f"{REGISTRY}/mortal:1")]
            if number % 3 == 2:
                works.append(images.stub.Prune(pb.PruneRequest(dangling=False)))
            running = [asyncio.ensure_future(work) for work in works]
            await asyncio.sleep(generator.uniform(0, 0.12))
            images.kill()
            await asyncio.gather(*running, return_exceptions=True)
        async with store(server.inside, folder) as images:
            for image in await images.images():
                assert all(blob(images, layer.diff_id).stat().st_size == layer.size for layer in image.layers)
            assert len(before - {image.id for image in await images.images()}) <= (len(before) if number % 3 == 2 else 0)
            await images.load(data)
            await images.pull(f"{REGISTRY}/mortal:1")
    async with store(server.inside, folder) as images:
        assert await images.images()
        await images.stub.Prune(pb.PruneRequest(dangling=False))
        assert images.files() == []


async def test_a_store_killed_at_any_moment_comes_back_whole(server: Registry, tmp_path: Path) -> None:
    await _killed(server, tmp_path, 6)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_a_store_killed_at_any_moment_comes_back_whole_in_full(server: Registry, tmp_path: Path) -> None:
    await _killed(server, tmp_path, 100)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_is_told_and_harms_nothing(server: Registry, tmp_path: Path) -> None:
    generator = random.Random(7)
    server.push("large:1", [noise(generator, 30_000_000)])
    small, large = archive([noise(generator)], ["small:1"]), archive([noise(generator, 30_000_000)], ["large:1"])
    with small_disk(tmp_path / "root", "12m"):
        async with store(server.inside, tmp_path) as images:
            await images.load(small)
            for work in (images.load(large), images.pull(f"{REGISTRY}/large:1")):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await work
                assert "no space left on device" in str(translated(caught.value))
            assert [list(image.repo_tags) for image in await images.images()] == [["small:1"]]
            # What the failed ones had written is gone: the next one fits.
            await images.load(archive([noise(generator, 6_000_000)], ["next:1"]))
            assert (await checked(tmp_path))[1][-1].endswith("0 findings, 0 mended")


async def test_a_layer_of_a_ratio_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    bomb = zstandard.ZstdCompressor(level=3).compress(tar_of(zeros=bytes(90 << 20)))
    assert len(bomb) < 100_000

    async def loaded(images: Store) -> None:
        async def parts() -> AsyncIterator[pb.ImportRequest]:
            yield pb.ImportRequest(header=pb.ImportHeader(name="bomb:1"))
            yield pb.ImportRequest(chunk=bomb)

        async for _ in images.stub.Import(parts(), wait_for_ready=True, timeout=60):
            pass

    with namespace("img") as inside:
        async with store(inside, tmp_path) as images:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await loaded(images)
            known = translated(caught.value)
            assert isinstance(known, InvalidArgument) and str(known) == "layer holds more than 1100 bytes for each compressed one"
            assert images.files() == []
        async with store(inside, tmp_path, max_layer_ratio="100000") as images:
            await loaded(images)
            assert [list(image.repo_tags) for image in await images.images()] == [["bomb:1"]]


async def test_a_layer_of_a_size_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    with namespace("img") as inside:
        async with store(inside, tmp_path, max_layer_bytes="100000") as images:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await images.load(archive([noise(random.Random(8))], ["x:1"]))
            assert str(translated(caught.value)) == "layer is larger than 100000 bytes"
            assert images.files() == []


@pytest.mark.parametrize(
    ("setting", "names", "text"),
    [
        ("SKERRY_CONTAINERS_MAX_LAYER_ENTRIES", [f"f{number}" for number in range(1000)], "tar: more than 900 entries"),
        ("SKERRY_CONTAINERS_MAX_LAYER_DEPTH", ["/".join("d" * 901)], "tar: a path is deeper than 900"),
    ],
)
async def test_the_nodes_limits_on_a_layer_are_settings(tmp_path: Path, setting: str, names: list[str], text: str) -> None:
    data = tar_of(**dict.fromkeys(names, b"x"))
    path = tmp_path / "layer.tar"
    path.write_bytes(data)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    async with containers_node(**{setting: "900"}) as node:
        # The store's double gives whatever file lies there.
        Path(f"{node.base}/layer.tar").write_bytes(data)
        layer = pb.Layer(diff_id=digest, chain_id=digest, size=len(data))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.containers.PrepareLayers(
                containers_pb2.PrepareLayersRequest(layers=[layer], image_store=f"unix:{node.base}/images.sock")
            )
        known = translated(caught.value)
        assert isinstance(known, InvalidArgument) and str(known) == f"failed to register layer {digest}: {text}"
        assert json.dumps(os.listdir(f"{node.root}/layers")) == "[]"
