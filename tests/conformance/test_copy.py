"""docker cp, and the archive endpoints below it."""

import base64
import io
import json
import os
import secrets
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engines import Engine, UnixConnection

covers = pytest.mark.covers


@pytest.fixture(scope="module", params=["stopped", "running"])
def box(engine: Engine, request: pytest.FixtureRequest) -> Iterator[str]:
    """A container with a small tree in /d, which cases leave as it is."""
    name = f"c{secrets.token_hex(4)}"
    tree = "mkdir -p /d/sub; echo a > /d/a; ln /d/a /d/sub/hard; ln -s a /d/rel; ln -s /etc /d/abs; ln -s no/x /d/dang; chown -R 3:4 /d/sub"
    if request.param == "running":
        engine.docker("run", "-d", "--name", name, "busybox", "sleep", "1000")
        engine.docker("exec", name, "sh", "-c", tree)
    else:
        engine.docker("run", "--name", name, "busybox", "sh", "-c", tree)
    yield name
    engine.docker("rm", "-f", name)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    source = tmp_path / "src"
    (source / "sub").mkdir(parents=True)
    (source / "f").write_text("f")
    os.chown(source / "f", 11, 12)
    (source / "lf").symlink_to("f")
    (tmp_path / "plain").write_text("plain")
    (tmp_path / "lsrc").symlink_to("src")
    return tmp_path


def archive(engine: Engine, method: str, name: str, path: str, body: bytes | None = None, query: str = "") -> tuple[int, Any, bytes]:
    """Returns status, the path's description, and the body of an archive request."""
    connection = UnixConnection(engine.socket, 30)
    try:
        headers = {"Content-Type": "application/x-tar"} if body is not None else {}
        connection.request(method, f"/{engine.api}/containers/{name}/archive?path={path}{query}", body, headers)
        response = connection.getresponse()
        told = response.getheader("X-Docker-Container-Path-Stat")
        return response.status, json.loads(base64.b64decode(told)) if told else None, response.read()
    finally:
        connection.close()


def members(data: bytes) -> list[tuple[str, str, int, int, int, str]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(one.name, one.type.decode(), one.mode & 0o7777, one.uid, one.gid, one.linkname) for one in tar]


def made(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.size = kind, link, len(content) if kind == tarfile.REGTYPE else 0
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize(
    ("path", "called", "kind", "target"),
    [
        ("/d", "d", 1 << 31, ""),
        ("/d/", "d", 1 << 31, ""),
        ("/d/.", ".", 1 << 31, ""),
        ("d/a", "a", 0, ""),
        ("/d/rel", "rel", 1 << 27, "/d/a"),
        ("/d/abs", "abs", 1 << 27, "/etc"),
        ("/d/abs/", "abs", 1 << 31, ""),
        ("/d/dang", "dang", 1 << 27, "/d/no/x"),
        ("/d/../d/a", "a", 0, ""),
        ("/../etc/passwd", "passwd", 0, ""),
        ("/", "/", 1 << 31, ""),
    ],
)
def test_a_path_is_described(engine: Engine, box: str, path: str, called: str, kind: int, target: str) -> None:
    for method in ("HEAD", "GET"):
        status, stat, data = archive(engine, method, box, path)
        assert (status, stat["name"], stat["mode"] & ~0o777, stat["linkTarget"]) == (200, called, kind, target)
        assert set(stat) == {"name", "size", "mode", "mtime", "linkTarget"}
        assert (members(data)[0][0] == called.rstrip("/")) if method == "GET" else data == b""


def test_the_archive_of_a_directory(engine: Engine, box: str) -> None:
    assert members(archive(engine, "GET", box, "/d")[2]) == [
        ("d", "5", 0o755, 0, 0, ""),
        ("d/a", "0", 0o644, 3, 4, ""),
        ("d/abs", "2", 0o777, 0, 0, "/etc"),
        ("d/dang", "2", 0o777, 0, 0, "no/x"),
        ("d/rel", "2", 0o777, 0, 0, "a"),
        ("d/sub", "5", 0o755, 3, 4, ""),
        ("d/sub/hard", "1", 0o644, 3, 4, "d/a"),
    ]
    assert [one[0] for one in members(archive(engine, "GET", box, "/d/sub/.")[2])] == [".", "./hard"]


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/nosuch", 404, "Could not find the file /nosuch in container NAME"),
        ("GET", "", 400, "bad parameter: pathcannot be empty"),
        ("GET", "/etc/passwd/x", 500, "not a directory"),
        ("PUT", "/nosuch", 404, "Could not find the file /nosuch in container NAME"),
        ("PUT", "/etc/passwd/x", 500, "not a directory"),
    ],
)
def test_what_cannot_be_found(engine: Engine, box: str, method: str, path: str, status: int, text: str) -> None:
    told, _, data = archive(engine, method, box, path, made("x") if method == "PUT" else None)
    assert told == status and text.replace("NAME", box) in json.loads(data)["message"]
    assert archive(engine, "HEAD", box, path)[0] == (404 if path == "/nosuch" else status)


def test_no_container(engine: Engine) -> None:
    for method, body in (("HEAD", None), ("GET", None), ("PUT", made("x"))):
        status, _, data = archive(engine, method, "nosuch", "/tmp", body)
        assert status == 404 and (method == "HEAD" or json.loads(data) == {"message": "No such container: nosuch"})


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (made("../up"), '"../up" is outside of "/tmp"'),
        (made("a/../../up"), '"../up" is outside of "/tmp"'),
        (made("h", kind=tarfile.LNKTYPE, link="../etc/passwd"), ""),
        (b"no archive" * 100, ""),
        (made("half", b"x" * 4000)[:2048], ""),
    ],
)
def test_bad_archives_are_refused(engine: Engine, box: str, data: bytes, text: str) -> None:
    status, _, body = archive(engine, "PUT", box, "/tmp", data)
    assert status in (400, 500) and "Error processing tar file(exit status 1): " in json.loads(body)["message"]
    assert text in json.loads(body)["message"]
    assert archive(engine, "HEAD", box, "/up")[0] == 404


def test_directories_and_files_replace_each_other_only_when_allowed(engine: Engine, box: str) -> None:
    status, _, body = archive(engine, "PUT", box, "/", made("d"), "&noOverwriteDirNonDir=1")
    assert status in (400, 500) and 'cannot overwrite directory "/d" with non-directory "/"' in json.loads(body)["message"]
    status, _, body = archive(engine, "PUT", box, "/d", made("a", kind=tarfile.DIRTYPE), "&noOverwriteDirNonDir=1")
    assert status in (400, 500) and 'cannot overwrite non-directory "/d/a" with directory "/d"' in json.loads(body)["message"]
    assert archive(engine, "PUT", box, "/tmp", made("e", kind=tarfile.DIRTYPE))[0] == 200
    assert archive(engine, "PUT", box, "/tmp", made("e"))[0] == 200
    assert archive(engine, "HEAD", box, "/tmp/e")[1]["mode"] & 1 << 31 == 0


@covers("cp")
def test_files_and_directories_go_in(engine: Engine, box: str, tree: Path) -> None:
    archive(engine, "PUT", box, "/tmp", made("link", kind=tarfile.SYMTYPE, link="led"))
    for source, target, inside in [
        ("plain", "/new", "/new"),
        ("plain", "/tmp", "/tmp/plain"),
        ("plain", "/d/abs", "/etc/plain"),
        ("plain", "/tmp/link", "/tmp/led"),
        ("src", "/made", "/made/f"),
        ("src", "/made", "/made/src/f"),
        ("src/.", "/tmp", "/tmp/lf"),
        ("lsrc", "/link", "/link"),
    ]:
        engine.docker("cp", f"{tree}/{source}", f"{box}:{target}")
        assert archive(engine, "HEAD", box, inside)[0] == 200, (source, target)
    assert members(archive(engine, "GET", box, "/made/f")[2]) == [("f", "0", 0o644, 11, 12, "")]
    assert members(archive(engine, "GET", box, "/link")[2])[0][5] == "src"


@covers("cp", "cp -L", "cp -a")
def test_files_and_directories_come_out(engine: Engine, box: str, tree: Path) -> None:
    engine.docker("cp", f"{box}:/d", str(tree / "out"))
    assert (tree / "out" / "a").read_text() == "a\n" and (tree / "out" / "rel").readlink() == Path("a")
    engine.docker("cp", f"{box}:/d", str(tree / "out"))
    assert (tree / "out" / "d" / "sub" / "hard").read_text() == "a\n"
    engine.docker("cp", f"{box}:/d/.", str(tree / "dot"))
    assert (tree / "dot" / "dang").is_symlink()
    engine.docker("cp", f"{box}:/d/rel", str(tree / "rel"))
    assert (tree / "rel").readlink() == Path("a")
    engine.docker("cp", "-L", f"{box}:/d/rel", str(tree / "followed"))
    assert (tree / "followed").read_text() == "a\n"
    engine.docker("cp", "-a", f"{box}:/d/sub", str(tree / "kept"))
    assert (tree / "kept" / "hard").read_text() == "a\n"
    engine.docker("cp", "-L", str(tree / "lsrc"), f"{box}:/followed")
    assert archive(engine, "HEAD", box, "/followed/f")[0] == 200


@covers("cp -")
def test_archives_by_stdin_and_stdout(engine: Engine, box: str) -> None:
    engine.docker("cp", "-", f"{box}:/tmp", stdin=made("piped", b"p"))
    assert archive(engine, "HEAD", box, "/tmp/piped")[1]["size"] == 1
    assert "ustar" in engine.out("cp", f"{box}:/tmp/piped", "-")
    status, _, body = archive(engine, "PUT", box, "/etc/passwd", made("x"))
    assert status in (400, 500) and json.loads(body)["message"] == "extraction point is not a directory"


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        ("plain", "NAME:/nodir/", "no such directory"),
        ("plain", "NAME:/nodir/x", "Could not find the file /nodir in container NAME"),
        ("src", "NAME:/etc/passwd", "cannot copy directory"),
        ("nosuch", "NAME:/x", "no such file or directory"),
        ("NAME:/nosuch", "x", "Could not find the file /nosuch in container NAME"),
        ("NAME:/d", "plain", "cannot copy directory"),
        ("NAME:/d/a", "nodir/", "no such directory"),
    ],
)
def test_refusals(engine: Engine, box: str, tree: Path, source: str, target: str, text: str) -> None:
    words = [one.replace("NAME", box) if "NAME" in one else f"{tree}/{one}" for one in (source, target)]
    result = engine.docker("cp", *words, check=False)
    assert result.returncode == 1 and text.replace("NAME", box) in result.stderr


def test_read_only_roots_and_volumes(engine: Engine, name: str, tree: Path) -> None:
    engine.docker("create", "--name", name, "--read-only", "-v", f"{tree}:/ro:ro", "-v", f"{tree}:/rw", "busybox", "true")
    refused = engine.docker("cp", f"{tree}/plain", f"{name}:/", check=False)
    assert refused.returncode == 1 and "container rootfs is marked read-only" in refused.stderr
    refused = engine.docker("cp", f"{tree}/plain", f"{name}:/ro", check=False)
    assert refused.returncode == 1 and "mounted volume is marked read-only" in refused.stderr
    engine.docker("cp", f"{tree}/plain", f"{name}:/rw/copied")
    assert (tree / "copied").read_text() == "plain"
    assert engine.out("cp", f"{name}:/ro/copied", "-").startswith("copied")


def test_volumes_are_seen_also_before_the_first_start(engine: Engine, name: str, tree: Path) -> None:
    engine.docker("create", "--name", name, "-v", "/etc", "busybox", "cat", "/etc/added", "/etc/passwd")
    engine.docker("cp", f"{tree}/plain", f"{name}:/etc/added")
    printed = engine.out("start", "-a", name)
    assert printed.startswith("plain") and "root:" in printed


def test_the_user_of_the_container_owns_what_a_client_asks_for(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "-u", "root", "busybox", "true")
    assert archive(engine, "PUT", name, "/tmp", made("x"), "&copyUIDGID=1")[0] == 200
    assert members(archive(engine, "GET", name, "/tmp/x")[2])[0][3:5] == (0, 0)


def test_events(engine: Engine, name: str) -> None:
    since = f"{time.time():.9f}"
    engine.docker("create", "--name", name, "busybox", "true")
    archive(engine, "PUT", name, "/tmp", made("x"))
    archive(engine, "GET", name, "/tmp/x")
    archive(engine, "HEAD", name, "/tmp/x")
    until = f"{time.time():.9f}"
    seen = engine.out("events", "--since", since, "--until", until, "-f", f"container={name}", "--format", "{{.Action}}").split()
    assert seen == ["create", "extract-to-dir", "archive-path"]
