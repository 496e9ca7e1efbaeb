"""How registries are reached: tokens, passwords, certificates, proxies, foreign layers; and what a pull tells while it runs."""

import asyncio
import base64
import contextlib
import gzip
import io
import json
import os
import shutil
import ssl
import tarfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc.aio
import pytest

from certificates import make
from integration.images_fake import MANIFEST, FakeRegistry, digest_of, fake_registry
from integration.images_registry import Store, store
from integration.netns import Namespace, namespace
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, InvalidArgument
from skerry.core.rpc.channel import translated

pytestmark = pytest.mark.root
# An address of the namespace that is not the loopback range: certificates count there.
ADDRESS = "10.99.0.1"


def tar_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture(scope="module")
def inside() -> Iterator[Namespace]:
    with namespace("acc") as one:
        one.run("ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo")
        yield one


@pytest.fixture
def fake(inside: Namespace) -> Iterator[FakeRegistry]:
    with fake_registry(inside) as one:
        yield one


@pytest.fixture
async def images(inside: Namespace, tmp_path: Path) -> AsyncIterator[Store]:
    async with store(inside, tmp_path) as one:
        await one.images()
        yield one


async def refused(images: Store, name: str, **more: Any) -> Exception:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await images.pull(name, **more)
    return translated(caught.value)


class TokenServer:
    """Guards a registry: tokens for whoever asks, counted; each registry's tokens last `lifetime` seconds."""

    def __init__(self, fake: FakeRegistry, lifetime: float = 300) -> None:
        self.fake = fake
        self.lifetime = lifetime
        self.asked: list[tuple[str, dict[str, list[str]], str]] = []
        fake.before = self.guard

    def guard(self, handler: Any) -> bool:
        path = urlsplit(handler.path)
        if path.path == "/token":
            body = handler.rfile.read(int(handler.headers.get("Content-Length", 0))).decode()
            self.asked.append((handler.command, parse_qs(body or path.query), handler.headers.get("Authorization", "")))
            token = {"access_token": f"t{len(self.asked)}", "expires_in": self.lifetime, "refresh_token": f"r{len(self.asked)}"}
            handler.answer(json.dumps(token).encode(), "application/json")
            return True
        if handler.headers.get("Authorization") == f"Bearer t{len(self.asked)}" and self.asked:
            return False
        realm = f'Bearer realm="http://{self.fake.address}/token",service="s",scope="repository:x:pull"'
        handler.answer(b"{}", status=401, WWW_Authenticate=realm)
        return True


async def test_a_token_is_asked_once_for_many_pulls_and_anew_before_it_ends(images: Store, fake: FakeRegistry) -> None:
    server = TokenServer(fake, lifetime=2)
    fake.add("1", [tar_of(x=b"x")])
    await images.pull(f"{fake.address}/x:1")
    await images.pull(f"{fake.address}/x:1")
    assert len(server.asked) == 1
    assert server.asked[0] == ("GET", {"scope": ["repository:x:pull"], "service": ["s"]}, "")
    # Another user has a token of their own.
    await images.pull(f"{fake.address}/x:1", auth=pb.RegistryAuth(username="u", password="p"))
    assert len(server.asked) == 2
    assert server.asked[1][2] == "Basic " + base64.b64encode(b"u:p").decode()
    # Refused although it is kept: the server counts only the newest.
    await images.pull(f"{fake.address}/x:1")
    assert len(server.asked) == 3
    await asyncio.sleep(1.7)
    await images.pull(f"{fake.address}/x:1")
    assert len(server.asked) == 4
    assert sum("/v2/x/" in path and headers.get("Authorization") == "Bearer t3" for path, headers in fake.requests) == 1


async def test_an_identity_token_is_posted_and_its_successor_after_it(images: Store, fake: FakeRegistry) -> None:
    server = TokenServer(fake, lifetime=0.01)
    fake.add("1", [tar_of(x=b"x")])
    await images.pull(f"{fake.address}/x:1", auth=pb.RegistryAuth(identity_token="first"))
    sent = [(method, form["refresh_token"], form["grant_type"]) for method, form, _ in server.asked]
    assert sent[:2] == [("POST", ["first"], ["refresh_token"]), ("POST", ["r1"], ["refresh_token"])]


async def test_a_registry_token_is_sent_as_it_is(images: Store, fake: FakeRegistry) -> None:
    server = TokenServer(fake)
    fake.add("1", [tar_of(x=b"x")])
    error = await refused(images, f"{fake.address}/x:1", auth=pb.RegistryAuth(registry_token="nonsense"))
    assert repr(error) == repr(Failed("unauthorized: authentication required"))
    assert server.asked == []


async def test_a_pause_that_the_registry_asks_for_is_kept_and_its_words_are_the_last_error(images: Store, fake: FakeRegistry) -> None:
    fake.add("1", [tar_of(x=b"x")])
    answers = ["1", "100000"]
    times: list[float] = []

    def busy(handler: Any) -> bool:
        if "/manifests/" not in handler.path or not answers:
            return False
        times.append(time.monotonic())
        error = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}'
        handler.answer(error, "application/json", status=429, Retry_After=answers.pop(0))
        return True

    fake.before = busy
    # A day is not waited for.
    error = await refused(images, f"{fake.address}/x:1")
    assert repr(error) == repr(Failed("toomanyrequests: You have reached your pull rate limit."))
    assert 1 <= times[1] - times[0] < 5
    await images.pull(f"{fake.address}/x:1")


async def test_each_layer_is_told_when_it_is_stored(images: Store, fake: FakeRegistry) -> None:
    small, large = tar_of(x=b"small"), tar_of(x=os.urandom(3_000_000))
    fake.add("1", [large, small], compress=lambda data: gzip.compress(data, 1))
    fake.pause = 0.01
    steps: list[str] = []
    async for step in images.stub.Pull(pb.PullRequest(reference=f"{fake.address}/x:1")):
        if step.HasField("layer"):
            steps.append(step.layer.diff_id)
            last = step.layer
        elif step.HasField("progress") and step.progress.status == "Downloading":
            steps.append("downloading")
        elif step.HasField("image"):
            image = step.image
    assert [one for one in steps if one != "downloading"] == [digest_of(small), digest_of(large)]
    assert "downloading" in steps[steps.index(digest_of(small)) :]
    assert (last.diff_id, last.chain_id, last.size) == (digest_of(large), image.layers[0].chain_id, image.layers[0].size)


async def test_a_foreign_layer_comes_from_its_url_when_the_registry_lacks_it(images: Store, fake: FakeRegistry, inside: Namespace) -> None:
    plain = tar_of(x=b"foreign")
    data = gzip.compress(plain)
    fake.add("1", [plain], compress=lambda _: data)
    with fake_registry(inside) as elsewhere:
        elsewhere.blobs[digest_of(data)] = fake.blobs.pop(digest_of(data))
        document = json.loads(fake.manifests["1"][0])
        url = f"http://{elsewhere.address}/blobs/{digest_of(data)}"
        document["layers"][0] |= {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "urls": [url]}
        fake.document("1", json.dumps(document).encode(), MANIFEST)
        _, image = await images.pull(f"{fake.address}/x:1", auth=pb.RegistryAuth(username="u", password="p"))
        assert image.layers[0].diff_id == digest_of(plain)
        assert "Authorization" not in elsewhere.requests[0][1]
        # Only such a layer may lie elsewhere.
        await images.stub.Remove(pb.RemoveRequest(image=image.id))
        document["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        fake.document("1", json.dumps(document).encode(), MANIFEST)
        assert "unknown blob" in str(await refused(images, f"{fake.address}/x:1"))


async def test_schema_1_is_refused_in_dockers_words(images: Store, fake: FakeRegistry) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    fake.document("1", b'{"schemaVersion":1,"name":"x","tag":"1","fsLayers":[],"history":[]}', kind)
    error = await refused(images, f"{fake.address}/x:1")
    assert isinstance(error, InvalidArgument)
    assert str(error).startswith("[DEPRECATION NOTICE] Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has")
    assert f"Suggest the author of {fake.address}/x:1 to upgrade the image" in str(error)


@pytest.mark.parametrize(
    ("kind", "what"),
    [("application/vnd.docker.plugin.v1+json", "plugin"), ("application/vnd.cncf.helm.config.v1+json", "unknown")],
)
async def test_what_is_no_image_is_refused_in_dockers_words(images: Store, fake: FakeRegistry, kind: str, what: str) -> None:
    fake.add("1", [tar_of(x=b"x")])
    document = json.loads(fake.manifests["1"][0])
    document["config"]["mediaType"] = kind
    fake.document("1", json.dumps(document).encode(), MANIFEST)
    error = await refused(images, f"{fake.address}/x:1")
    assert repr(error) == repr(InvalidArgument(f'Encountered remote "{kind}"({what}) when fetching'))


@contextlib.contextmanager
def tls_registry(inside: Namespace, tmp_path: Path, *, ask: bool = False) -> Iterator[tuple[FakeRegistry, Any]]:
    """A registry by https at ADDRESS with a certificate of its own authority; ask: it wants one of its clients too."""
    files = make(tmp_path / "tls", "registry", ADDRESS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    if ask:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(files.ca)
    with fake_registry(inside, ADDRESS, context) as fake:
        fake.add("1", [tar_of(x=b"x")])
        yield fake, files


async def test_an_unknown_authority_is_refused_until_certs_d_has_it(inside: Namespace, tmp_path: Path) -> None:
    certificates = tmp_path / "certs.d"
    async with store(inside, tmp_path, certificates=str(certificates)) as images:
        with tls_registry(inside, tmp_path) as (fake, files):
            error = await refused(images, f"{fake.address}/x:1")
            assert repr(error) == repr(Failed(f'Get "https://{fake.address}/v2/": x509: certificate signed by unknown authority'))
            folder = certificates / fake.address
            folder.mkdir(parents=True)
            shutil.copy(files.ca, folder / "ca.crt")
            await images.pull(f"{fake.address}/x:1")
            # A key without its certificate is said, not passed over.
            shutil.copy(files.key, folder / "client.key")
            assert "missing client certificate client.cert for key client.key" in str(await refused(images, f"{fake.address}/x:1"))


async def test_a_client_certificate_of_certs_d_is_shown(inside: Namespace, tmp_path: Path) -> None:
    certificates = tmp_path / "certs.d"
    async with store(inside, tmp_path, certificates=str(certificates)) as images:
        with tls_registry(inside, tmp_path, ask=True) as (fake, files):
            folder = certificates / fake.address
            folder.mkdir(parents=True)
            shutil.copy(files.ca, folder / "ca.crt")
            error = await refused(images, f"{fake.address}/x:1")
            assert repr(error) == repr(Failed(f'Get "https://{fake.address}/v2/": remote error: tls: certificate required'))
            shutil.copy(files.cert, folder / "client.cert")
            shutil.copy(files.key, folder / "client.key")
            await images.pull(f"{fake.address}/x:1")


async def test_an_insecure_range_needs_no_certificate_and_no_tls(inside: Namespace, tmp_path: Path) -> None:
    async with store(inside, tmp_path, insecure_registries="10.99.0.0/24") as images:
        with tls_registry(inside, tmp_path) as (fake, _):
            await images.pull(f"{fake.address}/x:1")
            # Who answered by https is not asked by http.
            fake.before = lambda handler: handler.answer(b"", status=404) or True
            await refused(images, f"{fake.address}/y:1")
        with fake_registry(inside, ADDRESS) as plain:
            plain.add("1", [tar_of(x=b"x")])
            await images.pull(f"{plain.address}/x:1")


async def test_without_tls_a_registry_is_refused_unless_it_is_insecure(images: Store, inside: Namespace) -> None:
    with fake_registry(inside, ADDRESS) as plain:
        plain.add("1", [tar_of(x=b"x")])
        error = await refused(images, f"{plain.address}/x:1")
        assert repr(error) == repr(Failed(f'Get "https://{plain.address}/v2/": http: server gave HTTP response to HTTPS client'))
        assert plain.asked_for("/v2/") == 0


async def test_after_a_mirror_that_is_not_there_the_next_is_asked(inside: Namespace, fake: FakeRegistry, tmp_path: Path) -> None:
    fake.add("latest", [tar_of(x=b"x")])
    async with store(inside, tmp_path, mirrors=f"http://127.0.0.1:1,http://{fake.address}") as images:
        texts, _ = await images.pull("busybox", auth=pb.RegistryAuth(username="u", password="p"))
        assert texts[-1] == "Status: Downloaded newer image for busybox:latest"
    assert not any("Authorization" in headers for _, headers in fake.requests)


class _Proxy(BaseHTTPRequestHandler):
    """Forwards GET; notes what it is asked for."""

    asked: list[str]
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        fake = self.server.fake  # type: ignore[attr-defined]
        what = self.path.rpartition("/")[2]
        body, kind = fake.manifests.get(what) or (fake.blobs.get(what, b"{}"), "application/octet-stream")
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        self.asked.append(f"CONNECT {self.path}")
        self.send_error(403, "Forbidden")


@pytest.fixture
def proxy(inside: Namespace, fake: FakeRegistry) -> Iterator[tuple[str, list[str]]]:
    handler = type("Handler", (_Proxy,), {"asked": []})
    with inside.entered():
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.fake = fake  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
    yield f"127.0.0.1:{server.server_address[1]}", handler.asked
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_registry_is_asked_through_the_proxy_of_the_environment(
    inside: Namespace, fake: FakeRegistry, proxy: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = proxy
    fake.add("1", [tar_of(x=b"x")])
    monkeypatch.setenv("HTTP_PROXY", f"http://{address}")
    monkeypatch.setenv("HTTPS_PROXY", address)
    monkeypatch.setenv("NO_PROXY", "past.example")
    async with store(inside, tmp_path, insecure_registries="registry.example:5000") as images:
        _, image = await images.pull("registry.example:5000/x:1")
        assert list(image.repo_tags) == ["registry.example:5000/x:1"]
        assert asked[0] == "CONNECT registry.example:5000"
        assert "http://registry.example:5000/v2/x/manifests/1" in asked
        error = await refused(images, "other.example/x:1")
        assert repr(error) == repr(Failed('Get "https://other.example/v2/": Forbidden'))
        before = list(asked)
        error = await refused(images, "past.example/x:1")
        assert repr(error) == repr(Failed('Get "https://past.example/v2/": dial tcp: lookup past.example: no such host'))
        assert asked == before
