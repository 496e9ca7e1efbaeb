"""The rules of the OCI distribution specification 1.1, one by one."""

import json
import os
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from integration.distribution_kit import (
    EMPTY,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Client,
    Served,
    artifact,
    described,
    digest_of,
    served,
)

pytestmark = pytest.mark.root
BLOB = os.urandom(200_000)
NO_DIGEST = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("d")) as one:
        yield one


@pytest.fixture
def client(store: Served) -> Client:
    return store.client


@pytest.fixture
def name() -> str:
    """A repository that no other test has."""
    return f"test/r{random.getrandbits(48):x}"


def image(client: Client, name: str, layer: bytes, **more: Any) -> dict[str, Any]:
    """Pushes the blobs of what says it is an image (its layer is no tar); returns the manifest."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}}).encode()
    client.push_blob(name, config)
    client.push_blob(name, layer)
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(config, OCI_CONFIG),
        "layers": [described(layer, OCI_LAYER)],
        **more,
    }


def location(answer: Any) -> str:
    return str(answer.headers["Location"])


def test_the_api_says_that_it_is_there(client: Client) -> None:
    answer = client("GET", "/v2/")
    assert (answer.status, answer.headers["Docker-Distribution-Api-Version"]) == (200, "registry/2.0")


@pytest.mark.parametrize("path", ["/v2/UPPER/tags/list", "/v2/a..b/tags/list", "/v2/-x/tags/list", "/v2/a//b/tags/list"])
def test_a_name_that_none_may_have_is_refused(client: Client, path: str) -> None:
    answer = client("GET", path)
    assert (answer.status, answer.code) == (400, "NAME_INVALID")


def test_a_blob_in_one_post(client: Client, name: str) -> None:
    digest = digest_of(BLOB)
    answer = client("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", BLOB, Content_Type="application/octet-stream")
    assert (answer.status, location(answer)) == (201, f"/v2/{name}/blobs/{digest}")
    assert client("GET", location(answer)).body == BLOB


def test_a_blob_by_post_and_put(client: Client, name: str) -> None:
    begun = client("POST", f"/v2/{name}/blobs/uploads/", b"")
    assert begun.status == 202
    answer = client("PUT", f"{location(begun)}?digest={digest_of(BLOB)}", BLOB, Content_Type="application/octet-stream")
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, digest_of(BLOB))
    head = client("HEAD", location(answer))
    assert (head.status, head.headers["Content-Length"], head.headers["Docker-Content-Digest"]) == (200, str(len(BLOB)), digest_of(BLOB))


def test_an_empty_blob(client: Client, name: str) -> None:
    digest = client.push_blob(name, b"")
    answer = client("GET", f"/v2/{name}/blobs/{digest}")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


def test_a_blob_in_pieces(client: Client, name: str) -> None:
    at = location(client("POST", f"/v2/{name}/blobs/uploads/", b""))
    first, second, third = BLOB[:70_000], BLOB[70_000:150_000], BLOB[150_000:]
    answer = client("PATCH", at, first, Content_Range="0-69999", Content_Type="application/octet-stream")
    assert (answer.status, answer.headers["Range"]) == (202, "0-69999")
    status = client("GET", location(answer))
    assert (status.status, status.headers["Range"]) == (204, "0-69999")
    answer = client("PATCH", location(answer), second, Content_Range="70000-149999", Content_Type="application/octet-stream")
    assert (answer.status, answer.headers["Range"]) == (202, "0-149999")
    answer = client("PUT", f"{location(answer)}?digest={digest_of(BLOB)}", third, Content_Range=f"150000-{len(BLOB) - 1}")
    assert answer.status == 201
    assert client("GET", location(answer)).body == BLOB
    assert client("GET", at).code == "BLOB_UPLOAD_UNKNOWN"


def test_a_piece_out_of_order_is_refused_and_the_upload_goes_on(client: Client, name: str) -> None:
    at = location(client("POST", f"/v2/{name}/blobs/uploads/", b""))
    wrong = client("PATCH", at, BLOB[10:20], Content_Range="10-19")
    assert (wrong.status, wrong.headers["Range"]) == (416, "0-0")
    assert client("PATCH", at, BLOB[:10], Content_Range="0-9").status == 202
    for content_range in ("0-9", "5-14", "11-20", "10-12", "x", "10-"):
        assert client("PATCH", at, BLOB[10:20], Content_Range=content_range).status == 416
    assert client("PUT", f"{at}?digest={digest_of(BLOB)}", BLOB[20:], Content_Range=f"20-{len(BLOB) - 1}").status == 416
    assert client("PUT", f"{at}?digest={digest_of(BLOB)}", BLOB[10:], Content_Range=f"10-{len(BLOB) - 1}").status == 201


def test_a_broken_piece_is_resumed_where_it_stopped(client: Client, name: str) -> None:
    at = location(client("POST", f"/v2/{name}/blobs/uploads/", b""))
    connection = client.connection()
    connection.putrequest("PATCH", at)
    connection.putheader("Content-Length", str(len(BLOB)))
    connection.endheaders(BLOB[:100_000])
    connection.close()
    status = client("GET", at)
    end = int(status.headers["Range"].partition("-")[2])
    begin = end + 1 if end else 0
    assert status.status == 204
    answer = client("PATCH", at, BLOB[begin:], Content_Range=f"{begin}-{len(BLOB) - 1}")
    assert answer.status == 202
    assert client("PUT", f"{at}?digest={digest_of(BLOB)}", b"").status == 201


def test_a_stream_of_unknown_length(client: Client, name: str) -> None:
    at = location(client("POST", f"/v2/{name}/blobs/uploads/", b""))
    connection = client.connection()
    connection.request("PATCH", at, iter([BLOB[:50_000], BLOB[50_000:]]), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Range"]) == (202, f"0-{len(BLOB) - 1}")
    connection.close()
    assert client("PUT", f"{at}?digest={digest_of(BLOB)}", b"").status == 201


def test_an_upload_is_cancelled(client: Client, name: str) -> None:
    at = location(client("POST", f"/v2/{name}/blobs/uploads/", b""))
    assert client("PATCH", at, b"abc").status == 202
    assert client("DELETE", at).status == 204
    assert client("PATCH", at, b"abc").status == 404
    assert client("DELETE", at).code == "BLOB_UPLOAD_UNKNOWN"


def test_an_upload_is_its_repositorys_alone(client: Client, name: str) -> None:
    at = location(client("POST", f"/v2/{name}/blobs/uploads/", b""))
    assert client("PATCH", at.replace(name, f"{name}x"), b"abc").code == "BLOB_UPLOAD_UNKNOWN"
    assert client("DELETE", at).status == 204


@pytest.mark.parametrize("digest", ["", "sha256:abc", "md5:" + "0" * 32, "sha256:" + "A" * 64, NO_DIGEST])
def test_a_blob_with_a_wrong_digest_is_refused(client: Client, name: str, digest: str) -> None:
    at = location(client("POST", f"/v2/{name}/blobs/uploads/", b""))
    answer = client("PUT", f"{at}?digest={digest}", b"content")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert client("GET", f"/v2/{name}/blobs/{digest_of(b'content')}").status == 404


@pytest.mark.parametrize("how", ["post", "told", "untold"])
def test_sha512(client: Client, name: str, how: str) -> None:
    digest = digest_of(BLOB, "sha512")
    if how == "post":
        client.push_blob(name, BLOB, "sha512")
    else:
        at = location(client("POST", f"/v2/{name}/blobs/uploads/{'?digest-algorithm=sha512' if how == 'told' else ''}", b""))
        assert client("PATCH", at, BLOB[:1000]).status == 202
        assert client("PUT", f"{at}?digest={digest_of(BLOB, 'sha512')}", BLOB[1000:]).status == 201
    answer = client("GET", f"/v2/{name}/blobs/{digest}")
    assert (answer.body, answer.headers["Docker-Content-Digest"]) == (BLOB, digest)
    assert client("GET", f"/v2/{name}/blobs/{digest_of(BLOB)}").status == 404
    wrong = digest_of(b"other", "sha512")
    assert client("POST", f"/v2/{name}/blobs/uploads/?digest={wrong}", BLOB).code == "DIGEST_INVALID"


def test_a_manifest_by_its_sha512_digest(client: Client, name: str) -> None:
    data = json.dumps(artifact(client, name, "x")).encode()
    digest = digest_of(data, "sha512")
    answer = client("PUT", f"/v2/{name}/manifests/{digest}", data, Content_Type=OCI_MANIFEST)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, digest)
    assert client("GET", f"/v2/{name}/manifests/{digest}").body == data


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [("bytes=0-9", 0, 10), ("bytes=100-199", 100, 200), ("bytes=199990-", 199_990, 200_000), ("bytes=-5", 199_995, 200_000)],
)
def test_a_part_of_a_blob(client: Client, name: str, asked: str, begin: int, end: int) -> None:
    digest = client.push_blob(name, BLOB)
    answer = client("GET", f"/v2/{name}/blobs/{digest}", Range=asked)
    assert (answer.status, answer.body, answer.headers["Content-Range"]) == (206, BLOB[begin:end], f"bytes {begin}-{end - 1}/{len(BLOB)}")


def test_a_part_behind_the_end(client: Client, name: str) -> None:
    assert client("GET", f"/v2/{name}/blobs/{client.push_blob(name, BLOB)}", Range="bytes=200000-").status == 416


def test_what_is_not_there(client: Client, name: str) -> None:
    assert client("GET", f"/v2/{name}/tags/list").code == "NAME_UNKNOWN"
    assert client("GET", f"/v2/{name}/blobs/{NO_DIGEST}").code == "BLOB_UNKNOWN"
    assert client("GET", f"/v2/{name}/manifests/{NO_DIGEST}").code == "MANIFEST_UNKNOWN"
    assert client("GET", f"/v2/{name}/manifests/latest").code == "MANIFEST_UNKNOWN"
    assert client("HEAD", f"/v2/{name}/manifests/latest").status == 404
    assert client("HEAD", f"/v2/{name}/blobs/{NO_DIGEST}").status == 404
    assert client("DELETE", f"/v2/{name}/manifests/{NO_DIGEST}").status == 404
    assert client("DELETE", f"/v2/{name}/manifests/latest").status == 404
    assert client("DELETE", f"/v2/{name}/blobs/{NO_DIGEST}").code == "BLOB_UNKNOWN"


def test_a_blob_is_its_repositorys_and_is_mounted_elsewhere(client: Client, name: str) -> None:
    data = os.urandom(1000)
    digest = client.push_blob(name, data)
    other = f"{name}/other"
    assert client("GET", f"/v2/{other}/blobs/{digest}").status == 404
    mounted = client("POST", f"/v2/{other}/blobs/uploads/?mount={digest}&from={name}", b"")
    assert (mounted.status, location(mounted)) == (201, f"/v2/{other}/blobs/{digest}")
    assert client("GET", location(mounted)).body == data
    assert client("POST", f"/v2/{name}/third/blobs/uploads/?mount={digest}", b"").status == 201
    # What cannot be mounted becomes an upload.
    for query in (f"mount={NO_DIGEST}&from={name}", f"mount={digest}&from={name}/nobody"):
        answer = client("POST", f"/v2/{other}/blobs/uploads/?{query}", b"")
        assert answer.status == 202
        assert client("DELETE", location(answer)).status == 204


def test_a_blob_is_deleted(client: Client, name: str) -> None:
    digest = client.push_blob(name, BLOB)
    assert client("DELETE", f"/v2/{name}/blobs/{digest}").status == 202
    assert client("GET", f"/v2/{name}/blobs/{digest}").status == 404


def test_a_manifest_by_tag_and_by_digest(client: Client, name: str) -> None:
    document = image(client, name, os.urandom(100))
    data = json.dumps(document).encode()
    answer = client.push_manifest(name, "v1", document)
    assert (answer.status, location(answer)) == (201, f"/v2/{name}/manifests/{digest_of(data)}")
    for reference in ("v1", digest_of(data)):
        got = client("GET", f"/v2/{name}/manifests/{reference}")
        assert (got.status, got.body) == (200, data)
        assert (got.headers["Content-Type"], got.headers["Docker-Content-Digest"]) == (OCI_MANIFEST, digest_of(data))
        head = client("HEAD", f"/v2/{name}/manifests/{reference}")
        assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(data)), b"")
    assert client("GET", f"/v2/{name}x/manifests/{digest_of(data)}").status == 404


def test_several_tags_with_one_put(client: Client, name: str) -> None:
    data = json.dumps(artifact(client, name, "x")).encode()
    answer = client("PUT", f"/v2/{name}/manifests/{digest_of(data)}?tag=a&tag=b", data, Content_Type=OCI_MANIFEST)
    assert (answer.status, answer.headers.get_all("OCI-Tag")) == (201, ["a", "b"])
    assert client("GET", f"/v2/{name}/tags/list").json()["tags"] == ["a", "b"]


def test_manifests_that_none_may_push(client: Client, name: str) -> None:
    good = artifact(client, name, "x")
    missing = {**good, "layers": [described(b"never pushed", "text/plain")]}
    answer = client.push_manifest(name, "v1", missing)
    assert (answer.status, answer.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [described(b"{}", OCI_MANIFEST)]}
    assert client.push_manifest(name, "v1", index).code == "MANIFEST_BLOB_UNKNOWN"
    wrong_size = {**good, "config": {**good["config"], "size": 3}}
    for bad in (
        {**good, "schemaVersion": 1},
        {**good, "mediaType": "application/json"},
        {**good, "manifests": []},
        {**good, "config": {"mediaType": EMPTY, "digest": "sha256:xyz", "size": 2}},
        {"schemaVersion": 2, "mediaType": OCI_INDEX},
        wrong_size,
    ):
        answer = client.push_manifest(name, "v1", bad)
        assert (answer.status, answer.code) == (400, "MANIFEST_INVALID"), bad
    put = f"/v2/{name}/manifests"
    assert client("PUT", f"{put}/v1", b"no json", Content_Type=OCI_MANIFEST).code == "MANIFEST_INVALID"
    assert client("PUT", f"{put}/v1", b"[" * 100_000, Content_Type=OCI_MANIFEST).code == "MANIFEST_INVALID"
    assert client("PUT", f"{put}/v1", json.dumps(good).encode(), Content_Type=OCI_INDEX).code == "MANIFEST_INVALID"
    assert client("PUT", f"{put}/{NO_DIGEST}", json.dumps(good).encode(), Content_Type=OCI_MANIFEST).code == "DIGEST_INVALID"
    assert client("PUT", f"{put}/-v1", json.dumps(good).encode(), Content_Type=OCI_MANIFEST).status == 400
    assert client("PUT", f"{put}/v1", b" " * (4 << 20) + json.dumps(good).encode(), Content_Type=OCI_MANIFEST).status == 413
    assert client("GET", f"/v2/{name}/tags/list").json()["tags"] == []


def test_an_index_with_its_manifests(client: Client, name: str) -> None:
    inner = [image(client, name, os.urandom(50)) for _ in range(2)]
    for one in inner:
        assert client.push_manifest(name, "", one).status == 201
    manifests = [
        described(json.dumps(one).encode(), OCI_MANIFEST, platform={"os": "linux", "architecture": arch})
        for one, arch in zip(inner, ("amd64", "arm64"), strict=True)
    ]
    assert client.push_manifest(name, "multi", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).status == 201
    got = client("GET", f"/v2/{name}/manifests/multi")
    assert (got.headers["Content-Type"], got.json()["manifests"]) == (OCI_INDEX, manifests)
    assert client("GET", f"/v2/{name}/tags/list").json()["tags"] == ["multi"]


def test_tags_are_listed_in_order_and_in_pages(client: Client, name: str) -> None:
    document = artifact(client, name, "x")
    wanted = ["a", "B", "c", "test0", "test1", "Z"]
    for tag in reversed(wanted):
        assert client.push_manifest(name, tag, document).status == 201
    assert client("GET", f"/v2/{name}/tags/list").json() == {"name": name, "tags": wanted}
    page, path = [], f"/v2/{name}/tags/list?n=2"
    while path:
        answer = client("GET", path)
        assert len(answer.json()["tags"]) == 2
        page += answer.json()["tags"]
        path = answer.headers.get("Link", "").partition("<")[2].partition(">")[0]
    assert page == wanted
    assert client("GET", f"/v2/{name}/tags/list?n=0").json()["tags"] == []
    assert client("GET", f"/v2/{name}/tags/list?last=c").json()["tags"] == ["test0", "test1", "Z"]
    assert client("GET", f"/v2/{name}/tags/list?n=1&last=b").json()["tags"] == ["c"]
    assert client("GET", f"/v2/{name}/tags/list?n=x").status == 400


def test_what_refers_to_a_manifest(client: Client, name: str) -> None:
    subject = artifact(client, name, "subject")
    about = described(json.dumps(subject).encode(), OCI_MANIFEST)
    # Also before the subject is there.
    signature = artifact(client, name, "signature", artifactType="test/signature", subject=about, annotations={"a": "b"})
    answer = client.push_manifest(name, "", signature)
    assert (answer.status, answer.headers["OCI-Subject"]) == (201, about["digest"])
    assert client.push_manifest(name, "v1", subject).status == 201
    bill = artifact(client, name, "bill", artifactType="test/bill", subject=about)
    assert client.push_manifest(name, "sbom", bill).status == 201
    # The artifact's type is the configuration's when there is no other; an index may refer too.
    plain = artifact(client, name, "plain", subject=about)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [about], "subject": about, "artifactType": "test/index"}
    for one in (plain, index):
        assert client.push_manifest(name, "", one).headers["OCI-Subject"] == about["digest"]
    found = client("GET", f"/v2/{name}/referrers/{about['digest']}")
    assert (found.status, found.headers["Content-Type"], found.json()["mediaType"]) == (200, OCI_INDEX, OCI_INDEX)
    by_type = {one["artifactType"]: one for one in found.json()["manifests"]}
    assert set(by_type) == {"test/signature", "test/bill", "test/index", EMPTY}
    assert by_type["test/signature"] == {
        **described(json.dumps(signature).encode(), OCI_MANIFEST),
        "artifactType": "test/signature",
        "annotations": {"a": "b"},
    }
    filtered = client("GET", f"/v2/{name}/referrers/{about['digest']}?artifactType=test/bill")
    assert [one["artifactType"] for one in filtered.json()["manifests"]] == ["test/bill"]
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert client("DELETE", f"/v2/{name}/manifests/{digest_of(json.dumps(bill).encode())}").status == 202
    assert len(client("GET", f"/v2/{name}/referrers/{about['digest']}").json()["manifests"]) == 3


def test_nothing_that_refers_is_an_answer(client: Client, name: str) -> None:
    answer = client("GET", f"/v2/{name}/referrers/{NO_DIGEST}")
    assert (answer.status, answer.json()["manifests"]) == (200, [])
    assert client("GET", f"/v2/{name}/referrers/nonsense").status == 400


def test_a_tag_is_deleted_and_its_manifest_stays(client: Client, name: str) -> None:
    document = image(client, name, os.urandom(100))
    digest = digest_of(json.dumps(document).encode())
    for tag in ("one", "two"):
        assert client.push_manifest(name, tag, document).status == 201
    assert client("DELETE", f"/v2/{name}/manifests/one").status == 202
    assert client("GET", f"/v2/{name}/manifests/one").status == 404
    assert client("GET", f"/v2/{name}/tags/list").json()["tags"] == ["two"]
    assert client("GET", f"/v2/{name}/manifests/{digest}").status == 200


def test_a_manifest_is_deleted_with_its_tags(client: Client, name: str) -> None:
    document = image(client, name, os.urandom(100))
    digest = digest_of(json.dumps(document).encode())
    for tag in ("one", "two"):
        client.push_manifest(name, tag, document)
    client.push_manifest(name, "other", artifact(client, name, "other"))
    assert client("DELETE", f"/v2/{name}/manifests/{digest}").status == 202
    for reference in ("one", "two", digest):
        assert client("GET", f"/v2/{name}/manifests/{reference}").status == 404
    assert client("GET", f"/v2/{name}/tags/list").json()["tags"] == ["other"]


def test_a_tag_moves(client: Client, name: str) -> None:
    first, second = artifact(client, name, "1"), image(client, name, os.urandom(10))
    client.push_manifest(name, "t", first)
    client.push_manifest(name, "t", second)
    assert client("GET", f"/v2/{name}/manifests/t").json() == second
    assert client("GET", f"/v2/{name}/manifests/{digest_of(json.dumps(first).encode())}").status == 200
    client.push_manifest(name, "t", first)
    assert client("GET", f"/v2/{name}/manifests/t").json() == first


def test_the_catalog_lists_repositories_in_pages(client: Client, name: str) -> None:
    for end in ("a", "b", "c"):
        client.push_manifest(f"{name}/{end}", "t", artifact(client, f"{name}/{end}", end))
    names, path = [], "/v2/_catalog?n=2"
    while path:
        answer = client("GET", path)
        names += answer.json()["repositories"]
        path = answer.headers.get("Link", "").partition("<")[2].partition(">")[0]
        assert path == "" or parse_qs(urlsplit(path).query)["n"] == ["2"]
    assert names == sorted(set(names))
    assert {f"{name}/a", f"{name}/b", f"{name}/c"} <= set(names)


def test_an_unknown_path_or_method_is_refused_in_the_same_form(client: Client) -> None:
    assert client("GET", "/v2/x/nonsense").code == "UNSUPPORTED"
    assert client("PUT", "/v2/x/tags/list", b"x").status == 405
    assert client("GET", "/v1/").status == 404


def test_all_stays_over_a_restart(store: Served, client: Client, name: str) -> None:
    document = artifact(client, name, "kept", artifactType="a/b")
    client.push_manifest(name, "t", document)
    store.stop()
    store.start()
    assert client("GET", f"/v2/{name}/manifests/t").json() == document
    assert client("GET", f"/v2/{name}/blobs/{digest_of(b'kept')}").body == b"kept"
