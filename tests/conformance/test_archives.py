"""Archives: save, load in all forms, import; what goes out comes back the same, also between engines."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from engines import Engine
from images.busybox import archive, layer

covers = pytest.mark.covers


@pytest.fixture(autouse=True)
def _no_images_left(engine: Engine) -> Iterator[None]:
    """Removes every name but busybox:latest, and every image without a name."""
    yield
    for row in engine.request("GET", "/images/json")[1]:
        for tag in row["RepoTags"] or []:
            if tag not in ("busybox:latest", "<none>:<none>"):
                engine.docker("rmi", "-f", tag, check=False)
    engine.docker("image", "prune", "-f")


def tar(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as target:
        for path, body in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(body)
            target.addfile(info, io.BytesIO(body))
        for path, to in (links or {}).items():
            info = tarfile.TarInfo(path)
            info.type, info.linkname = tarfile.SYMTYPE, to
            target.addfile(info)
    return out.getvalue()


def files_in(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as source:
        return {info.name: file.read() for info in source if info.isreg() and (file := source.extractfile(info))}


def save(engine: Engine, *names: str) -> bytes:
    result = subprocess.run(["docker", "save", *names], env=engine.environ(), capture_output=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def manifest(data: bytes) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] | None = json.loads(files_in(data)["manifest.json"])
    return items or []


def image_id(engine: Engine, name: str) -> str:
    return engine.out("inspect", "--type", "image", "-f", "{{.Id}}", name)


def document(diff_ids: list[str], **more: Any) -> bytes:
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}, **more}).encode()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@covers("save", "save -o")
def test_save_and_load_bring_the_same_image_back(engine: Engine, name: str, tmp_path: Any) -> None:
    engine.docker("load", stdin=archive([layer(), tar({"new": name.encode()})], [f"{name}:1", f"{name}:2"]))
    identity, history = image_id(engine, f"{name}:1"), engine.request("GET", f"/images/{name}:1/history")[1]
    engine.docker("save", "-o", str(tmp_path / "saved.tar"), f"{name}:1", f"{name}:2")
    engine.docker("rmi", f"{name}:1", f"{name}:2")
    said = engine.out("load", "-q", "-i", str(tmp_path / "saved.tar")).splitlines()
    assert sorted(said) == [f"Loaded image: {name}:1", f"Loaded image: {name}:2"]
    assert image_id(engine, f"{name}:2") == identity
    assert engine.request("GET", f"/images/{name}:1/history")[1] == history
    assert engine.out("run", "--rm", f"{name}:1", "cat", "/new") == name


def test_one_image_with_two_tags_is_one_item(engine: Engine, name: str) -> None:
    engine.docker("load", stdin=archive([layer()], [f"{name}:1", f"{name}:2"]))
    [item] = manifest(save(engine, name))
    assert item["RepoTags"] == [f"{name}:1", f"{name}:2"]
    [item] = manifest(save(engine, f"{name}:2", "busybox:latest"))
    assert sorted(item["RepoTags"]) == ["busybox:latest", f"{name}:2"]
    [item] = manifest(save(engine, image_id(engine, name + ":1")[7:19]))
    assert item["RepoTags"] is None


def test_several_images_share_their_layers_in_the_archive(engine: Engine, name: str) -> None:
    engine.docker("load", stdin=archive([layer(), tar({"new": name.encode()})], [f"{name}:1"]))
    data = save(engine, "busybox:latest", f"{name}:1")
    assert {tag for item in manifest(data) for tag in item["RepoTags"]} == {"busybox:latest", f"{name}:1"}
    assert sum(len(body) > 1_000_000 for body in files_in(data).values()) == 1
    repositories = json.loads(files_in(data)["repositories"])
    assert set(repositories[name]) == {"1"} and set(repositories["busybox"]) == {"latest"}


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ("nope", 404, "No such image: nope"),
        ("nope:x", 404, "reference does not exist"),
        ("busybox:nope", 404, "reference does not exist"),
        (f"busybox@sha256:{'0' * 64}", 404, "reference does not exist"),
        ("abc", 404, "No such image: abc"),
    ],
)
def test_names_that_cannot_be_saved_are_told_before_the_first_byte(engine: Engine, asked: str, status: int, words: str) -> None:
    for path in (f"/images/get?names=busybox&names={asked}", f"/images/{asked}/get"):
        assert engine.request("GET", path) == (status, {"message": words})


def test_saving_nothing_gives_an_archive_without_images(engine: Engine) -> None:
    status, body = engine.request("GET", "/images/get")
    assert status == 200 and manifest(body) == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["plain", "gzip", "bzip2", "xz"])
@covers("load")
def test_archives_are_loaded_however_they_are_compressed(engine: Engine, name: str, pack: Any) -> None:
    data = archive([tar({"a": name.encode()})], [f"{name}:1"])
    assert engine.out("load", "-q", stdin=pack(data)) == f"Loaded image: {name}:1"


def test_paths_may_begin_with_a_dot_and_layers_may_be_links(engine: Engine, name: str) -> None:
    body = tar({"a": name.encode()})
    config = document([digest(body), digest(body)])
    entry = [{"Config": "./c.json", "RepoTags": [f"{name}:1"], "Layers": ["./one/layer.tar", "two/layer.tar"]}]
    files = {"./c.json": config, "./one/layer.tar": body, "./manifest.json": json.dumps(entry).encode()}
    data = tar(files, {"two/layer.tar": "../one/layer.tar"})
    assert engine.out("load", "-q", stdin=data) == f"Loaded image: {name}:1"
    assert image_id(engine, f"{name}:1") == digest(config)


def test_a_legacy_archive_is_loaded(engine: Engine, name: str) -> None:
    one, two = "1" * 64, "2" * 64
    files = {
        f"{one}/VERSION": b"1.0",
        f"{one}/json": json.dumps({"id": one, "created": "2024-01-01T00:00:00Z", "os": "linux", "architecture": "amd64",
                                   "container_config": {"Cmd": ["first", "step"]}}).encode(),
        f"{one}/layer.tar": layer(),
        f"{two}/VERSION": b"1.0",
        f"{two}/json": json.dumps({"id": two, "parent": one, "created": "2024-01-02T00:00:00Z", "os": "linux", "architecture": "amd64",
                                   "container_config": {"Cmd": ["second"]}, "config": {"Cmd": ["sh"], "Env": ["A=1"]}}).encode(),
        f"{two}/layer.tar": tar({"new": name.encode()}),
        "repositories": json.dumps({name: {"old": two}}).encode(),
    }  # fmt: skip
    engine.docker("load", "-q", stdin=tar(files))
    assert engine.out("run", "--rm", f"{name}:old", "sh", "-c", "cat /new; echo $A") == f"{name}1"
    assert [row["CreatedBy"] for row in engine.request("GET", f"/images/{name}:old/history")[1]] == ["second", "first step"]


def test_an_image_without_a_name_is_told_by_its_id(engine: Engine, name: str) -> None:
    body = archive([tar({"a": name.encode()})], [])
    [item] = manifest(body)
    assert engine.out("load", stdin=body) == f"Loaded image ID: sha256:{item['Config'].removesuffix('.json')}"


def test_a_name_that_moves_is_told(engine: Engine, name: str) -> None:
    engine.docker("load", stdin=archive([tar({"a": b"1"})], [f"{name}:1"]))
    old = image_id(engine, f"{name}:1")
    said = engine.out("load", "-q", stdin=archive([tar({"a": b"2"})], [f"{name}:1"])).splitlines()
    assert said == [f"The image {name}:1 already exists, renaming the old one with ID {old} to empty string", f"Loaded image: {name}:1"]
    assert "<none>" in engine.out("images", "-f", "dangling=true")


def test_loading_layers_shows_how_far_they_are(engine: Engine, name: str) -> None:
    body = archive([tar({"a": name.encode() * 10_000})], [f"{name}:1"])
    status, raw = engine.request("POST", "/images/load?quiet=0", body, headers={"Content-Type": "application/x-tar"})
    lines = [json.loads(line) for line in raw.decode().splitlines()]
    assert status == 200 and lines[-1] == {"stream": f"Loaded image: {name}:1\n"}
    assert {line["status"] for line in lines[:-1]} == {"Loading layer"}
    last = lines[-2]["progressDetail"]
    assert last["current"] == last["total"] == len(tar({"a": name.encode() * 10_000}))


BODY = tar({"a": b"1"})
ONE = document([digest(BODY)])
ENTRY = {"Config": "c.json", "RepoTags": ["bad:1"], "Layers": ["l/layer.tar"]}


def broken() -> dict[str, tuple[bytes, str]]:
    def packed(config: bytes, body: bytes | None, **entry: Any) -> bytes:
        files = {"manifest.json": json.dumps([{**ENTRY, **entry}]).encode(), "c.json": config}
        return tar(files if body is None else {**files, "l/layer.tar": body})

    whole = packed(ONE, BODY)
    return {
        "rubbish": (b"x" * 2000, "archive/tar: invalid tar header"),
        "nothing in it": (tar({"some": b"file"}), ""),
        "manifest cut": (tar({"manifest.json": b"{"}), ""),
        "no configuration": (packed(ONE, BODY, Config="a.json"), "no such file or directory"),
        "escaping": (packed(ONE, BODY, Config="../../../../etc/hostname"), ""),
        "no image": (packed(b"{}", BODY), "invalid image JSON, no RootFS key"),
        "too few layers": (packed(ONE, BODY, Layers=[]), "invalid manifest, layers length mismatch: expected"),
        "no layer": (packed(ONE, None), "no such file or directory"),
        "layer is no tar": (packed(ONE, b"z" * 1024), "archive/tar: invalid tar header"),
        "another layer": (packed(ONE, tar({"b": b"2"})), f'invalid diffID for layer 0: expected "{digest(BODY)}", got "'),
        "bad name": (packed(ONE, BODY, RepoTags=["Bad:1"]), "invalid reference format: repository name"),
        "name without a tag": (packed(ONE, BODY, RepoTags=["x"]), 'invalid tag "x"'),
        "for windows": (packed(document([digest(BODY)]).replace(b"linux", b"windows"), BODY), "cannot load windows image on linux"),
        "cut": (whole[: len(whole) // 2], "unexpected EOF"),
    }


@pytest.mark.parametrize("what", broken())
def test_broken_archives_are_refused_in_dockers_words_and_change_nothing(engine: Engine, what: str) -> None:
    before = engine.out("images", "-q", "bad")
    data, words = broken()[what]
    result = engine.docker("load", stdin=data, check=False)
    assert result.returncode == 1 and words in result.stderr, result.stderr
    assert engine.out("images", "-q", "bad") == before == ""


@contextmanager
def served(engine: Engine, routes: str) -> Iterator[str]:
    """Runs a web server in the engine's namespace; routes are statements that answer self.path."""
    program = f"""
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments): pass
    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {{"Content-Length": str(len(body)), **headers}}.items(): self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
{routes}
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
    argv = [*engine.nsenter(), "python3", "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


@covers("import URL")
def test_a_url_is_imported(engine: Engine, name: str) -> None:
    body = tar({"a": b"1" * 200_000})
    routes = f"""
        if self.path == "/ok": self.answer(200, bytes.fromhex("{gzip.compress(body).hex()}"))
        elif self.path == "/moved": self.answer(302, Location="/ok")
        elif self.path == "/loop": self.answer(302, Location="/loop")
        elif self.path == "/forbidden": self.answer(403, b"go away")
        else: self.answer(404, b"not here")
"""
    with served(engine, routes) as url:
        said = engine.out("import", f"{url}/moved", f"{name}:1").splitlines()
        assert said[0] == f"Downloading from {url}/moved" and said[-1] == image_id(engine, f"{name}:1")
        assert engine.out("history", "--format", "{{.Comment}}", f"{name}:1") == f"Imported from {url}/moved"
        layers = json.loads(engine.out("inspect", "-f", "{{json .RootFS.Layers}}", f"{name}:1"))
        assert layers == [digest(body)]

        def refused(path: str) -> tuple[int, str]:
            status, answer = engine.request("POST", f"/images/create?fromSrc={path}&repo={name}:2")
            return status, answer["message"]

        assert refused(f"{url}/missing") == (404, f"failed to GET {url}/missing with status 404 Not Found: not here")
        assert refused(f"{url}/forbidden") == (403, f"failed to GET {url}/forbidden with status 403 Forbidden: go away")
        status, words = refused(f"{url}/loop")
        assert status == 500 and words.endswith("stopped after 10 redirects")
    assert refused("127.0.0.1:1/x") == (500, 'Get "http://127.0.0.1:1/x": dial tcp 127.0.0.1:1: connect: connection refused')
    assert refused("ftp://127.0.0.1/x") == (500, 'Get "ftp://127.0.0.1/x": unsupported protocol scheme "ftp"')
    assert refused("/etc/passwd") == (500, 'Get "http:///etc/passwd": http: no Host in request URL')
    assert engine.out("images", "-q", f"{name}:2") == ""


@covers("import --platform")
def test_an_import_has_the_platform_that_is_asked_for(engine: Engine, name: str) -> None:
    def made(**query: str) -> tuple[int, Any]:
        words = "&".join(f"{key}={value}" for key, value in query.items())
        return engine.request("POST", f"/images/create?fromSrc=-&{words}", BODY)

    assert made(repo=f"{name}:arm", platform="linux/arm/v7")[0] == 200
    found = engine.request("GET", f"/images/{name}:arm/json")[1]
    if engine.name != "dockerd":  # 20.10 heeds the system only
        assert (found["Os"], found["Architecture"], found["Variant"]) == ("linux", "arm", "v7")
    assert made(repo=f"{name}:w", platform="windows") == (400, {"message": "operating system is not supported"})
    status, answer = made(repo=f"{name}:w", platform="b@d")
    assert status == 400 and '"b@d" is an invalid component of "b@d"' in answer["message"]
    assert made(repo=f"{name}@sha256:{'0' * 64}") == (400, {"message": "cannot import digest reference"})
    for word in ("FOO", "SHELL", "RUN", "FROM"):
        refused = (400, {"message": f"{word.lower()} is not a valid change command"})
        assert made(repo=f"{name}:w", changes=f"{word}%20x") == refused
    if engine.name == "dockerd":  # since 1.42
        assert made(repo=f"{name}:w", changes="STOPSIGNAL%209") == (400, {"message": "stopsignal is not a valid change command"})
    else:
        assert made(repo=f"{name}:w", changes="STOPSIGNAL%209")[0] == 200
        old = engine.request("POST", f"/v1.41/images/create?fromSrc=-&repo={name}:v&changes=STOPSIGNAL%209", BODY)
        assert old == (400, {"message": "stopsignal is not a valid change command"})
    status, answer = engine.request("POST", f"/images/create?fromSrc=-&repo={name}:w", b"rubbish" * 200)
    assert status in (400, 500) and "archive/tar: invalid tar header" in answer["message"]
