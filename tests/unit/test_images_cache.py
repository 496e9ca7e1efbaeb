"""The build cache: what counts as the same step, and what an image from elsewhere may stand for."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.lifecycle import Tasks
from skerry.images.blobs.files import FileBlobs
from skerry.images.cache import find_child, same_step
from skerry.images.catalog import Catalog, ImageRecord, LayerRecord
from skerry.images.catalog.sqlite import open_catalog
from skerry.images.collector import Collector
from skerry.images.manifest import digest_of

BASE: dict[str, Any] = {
    "User": "",
    "Env": ["A=1", "B=2"],
    "Cmd": ["/bin/sh", "-c", "x"],
    "Entrypoint": None,
    "Labels": {"a": "b"},
    "ExposedPorts": {"80/tcp": {}},
    "Volumes": None,
    "WorkingDir": "/",
    "Image": "sha256:1",
    "Hostname": "h",
}


@pytest.mark.parametrize(
    "change", [{"WorkingDir": "/x"}, {"Image": "y"}, {"Hostname": "z"}, {"StopSignal": "INT"}, {"Entrypoint": []}, {"Volumes": {}}]
)
def test_what_makes_no_difference(change: dict[str, Any]) -> None:
    assert same_step(BASE, {**BASE, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"User": "u"},
        {"Env": ["B=2", "A=1"]},
        {"Env": ["A=1"]},
        {"Cmd": ["/bin/sh", "-c", "y"]},
        {"Entrypoint": ["e"]},
        {"Labels": None},
        {"Labels": {"a": "c"}},
        {"ExposedPorts": {"81/tcp": {}}},
        {"Volumes": {"/v": {}}},
        {"Tty": True},
        {"AttachStdout": True},
        {"OpenStdin": True},
    ],
)
def test_what_makes_another_step(change: dict[str, Any]) -> None:
    assert not same_step(BASE, {**BASE, **change})


class Store:
    """A catalog with a chain of images in it."""

    def __init__(self, catalog: Catalog, collector: Collector) -> None:
        self.catalog = catalog
        self._collector = collector

    async def image(self, commands: list[str], parent: str = "", *, own: bool = True, created: int = 1) -> str:
        """Adds an image with a step (and a layer) per command; own: it was made here by the last of them."""
        layers = tuple(LayerRecord(digest_of(command.encode()), 1) for command in commands)
        document: dict[str, Any] = {
            "architecture": "amd64",
            "os": "linux",
            "created": f"2024-01-01T00:00:0{created}Z",
            "history": [{"created_by": command, "created": "2024-01-01T00:00:00Z"} for command in commands],
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
        if own:
            document["container_config"] = {"Cmd": [commands[-1]]}
        data = json.dumps(document).encode()
        record = ImageRecord(digest_of(data), data, layers, created_ns=created, parent=parent)
        await self.catalog.add(record, [], [], [], [])
        return record.id

    async def find(self, parent: str, command: str, *cache_from: str, holder: str = "") -> str:
        request = pb.FindChildRequest(
            parent=parent, container_config_json=json.dumps({"Cmd": [command]}), cache_from=cache_from, holder=holder
        )
        found = await find_child(self.catalog, self._collector, request)
        return found.image.id if found is not None else ""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_catalog(str(tmp_path / "db")) as catalog, Tasks() as tasks:
        yield Store(catalog, Collector(catalog, FileBlobs(str(tmp_path / "blobs")), tasks))


async def test_the_newest_child_of_the_parent_is_found_and_leased(store: Store) -> None:
    base = await store.image(["base"], own=False)
    await store.image(["base", "one"], base, created=1)
    newer = await store.image(["base", "one"], base, created=2)
    assert await store.find(base, "one", holder="h") == newer
    assert (await store.catalog.get(newer)).holders == ("h",)
    assert await store.find(base, "two") == await store.find(newer, "one") == await store.find("", "one") == ""


async def test_scratch_s_children_have_no_parent(store: Store) -> None:
    first = await store.image(["one"])
    assert await store.find("", "one") == first and await store.find("", "base") == ""


async def test_cache_from_admits_only_what_it_came_from(store: Store) -> None:
    base = await store.image(["base"], own=False)
    one = await store.image(["base", "one"], base)
    two = await store.image(["base", "one", "two"], one)
    other = await store.image(["base", "one", "other"], base)
    assert await store.find(base, "one", two) == one
    assert await store.find(base, "one", "nosuch") == ""
    assert await store.find(base, "one", other) not in ("", one)
    assert await store.find(one, "two", two) == two


async def test_a_step_that_only_a_foreign_image_knows_is_restored(store: Store) -> None:
    base = await store.image(["base"], own=False)
    foreign = await store.image(["base", "one", "two"], own=False)
    one = await store.find(base, "one", foreign, holder="h")
    entry = await store.catalog.get(one)
    assert entry.image.parent == base and entry.holders == ("h",)
    assert [layer.diff_id for layer in entry.image.layers] == [digest_of(b"base"), digest_of(b"one")]
    assert [item["created_by"] for item in json.loads(entry.image.config)["history"]] == ["base", "one"]
    assert await store.find(one, "two", foreign) == foreign
    assert await store.find(one, "three", foreign) == await store.find(base, "two", foreign) == ""
    strange = await store.image(["strange"], own=False)
    assert await store.find(strange, "one", foreign) == ""
