"""What is said when a registry refuses, fails or lies: status and texts of POST /images/create."""

import base64
import contextlib
import ctypes
import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from engines import Engine, UnixConnection
from integration.images_fake import MANIFEST, FakeRegistry, fake_registry

covers = pytest.mark.covers
_CLONE_NEWNET = 0x40000000


class _Inside:
    """The engine's network namespace."""

    def __init__(self, engine: Engine) -> None:
        self._path = next((one.removeprefix("--net=") for one in engine.nsenter() if one.startswith("--net=")), "/proc/self/ns/net")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in it while the body runs."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net", "rb") as own, open(self._path, "rb") as there:
            assert libc.setns(there.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(own.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


@pytest.fixture
def fake(engine: Engine) -> Iterator[FakeRegistry]:
    """A registry of the test's own, on a port of the engine's namespace."""
    with fake_registry(_Inside(engine)) as one:  # type: ignore[arg-type]  # it enters a namespace, as the other does
        yield one
        for name in ("x", "y", "b"):
            engine.docker("rmi", "-f", f"{one.address}/{name}:1", check=False)


def _layer(text: bytes = b"x" * 20_000) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return out.getvalue()


def _squeeze(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _pull(engine: Engine, image: str, tag: str = "1", platform: str = "", **auth: str) -> tuple[int, list[dict[str, Any]]]:
    """Returns the status and the objects of the answer."""
    query = {"fromImage": image, "tag": tag, "platform": platform}
    connection = UnixConnection(engine.socket)
    try:
        headers = {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()}
        path = f"/v1.41/images/create?{urlencode({key: value for key, value in query.items() if value})}"
        connection.request("POST", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, [json.loads(line) for line in answer.read().splitlines() if line.strip()]
    finally:
        connection.close()


def _said(engine: Engine, image: str, tag: str = "1", platform: str = "", **auth: str) -> tuple[int, str]:
    status, objects = _pull(engine, image, tag, platform, **auth)
    return status, objects[-1].get("message") or objects[-1].get("error", "")


def _error(code: str, message: str, status: int, **headers: str) -> Callable[[Any], bool]:
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": {"of": "it"}}]}).encode()

    def refuse(handler: Any) -> bool:
        # A registry that wants to know who asks says so at its door; any other lets in.
        if handler.path.rstrip("/") == "/v2" and not headers:
            return False
        handler.answer(body, "application/json", status=status, **headers)
        return True

    return refuse


@covers("pull")
@pytest.mark.parametrize(
    ("code", "message", "status", "expected"),
    [
        ("MANIFEST_UNKNOWN", "manifest unknown", 404, (404, "manifest for {name}:1 not found: manifest unknown: manifest unknown")),
        ("NAME_UNKNOWN", "repository name not known to registry", 404,
         (404, "repository {name} not found: name unknown: repository name not known to registry")),
        ("DENIED", "requested access to the resource is denied", 403,
         (404, "pull access denied for {name}, repository does not exist or may require 'docker login': "
               "denied: requested access to the resource is denied")),
        ("UNAUTHORIZED", "authentication required", 401, (500, "unauthorized: authentication required")),
        ("NAME_INVALID", "invalid name", 400, (500, "name invalid: invalid name")),
    ],
)  # fmt: skip
def test_a_registrys_refusal(engine: Engine, fake: FakeRegistry, code: str, message: str, status: int, expected: tuple[int, str]) -> None:
    fake.before = _error(code, message, status)
    name = f"{fake.address}/y"
    assert _said(engine, name) == (expected[0], expected[1].format(name=name))


@covers("pull")
def test_a_registry_that_wants_a_password(engine: Engine, fake: FakeRegistry) -> None:
    fake.add("1", [_layer()], compress=_squeeze)
    refuse = _error("UNAUTHORIZED", "authentication required", 401, WWW_Authenticate='Basic realm="x"')
    right = "Basic " + base64.b64encode(b"u:p").decode()
    fake.before = lambda handler: handler.headers.get("Authorization") != right and refuse(handler)
    name = f"{fake.address}/x"
    url = f"http://{name.replace('/', '/v2/')}/manifests/1"
    assert _said(engine, name) == (500, f'Head "{url}": no basic auth credentials')
    assert _said(engine, name, username="u", password="wrong") == (500, "unauthorized: authentication required")
    status, objects = _pull(engine, name, username="u", password="p")
    assert (status, objects[-1]) == (200, {"status": f"Status: Downloaded newer image for {name}:1"})


@covers("pull")
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b'{"details":"incorrect username or password"}', "unauthorized: incorrect username or password"),
        (b"no", "unauthorized: authentication required"),
    ],
)
def test_a_token_server_that_refuses(engine: Engine, fake: FakeRegistry, answer: bytes, text: str) -> None:
    challenge = f'Bearer realm="http://{fake.address}/token",service="s",scope="repository:x:pull"'
    refuse = _error("UNAUTHORIZED", "authentication required", 401, WWW_Authenticate=challenge)

    def guard(handler: Any) -> bool:
        if not handler.path.startswith("/token"):
            return refuse(handler)
        handler.answer(answer, "application/json", status=401)
        return True

    fake.before = guard
    url = f"http://{fake.address}/v2/x/manifests/1"
    assert _said(engine, f"{fake.address}/x", username="u", password="p") == (500, f'Head "{url}": {text}')


@covers("pull --platform")
def test_a_platform_that_a_list_lacks(engine: Engine, fake: FakeRegistry) -> None:
    fake.index("1", {"arm64": fake.add("a", [_layer()], compress=_squeeze, architecture="arm64")})
    name = f"{fake.address}/x"
    for platform in ("linux/s390x", "linux/arm64/v7", "linux/arm/v7"):
        assert _said(engine, name, platform=platform) == (200, f"no matching manifest for {platform} in the manifest list entries")
    assert _said(engine, name, platform="linux/a/b/c") == (400, '"linux/a/b/c": cannot parse platform specifier: invalid argument')
    for platform in ("linux/arm64", "linux/arm64/v8", "linux/aarch64"):
        assert _pull(engine, name, platform=platform)[1][-1]["status"].startswith("Status: ")


@covers("pull")
def test_an_image_that_is_not_what_its_manifest_says(engine: Engine, fake: FakeRegistry) -> None:
    name, layer = f"{fake.address}/b", _layer()
    fake.add("1", [layer], compress=_squeeze)
    config, blob = json.loads(fake.manifests["1"][0])["config"]["digest"], json.loads(fake.manifests["1"][0])["layers"][0]["digest"]
    good = dict(fake.blobs)
    fake.blobs = {**good, blob: good[blob][:-20] + b"x" * 20}
    assert _said(engine, name) == (200, f"filesystem layer verification failed for digest {blob}")
    fake.blobs = {config: good[config]}
    assert _said(engine, name) == (200, "unknown blob")
    fake.blobs = {**good, config: good[config] + b" "}
    assert _said(engine, name) == (200, f"error pulling image configuration: image config verification failed for digest {config}")
    fake.blobs = {blob: good[blob]}
    assert _said(engine, name) == (200, "error pulling image configuration: download failed after attempts=1: unknown blob")
    fake.blobs = good
    assert _pull(engine, name)[1][-1] == {"status": f"Status: Downloaded newer image for {name}:1"}


@covers("pull")
def test_the_lines_of_a_pull(engine: Engine, fake: FakeRegistry) -> None:
    name = f"{fake.address}/x"
    digest = fake.add("1", [_layer(os.urandom(5000))], compress=_squeeze)
    layer = json.loads(fake.manifests["1"][0])["layers"][0]["digest"][7:19]
    _, objects = _pull(engine, name)
    # Some are told or not as it happens.
    shown = [one for one in objects if one["status"] not in ("Downloading", "Verifying Checksum", "Extracting")]
    assert [(one["status"], one.get("id", ""), "progressDetail" in one) for one in shown] == [
        ("Pulling from x", "1", False),
        ("Pulling fs layer", layer, True),
        ("Download complete", layer, True),
        ("Pull complete", layer, True),
        (f"Digest: {digest}", "", False),
        (f"Status: Downloaded newer image for {name}:1", "", False),
    ]


@covers("pull")
def test_what_nobody_answers(engine: Engine) -> None:
    text = 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused'
    assert _said(engine, "127.0.0.1:1/x") == (500, text)
    status, text = _said(engine, "nosuch.invalid/x")
    assert status == 500 and text.startswith('Get "https://nosuch.invalid/v2/": dial tcp: lookup nosuch.invalid')


@covers("pull")
def test_names_that_are_none(engine: Engine) -> None:
    hexadecimal = "a" * 64
    assert _said(engine, hexadecimal, "") == (
        400,
        f"invalid repository name ({hexadecimal}), cannot specify 64-byte hexadecimal strings",
    )
    assert _said(engine, "x:y:z", "") == (400, "invalid reference format")
    assert _said(engine, "x@sha256:12", "") == (400, "invalid reference format")
    assert _said(engine, f"x@md5:{'a' * 32}", "") == (400, "unsupported digest algorithm")


@covers("pull")
def test_a_manifest_that_is_none_changes_nothing(engine: Engine, fake: FakeRegistry) -> None:
    fake.document("1", b"not json", MANIFEST)
    status, text = _said(engine, f"{fake.address}/x")
    assert status >= 400 and text
    assert not engine.out("images", "-q", f"{fake.address}/x")
