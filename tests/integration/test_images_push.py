"""Pushing to real registries: what is sent, what is not, under which digest it arrives."""

import asyncio
import gzip
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from images.busybox import archive
from integration.images_fake import digest_of, fake_registry
from integration.images_registry import REGISTRY, Registry, Store, registry, store
from integration.images_secured import docker_registry, narrow
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, NotFound
from skerry.core.rpc.channel import translated

pytestmark = pytest.mark.root


def tar_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


LAYERS = [tar_of(base=b"base" * 20_000), tar_of(top=os.urandom(1000) * 300)]
ARCHITECTURES = ("arm64", "amd64")
SHORT = [digest_of(one)[7:19] for one in LAYERS]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("reg")) as one:
        yield one


@pytest.fixture
async def images(shared: Registry, tmp_path: Path) -> AsyncIterator[Store]:
    async with store(shared.inside, tmp_path) as one:
        await one.images()
        yield one


async def push(images: Store, name: str, **more: Any) -> tuple[list[str], list[pb.Pushed]]:
    """Pushes; returns the texts ("id: status") without those that count bytes, and what arrived."""
    texts, pushed = [], []
    async for step in images.stub.Push(pb.PushRequest(reference=name, **more), wait_for_ready=True, timeout=60):
        if step.HasField("pushed"):
            pushed.append(step.pushed)
        elif not step.progress.current:
            texts.append(f"{step.progress.id}: {step.progress.status}" if step.progress.id else step.progress.status)
    return texts, pushed


async def refused(images: Store, name: str, **more: Any) -> Exception:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await push(images, name, **more)
    return translated(caught.value)


def raw(shared: Registry, name: str, tag: str, address: str = REGISTRY) -> bytes:
    accept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
    return shared.inside.run("curl", "-s", "-H", f"Accept: {accept}", f"http://{address}/v2/{name}/manifests/{tag}").encode()


async def test_a_push_arrives_and_is_the_same_elsewhere(images: Store, shared: Registry, tmp_path: Path) -> None:
    name = f"{REGISTRY}/first/image:1"
    await images.load(archive(LAYERS, [name]))
    texts, (pushed,) = await push(images, name)
    assert texts[0] == f"The push refers to repository [{REGISTRY}/first/image]"
    assert texts[1:3] == [f"{SHORT[1]}: Preparing", f"{SHORT[0]}: Preparing"]
    assert sorted(texts[3:5]) == sorted(f"{one}: Pushed" for one in SHORT)
    assert texts[5:] == [f"1: digest: {pushed.digest} size: {pushed.size}"]
    body = raw(shared, "first/image", "1")
    assert (digest_of(body), len(body), pushed.tag) == (pushed.digest, pushed.size, "1")
    assert (
        shared.inside.run("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{name}").strip() == pushed.digest
    )
    (tmp_path / "other").mkdir()
    async with store(shared.inside, tmp_path / "other") as other:
        _, pulled = await other.pull(name)
    mine = (await images.images())[0]
    assert (pulled.id, pulled.config_json) == (mine.id, mine.config_json)
    assert list(pulled.repo_digests) == list(mine.repo_digests) == [f"{REGISTRY}/first/image@{pushed.digest}"]


async def test_the_manifest_is_written_as_docker_writes_it(images: Store, shared: Registry) -> None:
    name = f"{REGISTRY}/written:1"
    await images.load(archive(LAYERS[:1], [name]))
    await push(images, name)
    document = json.loads(raw(shared, "written", "1"))
    config, layer = document["config"], document["layers"][0]
    expected = f'''{{
   "schemaVersion": 2,
   "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
   "config": {{
      "mediaType": "application/vnd.docker.container.image.v1+json",
      "size": {config["size"]},
      "digest": "{config["digest"]}"
   }},
   "layers": [
      {{
         "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
         "size": {layer["size"]},
         "digest": "{layer["digest"]}"
      }}
   ]
}}'''
    assert raw(shared, "written", "1").decode() == expected
    blob = subprocess.run(
        shared.inside.argv("curl", "-sL", f"http://{REGISTRY}/v2/written/blobs/{layer['digest']}"), capture_output=True, check=True
    ).stdout
    assert (len(blob), digest_of(blob), gzip.decompress(blob)) == (layer["size"], layer["digest"], LAYERS[0])


async def test_the_second_push_sends_nothing_and_another_repository_mounts(images: Store, shared: Registry) -> None:
    one, two = f"{REGISTRY}/again:1", f"{REGISTRY}/deep/er/again:1"
    await images.load(archive(LAYERS, [one, two]))
    _, (first,) = await push(images, one)
    texts, (second,) = await push(images, one)
    assert sorted(texts[3:5]) == sorted(f"{name}: Layer already exists" for name in SHORT)
    assert second == first
    texts, (third,) = await push(images, two)
    assert sorted(texts[3:5]) == sorted(f"{name}: Mounted from again" for name in SHORT)
    assert third.digest == first.digest
    digests = {f"{REGISTRY}/again@{first.digest}", f"{REGISTRY}/deep/er/again@{first.digest}"}
    assert digests <= set((await images.images())[0].repo_digests)


async def test_what_a_pull_saw_is_mounted_too(images: Store, shared: Registry) -> None:
    shared.push("seen/base:1", LAYERS)
    await images.pull(f"{REGISTRY}/seen/base:1")
    await images.stub.Tag(pb.TagRequest(image=f"{REGISTRY}/seen/base:1", target=f"{REGISTRY}/seen/copy:1"))
    texts, _ = await push(images, f"{REGISTRY}/seen/copy:1")
    assert sorted(texts[3:5]) == sorted(f"{name}: Mounted from seen/base" for name in SHORT)


async def test_of_a_list_the_pulled_manifest_goes_on_and_plain_layers_stay_plain(images: Store, shared: Registry) -> None:
    with fake_registry(shared.inside) as fake:
        parts = {name: fake.add(name, LAYERS, architecture=name, compress=gzip.compress) for name in ARCHITECTURES}
        fake.index("list", parts)
        plain = fake.add("plain", [tar_of(only=b"here")])
        for tag, expected in (("list", parts["arm64"]), ("plain", plain)):
            await images.pull(f"{fake.address}/x:{tag}", platform="linux/arm64")
            name = f"{REGISTRY}/from/{tag}:1"
            await images.stub.Tag(pb.TagRequest(image=f"{fake.address}/x:{tag}", target=name))
            texts, (pushed,) = await push(images, name)
            assert pushed.digest == expected == digest_of(raw(shared, f"from/{tag}", "1"))
            assert any(text.endswith(": Pushed") for text in texts)


async def test_each_platform_of_a_list_is_pushed_as_the_manifest_that_it_came_with(images: Store, shared: Registry) -> None:
    """A name is one image: after pulls for two platforms it is the last one's, and that goes out; the other has its own name."""
    with fake_registry(shared.inside) as fake:
        parts = {
            name: fake.add(name, [LAYERS[0], tar_of(a=name.encode())], architecture=name, compress=gzip.compress) for name in ARCHITECTURES
        }
        fake.index("list", parts)
        source = f"{fake.address}/x:list"
        for number, architecture in enumerate(ARCHITECTURES):
            await images.pull(source, platform=f"linux/{architecture}")
            await images.stub.Tag(pb.TagRequest(image=source, target=f"{REGISTRY}/both:{architecture}"))
            await images.stub.Tag(pb.TagRequest(image=source, target=f"{REGISTRY}/both:last"))
            texts, (pushed,) = await push(images, f"{REGISTRY}/both:last")
            assert pushed.digest == parts[architecture] == digest_of(raw(shared, "both", "last"))
            # What both have is sent once.
            assert sum(text.endswith(": Pushed") for text in texts) == (1 if number else 2)
        _, arrived = await push(images, f"{REGISTRY}/both", all_tags=True)
        assert {one.tag: one.digest for one in arrived} == {**parts, "last": parts[ARCHITECTURES[-1]]}


async def test_a_manifest_that_lies_about_layers_is_not_pushed_elsewhere(images: Store, shared: Registry) -> None:
    """Whoever pulls an image whose layers are here already has not seen what the manifest calls them."""
    url = f"http://{REGISTRY}/v2/attack"
    shared.push("attack/good:1", LAYERS[:1])
    shared.push("attack/evil:0", [tar_of(evil=b"evil")])
    good, evil = (json.loads(raw(shared, *name)) for name in (("attack/good", "1"), ("attack/evil", "0")))
    shared.inside.run("curl", "-fsX", "POST", f"{url}/evil/blobs/uploads/?mount={good['config']['digest']}&from=attack/good")
    lie = json.dumps({**good, "layers": evil["layers"]})
    shared.inside.run("curl", "-fsX", "PUT", "-H", f"Content-Type: {good['mediaType']}", "--data-binary", lie, f"{url}/evil/manifests/1")
    await images.load(archive(LAYERS[:1], ["mine:1"]))
    _, image = await images.pull(f"{REGISTRY}/attack/evil:1")
    assert (image.id, len(await images.images())) == (good["config"]["digest"], 1)
    await images.stub.Tag(pb.TagRequest(image="mine:1", target=f"{REGISTRY}/attack/victim:1"))
    await push(images, f"{REGISTRY}/attack/victim:1")
    (layer,) = json.loads(raw(shared, "attack/victim", "1"))["layers"]
    sent = subprocess.run(
        shared.inside.argv("curl", "-fs", f"{url}/victim/blobs/{layer['digest']}"), capture_output=True, check=True
    ).stdout
    assert gzip.decompress(sent) == LAYERS[0]


@pytest.mark.parametrize(
    ("keep", "options"),
    [
        ("always", ["--format", "v2s2"]),
        ("always", ["--format", "oci"]),
        ("always", ["--format", "oci", "--dest-compress-format", "zstd"]),
        ("never", ["--format", "oci", "--dest-compress-format", "zstd"]),
        ("pushed", ["--format", "v2s2"]),
    ],
)
async def test_a_pulled_image_keeps_its_digest(shared: Registry, tmp_path: Path, keep: str, options: list[str]) -> None:
    source, copy = f"kept/{options[-1]}/{keep}:1", f"{REGISTRY}/kept/{options[-1]}/{keep}-copy:1"
    shared.push(source, LAYERS, *options)
    expected = digest_of(raw(shared, source[:-2], "1"))
    async with store(shared.inside, tmp_path, keep_compressed=keep) as images:
        _, image = await images.pull(f"{REGISTRY}/{source}")
        assert list(image.repo_digests) == [f"{REGISTRY}/{source[:-2]}@{expected}"]
        for target in (f"{REGISTRY}/{source}", copy):
            await images.stub.Tag(pb.TagRequest(image=f"{REGISTRY}/{source}", target=target))
            _, (pushed,) = await push(images, target)
            assert pushed.digest == expected
    assert digest_of(raw(shared, copy.removeprefix(f"{REGISTRY}/")[:-2], "1")) == expected


async def test_layers_are_compressed_once_and_remembered_over_a_restart(shared: Registry, tmp_path: Path) -> None:
    name = f"{REGISTRY}/once:1"
    async with store(shared.inside, tmp_path) as images:
        await images.load(archive(LAYERS, [name]))
        before = set(images.files())
        _, (pushed,) = await push(images, name)
        made = set(images.files()) - before - {pushed.digest[7:]}
        assert len(made) == 2
    folder = tmp_path / "root/images/blobs/sha256"
    times = {one: (folder / one).stat().st_mtime_ns for one in made}
    async with store(shared.inside, tmp_path) as images:
        await images.images()
        await images.stub.Tag(pb.TagRequest(image=name, target="127.0.0.1:5003/once:1"))
        with docker_registry(shared.inside, tmp_path, 5003):
            texts, (again,) = await push(images, "127.0.0.1:5003/once:1")
        assert sorted(texts[3:5]) == sorted(f"{one}: Pushed" for one in SHORT)
        assert again.digest == pushed.digest
        await images.stub.Prune(pb.PruneRequest(dangling=True))
        assert {one: (folder / one).stat().st_mtime_ns for one in made} == times
        await images.stub.Prune(pb.PruneRequest())
        assert images.files() == []


async def test_a_lost_compressed_layer_is_made_again(images: Store, shared: Registry, tmp_path: Path) -> None:
    layer = tar_of(x=os.urandom(1000) * 50)
    name, copy = f"{REGISTRY}/lost:1", "127.0.0.1:5004/lost:1"
    await images.load(archive([layer], [name, copy]))
    _, (pushed,) = await push(images, name)
    compressed = json.loads(raw(shared, "lost", "1"))["layers"][0]["digest"]
    (images.root / "images/blobs/sha256" / compressed[7:]).unlink()
    findings = [step.finding.text async for step in images.stub.Check(pb.CheckRequest()) if step.HasField("finding")]
    assert findings == []
    with docker_registry(shared.inside, tmp_path, 5004):
        texts, (again,) = await push(images, copy)
    assert f"{digest_of(layer)[7:19]}: Pushed" in texts
    assert again.digest == pushed.digest


async def test_compressed_layers_do_not_stay_when_they_are_not_wanted(shared: Registry, tmp_path: Path) -> None:
    name = f"{REGISTRY}/never:1"
    async with store(shared.inside, tmp_path, keep_compressed="never") as images:
        await images.load(archive(LAYERS, [name]))
        before = set(images.files())
        _, (first,) = await push(images, name)
        for _ in range(100):
            if len(set(images.files()) - before) == 1:
                break
            await asyncio.sleep(0.05)
        assert set(images.files()) - before == {first.digest[7:]}, "only the manifest"
        texts, (second,) = await push(images, name)
        assert "Layer already exists" in texts[3]
        assert second.digest == first.digest


async def test_an_image_on_a_pulled_base_sends_its_own_layer_only(images: Store, shared: Registry) -> None:
    shared.push("parent/base:1", LAYERS[:1])
    await images.pull(f"{REGISTRY}/parent/base:1")
    name = f"{REGISTRY}/child:1"
    await images.load(archive([LAYERS[0], tar_of(mine=b"mine")], [name]))
    texts, _ = await push(images, name)
    assert f"{SHORT[0]}: Mounted from parent/base" in texts or f"{SHORT[0]}: Mounted from seen/base" in texts
    base, child = (json.loads(raw(shared, one, "1"))["layers"] for one in ("parent/base", "child"))
    assert child[0]["digest"] == base[0]["digest"]


async def test_all_tags_are_one_push_with_one_event(images: Store, shared: Registry) -> None:
    for tag in ("b", "a"):
        await images.load(archive([tar_of(x=tag.encode())], [f"{REGISTRY}/tags:{tag}"]))
    texts, pushed = await push(images, f"{REGISTRY}/tags", all_tags=True)
    assert [one.tag for one in pushed] == ["a", "b"]
    assert [text.partition(":")[0] for text in texts if ": digest: " in text] == ["a", "b"]
    assert sorted(json.loads(shared.inside.run("curl", "-s", f"http://{REGISTRY}/v2/tags/tags/list"))["tags"]) == ["a", "b"]
    request, seen = pb.SubscribeRequest(), []
    request.subscription.since_ns = 1
    async for answer in images.stub.Subscribe(request):
        if answer.item.HasField("live"):
            break
        seen.append(answer.item.event)
    said = [(one.actor_id, dict(one.attributes)) for one in seen if one.action == "push"]
    assert said == [(f"{REGISTRY}/tags", {"name": f"{REGISTRY}/tags"})]


async def test_what_cannot_be_pushed_is_told_in_dockers_words(images: Store) -> None:
    await images.load(archive(LAYERS[:1], [f"{REGISTRY}/known:1", "127.0.0.1:9/known:1"]))
    cases = [
        (f"{REGISTRY}/unknown:1", NotFound(f"An image does not exist locally with the tag: {REGISTRY}/unknown")),
        ("unknown", NotFound("An image does not exist locally with the tag: unknown")),
        (f"{REGISTRY}/known:2", NotFound(f"tag does not exist: {REGISTRY}/known:2")),
        (f"{REGISTRY}/known@{digest_of(b'')}", Failed("cannot push a digest reference")),
        ("127.0.0.1:9/known:1", Failed('Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused')),
    ]
    for name, expected in cases:
        assert repr(await refused(images, name)) == repr(expected)


async def test_a_damaged_layer_is_not_pushed(images: Store) -> None:
    name = f"{REGISTRY}/damaged:1"
    layer = tar_of(x=os.urandom(2000))
    await images.load(archive([layer], [name]))
    path = images.root / "images/blobs/sha256" / digest_of(layer)[7:]
    path.write_bytes(layer[:-10] + b"x" * 10)
    error = await refused(images, name)
    assert repr(error) == repr(Failed(f"filesystem layer verification failed for digest {digest_of(layer)}"))


async def test_more_layers_than_slots_wait_and_twins_are_sent_once(images: Store) -> None:
    layers = [tar_of(x=os.urandom(200_000)) for _ in range(12)]
    name = f"{REGISTRY}/many:1"
    await images.load(archive([*layers, layers[0]], [name]))
    texts, _ = await push(images, name)
    assert sum(text.endswith(": Pushed") for text in texts) == 12
    assert sum(text.endswith(": Preparing") for text in texts) == 13
    assert 1 <= sum(text.endswith(": Waiting") for text in texts) <= 7
    # Elsewhere it is whole.
    _, again = await images.pull(name)
    assert len(again.layers) == 13


async def test_two_pushes_at_once_send_each_layer_once(images: Store, shared: Registry) -> None:
    layers = [tar_of(x=os.urandom(3_000_000)) for _ in range(2)]
    names = [f"{REGISTRY}/twice:{tag}" for tag in "ab"]
    await images.load(archive(layers, names))
    (one, (first,)), (two, (second,)) = await asyncio.gather(*(push(images, name) for name in names))
    assert first.digest == second.digest
    assert sum(text.endswith(": Pushed") for text in one + two) == 2
    assert sum(text.endswith(": Layer already exists") for text in one + two) == 2


async def test_a_push_given_up_leaves_nothing_and_the_next_one_works(images: Store) -> None:
    layer = tar_of(x=os.urandom(40_000_000))
    name = f"{REGISTRY}/given/up:1"
    await images.load(archive([layer], [name]))
    before = images.files()
    call = images.stub.Push(pb.PushRequest(reference=name), wait_for_ready=True)
    async for step in call:
        if step.progress.status == "Preparing":
            break
    call.cancel()
    for _ in range(200):
        if images.files() == before:
            break
        await asyncio.sleep(0.05)
    left = set(images.files()) - set(before)
    assert len(left) <= 1 and all(re.fullmatch("[0-9a-f]{64}", one) for one in left), "at most the finished compressed layer"
    texts, _ = await push(images, name)
    assert f"{digest_of(layer)[7:19]}: Pushed" in texts


async def test_an_image_removed_during_its_push_arrives_and_stays_removed(images: Store) -> None:
    layer = tar_of(x=os.urandom(30_000_000))
    name = f"{REGISTRY}/removed:1"
    await images.load(archive([layer], [name]))
    pushed = pb.Pushed()
    async for step in images.stub.Push(pb.PushRequest(reference=name), wait_for_ready=True, timeout=60):
        if step.progress.status == "Preparing":
            await images.stub.Remove(pb.RemoveRequest(image=name))
        if step.HasField("pushed"):
            pushed = step.pushed
    assert pushed.tag == "1"
    assert await images.images() == []
    for _ in range(100):
        if not images.files():
            break
        await asyncio.sleep(0.05)
    assert images.files() == []
    _, again = await images.pull(name)
    assert list(again.repo_digests) == [f"{REGISTRY}/removed@{pushed.digest}"]


async def test_a_store_killed_during_a_push_goes_on_afterwards(shared: Registry, tmp_path: Path) -> None:
    layer = tar_of(x=os.urandom(60_000_000))
    name = f"{REGISTRY}/killed:1"
    async with store(shared.inside, tmp_path) as images:
        await images.load(archive([layer], [name]))
        before = images.files()
        call = images.stub.Push(pb.PushRequest(reference=name), wait_for_ready=True)
        async for step in call:
            if step.progress.status == "Preparing":
                break
        await asyncio.sleep(0.1)
        images.kill()
        call.cancel()
    async with store(shared.inside, tmp_path) as images:
        await images.images()
        await images.stub.Prune(pb.PruneRequest(dangling=True))
        assert images.files() == before
        _, (pushed,) = await push(images, name)
        assert digest_of(raw(shared, "killed", "1")) == pushed.digest


async def test_what_is_too_large_for_one_request_goes_in_pieces(images: Store, shared: Registry) -> None:
    layer = tar_of(x=os.urandom(5_500_000))
    with narrow(shared.inside, REGISTRY) as address:
        name = f"{address}/pieces:1"
        await images.load(archive([layer], [name]))
        texts, (pushed,) = await push(images, name)
    assert f"{digest_of(layer)[7:19]}: Pushed" in texts
    assert not any("Retrying" in text for text in texts)
    assert digest_of(raw(shared, "pieces", "1")) == pushed.digest
