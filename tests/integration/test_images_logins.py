"""Registries with passwords and with tokens: pushing, mounting, logging in, asking for descriptors; and searching an index."""

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc.aio
import pytest

from images.busybox import archive
from integration.images_fake import FakeRegistry, fake_registry
from integration.images_registry import Store, store
from integration.images_secured import Tokens, password_registry, serving, token_registry
from integration.netns import Namespace, namespace
from integration.search_index import Index
from integration.test_images_push import push, refused, tar_of
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, Forbidden, InvalidArgument, NotFound, Unauthorized
from skerry.core.rpc.channel import translated

pytestmark = pytest.mark.root

LAYER = tar_of(file=b"content" * 1000)
USER = pb.RegistryAuth(username="user", password="pass")
ALICE = pb.RegistryAuth(username="alice", password="alice-password")
BOB = pb.RegistryAuth(username="bob", password="bob-password")


@pytest.fixture(scope="module")
def inside() -> Iterator[Namespace]:
    with namespace("img") as one:
        yield one


@pytest.fixture(scope="module")
def passwords(inside: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with password_registry(inside, tmp_path_factory.mktemp("password")) as address:
        yield address


@pytest.fixture
def tokens(inside: Namespace, tmp_path: Path) -> Iterator[tuple[str, Tokens]]:
    with token_registry(inside, tmp_path) as one:
        yield one


@pytest.fixture
async def images(inside: Namespace, tmp_path: Path) -> AsyncIterator[Store]:
    async with store(inside, tmp_path) as one:
        await one.images()
        yield one


async def failing(call: Any) -> Exception:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return translated(caught.value)


async def login(images: Store, address: str, auth: pb.RegistryAuth) -> pb.LoginResponse:
    request = pb.RegistryAuth()
    request.CopyFrom(auth)
    request.server_address = address
    return await images.stub.Login(pb.LoginRequest(auth=request), timeout=30)


async def test_passwords(images: Store, passwords: str) -> None:
    name = f"{passwords}/private/x:1"
    await images.load(archive([LAYER], [name]))
    wrong = pb.RegistryAuth(username="user", password="wrong")
    assert repr(await refused(images, name)) == repr(Failed("no basic auth credentials"))
    assert repr(await refused(images, name, auth=wrong)) == repr(Unauthorized("unauthorized: authentication required"))
    _, (pushed,) = await push(images, name, auth=USER)
    described = await images.stub.Describe(pb.DescribeRequest(reference=name, auth=USER))
    assert (described.digest, described.size, list(described.platforms)) == (pushed.digest, pushed.size, ["linux/amd64"])
    assert described.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    by_digest = await images.stub.Describe(pb.DescribeRequest(reference=f"{passwords}/private/x@{pushed.digest}", auth=USER))
    assert by_digest == described
    unknown = pb.DescribeRequest(reference=f"{passwords}/private/x:2", auth=USER)
    assert repr(await failing(images.stub.Describe(unknown))) == repr(NotFound("manifest unknown: manifest unknown"))
    assert repr(await failing(images.stub.Describe(pb.DescribeRequest(reference=name)))) == repr(Failed("no basic auth credentials"))

    said = await login(images, passwords, USER)
    assert (said.status, said.identity_token) == ("Login Succeeded", "")
    assert (await login(images, f"http://{passwords}/v2/", USER)).status == "Login Succeeded"
    url = f"http://{passwords}/v2/"
    refusal = Failed(f"login attempt to {url} failed with status: 401 Unauthorized")
    assert repr(await failing(login(images, passwords, wrong))) == repr(refusal)
    assert repr(await failing(login(images, passwords, pb.RegistryAuth()))) == repr(Failed(f'Get "{url}": no basic auth credentials'))
    away = Failed('Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused')
    assert repr(await failing(login(images, "127.0.0.1:9", USER))) == repr(away)
    assert isinstance(await failing(login(images, "http://", USER)), InvalidArgument)


async def test_tokens(images: Store, tokens: tuple[str, Tokens]) -> None:
    address, server = tokens
    server.rights = {
        "alice": {name: {"pull", "push"} for name in ("team/app", "team/copy", "other/app")},
        "bob": {"team/app": {"pull"}, "bob/app": {"pull", "push"}},
    }
    name, copy, foreign = f"{address}/team/app:1", f"{address}/team/copy:1", f"{address}/bob/app:1"
    await images.load(archive([LAYER], [name, copy, foreign]))
    denied = Forbidden("denied: requested access to the resource is denied")
    refusal = await refused(images, name, auth=BOB)
    assert isinstance(refusal, Unauthorized | Forbidden)
    assert str(refusal) in (str(denied), "unauthorized: authentication required")
    _, (pushed,) = await push(images, name, auth=ALICE)
    assert server.requests[-1]["scope"][0] == "repository:team/app:pull,push"
    # A mount needs a token for both repositories, which the registry's challenge asks for.
    texts, (copied,) = await push(images, copy, auth=ALICE)
    assert any(text.endswith("Mounted from team/app") for text in texts)
    assert copied.digest == pushed.digest
    assert {"repository:team/app:pull", "repository:team/copy:pull,push"} <= {
        one for r in server.requests for s in r["scope"] for one in s.split()
    }
    # bob may read one of them: a mount from where he may not is an upload in the end.
    await images.stub.Tag(pb.TagRequest(image=name, target=f"{address}/other/app:1"))
    server.rights["bob"] = {"bob/app": {"pull", "push"}}
    texts, (third,) = await push(images, foreign, auth=BOB)
    assert any(text.endswith("Pushed") for text in texts)
    assert third.digest == pushed.digest

    said = await login(images, address, ALICE)
    assert (said.status, said.identity_token) == ("Login Succeeded", "ecila")
    assert server.requests[-1]["account"] == ["alice"] and server.requests[-1]["client_id"] == ["docker"]
    refreshing = pb.RegistryAuth(username="alice", identity_token="ecila")
    assert (await login(images, address, refreshing)).status == "Login Succeeded"
    _, (again,) = await push(images, name, auth=refreshing)
    assert again.digest == pushed.digest
    assert server.requests[-1]["grant_type"] == ["refresh_token"]
    wrong = pb.RegistryAuth(username="alice", password="wrong")
    refusal = Unauthorized(f'Get "http://{address}/v2/": unauthorized: incorrect username or password')
    assert repr(await failing(login(images, address, wrong))) == repr(refusal)
    assert repr(await refused(images, name, auth=wrong)) == repr(Unauthorized("unauthorized: incorrect username or password"))


async def test_a_list_is_described_with_its_platforms(images: Store, inside: Namespace) -> None:
    with fake_registry(inside) as fake:
        parts = {name: fake.add(name, [LAYER], architecture=name) for name in ("arm64", "amd64")}
        top = fake.index("1", parts)
        answer = await images.stub.Describe(pb.DescribeRequest(reference=f"{fake.address}/x:1"))
        assert (answer.digest, answer.media_type) == (top, "application/vnd.oci.image.index.v1+json")
        assert list(answer.platforms) == ["linux/arm64", "linux/amd64"]
        assert not any("/blobs/" in path for path, _ in fake.requests)


class _Uploads:
    """What a registry does when it is asked to take blobs, on top of FakeRegistry. `refusals` are statuses of the next PUTs."""

    def __init__(self, fake: FakeRegistry) -> None:
        self.fake = fake
        self.refusals: list[tuple[int, dict[str, str]]] = []
        self.puts = 0
        # What each PUT of a blob brought.
        self.authorizations: list[str] = []

    def answer(self, handler: Any) -> None:
        fake = self.fake
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        if handler.command == "HEAD":
            handler.answer(b"", status=200 if handler.path.rpartition("/")[2] in fake.blobs else 404)
        elif handler.command == "POST":
            handler.answer(b"", status=202, Location="/v2/x/blobs/uploads/1?_state=a%2Fb%3D")
        elif "/manifests/" in handler.path:
            fake.document(handler.path.rpartition("/")[2], body, handler.headers["Content-Type"])
            handler.answer(b"", status=201)
        else:
            self.puts += 1
            self.authorizations.append(handler.headers.get("Authorization", ""))
            assert "_state=a%2Fb%3D&digest=sha256" in handler.path
            if self.refusals:
                status, headers = self.refusals.pop(0)
                if not status:
                    handler.close_connection = True
                    handler.connection.shutdown(socket.SHUT_RDWR)
                    return
                text = b'{"errors":[{"code":"SIZE_INVALID","message":"too large for this registry"}]}'
                handler.answer(text if status == 413 else b"", status=status, **headers)
                return
            fake.blobs[parse_qs(urlsplit(handler.path).query)["digest"][0]] = body
            handler.answer(b"", status=201)


async def test_an_upload_is_tried_again_unless_it_is_refused(images: Store, inside: Namespace) -> None:
    with fake_registry(inside) as fake:
        uploads = _Uploads(fake)
        fake.extend(uploads.answer, "HEAD", "POST", "PUT", "DELETE")
        name = f"{fake.address}/x:1"
        await images.load(archive([LAYER], [name]))
        uploads.refusals = [(503, {}), (429, {"Retry_After": "1"})]
        texts, (pushed,) = await push(images, name)
        assert [text.partition(": ")[2] for text in texts[2:-1]] == ["Retrying in 1 second", "Retrying in 1 second", "Pushed"]
        assert fake.manifests["1"][0] and fake.manifests[pushed.digest]
        # A connection that breaks; then a token that is no longer good, with the whole body on its way.
        fake.blobs.clear()
        fake.before = lambda handler: handler.path.startswith("/token") and not handler.answer(b'{"token":"new"}', "application/json")
        challenge = {"WWW_Authenticate": f'Bearer realm="http://{fake.address}/token",service="x",scope="repository:x:pull,push"'}
        uploads.refusals, uploads.authorizations = [(0, {}), (401, challenge)], []
        texts, (again,) = await push(images, name)
        assert again.digest == pushed.digest
        assert uploads.authorizations == ["", "", "Bearer new", "Bearer new"], "the layer three times, then the configuration"
        fake.blobs.clear()
        uploads.refusals, uploads.puts = [(413, {})], 0
        assert repr(await refused(images, name)) == repr(InvalidArgument("size invalid: too large for this registry"))
        assert uploads.puts == 1


async def test_an_index_is_searched_and_filtered(inside: Namespace, tmp_path: Path) -> None:
    Index.seen = []
    with serving(inside, Index) as address:
        async with store(inside, tmp_path, search_index=f"http://{address}/") as images:
            await images.images()

            async def found(term: str = "busybox", **more: Any) -> list[str]:
                answer = await images.stub.Search(pb.SearchRequest(term=term, **more), timeout=30)
                return [one.name for one in answer.results]

            assert await found() == ["busybox", "me/busybox", "you/busybox"]
            assert Index.seen[-1][0] == "/v1/search?q=busybox&n=25"
            assert await found("library/busy box", limit=3, auth=USER) == ["busybox", "me/busybox", "you/busybox"]
            assert Index.seen[-1] == ("/v1/search?q=busy+box&n=3", "Basic dXNlcjpwYXNz")
            assert await found(is_official=True) == ["busybox"]
            assert await found(is_official=False) == ["me/busybox", "you/busybox"]
            assert await found(is_automated=True) == ["me/busybox"]
            assert await found(stars=7) == ["busybox", "me/busybox"]
            assert await found(f"{address}/team/thing") == ["busybox", "me/busybox", "you/busybox"]
            assert Index.seen[-2:] == [("/v1/_ping", ""), ("/v1/search?q=team%2Fthing&n=25", "")]
            one = (await images.stub.Search(pb.SearchRequest(term="x"))).results[0]
            assert (one.description, one.star_count, one.is_official, one.is_automated) == ("Busybox base image.", 3000, True, False)
            for term, error in (
                ("broken", Failed("Unexpected status code 500")),
                ("http://a/x", InvalidArgument("invalid repository name: repository name (http://a/x) should not have a scheme")),
            ):
                assert repr(await failing(images.stub.Search(pb.SearchRequest(term=term)))) == repr(error)
            garbage = await failing(images.stub.Search(pb.SearchRequest(term="garbage")))
            assert str(garbage).startswith("error decoding registry search results")
            away = str(await failing(images.stub.Search(pb.SearchRequest(term="127.0.0.1:9/x"))))
            refused_ = "dial tcp 127.0.0.1:9: connect: connection refused"
            assert away == (
                f'invalid registry endpoint "http://127.0.0.1:9/v1/". HTTPS attempt: Get "https://127.0.0.1:9/v1/_ping": {refused_}. '
                f'HTTP attempt: Get "http://127.0.0.1:9/v1/_ping": {refused_}'
            )
            assert repr(await failing(images.stub.Search(pb.SearchRequest(term="x", limit=101)))) == repr(
                InvalidArgument("Limit 101 is outside the range of [1, 100]")
            )
