"""A commit that fails, or whose node or image store is killed, at any moment: no half image, nothing left, and a retry works."""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from integration.containers_node import NodeUnderTest, containers_node, eventually, run_exec
from integration.images_registry import Store, store
from integration.netns import namespace
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceServicer, add_ImagesServiceServicer_to_server
from skerry.containers import commit as node_commit
from skerry.core import failpoints
from skerry.core.errors import Conflict, Failed, InvalidArgument, NotFound, Unavailable
from skerry.core.rpc.channel import call
from skerry.core.rpc.server import serving
from skerry.images import commit as store_commit

pytestmark = pytest.mark.root

# Importing them declares theirs.
assert node_commit and store_commit
POINTS = sorted(failpoints.declared)
NODE = [name for name in POINTS if name.startswith("containers.commit.")]
STORE = [name for name in POINTS if name.startswith("images.commit.")]
HOLDER = "node/commit-1"


@asynccontextmanager
async def image_store(folder: Path, points: str = "") -> AsyncIterator[Store]:
    folder.mkdir(exist_ok=True)
    with namespace("cm") as inside:
        before = os.environ.get("SKERRY_FAILPOINTS")
        os.environ["SKERRY_FAILPOINTS"] = points
        try:
            async with store(inside, folder) as one:
                await one.images()
                yield one
        finally:
            os.environ.pop("SKERRY_FAILPOINTS", None)
            if before is not None:
                os.environ["SKERRY_FAILPOINTS"] = before


@pytest.fixture
async def folder() -> AsyncIterator[Path]:
    # Short: names of unix sockets are limited. On the disk of the node's own directories, so that layers are links.
    place = Path(tempfile.mkdtemp(prefix="sk-", dir="/tmp"))
    yield place
    shutil.rmtree(place)


async def running(node: NodeUnderTest) -> str:
    """A container that runs and has changed something."""
    container = await node.create("sleep", "600")
    await node.start_container(container)
    script = "echo 1 > /one; mkdir /two; rm /etc/group; dd if=/dev/zero of=/big bs=1M count=5"
    code, output, _ = await run_exec(node, container, "sh", "-c", script)
    assert code == 0, output
    return container


async def make_layer(node: NodeUnderTest, container: str, address: str, *, pause: bool = True) -> images_pb2.Layer:
    request = pb.CommitLayerRequest(container=container, image_store=address, pause=pause, holder=HOLDER)
    return (await call(lambda: node.containers.CommitLayer(request))).layer


async def make_image(images: Store, layer: images_pb2.Layer, **more: Any) -> images_pb2.Image:
    request = images_pb2.CommitRequest(diff_id=layer.diff_id, config_json='{"Cmd": ["sh"]}', created_by="test", **more)
    return (await call(lambda: images.stub.Commit(request, timeout=30))).image


async def release(images: Store) -> None:
    await call(lambda: images.stub.ReleaseLease(images_pb2.ReleaseLeaseRequest(holder=HOLDER)))


async def leases(images: Store) -> list[str]:
    return [one.holder async for one in images.stub.ListLeases(images_pb2.ListLeasesRequest())]


async def emptied(images: Store) -> None:
    """Nothing is kept for anybody, and a sweep leaves no file."""
    await release(images)
    assert await leases(images) == [] and await images.images() == []

    async def swept() -> bool:
        await images.stub.Prune(images_pb2.PruneRequest())
        return images.files() == []

    await eventually(swept)


async def untouched(node: NodeUnderTest, container: str) -> None:
    """The container runs on, and nothing of the commit is on the node."""
    assert (await node.get(container)).state.status == pb.STATUS_RUNNING
    code, output, _ = await run_exec(node, container, "cat", "/one")
    assert code == 0 and output.endswith(b"1\n")

    def left() -> list[str]:
        directory = f"{node.root}/runtime/{container}"
        layers = f"{node.root}/layers"
        found = [name for name in os.listdir(layers) if name.startswith(".") or not os.path.exists(f"{layers}/{name}/layer.json")]
        found += [name for name in os.listdir(directory) if name.startswith(("below", "export", "commit"))]
        with open(f"/proc/{node.process.pid}/mountinfo", encoding="utf-8") as file:  # type: ignore[union-attr]
            return found + [line for line in file if "/below-" in line]

    await eventually(lambda: left() == [])


async def retried(node: NodeUnderTest, container: str, images: Store, address: str) -> None:
    layer = await make_layer(node, container, address)
    image = await make_image(images, layer, name="made:1")
    await release(images)
    assert [one.repo_tags for one in await images.images()] == [["made:1"]]
    assert [one.diff_id for one in image.layers] == [layer.diff_id]
    # The node has it: no store is asked.
    prepare = pb.PrepareLayersRequest(layers=image.layers, image_store="unix:/nowhere")
    await call(lambda: node.containers.PrepareLayers(prepare))
    name = layer.diff_id.removeprefix("sha256:")
    await eventually(lambda: Path(node.root, "layers", name, "layer.json").exists())


async def test_steps_of_the_node_that_fail(folder: Path) -> None:
    points = ";".join(f"{point}=fail:1" for point in NODE)
    async with image_store(folder) as images, containers_node(SKERRY_FAILPOINTS=points) as node:
        container, address = await running(node), f"unix:{folder}/images.sock"
        seen = set()
        for _ in NODE:
            with pytest.raises(Failed) as caught:
                await make_layer(node, container, address)
            seen.add(str(caught.value).removeprefix("failpoint "))
            await untouched(node, container)
            await emptied(images)
        assert seen == set(NODE)
        await retried(node, container, images, address)


async def test_there_is_one_copy_on_one_machine(folder: Path) -> None:
    async with image_store(folder) as images, containers_node() as node:
        layer = await make_layer(node, await running(node), f"unix:{folder}/images.sock")
        name = layer.diff_id.removeprefix("sha256:")
        info = json.loads(Path(node.root, "layers", name, "layer.json").read_bytes())
        if info["form"] != "erofs":
            return  # unpacked there (a kernel, or a file system, that mounts no EROFS from files): then no tar stays
        assert Path(node.root, "layers", name, "tar").samefile(images.root / "images/blobs/sha256" / name)


@pytest.mark.parametrize("point", NODE)
async def test_a_node_killed_within_a_commit(point: str, folder: Path) -> None:
    async with image_store(folder) as images, containers_node(SKERRY_FAILPOINTS=f"{point}=kill") as node:
        container, address = await running(node), f"unix:{folder}/images.sock"
        with pytest.raises((grpc.aio.AioRpcError, Unavailable)):
            await make_layer(node, container, address)
        assert node.process is not None
        await node.process.wait()
        await node.start()
        await untouched(node, container)
        await emptied(images)
        await retried(node, container, images, address)


async def test_steps_of_the_image_store_that_fail(folder: Path) -> None:
    points = ";".join(f"{point}=fail:1" for point in STORE)
    address = f"unix:{folder}/images.sock"
    async with containers_node() as node, image_store(folder, points) as images:
        container = await running(node)
        for _ in STORE:
            with pytest.raises(Failed, match=r"images\.commit"):
                await make_image(images, await make_layer(node, container, address), name="made:1")
            await untouched(node, container)
            await emptied(images)
        await retried(node, container, images, address)


@pytest.mark.parametrize("point", STORE)
async def test_an_image_store_killed_within_a_commit(point: str, folder: Path) -> None:
    address = f"unix:{folder}/images.sock"
    async with containers_node() as node:
        container = await running(node)
        async with image_store(folder, f"{point}=kill") as images:
            with pytest.raises((grpc.aio.AioRpcError, Unavailable)):
                await make_image(images, await make_layer(node, container, address), name="made:1")
            await asyncio.to_thread(images.process.wait, 20)
        await untouched(node, container)
        async with image_store(folder) as images:
            assert await images.images() == []
            await emptied(images)
            await retried(node, container, images, address)


async def test_a_store_on_another_machine_is_sent_the_layer(folder: Path) -> None:
    class Elsewhere(ImagesServiceServicer):
        """The store as another machine sees it."""

        async def StoreLayer(self, request_iterator: Any, context: Any) -> AsyncIterator[images_pb2.StoreLayerResponse]:
            async def requests() -> AsyncIterator[images_pb2.StoreLayerRequest]:
                async for request in request_iterator:
                    if request.HasField("open"):
                        request.open.boot_id = "another"
                    yield request

            async for response in images.stub.StoreLayer(requests()):
                assert not response.opened.path
                yield response

    elsewhere = f"unix:{folder}/elsewhere.sock"
    async with image_store(folder) as images, containers_node() as node:
        async with serving(elsewhere, [lambda server: add_ImagesServiceServicer_to_server(Elsewhere(), server)], [], drain=0):
            container = await running(node)
            layer = await make_layer(node, container, elsewhere, pause=False)
            image = await make_image(images, layer)
            assert (image.layers[0].diff_id, image.layers[0].size) == (layer.diff_id, layer.size)
            assert image.size == image.layers[0].files_size
            prepare = pb.PrepareLayersRequest(layers=image.layers, image_store="unix:/nowhere")
            await call(lambda: node.containers.PrepareLayers(prepare))


async def test_what_is_refused(folder: Path) -> None:
    async with image_store(folder) as images, containers_node() as node:
        container = await running(node)
        with pytest.raises(Unavailable):
            await make_layer(node, container, "unix:/nowhere")
        with pytest.raises(NotFound):
            await make_layer(node, "nope", f"unix:{folder}/images.sock")
        with pytest.raises(InvalidArgument):
            request = pb.CommitLayerRequest(container=container, image_store=f"unix:{folder}/images.sock")
            await call(lambda: node.containers.CommitLayer(request))
        await untouched(node, container)
        for request in (
            images_pb2.CommitRequest(parent="nope"),
            images_pb2.CommitRequest(diff_id="sha256:" + "0" * 64),
        ):
            with pytest.raises(NotFound):
                await call(lambda request=request: images.stub.Commit(request))
        for request in (
            images_pb2.CommitRequest(diff_id="../../etc/passwd"),
            images_pb2.CommitRequest(config_json="[]"),
            images_pb2.CommitRequest(changes=["FOO"]),
            images_pb2.CommitRequest(name="UPPER"),
            images_pb2.CommitRequest(name="a@sha256:" + "0" * 64),
        ):
            with pytest.raises(InvalidArgument):
                await call(lambda request=request: images.stub.Commit(request))
        await emptied(images)


def _requests(*parts: images_pb2.StoreLayerRequest) -> AsyncIterator[images_pb2.StoreLayerRequest]:
    async def yielding() -> AsyncIterator[images_pb2.StoreLayerRequest]:
        for part in parts:
            yield part

    return yielding()


async def test_an_upload_is_verified_and_whole_or_not_there(folder: Path) -> None:
    opened = images_pb2.StoreLayerRequest(open=images_pb2.OpenLayer(holder=HOLDER))
    piece = images_pb2.StoreLayerRequest(chunk=bytes(10240))
    wrong = images_pb2.StoreLayerRequest(done=images_pb2.LayerDone(diff_id="sha256:" + "1" * 64))
    bad = images_pb2.StoreLayerRequest(chunk=b"no tar at all" * 100)
    done = images_pb2.StoreLayerRequest(done=images_pb2.LayerDone())
    async with image_store(folder) as images:

        async def sent(*parts: images_pb2.StoreLayerRequest) -> list[images_pb2.StoreLayerResponse]:
            return [one async for one in images.stub.StoreLayer(_requests(*parts))]

        for parts in ((opened, piece, wrong), (opened, piece), (opened, bad, done), (piece, done), (opened, opened), ()):
            with pytest.raises(grpc.aio.AioRpcError):
                await sent(*parts)
            await emptied(images)
        answers = await sent(opened, piece, piece, done)
        assert [one.WhichOneof("step") for one in answers] == ["opened", "layer"] and answers[1].layer.size == 20480
        assert await leases(images) == [HOLDER]
        await images.stub.Prune(images_pb2.PruneRequest())
        assert len(images.files()) == 1, "kept for its holder"
        await emptied(images)


async def test_a_dead_container_is_not_committed_or_exported(folder: Path) -> None:
    async with image_store(folder), containers_node(SKERRY_FAILPOINTS="containers.remove.emptied=fail:1") as node:
        container = await running(node)
        with pytest.raises(Failed):
            await node.remove(container)
        with pytest.raises(Conflict, match=f"You cannot commit container {container} which is Dead"):
            await make_layer(node, container, f"unix:{folder}/images.sock")
        with pytest.raises(Conflict, match=f"You cannot export container {container} which is Dead"):
            await call(lambda: node.containers.Export(pb.ExportRequest(container=container)).read())


async def test_an_export_that_nobody_reads_any_more_ends(folder: Path) -> None:
    async with containers_node() as node:
        container = await running(node)
        stream = node.containers.Export(pb.ExportRequest(container=container))
        assert (await stream.read()).chunk
        stream.cancel()
        await node.run_to_end("true")
        await untouched(node, container)
