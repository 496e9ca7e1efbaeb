"""Manifests, configurations, change instructions: what is read and what is refused."""

import json
from typing import Any

import pytest

from skerry.core.errors import Failed, InvalidArgument
from skerry.images import config, manifest
from skerry.images.platforms import choose, parse_platform

D = "sha256:" + "a" * 64
E = "sha256:" + "b" * 64


def document(**more: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": {"digest": D, "size": 1}, "layers": [], **more}).encode()


def test_manifest_and_index_are_told_apart() -> None:
    assert isinstance(manifest.decode(document(), manifest.DOCKER_MANIFEST), manifest.Manifest)
    index = json.dumps({"schemaVersion": 2, "manifests": [{"digest": D, "size": 1}]}).encode()
    assert isinstance(manifest.decode(index, manifest.OCI_INDEX), manifest.Index)
    assert isinstance(manifest.decode(index, ""), manifest.Index)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"schemaVersion": 1}',
        document(manifests=[]),
        document(config={"digest": "sha256:../../etc/passwd", "size": 1}),
        document(layers=[{"digest": D, "size": -1}]),
        document(layers=[{"digest": D}]),
        document(layers=[{"digest": D, "size": 1}] * 600),
        b'{"schemaVersion": 2,' + b" " * (5 << 20) + b"}",
        b"[" * 100_000,
    ],
)
def test_hostile_manifests_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        manifest.decode(data, manifest.DOCKER_MANIFEST)


def index_of(*platforms: str) -> manifest.Index:
    parts = [manifest.Platform(*text.split("/")) for text in platforms]
    return manifest.Index([manifest.Descriptor(f"sha256:{number:064x}", 1, platform=part) for number, part in enumerate(parts)])


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        ("linux/amd64", 0),
        ("linux/amd64/v3", 0),
        ("linux/x86_64", 0),
        ("linux/arm64", 1),
        ("linux/arm64/v8", 1),
        ("aarch64", 1),
        ("linux/arm/v7", 3),
        ("linux/arm/v8", 3),
        ("linux/arm/v6", 2),
        ("arm64", 1),
        ("linux", 0),
        # As containerd: arm without a variant is v7.
        ("linux/arm", 3),
        ("armhf", 3),
    ],
)
def test_a_platform_is_chosen(wanted: str, number: int) -> None:
    index = index_of("linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7")
    own = manifest.Platform("linux", "amd64")
    assert choose(index, parse_platform(wanted, own)).digest == f"sha256:{number:064x}"


def test_a_platform_that_is_not_there_is_said_as_docker_says_it() -> None:
    with pytest.raises(Failed, match="no matching manifest for linux/s390x in the manifest list entries"):
        choose(index_of("linux/amd64"), manifest.Platform("linux", "s390x"))


@pytest.mark.parametrize("text", ["a/b/c/d", "linux/", "../x", "linux/amd 64", "plan10"])
def test_bad_platforms_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_platform(text, manifest.Platform("linux", "amd64"))


def test_chain_ids_follow_the_oci_rule() -> None:
    first, second = config.chain_ids([D, E])
    assert first == D
    assert second == manifest.digest_of(f"{D} {E}".encode())


@pytest.mark.parametrize(
    "data",
    [b"{", b"[]", b"{}", b'{"rootfs":{"diff_ids":["x"]}}', b'{"rootfs":{"diff_ids":[]},"config":{"Env":"x","Cmd":7}}', b"[" * 90_000,
     b'{"rootfs":{},"history":[{"comment":"\xff"}]}', b'{"rootfs":{},"config":{"User":"\\ud800"}}',
     b'{"rootfs":{},"config":{"Labels":{"a":1}}}',
     b'{"rootfs":{},"config":{"Healthcheck":"x"}}', b'{"rootfs":{},"config":{"Labels":{"a":"' + b"x" * (3 << 20) + b'"}}}',
     json.dumps({"rootfs": {}, "config": {"Labels": {str(number): "" for number in range(20_000)}}}).encode()],
)  # fmt: skip
def test_hostile_configurations_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        config.admit(data)


def test_given_and_empty_differ_from_not_given() -> None:
    read = config.to_config(config.decode(b'{"rootfs":{},"config":{"Entrypoint":[],"Env":null}}'))
    assert read.HasField("entrypoint")
    assert not read.HasField("cmd")


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [("2024-01-01T00:00:00Z", 1704067200 * 10**9), ("2024-01-01T01:00:00.5+01:00", 1704067200 * 10**9 + 5 * 10**8),
     ("0001-01-01T00:00:00Z", 0), ("nonsense", 0), (None, 0)],
)  # fmt: skip
def test_times_are_read_to_nanoseconds(text: str | None, time_ns: int) -> None:
    assert config.parse_time(text) == time_ns
    if time_ns:
        assert config.parse_time(config.format_time(time_ns)) == time_ns
