"""Archives: what is loaded and imported, what is refused, and that nothing is left of what was refused."""

import asyncio
import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from images.busybox import archive, layer
from integration.images_registry import Store, registry, store
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.core.rpc.channel import translated

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def busybox() -> bytes:
    return layer()


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[Store]:
    from integration.netns import namespace

    with namespace("img") as inside:
        async with store(inside, tmp_path) as one:
            yield one


def repacked(data: bytes, **changes: Any) -> bytes:
    """Copies an archive, replacing or dropping (None) entries by name, and adding others."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as source, tarfile.open(fileobj=out, mode="w") as target:
        for info in source:
            if info.name in changes:
                body = changes.pop(info.name)
                if body is None:
                    continue
            else:
                file = source.extractfile(info)
                body = file.read() if file else b""
            info.size = len(body)
            target.addfile(info, io.BytesIO(body))
        for name, body in changes.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            target.addfile(info, io.BytesIO(body))
    return out.getvalue()


def names_in(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
async def test_a_docker_archive_is_loaded(images: Store, busybox: bytes, pack: Any) -> None:
    loaded = await images.load(pack(archive([busybox], ["busybox:latest", "other/name:1"])))
    assert [list(one.names) for one in loaded] == [["busybox:latest", "other/name:1"]]
    assert sorted(loaded[0].image.repo_tags) == ["busybox:latest", "other/name:1"]


async def test_compressed_layers_in_an_archive_are_loaded(images: Store, busybox: bytes) -> None:
    data = archive([busybox], ["x:1"])
    name = next(name for name in names_in(data) if name.endswith("layer.tar"))
    loaded = await images.load(repacked(data, **{name: gzip.compress(busybox)}))
    assert sum(layer.size for layer in loaded[0].image.layers) == len(busybox)


async def test_an_oci_layout_made_by_skopeo_is_loaded(tmp_path: Path, busybox: bytes) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    with registry(folder) as server:
        server.push("busybox:latest", [busybox])
        target = tmp_path / "oci.tar"
        server.inside.run("skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false",
                          "docker://127.0.0.1:5000/busybox:latest", f"oci-archive:{target}:docker.io/library/oci:2")  # fmt: skip
        async with store(server.inside, tmp_path) as images:
            loaded = await images.load(target.read_bytes())
            assert [list(one.names) for one in loaded] == [["oci:2"]]
            assert loaded[0].image.layers[0].size == len(busybox)


async def test_layers_that_are_links_to_others_are_loaded(images: Store, busybox: bytes) -> None:
    data = archive([busybox], ["x:1"])
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as source, tarfile.open(fileobj=out, mode="w") as target:
        manifest = []
        for info in source:
            file = source.extractfile(info)
            assert file
            body = file.read()
            if info.name == "manifest.json":
                manifest = json.loads(body)
                continue
            target.addfile(info, io.BytesIO(body))
        link = tarfile.TarInfo("linked/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, f"../{manifest[0]['Layers'][0]}"
        target.addfile(link)
        manifest[0]["Layers"] = ["linked/layer.tar"]
        info = tarfile.TarInfo("manifest.json")
        body = json.dumps(manifest).encode()
        info.size = len(body)
        target.addfile(info, io.BytesIO(body))
    loaded = await images.load(out.getvalue())
    assert sum(layer.size for layer in loaded[0].image.layers) == len(busybox)


def hostile(busybox: bytes) -> dict[str, bytes]:
    good = archive([busybox], ["x:1"])
    config, blob, _ = names_in(good)
    entry = {"Config": config, "RepoTags": ["x:1"], "Layers": [blob]}

    def manifest(**more: Any) -> bytes:
        return repacked(good, **{"manifest.json": json.dumps([{**entry, **more}]).encode()})

    return {
        "nothing": b"",
        "no tar": b"x" * 10_000,
        "cut": good[: len(good) // 2],
        "cut gzip": gzip.compress(good)[:5000],
        "no manifest": repacked(good, **{"manifest.json": None}),
        "manifest is nonsense": repacked(good, **{"manifest.json": b"{"}),
        "manifest nests deep": repacked(good, **{"manifest.json": b"[" * 100_000}),
        "missing layer": manifest(Layers=["no/layer.tar"]),
        "missing config": manifest(Config="no.json"),
        "too few layers": manifest(Layers=[]),
        "another layer": repacked(good, **{blob: busybox + b"\0" * 512}),
        "escaping path": manifest(Config="../../../../etc/hostname"),
        "bad name": manifest(RepoTags=["Not/Allowed:1"]),
        "id as name": manifest(RepoTags=["a" * 64]),
        "config is a layer": manifest(Config=blob),
        "config is nonsense": repacked(good, **{config: b"{}"}),
        "link loop": loop(good, config),
        "huge header": huge(),
    }


def loop(good: bytes, config: str) -> bytes:
    out = io.BytesIO(repacked(good, **{config: None}))
    with tarfile.open(fileobj=out, mode="a") as tar:
        info = tarfile.TarInfo(config)
        info.type, info.linkname = tarfile.SYMTYPE, config
        tar.addfile(info)
    return out.getvalue()


def huge() -> bytes:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 8 << 30
    return info.tobuf() + b"x" * 100_000


async def test_hostile_archives_are_refused_and_leave_nothing(images: Store, busybox: bytes) -> None:
    table = hostile(busybox)
    assert len(table) >= 18
    for name, data in table.items():
        try:
            loaded = await images.load(data)
        except grpc.aio.AioRpcError as error:
            assert isinstance(translated(error), InvalidArgument), (name, error)
        else:
            raise AssertionError(f"{name} was loaded: {loaded}")
        assert await images.images() == [], name
        assert not any(len(one) == 32 for one in images.files()), name
    # What a refused archive brought goes with the next collection.
    await images.stub.Prune(pb.PruneRequest())
    assert images.files() == []


async def import_(images: Store, data: bytes, **header: Any) -> pb.Image:
    async def parts() -> AsyncIterator[pb.ImportRequest]:
        yield pb.ImportRequest(header=pb.ImportHeader(**header))
        for start in range(0, len(data), 1 << 20):
            yield pb.ImportRequest(chunk=data[start : start + (1 << 20)])

    return [step.image async for step in images.stub.Import(parts(), wait_for_ready=True)][-1]


async def test_import_makes_an_image_with_changes(images: Store, busybox: bytes) -> None:
    image = await import_(
        images, gzip.compress(busybox), name="imp:1", message="hello", changes=["ENV DEBUG=true", 'CMD ["sh"]', "EXPOSE 8080"]
    )
    assert list(image.repo_tags) == ["imp:1"]
    assert (list(image.config.env), list(image.config.cmd.values), list(image.config.exposed_ports)) == (
        ["DEBUG=true"],
        ["sh"],
        ["8080/tcp"],
    )
    assert json.loads(image.config_json)["comment"] == "hello"
    assert image.layers[0].size == len(busybox)


async def test_a_bad_change_is_refused_before_anything_is_stored(images: Store, busybox: bytes) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await import_(images, busybox, changes=["RUN rm"])
    assert isinstance(translated(caught.value), InvalidArgument)
    assert images.files() == []


async def test_events_tell_what_happened(images: Store, busybox: bytes) -> None:
    await images.load(archive([busybox], ["x:1"]))
    await images.stub.Tag(pb.TagRequest(image="x:1", target="y"))
    await images.stub.Remove(pb.RemoveRequest(image="x:1"))
    await images.stub.Remove(pb.RemoveRequest(image="y"))
    seen = []
    request = pb.SubscribeRequest()
    request.subscription.since_ns = 1
    async for answer in images.stub.Subscribe(request):
        if answer.item.HasField("live"):
            break
        seen.append(answer.item.event.action)
    assert seen == ["load", "tag", "untag", "untag", "delete"]


async def test_removing_follows_dockers_rules(images: Store, busybox: bytes) -> None:
    loaded = await images.load(archive([busybox], ["x:1", "y:1"]))
    image_id = loaded[0].image.id

    async def refused(**request: Any) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await images.stub.Remove(pb.RemoveRequest(**request))
        return caught.value.details() or ""

    assert await refused(image=image_id) == (
        f"conflict: unable to delete {image_id[7:19]} (must be forced) - image is referenced in multiple repositories"
    )
    await images.stub.AcquireLease(pb.AcquireLeaseRequest(image="x:1", holder="node/" + "c" * 64))
    removed = await images.stub.Remove(pb.RemoveRequest(image="x:1"))
    assert [one.untagged for one in removed.removals] == ["x:1"]
    assert await refused(image="y:1") == (
        'conflict: unable to remove repository reference "y:1" (must force) - container cccccccccccc is using its referenced image '
        + image_id[7:19]
    )
    assert await refused(image=image_id) == (
        f"conflict: unable to delete {image_id[7:19]} (must be forced) - image is being used by stopped container cccccccccccc"
    )
    assert await refused(image=image_id, force=True, running_holders=["node/" + "c" * 64]) == (
        f"conflict: unable to delete {image_id[7:19]} (cannot be forced) - image is being used by running container cccccccccccc"
    )
    removed = await images.stub.Remove(pb.RemoveRequest(image="y:1", force=True))
    assert [one.untagged for one in removed.removals] == ["y:1"]
    assert len(await images.images()) == 1
    await images.stub.ReleaseLease(pb.ReleaseLeaseRequest(holder="node/" + "c" * 64))
    pruned = await images.stub.Prune(pb.PruneRequest(dangling=True))
    assert pruned.removals[0].deleted == image_id
    assert pruned.space_reclaimed >= len(busybox)
    assert images.files() == []


async def test_a_client_that_vanishes_in_the_middle_of_a_load_leaves_nothing(images: Store, busybox: bytes) -> None:
    data = archive([busybox], ["x:1"])

    async def half() -> AsyncIterator[pb.LoadRequest]:
        yield pb.LoadRequest(chunk=data[: len(data) // 2])
        await asyncio.sleep(30)

    call = images.stub.Load(half(), wait_for_ready=True)
    await asyncio.sleep(0.5)
    call.cancel()
    for _ in range(100):
        await asyncio.sleep(0.05)
        if not images.files():
            break
    assert images.files() == []
    assert len(await images.load(data)) == 1


async def test_uploads_that_stall_hold_up_nobody_and_are_given_up(tmp_path: Path, busybox: bytes) -> None:
    from integration.netns import namespace

    data = archive([busybox], ["x:1"])

    async def stalled() -> AsyncIterator[pb.LoadRequest]:
        yield pb.LoadRequest(chunk=data[:100_000])
        await asyncio.sleep(60)

    with namespace("img") as inside:
        async with store(inside, tmp_path, upload_idle="4") as images:
            await images.images()
            calls = [images.stub.Load(stalled()) for _ in range(40)]
            reading = [asyncio.ensure_future(call.read()) for call in calls]
            await asyncio.sleep(0.5)
            async with asyncio.timeout(3):
                loaded = await images.load(data)
                assert await images.stub.FetchLayer(pb.FetchLayerRequest(diff_id=loaded[0].image.layers[0].diff_id)).read()
            outcomes = await asyncio.gather(*reading, return_exceptions=True)
            assert {str(translated(one)) for one in outcomes if isinstance(one, grpc.aio.AioRpcError)} == {"nothing came for 4 s"}
            assert len(outcomes) == 40


async def test_a_hostile_configuration_never_spoils_the_list(images: Store, busybox: bytes) -> None:
    await images.load(archive([busybox], ["good:1"]))
    for config in ({"Labels": {str(number): "" for number in range(500_000)}}, {"User": "x" * (7 << 20)}, {"Env": [7]}):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await images.load(archive([busybox], ["bad:1"], config))
        assert isinstance(translated(caught.value), InvalidArgument)
    assert [list(one.repo_tags) for one in await images.images()] == [["good:1"]]


async def test_an_empty_layer_among_oci_blobs_is_a_layer(images: Store, busybox: bytes) -> None:
    # As newer engines save: layers lie at blobs/sha256/<hex>, and one without files is two blocks of zeros.
    data = archive([busybox, b"\0" * 1024], ["x:1"])
    names = [name for name in names_in(data) if name.endswith("/layer.tar")]
    entry = {"Config": names_in(data)[0], "RepoTags": ["x:1"], "Layers": [f"blobs/sha256/{name.partition('/')[0]}" for name in names]}
    moved = repacked(data, **{names[0]: None, names[1]: None, "manifest.json": json.dumps([entry]).encode(),
                              entry["Layers"][0]: busybox, entry["Layers"][1]: b"\0" * 1024})  # fmt: skip
    loaded = await images.load(moved)
    assert [one.size for one in loaded[0].image.layers] == [len(busybox), 1024]


async def test_an_import_that_is_no_tar_is_refused(images: Store) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await import_(images, b"x" * 5000)
    assert "archive/tar: invalid tar header" in str(translated(caught.value))
    assert images.files() == []


async def test_an_offset_behind_the_end_is_refused(images: Store, busybox: bytes) -> None:
    diff_id = (await images.load(archive([busybox], ["x:1"])))[0].image.layers[0].diff_id
    for offset in (len(busybox) + 1, 2**64 - 1):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await images.stub.FetchLayer(pb.FetchLayerRequest(diff_id=diff_id, offset=offset)).read()
        assert isinstance(translated(caught.value), InvalidArgument)


async def test_a_lease_that_was_given_is_of_an_image_that_is_there(images: Store, busybox: bytes) -> None:
    data = archive([busybox], ["x:1"])
    given = 0
    for number in range(15):
        image_id = (await images.load(data))[0].image.id
        holder = f"node/{number}"
        lease, _ = await asyncio.gather(
            images.stub.AcquireLease(pb.AcquireLeaseRequest(image="x:1", holder=holder)),
            images.stub.Remove(pb.RemoveRequest(image="x:1")),
            return_exceptions=True,
        )
        if not isinstance(lease, BaseException):
            given += 1
            assert lease.image.id == image_id
            assert (await images.stub.Get(pb.GetRequest(image=image_id))).image.leases == 1
            path = images.root / "images" / "blobs" / "sha256" / lease.image.layers[0].diff_id[7:]
            assert path.stat().st_size == len(busybox)
        await images.stub.ReleaseLease(pb.ReleaseLeaseRequest(holder=holder))
    assert given


async def test_a_second_store_on_the_same_directory_is_kept_out(tmp_path: Path) -> None:
    from skerry.core.errors import Failed
    from skerry.images.blobs.files import exclusively

    async with exclusively(str(tmp_path)):
        with pytest.raises(Failed, match="another image store uses"):
            async with exclusively(str(tmp_path), 0.2):
                raise AssertionError("two at once")
    async with exclusively(str(tmp_path), 0.2):
        pass


async def test_a_store_killed_in_a_load_leaves_nothing_half(tmp_path: Path, busybox: bytes) -> None:
    from integration.netns import namespace

    data = archive([busybox, busybox + b"\0" * (30 << 20)], ["x:1"])
    with namespace("img") as inside:
        async with store(inside, tmp_path) as images:
            await images.images()
            loading = asyncio.ensure_future(images.load(data))
            while not images.files():
                await asyncio.sleep(0.01)
            images.kill()
            with pytest.raises(grpc.aio.AioRpcError):
                await loading
        async with store(inside, tmp_path) as images:
            assert await images.images() == []
            assert len(await images.load(data)) == 1
            assert not any(len(name) == 32 for name in images.files())
