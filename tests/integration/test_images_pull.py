"""Pulling from a real registry, and from a hostile one."""

import asyncio
import contextlib
import gzip
import hashlib
import io
import json
import os
import socket
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc.aio
import pytest

from images.busybox import layer
from integration.images_registry import REGISTRY, Registry, registry, store
from integration.netns import Namespace
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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("r")) as one:
        one.push("busybox:latest", [layer()])
        one.push("two/layers:v1", [layer(), tar_of(second=b"2" * 100_000)])
        one.push("oci:latest", [layer()], "--format", "oci")
        yield one


async def test_a_tag_is_pulled_and_pulled_again(server: Registry, tmp_path: Path) -> None:
    async with store(server.inside, tmp_path) as images:
        texts, image = await images.pull(f"{REGISTRY}/busybox")
        assert texts[0] == "Pulling from busybox"
        assert {"Pulling fs layer", "Download complete", "Pull complete"} <= set(texts)
        assert texts[-1] == f"Status: Downloaded newer image for {REGISTRY}/busybox:latest"
        assert list(image.repo_tags) == [f"{REGISTRY}/busybox:latest"]
        assert list(image.repo_digests) == [f"{REGISTRY}/busybox@{texts[-2].removeprefix('Digest: ')}"]
        assert list(image.config.cmd.values) == ["sh"]
        assert hashlib.sha256(Path(await path_of(images, image.layers[0].diff_id)).read_bytes()).hexdigest() in image.layers[0].diff_id
        texts, again = await images.pull(f"{REGISTRY}/busybox:latest")
        # As Docker: of an image that is here no layer is spoken of.
        digest = image.repo_digests[0].partition("@")[2]
        assert texts == ["Pulling from busybox", f"Digest: {digest}", f"Status: Image is up to date for {REGISTRY}/busybox:latest"]
        assert again.id == image.id
        _, by_digest = await images.pull(image.repo_digests[0])
        assert by_digest.id == image.id


async def path_of(images: object, diff_id: str) -> str:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    request = pb.FetchLayerRequest(diff_id=diff_id, boot_id=boot_id)
    answer = await images.stub.FetchLayer(request).read()  # type: ignore[attr-defined]
    return str(answer.path)


async def test_oci_manifests_and_shared_layers(server: Registry, tmp_path: Path) -> None:
    async with store(server.inside, tmp_path) as images:
        _, one = await images.pull(f"{REGISTRY}/oci")
        texts, two = await images.pull(f"{REGISTRY}/two/layers:v1")
        assert texts.count("Already exists") == 1
        assert one.layers[0].diff_id == two.layers[0].diff_id
        assert len(two.layers) == 2


async def test_a_mirror_serves_docker_io(server: Registry, tmp_path: Path) -> None:
    server.push("library/mirrored:latest", [tar_of(x=b"x")])
    async with store(server.inside, tmp_path, mirrors=f"http://{REGISTRY}") as images:
        texts, image = await images.pull("mirrored")
        assert list(image.repo_tags) == ["mirrored:latest"]
        assert texts[0] == "Pulling from library/mirrored"
        assert texts[-1] == "Status: Downloaded newer image for mirrored:latest"


async def test_what_is_not_there_is_said_as_docker_says_it(server: Registry, tmp_path: Path) -> None:
    async with store(server.inside, tmp_path) as images:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await images.pull(f"{REGISTRY}/busybox:nope")
        assert repr(translated(caught.value)) == repr(
            NotFound(f"manifest for {REGISTRY}/busybox:nope not found: manifest unknown: manifest unknown")
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await images.pull("127.0.0.1:1/x")
        assert 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused' in str(translated(caught.value))
        assert await images.images() == []


async def test_two_pulls_fetch_a_layer_once(server: Registry, tmp_path: Path) -> None:
    server.push("big:latest", [tar_of(big=os.urandom(20_000_000))])
    async with store(server.inside, tmp_path) as images:
        (one, a), (two, b) = await asyncio.gather(images.pull(f"{REGISTRY}/big"), images.pull(f"{REGISTRY}/big"))
        assert a.id == b.id
        assert ("Waiting" in one) + ("Waiting" in two) == 1


async def test_a_store_killed_in_a_pull_leaves_nothing_half(server: Registry, tmp_path: Path) -> None:
    server.push("killed:latest", [layer(), tar_of(big=os.urandom(60_000_000))])
    for _ in range(2):
        async with store(server.inside, tmp_path) as images:
            pulling = asyncio.ensure_future(images.pull(f"{REGISTRY}/killed"))
            while not any(len(name) == 32 for name in images.files()):
                await asyncio.sleep(0.01)
            images.kill()
            pulling.cancel()
            with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                await pulling
    async with store(server.inside, tmp_path) as images:
        assert await images.images() == []
        _, image = await images.pull(f"{REGISTRY}/killed")
        assert len(image.layers) == 2
        assert not any(len(name) == 32 for name in images.files())
        await images.stub.Remove(pb.RemoveRequest(image=image.id))
        for _ in range(100):
            if not images.files():
                break
            await asyncio.sleep(0.05)
        assert images.files() == []


async def test_a_pull_that_its_client_gives_up_can_be_made_again(server: Registry, tmp_path: Path) -> None:
    server.push("left:latest", [tar_of(big=os.urandom(30_000_000))])
    async with store(server.inside, tmp_path) as images:
        call = images.stub.Pull(pb.PullRequest(reference=f"{REGISTRY}/left"), wait_for_ready=True)
        await call.read()
        call.cancel()
        _, image = await images.pull(f"{REGISTRY}/left")
        assert image.size == 30_000_000


class Hostile(BaseHTTPRequestHandler):
    """A registry that lies as `behaviour` says. breaks: the blob's connection is cut once, Range is honoured afterwards."""

    behaviour = ""
    protocol_version = "HTTP/1.1"
    asked: list[str] = []
    data = gzip.compress(tar_of(x=os.urandom(3_000_000)))
    plain = gzip.decompress(data)

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        digest = f"sha256:{hashlib.sha256(self.data).hexdigest()}"
        config = json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [f"sha256:{hashlib.sha256(self.plain).hexdigest()}"]}}
        ).encode()
        config_digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        if "/manifests/" in self.path:
            size = len(self.data) - 10 if self.behaviour == "longer" else len(self.data)
            body = {"schemaVersion": 2, "config": {"digest": config_digest, "size": 1}, "layers": [{"digest": digest, "size": size}]}
            self.answer(json.dumps(body).encode(), "application/vnd.docker.distribution.manifest.v2+json")
        elif config_digest in self.path:
            self.answer(config + (b" " if self.behaviour == "config" else b""))
        elif digest in self.path:
            self.blob()
        else:
            self.answer(b"{}")

    def blob(self) -> None:
        wanted = self.headers.get("Range", "")
        type(self).asked.append(wanted)
        if self.behaviour == "breaks" and len(self.asked) == 1:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.data)))
            self.end_headers()
            self.wfile.write(self.data[:1_000_000])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif wanted and self.behaviour == "breaks":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.answer(self.data[start:], status=206)
        elif self.behaviour == "content":
            self.answer(self.data[:-1000] + b"x" * 1000)
        else:
            self.answer(self.data)

    def answer(self, body: bytes, kind: str = "application/octet-stream", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)


@contextlib.contextmanager
def hostile(inside: Namespace, behaviour: str) -> Iterator[str]:
    handler = type("Handler", (Hostile,), {"behaviour": behaviour, "asked": []})
    with inside.entered():
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}/x/y"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_broken_connection_is_taken_up_where_it_stopped(server: Registry, tmp_path: Path) -> None:
    with hostile(server.inside, "breaks") as name:
        async with store(server.inside, tmp_path) as images:
            _, image = await images.pull(name)
            assert image.layers[0].size == len(Hostile.plain)


@pytest.mark.parametrize("behaviour", ["content", "config", "longer"])
async def test_content_that_is_not_what_was_promised_is_refused(server: Registry, tmp_path: Path, behaviour: str) -> None:
    with hostile(server.inside, behaviour) as name:
        async with store(server.inside, tmp_path) as images:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await images.pull(name)
            error = translated(caught.value)
            assert isinstance(error, Failed) or "invalid gzip data" in str(error), error
            assert await images.images() == []
            assert [one for one in images.files() if len(one) == 64] == []
