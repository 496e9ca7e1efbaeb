"""Save: what lies in the tar, who can read it, and that it is whole whatever happens to the image meanwhile."""

import asyncio
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from engines import dockerd_engine, skerry_engine
from images.busybox import archive, layer
from integration.images_registry import Store, store
from integration.netns import namespace
from shared_store.servers import s3
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import NotFound
from skerry.core.rpc.channel import translated

pytestmark = pytest.mark.root
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.fixture(scope="module")
def busybox() -> bytes:
    return layer()


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[Store]:
    with namespace("img") as inside:
        async with store(inside, tmp_path) as one:
            yield one


async def save(images: Store, *names: str, boot_id: str = "", **more: Any) -> bytes:
    out, size = bytearray(), -1
    call = images.stub.Save(pb.SaveRequest(images=names, boot_id=boot_id, **more), wait_for_ready=True, timeout=60)
    while len(out) != size:
        message = await call.read()
        assert message is not grpc.aio.EOF, "ended early"
        match message.WhichOneof("piece"):
            case "begin":
                size = message.begin.size
            case "chunk":
                out += message.chunk
            case "file":
                data = Path(message.file.path).read_bytes()
                assert len(data) == message.file.size
                out += data
    call.cancel()
    return bytes(out)


async def refused(images: Store, *names: str, **more: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await save(images, *names, **more)
    assert isinstance(translated(caught.value), NotFound)
    return str(translated(caught.value))


def contents(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = ((info.name, tar.extractfile(info)) for info in tar)
        return {name: file.read() for name, file in files if file}


async def test_one_image_with_two_tags_is_one_item_with_both(images: Store, busybox: bytes) -> None:
    image = (await images.load(archive([busybox], ["busybox:latest", "busybox:b"])))[0].image
    files = contents(await save(images, "busybox"))
    [item] = json.loads(files["manifest.json"])
    assert item["RepoTags"] == ["busybox:b", "busybox:latest"]
    assert item["Config"] == f"blobs/sha256/{image.id[7:]}"
    assert [files[path] for path in item["Layers"]] == [busybox]
    assert set(json.loads(files["repositories"])["busybox"]) == {"b", "latest"}
    index = json.loads(files["index.json"])["manifests"]
    assert [one["annotations"]["io.containerd.image.name"] for one in index] == [
        "docker.io/library/busybox:b", "docker.io/library/busybox:latest",
    ]  # fmt: skip
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    for path, body in files.items():
        if path.startswith("blobs/"):
            assert path == f"blobs/sha256/{hashlib.sha256(body).hexdigest()}"


async def test_files_and_bytes_make_the_same_tar(images: Store, busybox: bytes) -> None:
    await images.load(archive([busybox, b"\0" * 1024], ["a:1"]))
    assert await save(images, "a:1", boot_id=BOOT_ID) == await save(images, "a:1")


async def test_names_choose_what_docker_chooses(images: Store, busybox: bytes) -> None:
    image = (await images.load(archive([busybox], ["a:1", "a:2", "b:1"])))[0].image
    other = (await images.load(archive([busybox, b"\0" * 1024], ["c:1"])))[0].image

    async def tags(*names: str) -> list[Any]:
        return [item["RepoTags"] for item in json.loads(contents(await save(images, *names))["manifest.json"]) or ()]

    assert await tags("a") == [["a:1", "a:2"]]
    assert await tags("a:1", "c:1", "b:1", "a:1") == [["a:1", "b:1"], ["c:1"]]
    assert await tags(image.id) == await tags(image.id[7:]) == await tags(image.id[7:19]) == [None]
    assert await tags(image.id, "b:1") == [["b:1"]]
    assert await tags(other.id, image.id) == [None, None]
    assert await tags() == []
    assert await refused(images, "nope") == "No such image: nope"
    assert await refused(images, "a:9") == await refused(images, f"a@sha256:{'0' * 64}") == "reference does not exist"
    assert await refused(images, "a:1", "0" * 64) == f"No such image: sha256:{'0' * 64}"
    assert "does not match the specified platform" in await refused(images, "a:1", platform="linux/arm64")
    assert await save(images, "a:1", platform="linux/amd64") == await save(images, "a:1")


async def test_what_was_saved_loads_with_same_id_history_and_layers(images: Store, busybox: bytes) -> None:
    before = (await images.load(archive([busybox, b"\0" * 1024, busybox], ["a:1"])))[0].image
    saved = await save(images, "a:1")
    await images.stub.Remove(pb.RemoveRequest(image="a:1"))
    assert await images.images() == []
    [after] = await images.load(saved)
    assert list(after.names) == ["a:1"]
    assert (after.image.id, after.image.layers, after.image.config_json) == (before.id, before.layers, before.config_json)


async def test_an_image_removed_while_it_is_saved_still_goes_out_whole(images: Store, busybox: bytes) -> None:
    # More than what the wire takes in by itself.
    big = busybox + bytes(64 << 20)
    await images.load(archive([big], ["a:1"]))
    call = images.stub.Save(pb.SaveRequest(images=["a:1"]), wait_for_ready=True, timeout=60)
    size = (await call.read()).begin.size
    out = bytearray((await call.read()).chunk)
    await images.stub.Remove(pb.RemoveRequest(image="a:1"))
    await images.stub.Prune(pb.PruneRequest())
    assert images.files() != []
    while (message := await call.read()) is not grpc.aio.EOF:
        out += message.chunk
    assert len(out) == size and contents(bytes(out))[f"blobs/sha256/{hashlib.sha256(big).hexdigest()}"] == big
    for _ in range(100):
        if not images.files():
            break
        await asyncio.sleep(0.05)
    assert images.files() == []


async def test_layers_that_lie_in_a_bucket_are_saved_even_while_they_are_removed(tmp_path: Path, busybox: bytes) -> None:
    big = busybox + os.urandom(8 << 20)
    with namespace("img") as inside, s3("rclone", tmp_path, port=9000, argv=inside.argv) as bucket:
        settings = {name.removeprefix("SKERRY_IMAGES_").lower(): value for name, value in bucket.environ().items()}
        async with store(inside, tmp_path, **settings) as images:
            await images.load(archive([big], ["a:1"]))
            whole = await save(images, "a:1", boot_id=BOOT_ID)
            assert contents(whole)[f"blobs/sha256/{hashlib.sha256(big).hexdigest()}"] == big
            call = images.stub.Save(pb.SaveRequest(images=["a:1"]), wait_for_ready=True, timeout=60)
            size = (await call.read()).begin.size
            out = bytearray((await call.read()).chunk)
            await images.stub.Remove(pb.RemoveRequest(image="a:1"))
            await images.stub.Prune(pb.PruneRequest())
            while (message := await call.read()) is not grpc.aio.EOF:
                out += message.chunk
            assert len(out) == size and bytes(out) == whole


async def test_file_pieces_stay_until_their_reader_ends_the_call(images: Store, busybox: bytes) -> None:
    await images.load(archive([busybox], ["a:1"]))
    call = images.stub.Save(pb.SaveRequest(images=["a:1"], boot_id=BOOT_ID), wait_for_ready=True, timeout=60)
    while (message := await call.read()).WhichOneof("piece") != "file":
        pass
    await images.stub.Remove(pb.RemoveRequest(image="a:1"))
    await images.stub.Prune(pb.PruneRequest())
    assert Path(message.file.path).read_bytes() == busybox
    call.cancel()
    for _ in range(100):
        if not images.files():
            break
        await asyncio.sleep(0.05)
    assert images.files() == []


def test_dockerd_loads_what_we_save(busybox: bytes, tmp_path: Path) -> None:
    with skerry_engine() as engine:
        engine.docker("load", "-q", stdin=archive([busybox, busybox + bytes(512)], ["a:1", "a:2"]))
        engine.docker("save", "-o", str(tmp_path / "saved.tar"), "a")
        identity, layers = engine.out("inspect", "-f", "{{.Id}}", "a:1"), engine.out("inspect", "-f", "{{.RootFS.Layers}}", "a:1")
        history = engine.out("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "a:1")
    with dockerd_engine() as engine:
        said = engine.out("load", "-q", "-i", str(tmp_path / "saved.tar")).splitlines()
        assert sorted(said) == ["Loaded image: a:1", "Loaded image: a:2"]
        assert engine.out("inspect", "-f", "{{.Id}}", "a:2") == identity
        assert engine.out("inspect", "-f", "{{.RootFS.Layers}}", "a:1") == layers
        assert engine.out("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "a:1") == history


async def test_skopeo_reads_both_forms_of_it(images: Store, busybox: bytes, tmp_path: Path) -> None:
    image = (await images.load(archive([busybox], ["a:1"])))[0].image
    target = tmp_path / "saved.tar"
    target.write_bytes(await save(images, "a:1"))
    for source in (f"docker-archive:{target}", f"oci-archive:{target}"):
        place = tmp_path / source.partition("-")[0]
        await asyncio.to_thread(
            subprocess.run, ["skopeo", "--insecure-policy", "copy", "--quiet", source, f"oci:{place}:x"], check=True, capture_output=True
        )
        [manifest] = json.loads((place / "index.json").read_bytes())["manifests"]
        body = json.loads((place / "blobs" / manifest["digest"].replace(":", "/")).read_bytes())
        config = json.loads((place / "blobs" / body["config"]["digest"].replace(":", "/")).read_bytes())
        assert config["rootfs"]["diff_ids"] == [one.diff_id for one in image.layers]
