"""Pushing beside dockerd: what one pushes the other pulls under the same digest; and over TLS."""

import os
from pathlib import Path

import pytest

from certificates import make
from engines import dockerd_engine
from images.busybox import archive, layer
from integration.images_fake import digest_of
from integration.images_registry import REGISTRY, registry, store
from integration.images_secured import docker_registry, password_registry
from integration.netns import Namespace, namespace
from integration.test_images_push import push, refused, tar_of
from shared_store.servers import s3
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed

pytestmark = pytest.mark.root


async def test_dockerd_and_the_store_push_for_each_other(tmp_path: Path) -> None:
    with dockerd_engine() as dockerd:
        inside = Namespace(f"/run/netns/{dockerd.netns}")
        with docker_registry(inside, tmp_path, 5000) as address:
            async with store(inside, tmp_path) as images:
                ours, theirs, back = (f"{address}/{name}:1" for name in ("ours", "theirs", "back"))
                await images.load(archive([layer(), tar_of(x=b"x")], [ours]))
                _, (pushed,) = await push(images, ours)
                assert f"Digest: {pushed.digest}" in dockerd.out("pull", ours)
                image = (await images.images())[0]
                assert dockerd.out("inspect", "-f", "{{.Id}}", ours) == image.id

                # dockerd makes an image of its own, pushes it; the store pulls and pushes it again: the same digest.
                dockerd.docker("create", "--name", "made", ours)
                dockerd.docker("commit", "-m", "theirs", "made", theirs)
                said = dockerd.out("push", theirs).splitlines()
                digest = said[-1].split()[2]
                _, pulled = await images.pull(theirs)
                assert pulled.id == dockerd.out("inspect", "-f", "{{.Id}}", theirs)
                await images.stub.Tag(pb.TagRequest(image=theirs, target=back))
                texts, (again,) = await push(images, back)
                assert again.digest == digest
                assert sum("Mounted from" in text for text in texts) == len(pulled.layers)
                # And dockerd, which pulled our layers, has nothing to send for them.
                dockerd.docker("tag", ours, f"{address}/ours:2")
                said = dockerd.out("push", f"{address}/ours:2").splitlines()
                assert said[-1].split()[2] == pushed.digest
                assert all(line.endswith("Layer already exists") for line in said[3:-1])


async def test_two_stores_compress_alike(tmp_path: Path) -> None:
    with namespace("img") as inside, password_registry(inside, tmp_path) as address:
        one, two = tmp_path / "one", tmp_path / "two"
        one.mkdir(), two.mkdir()
        digests = []
        for folder in (one, two):
            async with store(inside, folder) as images:
                await images.load(archive([tar_of(x=b"x" * 10_000)], [f"{address}/same:1"]))
                _, (pushed,) = await push(images, f"{address}/same:1", auth=pb.RegistryAuth(username="user", password="pass"))
                digests.append(pushed.digest)
        assert digests[0] == digests[1]


async def test_a_registry_of_this_machine_may_speak_tls_with_any_certificate(tmp_path: Path) -> None:
    tls = make(tmp_path / "tls", "registry")
    piece = f', tls: {{certificate: "{tls.cert}", key: "{tls.key}"}}'
    with namespace("img") as inside, docker_registry(inside, tmp_path, 5443, tls=piece, scheme="https") as address:
        name = f"{address}/secure:1"
        async with store(inside, tmp_path) as images:
            await images.load(archive([tar_of(x=b"x")], [name]))
            _, (pushed,) = await push(images, name)
            described = await images.stub.Describe(pb.DescribeRequest(reference=name))
            assert described.digest == pushed.digest
            assert (await images.stub.Login(pb.LoginRequest(auth=pb.RegistryAuth(server_address=address)))).status == "Login Succeeded"
            await images.stub.Tag(pb.TagRequest(image=name, target="127.0.0.1:9/x:1"))
            expected = Failed('Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused')
            assert repr(await refused(images, "127.0.0.1:9/x:1")) == repr(expected)


async def test_layers_that_lie_in_a_bucket_are_pushed(tmp_path: Path) -> None:
    with registry(tmp_path) as source, s3("rclone", tmp_path, port=9000, argv=source.inside.argv) as bucket:
        settings = {name.removeprefix("SKERRY_IMAGES_").lower(): value for name, value in bucket.environ().items()}
        source.push("zstd:1", [tar_of(x=b"zstd" * 10_000)], "--format", "oci", "--dest-compress-format", "zstd")
        async with store(source.inside, tmp_path, **settings) as images:
            _, pulled = await images.pull(f"{REGISTRY}/zstd:1")
            await images.stub.Tag(pb.TagRequest(image=f"{REGISTRY}/zstd:1", target=f"{REGISTRY}/zstd/copy:1"))
            _, (copied,) = await push(images, f"{REGISTRY}/zstd/copy:1")
            assert f"{REGISTRY}/zstd@{copied.digest}" in pulled.repo_digests
            layer = tar_of(y=os.urandom(3_000_000))
            await images.load(archive([layer], [f"{REGISTRY}/plain:1"]))
            texts, (pushed,) = await push(images, f"{REGISTRY}/plain:1")
            assert f"{digest_of(layer)[7:19]}: Pushed" in texts
            texts, (again,) = await push(images, f"{REGISTRY}/plain:1")
            assert f"{digest_of(layer)[7:19]}: Layer already exists" in texts
            assert again.digest == pushed.digest
        (tmp_path / "other").mkdir()
        async with store(source.inside, tmp_path / "other") as other:
            _, image = await other.pull(f"{REGISTRY}/plain:1")
            assert image.layers[0].diff_id == digest_of(layer)
