"""What a push writes and how names and addresses are read, without a registry."""

import asyncio
import gzip
import io
import tarfile
import threading
from pathlib import Path

import pytest

from skerry.core.errors import Failed, InvalidArgument
from skerry.images import manifest
from skerry.images.blobs.files import FileBlobs
from skerry.images.catalog import Form, LayerRecord
from skerry.images.compress import gzip_form, proven
from skerry.images.manifest import Descriptor
from skerry.images.registry.login import domain_of
from skerry.images.search import split
from skerry.images.singly import Singly


def test_a_manifest_has_the_bytes_that_dockerd_writes() -> None:
    # Recorded: dockerd 20.10.24 pushed this configuration and layer under this digest.
    config = Descriptor("sha256:3690679b6a1950ecff9e46baa452181f28f8df31ab0cbe58dec5123fe0009be1", 381)
    layer = Descriptor("sha256:6b03fc25f43ca08d59dc2437a9ea06aa75671a20a62e4b4f8c1407f409d12532", 1068951)
    data = manifest.write(config, [layer])
    assert (len(data), manifest.digest_of(data)) == (527, "sha256:76f700b5f8f03e8e8de0056d3b9ff9365185b99546770e14ae8abfe177027b83")


def test_an_image_without_layers_has_a_manifest_too() -> None:
    document = manifest.decode(manifest.write(Descriptor("sha256:" + "1" * 64, 2), []), "")
    assert isinstance(document, manifest.Manifest) and document.layers == []


@pytest.mark.parametrize(
    ("config", "written", "kind"),
    [
        (manifest.DOCKER_CONFIG, "", manifest.DOCKER_MANIFEST),
        ("application/vnd.oci.image.config.v1+json", "", manifest.OCI_MANIFEST),
        ("application/vnd.oci.image.config.v1+json", manifest.OCI_MANIFEST, manifest.OCI_MANIFEST),
        (manifest.DOCKER_CONFIG, manifest.DOCKER_MANIFEST, manifest.DOCKER_MANIFEST),
    ],
)
def test_a_manifest_that_does_not_say_its_type_has_that_of_its_configuration(config: str, written: str, kind: str) -> None:
    assert manifest.kind_of(manifest.Manifest(Descriptor("d", 1, config), [], written)) == kind


@pytest.mark.parametrize(
    ("term", "host", "name"),
    [
        ("busybox", "docker.io", "busybox"),
        ("library/busybox", "docker.io", "busybox"),
        ("me/busybox", "docker.io", "me/busybox"),
        ("docker.io/library/busybox", "docker.io", "busybox"),
        ("index.docker.io/me/x", "docker.io", "me/x"),
        ("example.org/busybox", "example.org", "busybox"),
        ("localhost/a/b", "localhost", "a/b"),
        ("host:5000/a", "host:5000", "a"),
        ("library/x", "docker.io", "x"),
        ("example.org", "docker.io", "example.org"),
        ("", "docker.io", ""),
    ],
)
def test_a_term_may_begin_with_an_index(term: str, host: str, name: str) -> None:
    assert split(term) == (host, name)


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("host:5000", "host:5000"),
        ("http://host:5000/v2/", "host:5000"),
        ("https://user@host/", "host"),
    ],
)
def test_a_server_address_means_a_registry(address: str, domain: str) -> None:
    assert domain_of(address) == domain


@pytest.mark.parametrize("address", ["http://", "https:///x", "http://[::1"])
def test_a_server_address_without_a_host_is_refused(address: str) -> None:
    with pytest.raises(InvalidArgument):
        domain_of(address)


@pytest.mark.parametrize(
    ("kind", "foreign"),
    [
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", True),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", False),
        ("application/vnd.oci.image.layer.v1.tar+zstd", False),
    ],
)
def test_foreign_layers_are_known_by_their_type(kind: str, foreign: bool) -> None:
    assert manifest.is_foreign(kind) == foreign


def test_a_layer_is_compressed_alike_each_time(tmp_path: Path) -> None:
    blobs, out = FileBlobs(str(tmp_path)), io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = 60_000_000
        tar.addfile(info, io.BytesIO(b"0123456789" * 6_000_000))
    with blobs.writer() as one:
        one.write(out.getvalue())
        diff_id, _ = one.commit()
    told: list[int] = []
    first = gzip_form(blobs, diff_id, threading.Event(), told.append)
    data = blobs.read(first[0], 1 << 28)
    assert (gzip.decompress(data), len(data)) == (out.getvalue(), first[1])
    assert told == [48 << 20]
    layer = LayerRecord(diff_id, len(out.getvalue()))
    assert proven(blobs, layer, first[0]) == Form(diff_id, *first)
    assert proven(blobs, LayerRecord("sha256:" + "1" * 64, layer.size), first[0]) is None
    assert proven(blobs, layer, diff_id) is None and proven(blobs, layer, "sha256:" + "0" * 64) is None
    path = Path(blobs.where(first[0]))
    path.write_bytes(data[:-1])
    assert proven(blobs, layer, first[0]) is None
    path.write_bytes(data)
    blobs.remove(first[0])
    assert gzip_form(blobs, diff_id, threading.Event(), told.append) == first
    stop = threading.Event()
    stop.set()
    with pytest.raises(Failed, match="given up"):
        gzip_form(blobs, diff_id, stop, told.append)


async def test_turns_are_taken_one_by_one_and_forgotten() -> None:
    turns, running, most = Singly(), 0, 0

    async def work(key: str) -> None:
        nonlocal running, most
        async with turns.of(key):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1

    await asyncio.gather(*(work("a") for _ in range(4)))
    assert most == 1
    await asyncio.gather(work("a"), work("b"))
    assert most == 2
    assert turns.waiting() == 0
