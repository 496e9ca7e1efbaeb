"""What goes to registries: push, login, search, descriptors."""

import base64
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import docker.errors
import pytest

from engines import Engine
from images.busybox import archive, layer
from integration.images_secured import password_registry, serving
from integration.netns import Namespace
from integration.search_index import Index

from .registry import ADDRESS, Registry
from .test_archives import digest, tar

covers = pytest.mark.covers
ANYBODY = {"X-Registry-Auth": base64.urlsafe_b64encode(b"{}").decode()}


@pytest.fixture
def repository(engine: Engine, hub: Registry, name: str) -> Iterator[str]:
    """A repository of the registry that nobody has used."""
    yield f"{ADDRESS}/{name}"
    for row in engine.request("GET", "/images/json")[1]:
        for tag in [*(row["RepoTags"] or []), *(row["RepoDigests"] or [])]:
            if name in tag:
                engine.docker("rmi", "-f", tag, check=False)


@pytest.fixture(scope="module")
def private(engine: Engine) -> Iterator[str]:
    """A registry that knows user:pass."""
    with (
        tempfile.TemporaryDirectory(prefix="sk-private-") as folder,
        password_registry(Namespace(f"/run/netns/{engine.netns}"), Path(folder)) as address,
    ):
        yield address


@covers("push", "push :tag")
def test_push(engine: Engine, repository: str) -> None:
    engine.docker("tag", "busybox", f"{repository}:1")
    layer = engine.out("inspect", "-f", "{{index .RootFS.Layers 0}}", "busybox")[7:19]
    said = engine.out("push", f"{repository}:1").splitlines()
    assert said[:2] == [f"The push refers to repository [{repository}]", f"{layer}: Preparing"]
    assert re.fullmatch(rf"{layer}: (Pushed|Mounted from \S+)", said[-2])
    match = re.fullmatch("1: digest: (sha256:[0-9a-f]{64}) size: ([0-9]+)", said[-1])
    assert match
    assert engine.out("inspect", "-f", '{{join .RepoDigests " "}}', f"{repository}:1").split().count(f"{repository}@{match[1]}") == 1
    again = engine.out("push", f"{repository}:1").splitlines()
    assert again[2:] == [f"{layer}: Layer already exists", said[-1]]
    engine.docker("rmi", f"{repository}:1")
    assert f"Digest: {match[1]}" in engine.out("pull", f"{repository}:1")
    assert engine.out("run", "--rm", f"{repository}@{match[1]}", "echo", "pushed") == "pushed"


@covers("push -q", "push -a")
def test_push_of_all_tags(engine: Engine, repository: str) -> None:
    for tag in ("a", "b"):
        engine.docker("tag", "busybox", f"{repository}:{tag}")
    assert engine.out("push", "-q", f"{repository}:a") == f"{repository}:a"
    said = engine.out("push", "-a", repository).splitlines()
    assert [line.partition(":")[0] for line in said if ": digest: " in line] == ["a", "b"]
    assert sorted(json.loads(engine.inside("curl", "-s", f"http://{ADDRESS}/v2/{repository.partition('/')[2]}/tags/list"))["tags"]) == [
        "a",
        "b",
    ]


@pytest.mark.parametrize("made", ["commit", "import", "build"])
def test_what_was_made_here_can_be_pushed(engine: Engine, repository: str, name: str, made: str, tmp_path: Path) -> None:
    image = f"{repository}:1"
    engine.docker("tag", "busybox", f"{repository}:base")
    engine.docker("push", "-q", f"{repository}:base")
    engine.docker("run", "--name", name, "busybox", "sh", "-c", f"echo {name} > /made")
    if made == "build":
        (tmp_path / "Dockerfile").write_text(f"FROM busybox\nRUN echo {name} > /made\n")
        engine.docker("build", "-q", "-t", image, str(tmp_path))
    elif made == "commit":
        engine.docker("commit", name, image)
    else:
        engine.docker("export", "-o", str(tmp_path / "fs.tar"), name)
        engine.docker("import", "-c", 'CMD ["sh"]', str(tmp_path / "fs.tar"), image)
    said = engine.out("push", image).splitlines()
    assert sum(line.endswith(": Layer already exists") for line in said) == (0 if made == "import" else 1)
    assert sum(line.endswith(": Pushed") for line in said) == 1
    engine.docker("rm", "-f", name, check=False)
    engine.docker("rmi", "-f", image)
    assert engine.out("run", "--rm", image, "cat", "/made") == name


_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def listed(engine: Engine, hub: Registry, name: str, folder: Path) -> dict[str, str]:
    """Puts a list of two platforms into the registry as NAME:list; returns the image ids by architecture."""
    ids, items = {}, []
    for architecture in ("amd64", "arm64"):
        path = folder / "one.tar"
        path.write_bytes(archive([layer(), tar({name: architecture.encode()})], [f"{name}:1"], architecture=architecture))
        hub.push(str(path), f"{name}:{architecture}")
        body = engine.inside("curl", "-s", "-H", f"Accept: {_MANIFEST}", f"http://{ADDRESS}/v2/{name}/manifests/{architecture}").encode()
        ids[architecture] = json.loads(body)["config"]["digest"]
        platform = {"os": "linux", "architecture": architecture}
        items.append({"mediaType": _MANIFEST, "size": len(body), "digest": digest(body), "platform": platform})
    (folder / "list.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": _LIST, "manifests": items}))
    put = ("curl", "-sf", "-X", "PUT", "-H", f"Content-Type: {_LIST}", "--data-binary", f"@{folder}/list.json")
    engine.inside(*put, f"http://{ADDRESS}/v2/{name}/manifests/list")
    return ids


def test_of_what_a_list_gave_one_platforms_manifest_is_pushed(engine: Engine, repository: str, hub: Registry, tmp_path: Path) -> None:
    """The list itself stays where it was: the other platforms' layers were never here."""
    path = repository.partition("/")[2]
    ids = listed(engine, hub, path, tmp_path)
    for architecture in ("arm64", "amd64"):
        engine.docker("pull", "-q", "--platform", f"linux/{architecture}", f"{repository}:list")
        assert engine.out("inspect", "-f", "{{.Id}}", f"{repository}:list") == ids[architecture]
        engine.docker("tag", f"{repository}:list", f"{repository}-copy:1")
        said = engine.out("push", f"{repository}-copy:1").splitlines()
        accept = f"Accept: {_LIST}, {_MANIFEST}"
        body = engine.inside("curl", "-s", "-H", accept, f"http://{ADDRESS}/v2/{path}-copy/manifests/1").encode()
        assert json.loads(body)["config"]["digest"] == ids[architecture]
        assert said[-1] == f"1: digest: {digest(body)} size: {len(body)}"


def test_docker_py_pushes_and_asks(engine: Engine, repository: str, private: str) -> None:
    client = docker.DockerClient(base_url=f"unix://{engine.socket}", version="auto", timeout=60)
    try:
        assert client.images.get("busybox").tag(repository, "1")
        said = list(client.images.push(repository, tag="1", stream=True, decode=True))
        digest = next(line["aux"]["Digest"] for line in said if "aux" in line)
        data = client.images.get_registry_data(f"{repository}:1")
        assert (data.id, data.attrs["Platforms"]) == (digest, [{"architecture": "amd64", "os": "linux"}])
        assert data.has_platform("linux/amd64") and not data.has_platform("linux/s390x")
        assert f"{repository}@{digest}" in data.pull().attrs["RepoDigests"]
        with pytest.raises(docker.errors.NotFound):
            client.images.get_registry_data(f"{repository}:nosuch")
        assert client.login("user", "pass", registry=private, reauth=True)["Status"] == "Login Succeeded"
        with pytest.raises(docker.errors.APIError, match="401 Unauthorized"):
            client.login("user", "wrong", registry=private, reauth=True)
        error = json.loads(client.images.push(repository, tag="nosuch").splitlines()[-1])
        assert error["errorDetail"] == {"message": f"tag does not exist: {repository}:nosuch"}
    finally:
        client.close()


def test_pushes_that_fail(engine: Engine, repository: str) -> None:
    result = engine.docker("push", f"{repository}:1", check=False)
    assert (result.returncode, result.stdout) == (1, f"The push refers to repository [{repository}]\n")
    assert result.stderr.strip() == f"An image does not exist locally with the tag: {repository}"
    engine.docker("tag", "busybox", f"{repository}:1")
    assert engine.docker("push", f"{repository}:2", check=False).stderr.strip() == f"tag does not exist: {repository}:2"
    engine.docker("tag", "busybox", "127.0.0.1:9/x:1")
    refused = engine.docker("push", "127.0.0.1:9/x:1", check=False)
    engine.docker("rmi", "127.0.0.1:9/x:1")
    assert refused.stderr.strip() == 'Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused'
    path = f"/images/{repository}/push?tag=1"
    missing = {"message": "Bad parameters and missing X-Registry-Auth: EOF"}
    assert engine.request("POST", path) == (400, missing)
    status, body = engine.request("POST", path, headers=ANYBODY)
    objects = [json.loads(line) for line in body.decode().split("\r\n") if line]
    assert status == 200
    digest, size = objects[-1]["aux"]["Digest"], objects[-1]["aux"]["Size"]
    assert objects[-1] == {"progressDetail": {}, "aux": {"Tag": "1", "Digest": digest, "Size": size}}
    assert objects[-2] == {"status": f"1: digest: {digest} size: {size}"}
    assert objects[1].items() >= {"status": "Preparing", "progressDetail": {}}.items()


@covers("login", "logout")
def test_login(engine: Engine, private: str, name: str, tmp_path: Path) -> None:
    def docker(*words: str, check: bool = True, **more: bytes) -> tuple[int, str]:
        result = engine.docker("--config", str(tmp_path), *words, check=check, **more)
        return result.returncode, result.stdout + result.stderr

    image = f"{private}/{name}:1"
    engine.docker("tag", "busybox", image)
    try:
        code, said = docker("push", image, check=False)
        assert code == 1 and said.splitlines()[-1] == "no basic auth credentials"
        code, said = docker("login", "-u", "user", "--password-stdin", private, stdin=b"wrong", check=False)
        assert code == 1
        assert said.splitlines()[-1].endswith(f"login attempt to http://{private}/v2/ failed with status: 401 Unauthorized")
        assert "Login Succeeded" in docker("login", "-u", "user", "--password-stdin", private, stdin=b"pass")[1]
        assert "1: digest: sha256:" in docker("push", image)[1]
        engine.docker("rmi", image)
        assert f"Status: Downloaded newer image for {image}" in docker("pull", image)[1]
        docker("logout", private)
        assert docker("push", image, check=False)[1].splitlines()[-1] == "no basic auth credentials"
    finally:
        engine.docker("rmi", "-f", image, check=False)


def test_auth(engine: Engine, private: str) -> None:
    def auth(**fields: str) -> tuple[int, object]:
        return engine.request("POST", "/auth", {"serveraddress": private, **fields})

    assert auth(username="user", password="pass") == (200, {"IdentityToken": "", "Status": "Login Succeeded"})
    assert auth(username="user", password="wrong") == (
        500,
        {"message": f"login attempt to http://{private}/v2/ failed with status: 401 Unauthorized"},
    )
    assert auth() == (500, {"message": f'Get "http://{private}/v2/": no basic auth credentials'})


def test_descriptors(engine: Engine, hub: Registry) -> None:
    status, found = engine.request("GET", f"/distribution/{ADDRESS}/busybox/json")
    assert status == 200
    descriptor = found["Descriptor"]
    assert re.fullmatch("sha256:[0-9a-f]{64}", descriptor["digest"]) and descriptor["size"] > 400
    assert (descriptor["mediaType"], found["Platforms"]) == (
        "application/vnd.docker.distribution.manifest.v2+json",
        [{"architecture": "amd64", "os": "linux"}],
    )
    assert engine.request("GET", f"/distribution/{ADDRESS}/busybox@{descriptor['digest']}/json") == (200, found)
    assert engine.request("GET", f"/distribution/{ADDRESS}/busybox:nosuch/json") == (404, {"message": "manifest unknown: manifest unknown"})
    assert engine.request("GET", f"/distribution/sha256:{'1' * 64}/json") == (500, {"message": "no manifest found for full image ID"})
    assert engine.request("GET", "/distribution/A/json")[0] == 400


@covers("search", "search --filter", "search --limit", "search --no-trunc", "search --format")
def test_search(engine: Engine) -> None:
    with serving(Namespace(f"/run/netns/{engine.netns}"), Index) as address:
        term = f"{address}/busybox"
        head, *rows = engine.out("search", term).splitlines()
        assert re.split(r"\s{2,}", head)[:4] == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
        assert [row.split()[0] for row in rows] == ["busybox", "me/busybox", "you/busybox"]
        assert re.search(r"3000\s+\[OK\]", rows[0])
        assert (
            engine.out("search", "--no-trunc", "--limit", "2", "--format", "{{.Name}} {{.StarCount}}", term).splitlines()[1]
            == "me/busybox 7"
        )
        assert "n=2" in Index.seen[-1][0]

        def names(*filters: str) -> list[str]:
            return engine.out("search", "--format", "{{.Name}}", *(word for one in filters for word in ("--filter", one)), term).split()

        assert names("is-official=true") == ["busybox"]
        assert names("is-official=false") == ["me/busybox", "you/busybox"]
        assert names("stars=7") == ["busybox", "me/busybox"]
        assert names("stars=3", "stars=100") == ["busybox"]
        assert names("is-automated=true") == ["me/busybox"]
        status, rows = engine.request("GET", f"/images/search?term={term}&limit=1")
        assert status == 200
        assert rows[0] == {
            "star_count": 3000, "is_official": True, "name": "busybox", "is_automated": False, "description": "Busybox base image."
        }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("limit=0", 400, "Limit 0 is outside the range of [1, 100]"),
        ("limit=101", 400, "Limit 101 is outside the range of [1, 100]"),
        ("filters=%7B%22nosuch%22:[%221%22]%7D", 400, "Invalid filter 'nosuch'"),
        ("filters=%7B%22stars%22:[%22a%22]%7D", 400, "Invalid filter 'stars=a'"),
        ("filters=%7B%22is-official%22:[%22maybe%22]%7D", 400, "Invalid filter 'is-official=[maybe]'"),
    ],
)
def test_searches_that_are_refused(engine: Engine, query: str, status: int, text: str) -> None:
    assert engine.request("GET", f"/images/search?term=x&{query}") == (status, {"message": text})
