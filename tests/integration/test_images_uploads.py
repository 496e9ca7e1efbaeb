"""Uploads by named pipe and by chunks, all forms of archives, and what is refused of them."""

import asyncio
import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import zstandard

from images.busybox import archive, layer
from integration.images_registry import Store, store
from integration.netns import namespace
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.core.rpc.channel import translated

pytestmark = pytest.mark.root
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.fixture(scope="module")
def busybox() -> bytes:
    return layer()


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[Store]:
    with namespace("img") as inside:
        async with store(inside, tmp_path, upload_idle="3") as one:
            yield one


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


async def opened(call: Any, request: Any) -> str:
    await call.write(request)
    path: str = (await call.read()).opened.path
    return path


def write(path: str, data: bytes) -> None:
    with open(path, "wb", buffering=0) as pipe:
        view = memoryview(data)
        while view:
            view = view[pipe.write(view) :]


async def piped(images: Store, data: bytes, size: int = -1, **opening: Any) -> list[pb.Loaded]:
    call = images.stub.Load(wait_for_ready=True, timeout=30)
    path = await opened(call, pb.LoadRequest(open=pb.OpenUpload(boot_id=BOOT_ID, **opening)))
    assert path
    await asyncio.to_thread(write, path, data)
    await call.write(pb.LoadRequest(done=pb.UploadDone(size=len(data) if size < 0 else size)))
    await call.done_writing()
    loaded = []
    while (answer := await call.read()) is not grpc.aio.EOF:
        if answer.HasField("loaded"):
            loaded.append(answer.loaded)
    assert not os.path.exists(path)
    return loaded


async def refused(work: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await work
    error = translated(caught.value)
    assert isinstance(error, InvalidArgument), error
    return str(error)


async def test_an_archive_that_comes_by_pipe_is_loaded(images: Store, busybox: bytes) -> None:
    [one] = await piped(images, archive([busybox, bytes(5 << 20) + busybox], ["a:1"]))
    assert list(one.names) == ["a:1"] and one.image.layers[0].size == len(busybox)


async def test_a_pipe_that_was_closed_too_early_is_no_end(images: Store, busybox: bytes) -> None:
    data = archive([busybox], ["a:1"])
    # Cut behind all that matters: only the count tells.
    assert "unexpected EOF" in await refused(piped(images, data[:-512], len(data)))
    assert "unexpected EOF" in await refused(piped(images, data[: len(data) // 2], len(data)))
    assert await images.images() == []


async def test_an_import_cut_in_the_middle_is_no_image(images: Store, busybox: bytes) -> None:
    for size in (len(busybox), None):
        call = images.stub.Import(wait_for_ready=True, timeout=30)
        path = await opened(call, pb.ImportRequest(header=pb.ImportHeader(name="a:1", boot_id=BOOT_ID)))
        await asyncio.to_thread(write, path, busybox[: len(busybox) // 1024 * 512])
        if size is not None:
            await call.write(pb.ImportRequest(done=pb.UploadDone(size=size)))
        await call.done_writing()
        assert "unexpected EOF" in await refused(call.read())
    assert await images.images() == []
    await images.stub.Prune(pb.PruneRequest())
    assert images.files() == []


async def test_a_pipe_that_nobody_writes_to_is_given_up(images: Store) -> None:
    call = images.stub.Load(wait_for_ready=True, timeout=30)
    path = await opened(call, pb.LoadRequest(open=pb.OpenUpload(boot_id=BOOT_ID)))
    assert await refused(call.read()) == "nothing came for 3 s"
    assert not os.path.exists(path)


async def test_a_client_that_vanishes_takes_its_pipe_along(images: Store, busybox: bytes) -> None:
    call = images.stub.Load(wait_for_ready=True, timeout=30)
    path = await opened(call, pb.LoadRequest(open=pb.OpenUpload(boot_id=BOOT_ID)))
    await asyncio.to_thread(write, path, archive([busybox], ["a:1"])[:1_000_000])
    call.cancel()
    for _ in range(100):
        if not os.path.exists(path):
            break
        await asyncio.sleep(0.05)
    assert not os.path.exists(path)


async def test_a_store_killed_in_the_middle_leaves_neither_pipe_nor_blob(tmp_path: Path, busybox: bytes) -> None:
    data = archive([busybox], ["a:1"])
    with namespace("img") as inside:
        async with store(inside, tmp_path) as images:
            call = images.stub.Load(wait_for_ready=True, timeout=30)
            path = await opened(call, pb.LoadRequest(open=pb.OpenUpload(boot_id=BOOT_ID)))
            # More than a pipe holds: the store has begun to write.
            writing = asyncio.ensure_future(asyncio.to_thread(write, path, data[:-512]))
            while not images.files():
                await asyncio.sleep(0.01)
            images.kill()
            await asyncio.wait({writing})
            with pytest.raises(grpc.aio.AioRpcError):
                # What it said before it died may come first.
                while await call.read() is not grpc.aio.EOF:
                    pass
            assert writing.exception() is None or isinstance(writing.exception(), BrokenPipeError)
        async with store(inside, tmp_path) as images:
            assert await images.images() == []
            assert os.listdir(os.path.dirname(path)) == []
            assert [list(one.names) for one in await piped(images, data)] == [["a:1"]]
            assert not any(len(name) == 32 for name in images.files())


async def test_a_client_of_another_machine_sends_chunks(images: Store, busybox: bytes) -> None:
    call = images.stub.Load(wait_for_ready=True, timeout=30)
    assert await opened(call, pb.LoadRequest(open=pb.OpenUpload(boot_id="another"))) == ""
    await call.write(pb.LoadRequest(chunk=archive([busybox], ["a:1"])))
    await call.done_writing()
    while not (answer := await call.read()).HasField("loaded"):
        pass
    assert list(answer.loaded.names) == ["a:1"]


SMALL = packed({"a": b"some text " * 500})
PACKS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstandard.ZstdCompressor().compress,
}  # fmt: skip


async def test_archives_of_all_compressions_are_the_same_image(images: Store) -> None:
    data = archive([SMALL], ["a:1"])
    seen = {(await piped(images, pack(data)))[0].image.id for pack in PACKS.values()}
    assert len(seen) == 1
    for name, pack in PACKS.items():
        if name != "plain":
            assert await refused(piped(images, pack(data)[:-20])), name


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def layout(bodies: dict[str, bytes], pack: Callable[[bytes], bytes] = bytes, *, nested: bool = False) -> dict[str, bytes]:
    """An OCI layout with one image for each architecture."""
    files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def blob(data: bytes, kind: str, **more: Any) -> dict[str, Any]:
        files[f"blobs/sha256/{digest(data)}"] = data
        return {"mediaType": kind, "digest": f"sha256:{digest(data)}", "size": len(data), **more}

    described = []
    for architecture, body in bodies.items():
        document = {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(body)}"]}}
        config = blob(json.dumps(document).encode(), "application/vnd.oci.image.config.v1+json")
        manifest = {"schemaVersion": 2, "config": config, "layers": [blob(pack(body), "application/vnd.oci.image.layer.v1.tar+gzip")]}
        platform = {"os": "linux", "architecture": architecture}
        described.append(blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json", platform=platform))
    index: dict[str, Any] = {"schemaVersion": 2, "manifests": described}
    name = {"annotations": {"io.containerd.image.name": "docker.io/library/oci:1"}}
    if nested:
        inner = json.dumps(index).encode()
        index = {"schemaVersion": 2, "manifests": [blob(inner, "application/vnd.oci.image.index.v1+json", **name)]}
    else:
        described[0].update(name)
    files["index.json"] = json.dumps(index).encode()
    return files


async def test_oci_layouts_are_loaded_with_layers_of_any_compression(images: Store) -> None:
    for pack in PACKS.values():
        [one] = await piped(images, packed(layout({"amd64": SMALL}, pack)))
        assert list(one.names) == ["oci:1"] and one.image.layers[0].size == len(SMALL)


async def test_a_platform_chooses_among_the_images_of_an_archive(images: Store, busybox: bytes) -> None:
    data = packed(layout({"amd64": busybox, "arm64": busybox + bytes(512)}, gzip.compress, nested=True))
    [one] = await piped(images, data, platform="linux/arm64")
    assert (one.image.architecture, list(one.names)) == ("arm64", ["oci:1"])
    assert [image.architecture for image in await images.images()] == ["arm64"]


async def test_hostile_archives_by_pipe_leave_nothing(images: Store, busybox: bytes) -> None:
    chain = json.dumps({"parent": "a"}).encode()
    good = layout({"amd64": busybox})
    config = next(one for path, one in good.items() if path.startswith("blobs") and b"diff_ids" in one)
    table = {
        "legacy: its own parent": packed({"repositories": b'{"x":{"1":"a"}}', "a/json": chain, "a/layer.tar": busybox}),
        "legacy: no such layer": packed({"repositories": b'{"x":{"1":"a"}}', "a/json": b"{}"}),
        "legacy: parent is a number": packed({"repositories": b'{"x":{"1":"a"}}', "a/json": b'{"parent":7}', "a/layer.tar": busybox}),
        "legacy: nonsense": packed({"repositories": b"[]"}),
        "legacy: id leads out": packed({"repositories": b'{"x":{"1":"../../etc"}}'}),
        "index of indexes": packed({"index.json": b'{"schemaVersion":2,"manifests":[' + b'{"digest":"x","size":1},' * 3 + b"]}"}),
        "schema 1": packed({"index.json": b'{"schemaVersion":1}'}),
        "blob of another digest": packed({**good, f"blobs/sha256/{digest(config)}": config + b" "}),
        "layer of another digest": packed({**good, f"blobs/sha256/{digest(busybox)}": busybox + bytes(512)}),
        "no blob": packed({name: body for name, body in good.items() if body is not busybox}),
        "manifest cut": packed({**good, "manifest.json": b"{"}),
        "bomb": gzip.compress(packed({"big/layer.tar": bytes(1 << 20)})) + gzip.compress(bytes(1 << 20)) * 200,
    }
    for name, data in table.items():
        assert await refused(piped(images, data)), name
        assert await images.images() == [], name
    await images.stub.Prune(pb.PruneRequest())
    assert images.files() == []


async def test_parents_that_an_archive_names_are_kept_when_they_are_in_it(images: Store, busybox: bytes) -> None:
    def document(layers: int) -> bytes:
        diff_ids = [f"sha256:{digest(busybox)}"] * layers
        return json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()

    low, high = document(1), document(2)
    items = [
        {"Config": "low.json", "RepoTags": None, "Layers": ["l/layer.tar"], "Parent": f"sha256:{'0' * 64}"},
        {"Config": "high.json", "RepoTags": ["a:1"], "Layers": ["l/layer.tar", "l/layer.tar"], "Parent": f"sha256:{digest(low)}"},
    ]
    files = {"low.json": low, "high.json": high, "l/layer.tar": busybox, "manifest.json": json.dumps(items).encode()}
    loaded = await piped(images, packed(files))
    assert {one.image.id: one.image.parent for one in loaded} == {
        f"sha256:{digest(low)}": "", f"sha256:{digest(high)}": f"sha256:{digest(low)}",
    }  # fmt: skip
