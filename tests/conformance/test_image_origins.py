"""What an image came as, and requests for one platform (API 1.48 to 1.50; dockerd 20.10 knows neither)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from engines import Engine
from images.busybox import archive, layer

from .registry import ADDRESS, Registry
from .test_archives import digest, image_id, save
from .test_push import listed, repository

__all__ = ["repository"]
AMD = quote(json.dumps({"os": "linux", "architecture": "amd64"}))
ARM = quote(json.dumps({"os": "linux", "architecture": "arm64"}))


@pytest.fixture
def pulled(engine: Engine, repository: str, hub: Registry, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The name of an image that came from a list, and the image ids of both platforms."""
    ids = listed(engine, hub, repository.partition("/")[2], tmp_path)
    engine.docker("pull", "-q", f"{repository}:list")
    yield f"{repository}:list", ids


def _document(engine: Engine, name: str, query: str = "", version: str = "") -> dict[str, Any]:
    status, document = engine.request("GET", f"/{version or engine.api}/images/{name}/json{query}")
    assert status == 200, document
    return dict(document)


def test_old_versions_have_no_descriptor(engine: Engine, pulled: tuple[str, dict[str, str]]) -> None:
    for version in ["v1.41"] if engine.name == "dockerd" else ["v1.41", "v1.47"]:
        document = _document(engine, pulled[0], "?manifests=1", version)
        assert "Descriptor" not in document and "Manifests" not in document


def test_a_list_is_described(engine: Engine, pulled: tuple[str, dict[str, str]], name: str) -> None:
    image, ids = pulled
    if engine.name == "dockerd":
        assert _document(engine, image)["Id"] == ids["amd64"]
        return
    engine.docker("create", "--name", name, image, "true")
    container = engine.request("GET", f"/containers/{name}/json")[1]["Id"]
    document = _document(engine, image)
    kind = "application/vnd.docker.distribution.manifest.list.v2+json"
    body = engine.inside("curl", "-s", "-H", f"Accept: {kind}", f"http://{ADDRESS}/v2/{name_of(image)}/manifests/list").encode()
    assert document["Descriptor"] == {"mediaType": kind, "digest": digest(body), "size": len(body)}
    assert "Manifests" not in document and document["Id"] == ids["amd64"]
    document = _document(engine, image, "?manifests=1")
    assert [one["ID"] for one in document["Manifests"]] == [one["digest"] for one in json.loads(body)["manifests"]]
    here, other = document["Manifests"]
    assert here["Descriptor"] == {
        **json.loads(body)["manifests"][0],
        "platform": {"architecture": "amd64", "os": "linux"},
    }
    assert (here["Kind"], here["Available"]) == ("image", True)
    assert here["ImageData"] == {
        "Platform": {"architecture": "amd64", "os": "linux"},
        "Containers": [container],
        "Size": {"Unpacked": document["Size"]},
    }
    assert here["Size"]["Total"] == here["Size"]["Content"] + document["Size"] and here["Size"]["Content"] > 1000
    assert (other["Kind"], other["Available"], other["Size"]) == ("image", False, {"Content": 0, "Total": 0})
    assert other["ImageData"]["Platform"]["architecture"] == "arm64"
    engine.docker("pull", "-q", "--platform", "linux/arm64", image)
    engine.docker("pull", "-q", "--platform", "linux/amd64", image)
    assert all(one["Available"] for one in _document(engine, image, "?manifests=1")["Manifests"])
    [row] = [row for row in engine.request("GET", "/images/json?manifests=1")[1] if image in row["RepoTags"]]
    assert row["Descriptor"] == document["Descriptor"] and len(row["Manifests"]) == 2
    assert "linux/arm64" in engine.out("image", "ls", "--tree")


def name_of(image: str) -> str:
    return image.partition("/")[2].rpartition(":")[0]


def test_a_single_manifest_is_described_and_what_was_loaded_is_not(engine: Engine, repository: str, name: str) -> None:
    engine.docker("tag", "busybox", f"{repository}:1")
    if engine.name == "dockerd":
        assert "Descriptor" not in _document(engine, f"{repository}:1")
        return
    engine.docker("push", "-q", f"{repository}:1")
    engine.docker("rmi", f"{repository}:1")
    engine.docker("pull", "-q", f"{repository}:1")
    document = _document(engine, f"{repository}:1", "?manifests=true")
    assert f"{repository}@{document['Descriptor']['digest']}" in document["RepoDigests"]
    [only] = document["Manifests"]
    assert (only["ID"], only["Available"]) == (document["Descriptor"]["digest"], True)
    assert only["ImageData"]["Platform"] == {"architecture": "amd64", "os": "linux"}
    engine.docker("load", "-q", stdin=archive([layer()], [f"{name}:1"], {"Labels": {"a": name}}))
    assert "Descriptor" not in _document(engine, f"{name}:1", "?manifests=1")
    engine.docker("rmi", f"{name}:1")


def test_requests_for_one_platform(engine: Engine, pulled: tuple[str, dict[str, str]], name: str) -> None:
    image, ids = pulled
    if engine.name == "dockerd":
        assert image_id(engine, image) == ids["amd64"]
        return
    other = {
        "message": f"image with reference {image} was found but does not match the specified platform: "
        "wanted linux/arm64, actual: linux/amd64"
    }
    assert _document(engine, image, f"?platform={AMD}")["Id"] == ids["amd64"]
    assert engine.request("GET", f"/v1.49/images/{image}/json?platform={ARM}") == (404, other)
    assert engine.request("GET", f"/v1.48/images/{image}/json?platform={ARM}")[0] == 200
    both = engine.request("GET", f"/v1.50/images/{image}/json?platform={AMD}&manifests=1")
    assert both == (400, {"message": "conflicting options: manifests and platform options cannot both be set"})
    assert engine.request("GET", f"/v1.48/images/{image}/history?platform={AMD}")[0] == 200
    assert engine.request("GET", f"/v1.48/images/{image}/history?platform={ARM}") == (404, other)
    assert engine.request("GET", f"/v1.48/images/{image}/get?platform={ARM}") == (404, other)
    assert engine.request("GET", f"/v1.48/images/{image}/history?platform=rubbish")[0] == 400
    twice = engine.request("GET", f"/v1.48/images/{image}/get?platform={AMD}&platform={ARM}")
    assert twice == (400, {"message": "multiple platform parameters are not supported"})
    data = save(engine, "--platform", "linux/amd64", image)
    assert engine.request("POST", f"/v1.48/images/{image}/push?platform={ARM}", headers={"X-Registry-Auth": "e30="}) == (404, other)
    assert "digest: sha256:" in engine.out("push", "--platform", "linux/amd64", image)
    refused = engine.docker("image", "rm", "--platform", "linux/arm64", image, check=False)
    assert refused.returncode == 1 and other["message"] in refused.stderr
    assert engine.request("DELETE", f"/v1.50/images/{image}?platforms=x")[0] == 400
    assert ids["amd64"] in engine.out("image", "rm", "--platform", "linux/amd64", image)
    refused = engine.docker("load", "--platform", "linux/arm64", stdin=data, check=False)
    assert refused.returncode == 1
    assert engine.out("load", "-q", "--platform", "linux/amd64", stdin=data) == f"Loaded image: {image}"
    assert image_id(engine, image) == ids["amd64"]
