"""/v2/ standing for other registries: content is fetched once, asked for again when it may have changed, there when they are not."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engines import dockerd_engine
from images.busybox import archive
from integration.distribution_kit import ADDRESS, Answer, Client, Served, artifact, digest_of, served
from integration.images_fake import FakeRegistry, fake_registry
from integration.images_secured import HTPASSWD, docker_registry
from integration.netns import Namespace, namespace
from integration.test_distribution_clients import LAYERS, findings, images, load, tar_of

pytestmark = pytest.mark.root


@pytest.fixture
def inside() -> Iterator[Namespace]:
    with namespace("dist") as one:
        yield one


@pytest.fixture
def upstream(inside: Namespace) -> Iterator[FakeRegistry]:
    with fake_registry(inside) as one:

        def head(handler: Any) -> None:
            what = handler.path.rpartition("/")[2]
            body, kind = one.manifests.get(what) or (one.blobs.get(what), "application/octet-stream")
            if one.before(handler):
                return
            handler.send_response(404 if body is None else 200)
            headers = {"Content-Type": kind, "Content-Length": len(body or b""), "Docker-Content-Digest": digest_of(body or b"")}
            for name, value in headers.items():
                handler.send_header(name, str(value))
            handler.end_headers()

        one.extend(head, "HEAD")
        yield one


@pytest.fixture
def store(inside: Namespace, upstream: FakeRegistry, tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, inside, distribution_upstreams=f"docker.io=http://{upstream.address}") as one:
        yield one


def test_what_was_fetched_is_not_fetched_again(store: Served, upstream: FakeRegistry) -> None:
    digest = upstream.add("1", LAYERS)
    got = store.client("GET", "/v2/library/some/manifests/1")
    assert (got.status, got.headers["Docker-Content-Digest"], digest_of(got.body)) == (200, digest, digest)
    for layer, part in zip(LAYERS, got.json()["layers"], strict=True):
        for _ in range(2):
            assert store.client("GET", f"/v2/library/some/blobs/{part['digest']}").body == layer
        assert upstream.asked_for(f"/v2/library/some/blobs/{part['digest']}") == 1
    manifests = upstream.asked_for("/v2/library/some/manifests")
    assert store.client("GET", "/v2/library/some/manifests/1").body == got.body
    assert store.client("GET", f"/v2/library/some/manifests/{digest}").body == got.body
    assert upstream.asked_for("/v2/library/some/manifests") == manifests == 1
    assert findings(store) == []
    # A copy is no image.
    assert images(store) == {}


def test_a_tag_that_moved_is_seen(store: Served, upstream: FakeRegistry) -> None:
    first = upstream.add("1", LAYERS)
    assert store.client("HEAD", "/v2/library/some/manifests/1").headers["Docker-Content-Digest"] == first
    second = upstream.add("1", LAYERS[:1])
    assert store.client("HEAD", "/v2/library/some/manifests/1").headers["Docker-Content-Digest"] == second
    assert store.client("GET", f"/v2/library/some/manifests/{first}").status == 200
    del upstream.manifests["1"]
    assert store.client("GET", "/v2/library/some/manifests/1").status == 404


def test_what_is_here_is_the_answer_when_the_registry_is_away(store: Served, upstream: FakeRegistry) -> None:
    digest = upstream.add("1", LAYERS)
    got = store.client("GET", "/v2/library/some/manifests/1")
    config = store.client("GET", f"/v2/library/some/blobs/{got.json()['config']['digest']}")

    def broken(handler: object) -> bool:
        handler.send_error(418)  # type: ignore[attr-defined]
        return True

    upstream.before = broken
    store.stop()
    store.start()
    assert store.client("GET", "/v2/library/some/manifests/1").headers["Docker-Content-Digest"] == digest
    assert store.client("GET", f"/v2/library/some/blobs/{got.json()['config']['digest']}").body == config.body
    assert store.client("GET", f"/v2/library/some/blobs/{got.json()['layers'][0]['digest']}").status == 404
    assert store.client("GET", "/v2/library/else/manifests/1").status in (404, 502)


def test_several_clients_fetch_a_blob_once_and_none_waits_for_its_end(store: Served, upstream: FakeRegistry) -> None:
    layer = tar_of(big=os.urandom(3 << 20))
    upstream.add("1", [layer])
    part = store.client("GET", "/v2/library/some/manifests/1").json()["layers"][0]
    upstream.pause = 0.03
    path = f"/v2/library/some/blobs/{part['digest']}"
    answers: list[Answer] = []
    first_byte: list[float] = []

    def fetch() -> None:
        begin = time.monotonic()
        connection = store.client.connection()
        connection.request("GET", path)
        response = connection.getresponse()
        response.peek(1)
        first_byte.append(time.monotonic() - begin)
        answers.append(Answer(response))
        connection.close()

    threads = [threading.Thread(target=fetch) for _ in range(5)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    whole = time.monotonic() - begin
    assert [digest_of(one.body) for one in answers] == [digest_of(layer)] * 5
    assert upstream.asked_for(path) == 1
    assert max(first_byte) < whole / 2


def test_a_client_that_leaves_does_not_end_the_fetch(store: Served, upstream: FakeRegistry) -> None:
    layer = tar_of(big=os.urandom(1 << 20))
    upstream.add("1", [layer])
    part = store.client("GET", "/v2/library/some/manifests/1").json()["layers"][0]
    upstream.pause = 0.03
    path = f"/v2/library/some/blobs/{part['digest']}"
    connection = store.client.connection()
    connection.request("GET", path)
    connection.getresponse().read(1)
    connection.close()
    assert store.client("GET", path).body == layer
    assert upstream.asked_for(path) == 1


def test_a_lying_registry_is_believed_by_nobody(store: Served, upstream: FakeRegistry) -> None:
    layer = tar_of(big=os.urandom(1 << 20))
    upstream.add("1", [layer])
    digest = digest_of(layer)
    upstream.blobs[digest] = layer[:-1] + b"x"
    store.client("GET", "/v2/library/some/manifests/1")
    connection = store.client.connection()
    connection.request("GET", f"/v2/library/some/blobs/{digest}")
    with pytest.raises(Exception, match=r"IncompleteRead|reset"):
        connection.getresponse().read()
    connection.close()
    assert digest not in store.blobs()
    upstream.blobs[digest] = layer
    assert store.client("GET", f"/v2/library/some/blobs/{digest}").body == layer


def test_what_is_pushed_or_loaded_here_is_served_beside_it(store: Served, upstream: FakeRegistry) -> None:
    upstream.add("1", LAYERS)
    document = artifact(store.client, "mine/own", "x")
    store.client.push_manifest("mine/own", "1", document)
    assert store.client("GET", "/v2/mine/own/manifests/1").json() == document
    load(store, "loaded/here:2")
    assert store.client("GET", "/v2/loaded/here/manifests/2").status == 200
    # Of the same name the other registry's is the one.
    load(store, "library/some:1", layers=LAYERS[:1])
    assert len(store.client("GET", "/v2/library/some/manifests/1").json()["layers"]) == 2


def test_copies_that_nobody_asks_for_go(inside: Namespace, upstream: FakeRegistry, tmp_path: Path) -> None:
    settings = {"distribution_copy_seconds": "1", "distribution_loose_seconds": "1"}
    with served(tmp_path, inside, distribution_upstreams=f"docker.io=http://{upstream.address}", **settings) as store:
        upstream.add("1", LAYERS)
        for part in store.client("GET", "/v2/library/some/manifests/1").json()["layers"]:
            assert store.client("GET", f"/v2/library/some/blobs/{part['digest']}").status == 200
        assert len(store.blobs()) == 3
        time.sleep(1.2)
        store.stop()
        store.start()  # sweeps
        deadline = time.monotonic() + 5
        while store.blobs():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_registry_that_wants_a_password_gets_its_own(inside: Namespace, tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auths = tmp_path / "auths.json"
    with docker_registry(inside, tmp_path, 5001, auth=f"auth: {{htpasswd: {{realm: test, path: {tmp_path}/htpasswd}}}}\n") as address:
        path = tmp_path / "push.tar"
        path.write_bytes(archive(LAYERS, ["private:1"]))
        to = f"docker://{address}/private:1"
        copy = ("copy", "--quiet", "--dest-tls-verify=false", "--dest-creds=user:pass")
        inside.run("skopeo", "--insecure-policy", *copy, f"docker-archive:{path}", to)
        auths.write_text(json.dumps({"auths": {"reg.test": {"auth": "dXNlcjpwYXNz"}}}))
        settings = {"distribution_upstreams": f"reg.test=http://{address}", "distribution_upstream_auths": str(auths)}
        with served(tmp_path, inside, **settings) as store:
            got = store.client("GET", "/v2/reg.test/private/manifests/1")
            assert got.status == 200
            blob = got.json()["layers"][0]["digest"]
            answer = store.client("GET", f"/v2/reg.test/private/blobs/{blob}")
            assert f"sha256:{hashlib.sha256(answer.body).hexdigest()}" == blob
            assert store.client("GET", "/v2/private/manifests/1").status == 404


def test_dockerd_pulls_through_it(tmp_path: Path) -> None:
    with dockerd_engine("--iptables=false", "--bridge=none", f"--registry-mirror=http://{ADDRESS}") as engine:
        inside = Namespace(f"/run/netns/{engine.netns}")
        with docker_registry(inside, tmp_path, 5000) as address:
            path = tmp_path / "push.tar"
            path.write_bytes(archive(LAYERS, ["thing:1"]))
            to = f"docker://{address}/library/thing:1"
            inside.run("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", f"docker-archive:{path}", to)
            with served(tmp_path, inside, distribution_upstreams=f"docker.io=http://{address}") as store:
                kind = "application/vnd.docker.distribution.manifest.v2+json"
                digest = Client(inside, address)("HEAD", "/v2/library/thing/manifests/1", Accept=kind)
                assert f"Digest: {digest.headers['Docker-Content-Digest']}" in engine.out("pull", "thing:1")
                engine.docker("rmi", "thing:1")
                assert store.client("GET", "/v2/library/thing/tags/list").json()["tags"] == ["1"]
                # A second machine's pull needs the registry no more.
                assert engine.out("pull", "thing:1")
                engine.docker("rmi", "thing:1")
