"""Images: load, import, images, inspect, tag, rmi, prune, history, pull."""

import gzip
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator

import pytest

from engines import Engine
from images.busybox import layer

from .registry import ADDRESS, Registry

covers = pytest.mark.covers
COLUMNS = "{{.Repository}}:{{.Tag}}"


@pytest.fixture(autouse=True)
def _no_images_left(engine: Engine) -> Iterator[None]:
    """Removes every name but busybox:latest, and every image without a name."""
    yield
    for row in engine.request("GET", "/images/json")[1]:
        for tag in [*(row["RepoTags"] or []), *(one for one in row["RepoDigests"] or [] if not one.startswith("<none>"))]:
            if tag != "busybox:latest" and tag != "<none>:<none>":
                engine.docker("rmi", "-f", tag, check=False)
    engine.docker("image", "prune", "-f")


def _tags(engine: Engine) -> set[str]:
    return set(engine.out("images", "--format", COLUMNS).split())


def _small(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, text in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


@covers("images")
def test_columns(engine: Engine) -> None:
    head, *rows = engine.out("images").splitlines()
    assert re.split(r"\s{2,}", head) == ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
    row = next(re.split(r"\s{2,}", row) for row in rows if row.startswith("busybox "))
    assert row[:2] == ["busybox", "latest"]
    assert re.fullmatch("[0-9a-f]{12}", row[2]) and row[3].endswith("ago") and row[4].endswith("MB")


@covers("images -q", "images --no-trunc", "images -a")
def test_ids(engine: Engine) -> None:
    short = engine.out("images", "-q", "busybox")
    long = engine.out("images", "-q", "--no-trunc", "busybox")
    assert re.fullmatch("sha256:[0-9a-f]{64}", long) and long[7:19] == short
    assert engine.out("images", "-aq", "busybox") == short
    assert engine.out("inspect", "-f", "{{.Id}}", "busybox") == long


@covers("load", "load -i", "load -q")
def test_load(engine: Engine, busybox_archive: str) -> None:
    assert engine.out("load", "-i", busybox_archive) == "Loaded image: busybox:latest"
    with open(busybox_archive, "rb") as file:
        body = file.read()
    assert engine.out("load", "-q", stdin=gzip.compress(body, 1)) == "Loaded image: busybox:latest"


@covers("load")
def test_load_refuses_rubbish(engine: Engine) -> None:
    before = _tags(engine)
    assert engine.docker("load", stdin=_small({"some": "file"}), check=False).returncode == 1
    assert engine.docker("load", stdin=b"no tar at all" * 100, check=False).returncode == 1
    assert _tags(engine) == before


@covers("import", "import -c", "import -m", "images --format")
def test_import(engine: Engine, name: str) -> None:
    tar = _small({"hello": "text"})
    printed = engine.out("import", "-c", 'CMD ["/hello"]', "-c", "ENV A=1", "-m", "made", "-", f"{name}:one", stdin=tar)
    assert re.fullmatch("sha256:[0-9a-f]{64}", printed)
    document = json.loads(engine.out("inspect", "--type", "image", f"{name}:one"))[0]
    assert document["Id"] == printed and document["RepoTags"] == [f"{name}:one"]
    assert document["Config"]["Cmd"] == ["/hello"] and document["Config"]["Env"] == ["A=1"]
    assert len(document["RootFS"]["Layers"]) == 1
    assert f"{name}:one" in _tags(engine)
    assert "made" in engine.out("history", f"{name}:one")


def test_an_imported_root_runs(engine: Engine, name: str) -> None:
    printed = engine.out("create", "busybox")
    root = subprocess.run(["docker", "export", printed], env=engine.environ(), capture_output=True, check=False)
    # Where export is not there yet, the image's own layer is the same tree.
    tar = layer() if root.returncode else root.stdout
    engine.docker("import", "-", f"{name}:root", stdin=tar)
    assert engine.out("run", "--rm", f"{name}:root", "echo", "fine") == "fine"


@covers("image inspect", "inspect --type")
def test_inspect(engine: Engine) -> None:
    document = json.loads(engine.out("image", "inspect", "busybox"))[0]
    assert document["RepoTags"] == ["busybox:latest"]
    assert (document["Os"], document["Architecture"]) == ("linux", "amd64")
    assert document["Config"]["Cmd"] == ["sh"] and document["RootFS"]["Type"] == "layers"
    assert document["Size"] > 1_000_000
    assert document["Created"] == "2024-01-01T00:00:00Z"
    assert engine.docker("image", "inspect", "nosuch", check=False).returncode == 1
    assert engine.docker("inspect", "--type", "container", "busybox", check=False).returncode == 1


@covers("tag")
def test_tag(engine: Engine, name: str) -> None:
    engine.docker("tag", "busybox", f"{name}:v1")
    engine.docker("tag", "busybox", f"reg.example:5000/some/{name}")
    assert {f"{name}:v1", f"reg.example:5000/some/{name}:latest"} <= _tags(engine)
    assert engine.out("run", "--rm", f"{name}:v1", "echo", "same") == "same"
    bad = engine.docker("tag", "busybox", "UPPER:case", check=False)
    assert bad.returncode == 1 and "must be lowercase" in bad.stderr


@covers("rmi")
def test_rmi_untags_first_and_deletes_last(engine: Engine, name: str) -> None:
    identity = engine.out("import", "-", f"{name}:a", stdin=_small({"x": name}))
    engine.docker("tag", f"{name}:a", f"{name}:b")
    assert engine.out("rmi", f"{name}:a") == f"Untagged: {name}:a"
    said = engine.out("rmi", f"{name}:b").splitlines()
    assert said[:2] == [f"Untagged: {name}:b", f"Deleted: {identity}"]
    assert engine.docker("inspect", identity, check=False).returncode == 1


@covers("rmi -f")
def test_rmi_of_a_used_image(engine: Engine, name: str) -> None:
    engine.docker("import", "-c", 'CMD ["/x"]', "-", f"{name}:a", stdin=_small({"x": name}))
    engine.docker("create", "--name", name, f"{name}:a")
    refused = engine.docker("rmi", f"{name}:a", check=False)
    assert refused.returncode == 1
    assert f'conflict: unable to remove repository reference "{name}:a" (must force) - container' in refused.stderr
    assert engine.out("rmi", "-f", f"{name}:a").splitlines()[0] == f"Untagged: {name}:a"
    assert f"{name}:a" not in _tags(engine)


def test_rmi_of_a_missing_one(engine: Engine) -> None:
    result = engine.docker("rmi", "nosuch", check=False)
    assert result.returncode == 1
    # The engine says nosuch:latest (test_errors.py); clients before 24 put their own words in its place.
    assert "No such image: nosuch" in result.stderr


@covers("images -f")
def test_filters(engine: Engine, name: str) -> None:
    engine.docker("import", "-c", "LABEL of=me", "-", f"{name}:a", stdin=_small({"x": name}))
    dangling = engine.out("import", "-", stdin=_small({"y": name}))

    def found(*filters: str) -> set[str]:
        return set(engine.out("images", "--format", COLUMNS, *(word for one in filters for word in ("-f", one))).split())

    assert found("label=of=me") == {f"{name}:a"}
    assert found(f"reference={name}*") == {f"{name}:a"}
    assert found("dangling=true") == {"<none>:<none>"}
    assert "<none>:<none>" not in found("dangling=false")
    assert "busybox:latest" in found(f"before={name}:a")
    assert engine.out("images", "-q", "--no-trunc", "-f", "dangling=true") == dangling
    assert "invalid filter 'nosuch'" in engine.docker("images", "-f", "nosuch=1", check=False).stderr.lower()


@covers("image prune", "image prune -f", "image prune -a")
def test_prune(engine: Engine, name: str) -> None:
    dangling = engine.out("import", "-", stdin=_small({"y": name}))
    engine.docker("import", "-", f"{name}:a", stdin=_small({"x": name}))
    engine.docker("create", "busybox")
    said = engine.out("image", "prune", "-f")
    assert f"deleted: {dangling}" in said and "Total reclaimed space:" in said
    assert f"{name}:a" in _tags(engine)
    assert f"untagged: {name}:a" in engine.out("image", "prune", "-af")
    assert _tags(engine) == {"busybox:latest"}


@covers("history", "history -q", "history --no-trunc")
def test_history(engine: Engine) -> None:
    head, row = engine.out("history", "busybox").splitlines()
    assert re.split(r"\s{2,}", head) == ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]
    assert "busybox-static" in row
    assert engine.out("history", "-q", "--no-trunc", "busybox") == engine.out("inspect", "-f", "{{.Id}}", "busybox")


@covers("pull", "pull :tag", "images --digests")
def test_pull(engine: Engine, hub: Registry) -> None:
    said = engine.out("pull", f"{ADDRESS}/busybox:latest").splitlines()
    assert said[0] == "latest: Pulling from busybox"
    assert re.fullmatch("Digest: sha256:[0-9a-f]{64}", said[-3])
    assert said[-2:] == [f"Status: Downloaded newer image for {ADDRESS}/busybox:latest", f"{ADDRESS}/busybox:latest"]
    again = engine.out("pull", f"{ADDRESS}/busybox:latest")
    assert f"Status: Image is up to date for {ADDRESS}/busybox:latest" in again
    digest = said[-3].removeprefix("Digest: ")
    assert digest in engine.out("images", "--digests", f"{ADDRESS}/busybox")
    assert engine.out("run", "--rm", f"{ADDRESS}/busybox", "echo", "pulled") == "pulled"


@covers("pull -q", "pull @digest")
def test_pull_by_digest(engine: Engine, hub: Registry) -> None:
    assert engine.out("pull", "-q", f"{ADDRESS}/busybox:latest") == f"{ADDRESS}/busybox:latest"
    reference = engine.out("inspect", "-f", "{{index .RepoDigests 0}}", f"{ADDRESS}/busybox:latest")
    assert reference.startswith(f"{ADDRESS}/busybox@sha256:")
    engine.docker("rmi", f"{ADDRESS}/busybox:latest")
    engine.docker("pull", reference)
    assert engine.out("run", "--rm", reference, "echo", "pulled") == "pulled"


def test_pull_of_a_missing_tag(engine: Engine, hub: Registry) -> None:
    result = engine.docker("pull", f"{ADDRESS}/busybox:nosuch", check=False)
    assert result.returncode == 1
    assert f"manifest for {ADDRESS}/busybox:nosuch not found: manifest unknown" in result.stderr


@covers("run --pull")
def test_run_pulls_what_is_missing(engine: Engine, hub: Registry) -> None:
    image = f"{ADDRESS}/busybox:latest"
    assert "No such image" in engine.docker("run", "--rm", "--pull", "never", image, "true", check=False).stderr
    result = engine.docker("run", "--rm", image, "echo", "ran")
    assert result.stdout == "ran\n"
    assert f"Unable to find image '{image}' locally" in result.stderr
    assert f"Status: Downloaded newer image for {image}" in result.stderr
    assert "Image is up to date" in engine.docker("run", "--rm", "--pull", "always", image, "true").stderr


def test_an_oci_layout_can_be_loaded_where_the_engine_knows_it(engine: Engine, busybox_archive: str, tmp_path, name: str) -> None:
    layout = tmp_path / "layout.tar"
    subprocess.run(
        ["skopeo", "copy", "-q", "--insecure-policy", f"docker-archive:{busybox_archive}", f"oci-archive:{layout}:{name}:oci"], check=True
    )
    result = engine.docker("load", "-i", str(layout), check=False)
    if engine.name == "dockerd":  # 20.10 asks for manifest.json
        assert "no such file or directory" in result.stderr
        return
    assert result.returncode == 0, result.stderr
    said = result.stdout.strip().rpartition(": ")[2]
    loaded = said if "sha256" not in said else result.stdout.strip().split("ID: ")[1]
    assert engine.out("run", "--rm", loaded, "echo", "fine") == "fine"
