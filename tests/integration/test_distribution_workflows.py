"""The four workflows of the OCI distribution specification's conformance suite (pull, push, content discovery, content management), each as
one client walks through it. The single rules are in test_distribution_conformance.py.
"""

import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from integration.distribution_kit import (
    EMPTY,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Answer,
    Client,
    Served,
    described,
    digest_of,
    served,
)

pytestmark = pytest.mark.root
NOBODY = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("w")) as one:
        yield one


@pytest.fixture
def client(store: Served) -> Client:
    return store.client


@pytest.fixture
def base() -> str:
    """The path of a repository that no other test has."""
    return f"/v2/flow/r{random.getrandbits(48):x}"


def _manifest(config: bytes, layers: list[bytes], **more: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(config, OCI_CONFIG),
        "layers": [described(one, OCI_LAYER) for one in layers],
        **more,
    }
    return json.dumps(document).encode()


def _put(client: Client, base: str, reference: str, body: bytes, kind: str = OCI_MANIFEST) -> Answer:
    answer = client("PUT", f"{base}/manifests/{reference}", body, Content_Type=kind)
    assert answer.status == 201, answer.body
    return answer


def _at(client: Client, base: str) -> str:
    answer = client("POST", f"{base}/blobs/uploads/", b"")
    assert answer.status == 202
    return str(answer.headers["Location"])


def _with(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def _blob(client: Client, base: str, data: bytes) -> str:
    answer = client("PUT", _with(_at(client, base), digest_of(data)), data, Content_Type="application/octet-stream")
    assert answer.status == 201
    return digest_of(data)


def test_pull(client: Client, base: str) -> None:
    config, layer = os.urandom(200), os.urandom(5000)
    for method in ("HEAD", "GET"):
        assert client(method, f"{base}/blobs/{NOBODY}").status == 404
        assert client(method, f"{base}/manifests/none").status == 404
        assert client(method, f"{base}/manifests/{NOBODY}").status == 404
    for data in (config, layer):
        digest = _blob(client, base, data)
        head, whole = (client(method, f"{base}/blobs/{digest}") for method in ("HEAD", "GET"))
        assert (head.status, head.headers["Docker-Content-Digest"], head.headers["Content-Length"]) == (200, digest, str(len(data)))
        assert (whole.status, whole.body) == (200, data)
    body = _manifest(config, [layer])
    _put(client, base, "tag", body)
    for reference in ("tag", digest_of(body)):
        head, whole = (client(method, f"{base}/manifests/{reference}", Accept=OCI_MANIFEST) for method in ("HEAD", "GET"))
        for answer in (head, whole):
            assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, digest_of(body))
            assert (answer.headers["Content-Type"], answer.headers["Content-Length"]) == (OCI_MANIFEST, str(len(body)))
        assert (head.body, whole.body) == (b"", body)
    refused = client("PUT", f"{base}/manifests/bad", b"blablabla", Content_Type=OCI_MANIFEST)
    assert refused.status == 400
    assert all({"code", "message"} <= set(one) for one in refused.json()["errors"])


def test_push_of_blobs(client: Client, base: str) -> None:
    data = os.urandom(100_000)
    digest = digest_of(data)
    # A stream: one PATCH without a range.
    at = client("PATCH", _at(client, base), data, Content_Type="application/octet-stream")
    assert at.status == 202
    ended = client("PUT", _with(at.headers["Location"], digest), b"")
    assert ended.status == 201 and client("GET", ended.headers["Location"]).body == data
    # Whole, in one request or two.
    one = client("POST", f"{base}/blobs/uploads/?digest={digest}", data, Content_Type="application/octet-stream")
    assert one.status == 201 and client("HEAD", one.headers["Location"]).status == 200
    _blob(client, base, data)
    # In pieces: out of order, then in order, one of them twice.
    half, end = len(data) // 2, len(data) - 1
    at_piece = _at(client, base)
    assert client("PATCH", at_piece, data[half:], Content_Range=f"{half}-{end}").status == 416
    first = client("PATCH", at_piece, data[:half], Content_Range=f"0-{half - 1}")
    assert (first.status, first.headers["Range"]) == (202, f"0-{half - 1}")
    at_piece = first.headers["Location"]
    assert client("PATCH", at_piece, data[:half], Content_Range=f"0-{half - 1}").status == 416
    stale = client("GET", at_piece)
    assert (stale.status, stale.headers["Range"]) == (204, f"0-{half - 1}")
    second = client("PATCH", stale.headers["Location"], data[half:], Content_Range=f"{half}-{end}")
    assert (second.status, second.headers["Range"]) == (202, f"0-{end}")
    ended = client("PUT", _with(second.headers["Location"], digest), b"")
    assert ended.status == 201 and client("GET", ended.headers["Location"]).body == data
    # The last piece with the end.
    at_piece = client("PATCH", _at(client, base), data[:half], Content_Range=f"0-{half - 1}").headers["Location"]
    assert client("PUT", _with(at_piece, digest), data[half:], Content_Range=f"{half}-{end}").status == 201
    # From another repository, by its name or without.
    other = f"{base}-other"
    mounted = client("POST", f"{other}/blobs/uploads/?mount={digest}&from={base.removeprefix('/v2/')}", b"")
    assert mounted.status == 201 and client("GET", mounted.headers["Location"]).body == data
    assert client("POST", f"{other}-still/blobs/uploads/?mount={digest}", b"").status in (201, 202)
    assert client("POST", f"{other}/blobs/uploads/?mount={NOBODY}&from={base.removeprefix('/v2/')}", b"").status == 202


def test_push_of_manifests(client: Client, base: str) -> None:
    config, layer = os.urandom(200), os.urandom(500)
    assert client("PUT", f"{base}/manifests/early", _manifest(config, [layer]), Content_Type=OCI_MANIFEST).status == 404
    for data in (config, layer):
        _blob(client, base, data)
    for number in range(3):
        body = _manifest(config, [layer], annotations={"n": str(number)})
        answer = _put(client, base, f"test{number}", body)
        assert client("GET", answer.headers["Location"]).body == body
        assert answer.headers["Docker-Content-Digest"] == digest_of(body)
    # Without layers.
    bare = _manifest(config, [])
    assert client("GET", _put(client, base, "empty", bare).headers["Location"]).body == bare
    # By its digest alone.
    alone = _manifest(config, [layer], annotations={"by": "digest"})
    _put(client, base, digest_of(alone), alone)
    assert client("GET", f"{base}/manifests/{digest_of(alone)}").body == alone
    assert "digest" not in str(client("GET", f"{base}/tags/list").json())


def test_content_discovery(client: Client, base: str) -> None:
    config, layer = b"{}", os.urandom(100)
    for data in (config, layer):
        _blob(client, base, data)
    subject = _manifest(config, [layer])
    tags = [f"test{number}" for number in range(4)] + ["TAG", "a.b-c_d"]
    for tag in tags:
        _put(client, base, tag, subject)
    listed = client("GET", f"{base}/tags/list").json()
    assert (listed["name"], sorted(listed["tags"])) == (base.removeprefix("/v2/"), sorted(tags))
    assert listed["tags"] == sorted(listed["tags"], key=str.lower)
    some = client("GET", f"{base}/tags/list?n=4").json()["tags"]
    assert some == listed["tags"][:4]
    assert client("GET", f"{base}/tags/list?n=2&last={some[1]}").json()["tags"] == listed["tags"][2:4]
    assert client("GET", f"{base}/tags/list?n=0").json()["tags"] in ([], None)
    # What refers to a manifest, also to one that is not there yet.
    none = client("GET", f"{base}/referrers/{NOBODY}")
    assert (none.status, none.headers["Content-Type"], none.json()["manifests"]) == (200, OCI_INDEX, [])
    absent = digest_of(b"never pushed")
    pushed = []
    for number, (target, kind) in enumerate(((digest_of(subject), "test/a"), (digest_of(subject), "test/b"), (absent, "test/a"))):
        refers = {"mediaType": OCI_MANIFEST, "digest": target, "size": len(subject)}
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind,
            "config": described(config, EMPTY),
            "layers": [described(layer, "text/plain")],
            "subject": refers,
            "annotations": {"number": str(number)},
        }
        body = json.dumps(document).encode()
        assert _put(client, base, digest_of(body), body).headers["OCI-Subject"] == target
        pushed.append(digest_of(body))
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "artifactType": "test/i",
        "manifests": [],
        "subject": described(subject, OCI_MANIFEST),
    }
    body = json.dumps(index).encode()
    _put(client, base, digest_of(body), body, OCI_INDEX)
    found = client("GET", f"{base}/referrers/{digest_of(subject)}").json()["manifests"]
    assert {one["digest"]: one["artifactType"] for one in found} == {pushed[0]: "test/a", pushed[1]: "test/b", digest_of(body): "test/i"}
    only = client("GET", f"{base}/referrers/{digest_of(subject)}?artifactType=test/a")
    assert [one["digest"] for one in only.json()["manifests"]] == [pushed[0]]
    assert only.headers["OCI-Filters-Applied"] == "artifactType"
    assert [one["annotations"] for one in client("GET", f"{base}/referrers/{absent}").json()["manifests"]] == [{"number": "2"}]


def test_content_management(client: Client, base: str) -> None:
    config, layer = os.urandom(100), os.urandom(200)
    blobs = [_blob(client, base, data) for data in (config, layer)]
    body = _manifest(config, [layer])
    for tag in ("one", "two"):
        _put(client, base, tag, body)
    assert client("DELETE", f"{base}/manifests/one").status == 202
    assert client("GET", f"{base}/manifests/one").status == 404
    assert client("GET", f"{base}/tags/list").json()["tags"] == ["two"]
    assert client("GET", f"{base}/manifests/{digest_of(body)}").status == 200
    assert client("DELETE", f"{base}/manifests/{digest_of(body)}").status == 202
    for reference in ("two", digest_of(body)):
        assert client("GET", f"{base}/manifests/{reference}").status == 404
    assert client("DELETE", f"{base}/manifests/{digest_of(body)}").status == 404
    # A repository without any manifest is none.
    assert client("GET", f"{base}/tags/list").code == "NAME_UNKNOWN"
    for digest in blobs:
        assert client("DELETE", f"{base}/blobs/{digest}").status in (202, 404)
        assert client("GET", f"{base}/blobs/{digest}").status == 404
        assert client("DELETE", f"{base}/blobs/{digest}").status == 404
