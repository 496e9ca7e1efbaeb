"""Registries that answer in all the ways registries do: lists, tokens, redirects, refusals, overload, slowness."""

import asyncio
import base64
import gzip
import io
import json
import os
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from integration.images_fake import FakeRegistry, digest_of, fake_registry
from integration.images_registry import Store, store
from integration.netns import Namespace, namespace
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


@pytest.fixture
def inside() -> Any:
    with namespace("img") as one:
        yield one


@pytest.fixture
def fake(inside: Namespace) -> Any:
    with fake_registry(inside) as one:
        yield one


@pytest.fixture
async def images(inside: Namespace, fake: FakeRegistry, tmp_path: Path) -> AsyncIterator[Store]:
    async with store(inside, tmp_path) as one:
        await one.images()
        yield one


async def refused(images: Store, name: str, **more: Any) -> Exception:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await images.pull(name, **more)
    return translated(caught.value)


async def until(condition: Any, what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def events(images: Store) -> list[Any]:
    request, seen = pb.SubscribeRequest(), []
    request.subscription.since_ns = 1
    async for answer in images.stub.Subscribe(request):
        if answer.item.HasField("live"):
            break
        seen.append(answer.item.event)
    return seen


async def test_a_list_gives_the_platform_and_its_documents_stay(images: Store, fake: FakeRegistry) -> None:
    parts = {name: fake.add(name, [tar_of(x=name.encode())], architecture=name) for name in ("arm64", "amd64")}
    top = fake.index("1", parts)
    _, image = await images.pull(f"{fake.address}/x:1", platform="linux/arm64")
    assert (image.architecture, list(image.repo_digests)) == ("arm64", [f"{fake.address}/x@{top}"])
    error = await refused(images, f"{fake.address}/x:1", platform="linux/s390x")
    assert repr(error) == repr(Failed("no matching manifest for linux/s390x in the manifest list entries"))
    await images.stub.Prune(pb.PruneRequest(dangling=True))
    assert {top[7:], parts["arm64"][7:]} <= set(images.files())
    _, again = await images.pull(f"{fake.address}/x@{top}", platform="linux/arm64")
    assert again.id == image.id
    await images.stub.Prune(pb.PruneRequest())
    assert images.files() == []


async def test_a_tag_beside_a_digest_is_not_looked_at(images: Store, fake: FakeRegistry) -> None:
    digest = fake.add("1", [tar_of(x=b"x")])
    texts, image = await images.pull(f"{fake.address}/x:other@{digest}")
    assert (list(image.repo_tags), list(image.repo_digests)) == ([], [f"{fake.address}/x@{digest}"])
    assert texts[-1] == f"Status: Downloaded newer image for {fake.address}/x@{digest}"


async def test_all_tags_are_one_pull_with_one_event(images: Store, fake: FakeRegistry) -> None:
    for tag in ("a", "b", "c"):
        fake.add(tag, [tar_of(x=tag.encode())])

    def pages(handler: Any) -> bool:
        if "/tags/list" not in handler.path:
            return False
        second = "last=b" in handler.path
        link = {} if second else {"Link": f'<{handler.path}&last=b>; rel="next"'}
        handler.answer(json.dumps({"name": "x", "tags": ["c"] if second else ["a", "b"]}).encode(), "application/json", **link)
        return True

    fake.before = pages
    texts, _ = await images.pull(f"{fake.address}/x", all_tags=True)
    assert sorted(one.repo_tags[0] for one in await images.images()) == [f"{fake.address}/x:{tag}" for tag in "abc"]
    assert texts[-1] == f"Status: Downloaded newer image for {fake.address}/x"
    assert [(one.action, one.actor_id, dict(one.attributes)) for one in await events(images)] == [
        ("pull", f"{fake.address}/x", {"name": f"{fake.address}/x"})
    ]


async def test_a_token_is_fetched_and_stays_with_its_registry_at_a_redirect(images: Store, fake: FakeRegistry, inside: Namespace) -> None:
    layer = gzip.compress(tar_of(x=b"x" * 1000))
    fake.add("1", [gzip.decompress(layer)], compress=lambda data: layer)
    with fake_registry(inside) as storage:
        storage.blobs = fake.blobs

        def guard(handler: Any) -> bool:
            if handler.path.startswith("/token"):
                handler.answer(b'{"token":"secret"}', "application/json")
            elif handler.headers.get("Authorization") != "Bearer secret":
                challenge = f'Bearer realm="http://{fake.address}/token",service="fake",scope="repository:x/y:pull"'
                handler.answer(b"{}", status=401, WWW_Authenticate=challenge)
            elif "/blobs/" in handler.path:
                handler.answer(b"", status=307, Location=f"http://{storage.address}{handler.path}")
            else:
                return False
            return True

        fake.before = guard
        _, image = await images.pull(f"{fake.address}/x/y:1")
        assert image.layers[0].size == len(gzip.decompress(layer))
        assert storage.asked_for("/blobs/") == 2
        assert not any("Authorization" in headers for _, headers in storage.requests)
        assert [path for path, _ in fake.requests if path.startswith("/token")] == ["/token?scope=repository%3Ax%2Fy%3Apull&service=fake"]


async def test_a_registry_that_wants_a_password(images: Store, fake: FakeRegistry) -> None:
    fake.add("1", [tar_of(x=b"x")])
    right = "Basic " + base64.b64encode(b"user:pass").decode()

    def guard(handler: Any) -> bool:
        if handler.headers.get("Authorization") == right:
            return False
        body = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
        handler.answer(body, "application/json", status=401, WWW_Authenticate='Basic realm="x"')
        return True

    fake.before = guard
    name = f"{fake.address}/x:1"
    url = f"http://{fake.address}/v2/x/manifests/1"
    assert repr(await refused(images, name)) == repr(Failed(f'Head "{url}": no basic auth credentials'))
    wrong = pb.RegistryAuth(username="user", password="wrong")
    assert repr(await refused(images, name, auth=wrong)) == repr(Failed("unauthorized: authentication required"))
    _, image = await images.pull(name, auth=pb.RegistryAuth(username="user", password="pass"))
    assert list(image.repo_tags) == [name]


@pytest.mark.parametrize(
    ("code", "message", "text"),
    [
        ("DENIED", "requested access to the resource is denied",
         "pull access denied for {name}, repository does not exist or may require 'docker login': "
         "denied: requested access to the resource is denied"),
        ("NAME_UNKNOWN", "repository name not known to registry",
         "repository {name} not found: name unknown: repository name not known to registry"),
        ("MANIFEST_UNKNOWN", "manifest unknown", "manifest for {name}:1 not found: manifest unknown: manifest unknown"),
    ],
)  # fmt: skip
async def test_refusals_are_told_in_dockers_words(images: Store, fake: FakeRegistry, code: str, message: str, text: str) -> None:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()

    def refuse(handler: Any) -> bool:
        handler.answer(body, "application/json", status=403 if code == "DENIED" else 404)
        return True

    fake.before = refuse
    name = f"{fake.address}/x/y"
    assert repr(await refused(images, f"{name}:1")) == repr(NotFound(text.format(name=name)))


async def test_an_overloaded_registry_is_asked_again(images: Store, fake: FakeRegistry) -> None:
    fake.add("1", [tar_of(x=b"x")])
    answers = [503, 429, 500]

    def busy(handler: Any) -> bool:
        if not answers:
            return False
        handler.answer(b"", status=answers.pop())
        return True

    fake.before = busy
    _, image = await images.pull(f"{fake.address}/x:1")
    assert image.id


async def test_after_a_mirror_that_lies_the_next_is_asked(inside: Namespace, fake: FakeRegistry, tmp_path: Path) -> None:
    layer = tar_of(x=b"x" * 100_000)
    fake.add("latest", [layer])
    with fake_registry(inside) as liar:
        liar.add("latest", [layer])
        liar.blobs[digest_of(layer)] = layer[:-1] + b"y"
        async with store(inside, tmp_path, mirrors=f"http://{liar.address},http://{fake.address}") as images:
            _, image = await images.pull("busybox")
            assert list(image.repo_tags) == ["busybox:latest"]
            assert liar.asked_for("/blobs/")
            await images.stub.Prune(pb.PruneRequest(dangling=True))
            assert sorted(images.files()) == sorted([digest_of(layer)[7:], image.repo_digests[0].partition("@sha256:")[2]])


async def test_a_pull_given_up_stops_the_download_unless_another_wants_it(images: Store, fake: FakeRegistry) -> None:
    layer = tar_of(x=os.urandom(6_000_000))
    fake.add("1", [layer])
    fake.pause = 0.02
    name = f"{fake.address}/x:1"
    first = asyncio.ensure_future(images.pull(name))
    await until(lambda: fake.sent > 1_000_000, "the first pull begins")
    second = asyncio.ensure_future(images.pull(name))
    await until(lambda: fake.asked_for("/manifests/") == 2, "the second pull begins")
    await asyncio.sleep(0.2)
    first.cancel()
    texts, image = await second
    assert image.layers[0].size == len(layer)
    assert "Downloading" in texts, "the second pull sees how far the first one's transfer is"
    assert fake.asked_for(f"/blobs/{digest_of(layer)}") == 1
    # Given up by all: it stops, and nothing stays.
    await images.stub.Remove(pb.RemoveRequest(image=name))
    third = asyncio.ensure_future(images.pull(name))
    sent = fake.sent
    await until(lambda: fake.sent > sent + 1_000_000, "the third pull begins")
    third.cancel()
    await until(lambda: images.files() == [], "nothing stays of a pull that nobody wants")
    sent = fake.sent
    await asyncio.sleep(0.5)
    # What was on its way already may still go.
    assert fake.sent - sent <= 4 << 16


async def test_what_is_removed_during_a_pull_is_collected_at_its_end(images: Store, fake: FakeRegistry) -> None:
    small, large = tar_of(x=b"small"), tar_of(x=os.urandom(4_000_000))
    fake.add("small", [small])
    fake.add("large", [large])
    await images.pull(f"{fake.address}/x:small")
    fake.pause = 0.02
    pulling = asyncio.ensure_future(images.pull(f"{fake.address}/x:large"))
    await until(lambda: fake.sent > 500_000, "the pull begins")
    pruned = await images.stub.Prune(pb.PruneRequest())
    assert pruned.space_reclaimed == len(small)
    assert digest_of(small)[7:] in images.files()
    await pulling
    await until(lambda: digest_of(small)[7:] not in images.files(), "the removed image's layer goes")
    assert digest_of(large)[7:] in images.files()


async def test_a_layer_lost_from_the_store_is_repaired_by_a_pull(images: Store, fake: FakeRegistry) -> None:
    layer = tar_of(x=b"x" * 10_000)
    fake.add("1", [layer])
    name = f"{fake.address}/x:1"
    await images.pull(name)
    (images.root / "images" / "blobs" / "sha256" / digest_of(layer)[7:]).unlink()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await images.stub.FetchLayer(pb.FetchLayerRequest(diff_id=digest_of(layer))).read()
    assert isinstance(translated(caught.value), NotFound)
    await images.pull(name)
    answer = await images.stub.FetchLayer(pb.FetchLayerRequest(diff_id=digest_of(layer))).read()
    assert answer.chunk == layer
