"""The configuration of a committed image: dockerd's NewChildImage, and its merge of a container's own Config."""

import json
from typing import Any

import msgspec
import pytest

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.images.catalog import ImageRecord, LayerRecord
from skerry.images.commit import document, filled
from skerry.images.manifest import Platform

OLD, NEW = LayerRecord("sha256:" + "1" * 64, 10), LayerRecord("sha256:" + "2" * 64, 20)
NOW = 1_700_000_000_123_456_789
AMD = Platform("linux", "amd64")


def parent(**more: Any) -> ImageRecord:
    config = {
        "architecture": "arm64",
        "variant": "v8",
        "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["A=1"]},
        "history": [{"created_by": "base"}],
        "rootfs": {"type": "layers", "diff_ids": [OLD.diff_id]},
        **more,
    }
    return ImageRecord("sha256:" + "9" * 64, json.dumps(config).encode(), (OLD,), 1)


def made(base: ImageRecord | None, layer: LayerRecord | None, **request: Any) -> dict[str, Any]:
    return msgspec.json.decode(document(pb.CommitRequest(**request), base, AMD, layer, NOW))  # type: ignore[no-any-return]


def test_a_child_has_its_parents_layers_and_one_more() -> None:
    child = made(
        parent(), NEW, author="me", comment="why", created_by="sh -c x", container_id="c", container_config_json='{"Cmd": ["x"]}',
        docker_version="1",
    )  # fmt: skip
    now = "2023-11-14T22:13:20.123456789Z"
    assert child == {
        "architecture": "arm64",
        "variant": "v8",
        "os": "linux",
        "author": "me",
        "config": {"Cmd": ["sh"], "Env": ["A=1"]},
        "container": "c",
        "container_config": {"Cmd": ["x"]},
        "created": now,
        "docker_version": "1",
        "history": [{"created_by": "base"}, {"created": now, "author": "me", "created_by": "sh -c x", "comment": "why"}],
        "rootfs": {"type": "layers", "diff_ids": [OLD.diff_id, NEW.diff_id]},
    }
    assert list(child) == sorted(child), "as dockerd writes it"


def test_without_a_layer_history_says_so() -> None:
    child = made(parent(), None, created_by="x")
    assert child["rootfs"]["diff_ids"] == [OLD.diff_id]
    assert child["history"][-1] == {"created": child["created"], "created_by": "x", "empty_layer": True}


def test_without_a_parent_the_platform_is_the_stores_or_what_was_asked_for() -> None:
    child = made(None, NEW, config_json='{"Cmd": ["a"]}')
    assert (child["os"], child["architecture"], "variant" in child) == ("linux", "amd64", False)
    assert (child["config"], child["rootfs"]["diff_ids"], len(child["history"])) == ({"Cmd": ["a"]}, [NEW.diff_id], 1)


def test_changes_come_on_top() -> None:
    child = made(parent(), None, changes=["ENV B=$A", 'CMD ["z"]'])
    assert child["config"] == {"Cmd": ["z"], "Env": ["A=1", "B=1"]}
    assert made(parent(), None, config_json='{"Cmd": ["a"]}', changes=['ENTRYPOINT ["e"]'])["config"] == {"Entrypoint": ["e"]}


@pytest.mark.parametrize("text", ["[]", "{", "5", '"x"'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        made(parent(), None, config_json=text)
    with pytest.raises(InvalidArgument):
        made(parent(), None, container_config_json=text)


OWN = {
    "Hostname": "h",
    "User": "u",
    "Tty": True,
    "ExposedPorts": {"1/tcp": {}},
    "Env": ["A=1", "B=2"],
    "Cmd": ["c"],
    "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5},
    "Volumes": {"/v": {}},
    "WorkingDir": "/w",
    "Entrypoint": ["e"],
    "Labels": {"l": "1", "m": "1"},
    "StopSignal": "INT",
}


@pytest.mark.parametrize(
    ("given", "key", "expected"),
    [
        ({}, "User", "u"),
        ({"User": "x"}, "User", "x"),
        ({}, "WorkingDir", "/w"),
        ({}, "StopSignal", "INT"),
        # Not filled: they are the container's, not the image's.
        ({}, "Hostname", ""),
        ({}, "Tty", False),
        ({"Env": ["B=9", "C=3"]}, "Env", ["B=9", "C=3", "A=1"]),
        ({"Labels": {"m": "2", "n": "3"}}, "Labels", {"l": "1", "m": "2", "n": "3"}),
        ({"ExposedPorts": {"2/udp": {}}}, "ExposedPorts", {"1/tcp": {}, "2/udp": {}}),
        ({"Volumes": {"/x": {}}}, "Volumes", {"/v": {}, "/x": {}}),
        ({}, "Cmd", ["c"]),
        ({}, "Entrypoint", ["e"]),
        ({"Cmd": ["d"]}, "Entrypoint", ["e"]),
        ({"Entrypoint": ["f"]}, "Cmd", None),
        ({"Entrypoint": []}, "Cmd", ["c"]),
        ({"Entrypoint": []}, "Entrypoint", []),
        ({"Healthcheck": {"Interval": 7, "Retries": 0}}, "Healthcheck", {"Test": ["CMD", "x"], "Interval": 7}),
    ],
)
def test_what_a_config_leaves_open_is_the_containers(given: dict[str, Any], key: str, expected: Any) -> None:
    assert filled(given, OWN)[key] == expected


def test_a_config_that_is_the_containers_own_stays_as_it_is() -> None:
    assert filled(OWN, OWN) == OWN
