"""One image store for many nodes, with real parts: docker-registry, MongoDB's wire protocol, S3 (rclone, moto), crun, three namespaces."""

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import busybox
from integration.containers_node import eventually
from integration.images_registry import REGISTRY
from integration.shared_store import Middle, fetched, middle, node
from integration.tars import Member, archive
from skerry.api.containers.v1 import containers_pb2
from skerry.api.events.v1 import events_pb2
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import NotFound, SkerryError
from skerry.core.rpc.channel import call

pytestmark = pytest.mark.root
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "images_client.py"


def run_beside(shared: Middle, replica: int, *argv: str, timeout: float = 60) -> str:
    """Runs a program of the project in the middle, told where a replica is; returns what it prints."""
    tls = {f"SKERRY_IMAGES_TLS_{part.upper()}": getattr(shared.tls, part) for part in ("cert", "key", "ca")}
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SKERRY_IMAGES_ADDRESS": shared.address(replica), **tls}
    result = subprocess.run(shared.inside.argv(*argv), env=environ, capture_output=True, text=True, timeout=timeout, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(params=["rclone", "moto"])
def shared(request: pytest.FixtureRequest) -> Iterator[Middle]:
    with middle(request.param) as made:
        yield made


@pytest.mark.parametrize("shared", ["rclone"], indirect=True)
async def test_three_nodes_run_what_one_pulled_over_two_replicas(shared: Middle) -> None:
    shared.registry.push("test/busybox:1", [busybox.layer(), archive(Member(b"note", data=os.urandom(9 << 20)))])
    async with (
        shared.replica(1) as one,
        shared.replica(2) as two,
        node(shared, 1, 1) as first,
        node(shared, 2, 2) as second,
        node(shared, 3, 2) as third,
    ):
        name = f"{REGISTRY}/test/busybox:1"
        texts, pulled = await one.pull(name)
        assert "Pull complete" in texts
        image = await fetched(two, name)
        assert image.SerializeToString() == pulled.SerializeToString()
        # The registry may go now: what one replica pulled every node has.
        shared.registry.stop()
        for number, under_test in enumerate((first, second, third), 1):
            under_test.image = image
            holder = f"node{number}/c"
            await call(lambda holder=holder: two.stub.AcquireLease(pb.AcquireLeaseRequest(image=name, holder=holder)))
            _, code, output = await under_test.run_to_end("sh", "-c", "echo ran on $(hostname); sha256sum /note | cut -c 1-9")
            assert (code, b"ran on " in output) == (0, True)
        leases = [lease.holder async for lease in one.stub.ListLeases(pb.ListLeasesRequest())]
        assert leases == ["node1/c", "node2/c", "node3/c"]
        with pytest.raises(SkerryError, match="is using its referenced image"):
            await call(lambda: one.stub.Remove(pb.RemoveRequest(image=name)))
        # A node that will not come back is forgotten: what it kept is free, from whichever replica it is asked.
        said = run_beside(shared, 2, sys.executable, "-m", "skerry.cli", "node", "forget", "node2")
        assert said == "node node2 is forgotten: 1 leases of 1 containers freed\n"
        assert [lease.holder async for lease in one.stub.ListLeases(pb.ListLeasesRequest())] == ["node1/c", "node3/c"]
        # A replica dies; its node goes on with the other.
        one.kill()
        assert (await fetched(two, name)).id == image.id


@pytest.mark.parametrize("shared", ["moto"], indirect=True)
async def test_the_documented_client_pulls_lists_fetches_and_watches(shared: Middle) -> None:
    layer = archive(Member(b"note", data=os.urandom(3 << 20)))
    shared.registry.push("test/note:1", [layer])
    name = f"{REGISTRY}/test/note:1"
    async with shared.replica(1) as one, shared.replica(2):
        await one.images()

        def client(replica: int, *words: str, **more: float) -> list[str]:
            return run_beside(shared, replica, sys.executable, str(EXAMPLE), shared.address(replica), *words, **more).splitlines()

        pulled = await asyncio.to_thread(client, 1, "pull", name)
        assert pulled[-1].startswith("sha256:") and any("Pull complete" in line for line in pulled)
        assert await asyncio.to_thread(client, 2, "list") == [f"{pulled[-1]} {name}"]
        tar = shared.folder / f"{hashlib.sha256(layer).hexdigest()}.tar"
        tar.write_bytes(layer[: 1 << 20])  # as an earlier fetch left it
        await asyncio.to_thread(client, 2, "fetch", name, str(shared.folder))
        assert tar.read_bytes() == layer
        with pytest.raises(subprocess.TimeoutExpired) as ended:
            await asyncio.to_thread(client, 2, "watch", timeout=5)
        assert (ended.value.output or b"").split(b"\n")[0] == f"pull {name}".encode()


async def test_what_two_replicas_pull_at_once_is_stored_once(shared: Middle) -> None:
    shared.registry.push("test/noise:1", [archive(Member(b"noise", data=os.urandom(9 << 20)))])
    async with shared.replica(1) as one, shared.replica(2) as two:
        name = f"{REGISTRY}/test/noise:1"
        pulls = await asyncio.gather(one.pull(name), two.pull(name))
        assert pulls[0][1].id == pulls[1][1].id
        objects = shared.objects()
        kinds = [key.split("/")[1] for key in objects]
        # The layer's blob and the manifest, the layer's name; nothing that is on its way.
        assert sorted(kinds) == ["blobs", "blobs", "layers"]
        assert len(await one.images()) == 1
        # Layers of both replicas' pulls are there: nothing to fetch.
        texts, _ = await two.pull(name)
        assert texts[-1] == f"Status: Image is up to date for {name}"
        events = []
        async for response in two.stub.Subscribe(pb.SubscribeRequest(subscription=events_pb2.SubscribeRequest(since_ns=1))):
            if response.item.HasField("live"):
                break
            events.append((response.item.event.sequence, response.item.event.action))
        assert events == [(1, "pull"), (2, "pull"), (3, "pull")]


@pytest.mark.parametrize("shared", ["moto"], indirect=True)
async def test_a_sweep_spares_what_another_replica_takes_in(shared: Middle) -> None:
    layers = [archive(Member(b"noise", data=os.urandom(1 << 20))) for _ in range(8)]
    for number in range(4):
        shared.registry.push(f"test/n:{number}", [layers[number], layers[number + 1]])
    async with shared.replica(1, sweep_grace="0") as one, shared.replica(2, sweep_grace="0") as two:
        names = [f"{REGISTRY}/test/n:{number}" for number in range(4)]

        async def prune() -> None:
            for _ in range(12):
                await call(lambda: two.stub.Prune(pb.PruneRequest(dangling=True), wait_for_ready=True))
                await asyncio.sleep(0.05)

        async def churn() -> None:
            for name in names:
                await one.pull(name)
            for name in names[:2]:
                await call(lambda name=name: one.stub.Remove(pb.RemoveRequest(image=name)))
                await one.pull(name)

        await asyncio.gather(prune(), churn())
        for image in await two.images():
            for layer in image.layers:
                size = 0
                async for piece in two.stub.FetchLayer(pb.FetchLayerRequest(diff_id=layer.diff_id)):
                    size += len(piece.chunk)
                assert size == layer.size
        for name in names:
            await call(lambda name=name: two.stub.Remove(pb.RemoveRequest(image=name)))
        assert await eventually(lambda: not shared.objects())


@pytest.mark.parametrize("shared", ["moto"], indirect=True)
async def test_a_killed_replica_leaves_nothing_that_others_trip_over(shared: Middle) -> None:
    shared.registry.push("test/noise:1", [archive(Member(b"noise", data=os.urandom(30 << 20))) for _ in range(2)])
    name = f"{REGISTRY}/test/noise:1"
    async with shared.replica(1, sweep_grace="0") as one, shared.replica(2, sweep_grace="0") as two:
        pulling = asyncio.ensure_future(one.pull(name))
        await eventually(shared.uploads)
        one.kill()
        await asyncio.wait({pulling})
        assert pulling.exception() is not None
        assert await two.images() == []
        texts, _ = await two.pull(name)
        assert "Pull complete" in texts
        assert len(await two.images()) == 1
        assert not [key for key in shared.objects() if "/taking/" in key]


@pytest.mark.parametrize("shared", ["rclone"], indirect=True)
async def test_a_loaded_image_comes_back_whole_through_the_store_itself(shared: Middle) -> None:
    """Without links: a node that cannot reach the bucket asks the store."""
    data = archive(Member(b"note", data=b"hello\n" * 1000))
    async with shared.replica(1, s3_links="off") as one, node(shared, 1, 1) as under_test:
        (loaded,) = await one.load(busybox.archive([busybox.layer(), data], ["test/loaded:1"]))
        under_test.image = loaded.image
        _, code, output = await under_test.run_to_end("wc", "-l", "/note")
        assert (code, b"1000 /note" in output) == (0, True)
        # As plain tars they came, compressed they are kept.
        sizes = shared.objects()
        assert sum(sizes.values()) < sum(layer.size for layer in loaded.image.layers) / 1.5


@pytest.mark.parametrize("shared", ["rclone"], indirect=True)
async def test_what_is_made_over_the_bucket_goes_out_again(shared: Middle) -> None:
    """Commit on a node, save by one replica and load by the other, push and pull back: no replica has a file of its own."""
    async with shared.replica(1) as one, shared.replica(2) as two, node(shared, 1, 1) as under_test:
        (loaded,) = await one.load(busybox.archive([busybox.layer()], ["test/base:1"]))
        under_test.image = loaded.image
        container, code, _ = await under_test.run_to_end("sh", "-c", "echo changed > /note")
        assert code == 0
        request = containers_pb2.CommitLayerRequest(container=container, holder="node1/commit")
        layer = (await call(lambda: under_test.containers.CommitLayer(request))).layer
        name = f"{REGISTRY}/test/made:1"
        made = (
            await call(
                lambda: two.stub.Commit(pb.CommitRequest(parent="test/base:1", diff_id=layer.diff_id, name=name, created_by="a test"))
            )
        ).image
        await call(lambda: two.stub.ReleaseLease(pb.ReleaseLeaseRequest(holder="node1/commit")))
        saved = b""
        async for piece in two.stub.Save(pb.SaveRequest(images=[name])):
            saved += piece.chunk
        pushed = [step.pushed async for step in one.stub.Push(pb.PushRequest(reference=name)) if step.HasField("pushed")]
        assert pushed[0].digest.startswith("sha256:")
        blobs = {key for key in shared.objects() if "/blobs/" in key}
        # All gone, all back: from the archive, then from the registry.
        for again in (lambda: one.load(saved), lambda: one.pull(name)):
            for removed in (name, "test/base:1"):
                with contextlib.suppress(NotFound):
                    await call(lambda removed=removed: two.stub.Remove(pb.RemoveRequest(image=removed, force=True)))
            await under_test.remove(container)
            await again()
            back = await fetched(two, name)
            assert (back.id, list(back.layers)) == (made.id, list(made.layers))
            under_test.image = back
            container, code, output = await under_test.run_to_end("cat", "/note")
            assert (code, b"changed" in output) == (0, True)
        assert blobs <= {key for key in shared.objects() if "/blobs/" in key}


def _peak(pid: int) -> int:
    """Returns the most memory that a process had, in KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


@pytest.mark.parametrize("shared", ["moto"], indirect=True)
async def test_a_pull_into_the_bucket_takes_little_memory(shared: Middle) -> None:
    shared.registry.push("test/big:1", [archive(Member(b"noise", data=os.urandom(40 << 20))) for _ in range(3)])
    async with shared.replica(1) as one:
        await one.images()
        await one.pull(f"{REGISTRY}/test/big:1")
        # 102 MB idle (clients of S3 and MongoDB take 45 of them), 143 while three layers come.
        assert _peak(one.process.pid) < 150 << 10
        one.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(one.process.wait, 20) == 0
