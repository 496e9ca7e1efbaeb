"""What the store serves as a registry is what its images are, whatever a manifest that came for them says (docs/decisions/0009)."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from images.busybox import archive
from integration.distribution_kit import Served, digest_of, served
from integration.images_fake import MANIFEST, FakeRegistry, fake_registry
from integration.images_registry import Store
from integration.test_distribution_clients import asked, images, tar_of
from skerry.api.images.v1 import images_pb2 as pb

pytestmark = pytest.mark.root
GOOD, EVIL = tar_of(good=b"good" * 1000), tar_of(evil=b"evil" * 1000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as one:
        yield one


@pytest.fixture
def fake(store: Served) -> Iterator[FakeRegistry]:
    with fake_registry(store.inside) as one:
        yield one


def _lie(fake: FakeRegistry, tag: str, config: bytes) -> None:
    """Adds a manifest that calls the evil layer that of a configuration."""
    body = json.loads(fake.manifests["evil"][0])
    fake.blobs[digest_of(config)] = config
    body["config"] = {"digest": digest_of(config), "size": len(config)}
    fake.document(tag, json.dumps(body).encode(), MANIFEST)


def _served_layer(store: Served, name: str) -> bytes:
    document = store.client("GET", f"/v2/{name}/manifests/1").json()
    (layer,) = document["layers"]
    return gzip.decompress(store.client("GET", f"/v2/{name}/blobs/{layer['digest']}").body)


async def _named(one: Store, source: str, target: str) -> Any:
    return await one.stub.Tag(pb.TagRequest(image=source, target=target))


def test_a_manifest_that_lies_about_layers_is_not_served_elsewhere(store: Served, fake: FakeRegistry) -> None:
    fake.add("evil", [EVIL], compress=gzip.compress)
    asked(store, lambda one: one.load(archive([GOOD], ["mine:1"])))
    asked(store, lambda one: one.pull(f"{fake.address}/x:evil"))
    mine = images(store)["mine:1"]
    _lie(fake, "lie", mine.config_json.encode())
    _, pulled = asked(store, lambda one: one.pull(f"{fake.address}/x:lie"))
    assert pulled.id == mine.id
    assert _served_layer(store, "mine") == GOOD


def test_a_compressed_form_that_nobody_has_seen_is_not_served(store: Served, fake: FakeRegistry) -> None:
    """The image is new, its layer is here: of what it is compressed to there is the manifest's word only."""
    fake.add("evil", [EVIL], compress=gzip.compress)
    asked(store, lambda one: one.load(archive([GOOD], ["base:1"])))
    asked(store, lambda one: one.pull(f"{fake.address}/x:evil"))
    other = json.loads(images(store)["base:1"].config_json)
    other["author"] = "somebody else"
    _lie(fake, "lie", json.dumps(other).encode())
    _, pulled = asked(store, lambda one: one.pull(f"{fake.address}/x:lie"))
    assert [layer.diff_id for layer in pulled.layers] == [digest_of(GOOD)]
    asked(store, lambda one: _named(one, f"{fake.address}/x:lie", "victim:1"))
    assert _served_layer(store, "victim") == GOOD


def test_an_honest_manifest_is_served_as_it_came(store: Served, fake: FakeRegistry) -> None:
    digest = fake.add("good", [GOOD], compress=gzip.compress)
    asked(store, lambda one: one.load(archive([GOOD], ["base:1"])))
    asked(store, lambda one: one.pull(f"{fake.address}/x:good"))
    asked(store, lambda one: _named(one, f"{fake.address}/x:good", "copy:1"))
    document = store.client("GET", "/v2/copy/manifests/1")
    # Its layer was here already and its compressed form is not: it is made.
    assert document.headers["Docker-Content-Digest"] != digest
    assert _served_layer(store, "copy") == GOOD
    asked(store, lambda one: one.stub.Remove(pb.RemoveRequest(image="base:1")))
    asked(store, lambda one: one.stub.Remove(pb.RemoveRequest(image="copy:1")))
    asked(store, lambda one: one.stub.Remove(pb.RemoveRequest(image=f"{fake.address}/x:good")))
    asked(store, lambda one: one.stub.Prune(pb.PruneRequest()))
    asked(store, lambda one: one.pull(f"{fake.address}/x:good"))
    asked(store, lambda one: _named(one, f"{fake.address}/x:good", "again:1"))
    assert store.client("GET", "/v2/again/manifests/1").headers["Docker-Content-Digest"] == digest
