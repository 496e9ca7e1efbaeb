"""What a container changed: diff, commit and what becomes of it, export."""

import contextlib
import http.client
import io
import json
import tarfile
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from engines import Engine, UnixConnection

covers = pytest.mark.covers

# Every kind of change, without a program that busybox lacks.
CHANGES = """
echo new > /new; mkdir -p /d/e; echo 1 > /d/e/1; ln /d/e/1 /d/hard; ln -s e/1 /d/sym
mkfifo /d/fifo; mknod /d/null c 1 3; mknod /d/loop b 7 1
echo more >> /etc/passwd; rm /etc/group; chmod 700 /home; chown 1:2 /tmp; touch /etc/nsswitch.conf
rm -r /var/www; mkdir /var/www; echo x > /var/www/f
rm -r /var/spool; rmdir /usr/bin; mv /usr/sbin /usr/moved
rmdir /root; ln -s /tmp /root
chmod 4755 /d/e/1; echo gone > /gone; rm /gone
cd /d; name=$(printf 'x%.0s' $(seq 200)); echo long > $name; mkdir -p deep/$name/$name; echo deep > deep/$name/$name/$name
echo raw > "$(printf 'raw\\377name')"; echo wide > 'ümläut'
dd if=/dev/zero of=/d/sparse bs=1 count=1 seek=3000000 2>/dev/null; echo end >> /d/sparse
"""


@pytest.fixture(autouse=True)
def _no_images_left(engine: Engine) -> Iterator[None]:
    yield
    for row in engine.request("GET", "/images/json?all=1")[1]:
        for tag in row["RepoTags"] or []:
            if tag not in ("busybox:latest", "<none>:<none>"):
                engine.docker("rmi", "-f", tag, check=False)
    engine.docker("image", "prune", "-f")


def _run(engine: Engine, name: str, script: str, *options: str) -> None:
    engine.docker("run", "--name", name, *options, "busybox", "sh", "-ec", script)


def _diff_lines(engine: Engine, name: str) -> list[str]:
    return sorted(engine.out("diff", name).splitlines(), key=lambda line: line[2:])


def _commit(engine: Engine, name: str, body: object = None, **query: object) -> tuple[int, dict[str, Any]]:
    pairs = [("container", name), *((key, one) for key, value in query.items() for one in (value if isinstance(value, list) else [value]))]
    return engine.request("POST", f"/{engine.api}/commit?{urlencode(pairs)}", body)


def _events(engine: Engine, since: str, *filters: str) -> list[dict[str, Any]]:
    words = [word for one in filters for word in ("--filter", one)]
    said = engine.out("events", "--since", since, "--until", f"{time.time():.9f}", "--format", "{{json .}}", *words)
    return [json.loads(line) for line in said.splitlines()]


def _inspect(engine: Engine, image: str) -> dict[str, Any]:
    # In the older form, which both engines speak.
    status, document = engine.request("GET", f"/v1.41/images/{image}/json")
    assert status == 200, document
    return document


def _members(archive: bytes) -> dict[str, tuple[object, ...]]:
    """Describes each entry of a tar: everything but times and the names of owners."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            content = tar.extractfile(member).read() if member.isreg() else b""  # type: ignore[union-attr]
            device = (member.devmajor, member.devminor) if member.ischr() or member.isblk() else ()
            found[member.name] = (member.type, oct(member.mode), member.uid, member.gid, member.size, member.linkname, device, content)
    return found


@covers("diff")
def test_diff_tells_every_kind_of_change(engine: Engine, name: str) -> None:
    _run(engine, name, CHANGES)
    long = "x" * 200
    assert _diff_lines(engine, name) == sorted(
        [
            "A /d",
            f"A /d/{long}",
            "A /d/deep",
            f"A /d/deep/{long}",
            f"A /d/deep/{long}/{long}",
            f"A /d/deep/{long}/{long}/{long}",
            "A /d/e",
            "A /d/e/1",
            "A /d/fifo",
            "A /d/hard",
            "A /d/loop",
            "A /d/null",
            "A /d/raw\N{REPLACEMENT CHARACTER}name",
            "A /d/sparse",
            "A /d/sym",
            "A /d/ümläut",
            "A /new",
            "A /usr/moved",
            "A /var/www/f",
            "C /etc",
            "C /etc/nsswitch.conf",
            "C /etc/passwd",
            "C /home",
            "C /root",
            "C /tmp",
            "C /usr",
            "C /var",
            "C /var/www",
            "D /etc/group",
            "D /usr/bin",
            "D /usr/sbin",
            "D /var/spool",
        ],
        key=lambda line: line[2:],
    )


@covers("diff")
def test_diff_of_a_replaced_directory_tells_what_is_gone(engine: Engine, name: str) -> None:
    _run(engine, f"{name}-base", "mkdir -p /t/a/b /t/c; echo 1 > /t/a/b/f; echo 2 > /t/a/g; echo 3 > /t/h")
    engine.docker("commit", f"{name}-base", f"{name}-image")
    engine.docker("run", "--name", name, f"{name}-image", "sh", "-ec", "rm -r /t; mkdir -p /t/a; echo 9 > /t/a/new; echo 333 > /t/h")
    assert _diff_lines(engine, name) == ["C /t", "C /t/a", "D /t/a/b", "D /t/a/g", "A /t/a/new", "D /t/c", "C /t/h"]


@covers("diff")
def test_diff_leaves_out_mounts_but_not_their_places(engine: Engine, name: str) -> None:
    _run(
        engine,
        name,
        "touch /dev/shm/x /vol/y /scratch/z; echo >> /etc/hosts",
        "-v",
        "/vol",
        "--tmpfs",
        "/scratch",
        "-v",
        "/var/tmp:/home/h",
    )
    assert _diff_lines(engine, name) == ["C /home", "A /home/h", "A /scratch", "A /vol"]


@covers("diff")
def test_diff_of_nothing(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox")
    assert engine.request("GET", f"/{engine.api}/containers/{name}/changes") == (200, None)
    engine.docker("start", name)
    engine.docker("wait", name)
    assert engine.out("diff", name) == ""


@covers("diff")
def test_diff_of_a_running_container(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", "echo x > /home/a; touch /home/ready; exec sleep 600")
    engine.docker("exec", name, "sh", "-c", "until [ -e /home/ready ]; do :; done; rm /home/ready")
    assert _diff_lines(engine, name) == ["C /home", "A /home/a"]


@covers("commit")
def test_a_committed_image_runs_with_the_changes(engine: Engine, name: str) -> None:
    _run(engine, name, CHANGES)
    image = engine.out("commit", name, f"{name}:tag")
    assert engine.out("images", "-q", "--no-trunc", f"{name}:tag") == image
    script = """
    cat /new /d/hard /d/sym /var/www/f; tail -n 1 /etc/passwd; cat /d/x*; cat /d/deep/*/*/*; cat "$(printf '/d/raw\\377name')" /d/ümläut
    stat -c '%a %u %g %F' /home /tmp /d/e/1 /d/fifo /d/null /d/loop /root; stat -c %t,%T /d/null /d/loop; stat -c %h /d/hard
    ls -d /etc/group /var/spool /usr/bin /usr/sbin /gone 2>/dev/null; ls /var/www; ls /usr/moved; stat -c %s /d/sparse; tail -c 4 /d/sparse
    """
    assert engine.out("run", "--rm", image, "sh", "-c", script).splitlines() == [
        "new", "1", "1", "x", "more", "long", "deep", "raw", "wide",
        "700 0 0 directory", "1777 1 2 directory", "4755 0 0 regular file", "644 0 0 fifo", "644 0 0 character special file",
        "644 0 0 block special file", "777 0 0 symbolic link", "1,3", "7,1", "2",
        "f", "3000005", "end",
    ]  # fmt: skip


@covers("commit")
def test_base_layers_are_shared(engine: Engine, name: str) -> None:
    base = _inspect(engine, "busybox")
    _run(engine, name, "echo x > /x")
    engine.docker("commit", name, f"{name}:one")
    one = _inspect(engine, f"{name}:one")
    assert one["RootFS"]["Layers"][:-1] == base["RootFS"]["Layers"]
    assert one["Parent"] == base["Id"]
    engine.docker("run", "--name", f"{name}-2", f"{name}:one", "sh", "-c", "cat /x; echo y > /y")
    engine.docker("commit", f"{name}-2", f"{name}:two")
    two = _inspect(engine, f"{name}:two")
    assert two["RootFS"]["Layers"][:-1] == one["RootFS"]["Layers"] and two["Parent"] == one["Id"]
    assert engine.out("run", "--rm", f"{name}:two", "cat", "/x", "/y") == "x\ny"


@covers("commit")
def test_without_changes_there_is_no_new_layer(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox", "true")
    engine.docker("commit", name, f"{name}:tag")
    base, image = _inspect(engine, "busybox"), _inspect(engine, f"{name}:tag")
    assert image["RootFS"] == base["RootFS"] and image["Id"] != base["Id"]
    assert engine.request("GET", f"/{engine.api}/images/{name}:tag/history")[1][0]["Size"] == 0


@covers("commit -a", "commit -m", "commit -c")
def test_inspect_and_history_of_a_commit(engine: Engine, name: str) -> None:
    _run(engine, name, "echo x > /x", "-e", "A=1", "-l", "l=1", "--expose", "80", "-u", "root", "-w", "/home", "--stop-signal", "INT")
    changes = ["ENV B=2 C=$A", "LABEL m=2", "EXPOSE 81/udp", "WORKDIR sub", "USER 33", 'CMD ["a", "b"]', "VOLUME /v", "ONBUILD RUN x"]
    engine.docker(
        "commit", "-a", "Me <me@example.org>", "-m", "why", *(word for one in changes for word in ("-c", one)), name, f"{name}:tag"
    )
    container = engine.request("GET", f"/{engine.api}/containers/{name}/json")[1]
    image = _inspect(engine, f"{name}:tag")
    assert (image["Author"], image["Comment"], image["Container"]) == ("Me <me@example.org>", "why", container["Id"])
    assert (image["Os"], image["Architecture"], bool(image["DockerVersion"])) == ("linux", "amd64", True)
    own, config = image["ContainerConfig"], image["Config"]
    assert {key: value for key, value in own.items() if value} == {key: value for key, value in container["Config"].items() if value}
    assert {key: value for key, value in config.items() if value} == {
        "Hostname": container["Id"][:12],
        "User": "33",
        "AttachStdout": True,
        "AttachStderr": True,
        "ExposedPorts": {"80/tcp": {}, "81/udp": {}},
        "Env": ["A=1", own["Env"][1], "B=2", "C=1"],
        "Cmd": ["a", "b"],
        "Image": "busybox",
        "Volumes": {"/v": {}},
        "WorkingDir": "/home/sub",
        "OnBuild": ["RUN x"],
        "Labels": {"l": "1", "m": "2"},
        "StopSignal": "INT",
    }
    newest, *older = engine.request("GET", f"/{engine.api}/images/{name}:tag/history")[1]
    assert (newest["CreatedBy"], newest["Comment"], newest["Tags"]) == ("sh -ec echo x > /x", "why", [f"{name}:tag"])
    assert newest["Size"] > 0 and len(older) == 1


@covers("commit -c")
def test_a_new_entrypoint_drops_the_old_command(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "--entrypoint", "old", "busybox", "a", "b")

    def made(*changes: str) -> tuple[object, object]:
        status, answer = _commit(engine, name, changes=list(changes))
        assert status == 201, answer
        config = _inspect(engine, answer["Id"])["Config"]
        return config["Entrypoint"], config["Cmd"] or None

    assert made('ENTRYPOINT ["new"]') == (["new"], None)
    assert made('CMD ["c"]', 'ENTRYPOINT ["new"]') == (["new"], ["c"])
    assert made('ENTRYPOINT ["new"]', 'CMD ["c"]') == (["new"], ["c"])
    # What is left open is taken from the container again.
    assert made("ENTRYPOINT []") == (["old"], ["a", "b"])
    assert made("CMD []") == (["old"], None)


def test_a_given_config_is_filled_up(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "-e", "A=1", "-e", "B=2", "-l", "l=1", "-w", "/w", "-u", "5", "busybox", "sh")
    status, answer = _commit(engine, name, {"Env": ["B=9", "Q=3"], "Cmd": "one", "Labels": {"k": "2"}, "ExposedPorts": {"1/tcp": {}}})
    assert status == 201, answer
    config = _inspect(engine, answer["Id"])["Config"]
    path = next(one for one in config["Env"] if one.startswith("PATH="))
    assert {key: value for key, value in config.items() if value} == {
        "User": "5",
        "ExposedPorts": {"1/tcp": {}},
        "Env": ["B=9", "Q=3", "A=1", path],
        "Cmd": ["one"],
        "WorkingDir": "/w",
        "Labels": {"k": "2", "l": "1"},
    }
    for nothing in (None, {}, b"null"):
        status, answer = _commit(engine, name, nothing)
        # dockerd's order is not always the same here.
        assert status == 201 and sorted(_inspect(engine, answer["Id"])["Config"]["Env"]) == sorted(["A=1", "B=2", path])


@covers("commit")
def test_the_name_moves(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox")
    first = engine.out("commit", name, f"{name}:tag")
    second = engine.out("commit", name, f"{name}:tag")
    assert _inspect(engine, f"{name}:tag")["Id"] == second != first
    assert _inspect(engine, first)["RepoTags"] == []
    nameless = engine.out("commit", name)
    assert _inspect(engine, nameless)["RepoTags"] == []


@covers("commit -p")
def test_a_running_container_is_paused_for_it(engine: Engine, name: str) -> None:
    since = engine.request("GET", "/info")[1]["SystemTime"]
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "600")
    engine.docker("exec", name, "touch", "/x")

    def actions() -> list[str]:
        return [event["Action"] for event in _events(engine, since, f"container={name}")]

    engine.docker("commit", name, f"{name}:paused")
    assert {"pause", "unpause", "commit"} <= set(actions())
    assert engine.out("inspect", "-f", "{{.State.Status}}", name) == "running"
    before = actions().count("pause")
    engine.docker("commit", "--pause=false", name, f"{name}:running")
    assert actions().count("pause") == before
    engine.docker("pause", name)
    engine.docker("commit", name, f"{name}:kept")
    assert engine.out("inspect", "-f", "{{.State.Status}}", name) == "paused"
    for tag in ("paused", "running", "kept"):
        assert engine.out("run", "--rm", f"{name}:{tag}", "ls", "/x") == "/x"


def test_the_commit_event(engine: Engine, name: str) -> None:
    since = engine.request("GET", "/info")[1]["SystemTime"]
    engine.docker("create", "--name", name, "-l", "l=1", "busybox")
    image = engine.out("commit", "-m", "why", name, f"{name}:tag")
    (event,) = _events(engine, since, f"container={name}", "event=commit")
    assert event["Type"] == "container"
    assert event["Actor"]["Attributes"] == {
        "comment": "why", "image": "busybox", "imageID": image, "imageRef": f"{name}:tag", "l": "1", "name": name,
    }  # fmt: skip


@covers("commit")
def test_commit_of_a_container_whose_image_lost_its_names(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", f"{name}-base", "busybox")
    base = engine.out("commit", f"{name}-base", f"{name}:base")
    engine.docker("run", "--name", name, f"{name}:base", "touch", "/x")
    engine.docker("commit", f"{name}-base", f"{name}:base")
    assert _inspect(engine, base)["RepoTags"] == []
    engine.docker("commit", name, f"{name}:tag")
    assert _inspect(engine, f"{name}:tag")["Parent"] == base
    assert engine.out("run", "--rm", f"{name}:tag", "ls", "/x") == "/x"


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ({"container": "nope-such"}, 404, "No such container: nope-such"),
        ({"container": ""}, 400, 'invalid name or ID supplied: ""'),
        ({"changes": "FOO x"}, 400, "foo is not a valid change command"),
        ({"changes": "run x"}, 400, "run is not a valid change command"),
        ({"changes": "SHELL x"}, 400, "shell is not a valid change command"),
        ({"changes": "ENV"}, 400, "ENV requires at least one argument"),
        ({"changes": "WORKDIR"}, 400, "WORKDIR requires exactly one argument"),
        ({"changes": ""}, 400, "file with no instructions"),
        ({"repo": "a@sha256:" + "0" * 64}, 400, "refusing to create a tag with a digest reference"),
        ({"repo": "UPPER"}, 500, "must be lowercase"),
        ({"repo": "a", "tag": "b/c"}, 500, "invalid"),
        ({"repo": "0" * 64}, 500, "cannot specify 64-byte hexadecimal strings"),
        ({"changes": "STOPSIGNAL 9"}, 400, "stopsignal is not a valid change command"),
    ],
)
def test_what_is_refused(engine: Engine, name: str, query: dict[str, str], status: int, text: str) -> None:
    engine.docker("create", "--name", name, "busybox")
    answer = engine.request("POST", f"/v1.41/commit?{urlencode({'container': name, **query})}")
    assert answer[0] == status and text in answer[1]["message"]


def test_bodies_that_are_refused(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox")
    for body in (b"{", b"[]", b'{"Env": 5}'):
        assert engine.request("POST", f"/v1.41/commit?container={name}", body)[0] == 500
    for path in ("changes", "export"):
        assert engine.request("GET", f"/{engine.api}/containers/nope-such/{path}") == (404, {"message": "No such container: nope-such"})


@covers("export", "export -o")
def test_export_is_the_whole_root(engine: Engine, name: str) -> None:
    _run(engine, name, CHANGES, "-v", "/vol", "--tmpfs", "/scratch")
    status, archive = engine.request("GET", f"/{engine.api}/containers/{name}/export")
    assert status == 200
    found = _members(archive)
    assert list(found) == sorted(found, key=lambda path: path.encode("utf-8", "surrogateescape").split(b"/"))
    regular = tarfile.REGTYPE
    assert found["new"] == (regular, "0o100644", 0, 0, 4, "", (), b"new\n")
    assert found["d/e/1"] == (regular, "0o104755", 0, 0, 2, "", (), b"1\n")
    assert found["d/hard"] == (tarfile.LNKTYPE, "0o104755", 0, 0, 0, "d/e/1", (), b"")
    assert found["d/sym"] == (tarfile.SYMTYPE, "0o120777", 0, 0, 0, "e/1", (), b"")
    assert found["d/fifo"] == (tarfile.FIFOTYPE, "0o10644", 0, 0, 0, "", (), b"")
    assert found["d/null"] == (tarfile.CHRTYPE, "0o20644", 0, 0, 0, "", (1, 3), b"")
    assert found["d/loop"] == (tarfile.BLKTYPE, "0o60644", 0, 0, 0, "", (7, 1), b"")
    assert found["d/sparse"][:5] == (regular, "0o100644", 0, 0, 3000005) and found["d/sparse"][7] == bytes(3000001) + b"end\n"
    assert found["tmp"] == (tarfile.DIRTYPE, "0o41777", 1, 2, 0, "", (), b"")
    assert found["root"][:2] == (tarfile.SYMTYPE, "0o120777")
    assert found["d/raw\udcffname"][7] == b"raw\n"
    gone = {"etc/group", "usr/bin", "usr/sbin", "var/spool", "gone"}
    assert not gone & set(found) and {"bin/busybox", "bin/sh", "vol", "scratch", "usr/moved", "var/www/f"} <= set(found)
    # The places of mounts are there, empty.
    for path in ("proc", "sys", "dev", "dev/pts", "dev/shm"):
        assert found[path] == (tarfile.DIRTYPE, "0o40755", 0, 0, 0, "", (), b""), path
    for path in (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"):
        assert found[path] == (regular, "0o100755", 0, 0, 0, "", (), b""), path
    assert found["etc/mtab"] == (tarfile.SYMTYPE, "0o120777", 0, 0, 0, "/proc/mounts", (), b"")
    assert {path for path in found if path.startswith(("proc/", "sys/", "dev/"))} == {"dev/console", "dev/pts", "dev/shm"}
    engine.docker("export", "-o", f"{engine.folder or '/var/tmp'}/{name}.tar", name)


@covers("export")
def test_export_and_import_again(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", "echo kept > /kept; exec sleep 600")
    engine.docker("exec", name, "sh", "-c", "until [ -s /kept ]; do :; done")
    archive = engine.request("GET", f"/{engine.api}/containers/{name}/export")[1]
    assert engine.out("inspect", "-f", "{{.State.Status}}", name) == "running"
    engine.docker("import", "-", f"{name}:flat", stdin=archive)
    assert engine.out("run", "--rm", f"{name}:flat", "cat", "/kept") == "kept"


def test_export_of_a_container_that_never_ran(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox")
    found = _members(engine.request("GET", f"/{engine.api}/containers/{name}/export")[1])
    assert {".dockerenv", "bin/sh", "dev/console", "etc/hosts"} <= set(found)
    engine.docker("start", name)


def test_export_to_a_slow_client_and_to_one_that_leaves(engine: Engine, name: str) -> None:
    _run(engine, name, "dd if=/dev/urandom of=/big bs=1M count=4 2>/dev/null")
    path = f"/{engine.api}/containers/{name}/export"
    whole = engine.request("GET", path)[1]

    @contextlib.contextmanager
    def begun() -> Iterator[http.client.HTTPResponse]:
        with contextlib.closing(UnixConnection(engine.socket)) as connection:
            connection.request("GET", path)
            with connection.getresponse() as response:
                yield response

    with begun() as leaving:
        assert leaving.read(100_000) == whole[:100_000]
    slow = b""
    with begun() as response:
        while piece := response.read(600_000):
            slow += piece
            time.sleep(0.02)
    assert slow == whole
    engine.docker("start", name)
    engine.docker("wait", name)
