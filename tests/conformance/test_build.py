"""The classic builder, beside dockerd's own: what it prints, what the images are, what it takes from the cache, what it refuses."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest

from engines import Engine

from .registry import ADDRESS, Registry
from .waiting import wait_until

covers = pytest.mark.covers
Files = dict[str, str | bytes]
ID = re.compile(r"\b[0-9a-f]{12}\b")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture(autouse=True)
def _no_images_left(engine: Engine) -> Iterator[None]:
    """Removes what a case built: every name but busybox:latest, then all that has none."""
    yield
    for one in engine.request("GET", "/containers/json?all=1")[1]:
        engine.request("DELETE", f"/containers/{one['Id']}?force=1&v=1")
    for row in engine.request("GET", "/images/json")[1]:
        for tag in row["RepoTags"] or []:
            if tag not in ("busybox:latest", "<none>:<none>"):
                engine.docker("rmi", "-f", tag, check=False)
    engine.docker("image", "prune", "-f")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return tmp_path


def _write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o644)


def _build(engine: Engine, folder: Path, dockerfile: str, *arguments: str, check: bool = True) -> str:
    """Builds folder with this Dockerfile; returns what the engine printed, both streams in order of streams."""
    (folder / "Dockerfile").write_text(dockerfile)
    result = engine.docker("build", *arguments, str(folder), check=check)
    return result.stdout if check else result.stdout + result.stderr


def _plain(output: str) -> list[str]:
    """Returns the lines without what the client says, ids made equal."""
    lines = [line for line in output.splitlines() if not line.startswith("Sending build context")]
    return [ID.sub("ID", line) for line in lines if line.strip()]


def _inspect(engine: Engine, image: str) -> dict[str, Any]:
    document: dict[str, Any] = engine.request("GET", f"/v1.41/images/{image}/json")[1]
    return document


def _history(engine: Engine, image: str) -> list[str]:
    return engine.out("history", "--no-trunc", "--format", "{{.CreatedBy}}", image).splitlines()


def _run(engine: Engine, image: str, *command: str) -> str:
    return engine.out("run", "--rm", "--network", "none", image, *command)


@covers("build", "build -t")
def test_what_a_build_prints(engine: Engine, context: Path, name: str) -> None:
    _write(context, {"file": "text\n"})
    printed = _build(
        engine,
        context,
        "ARG TAG=latest\nFROM busybox:${TAG}\nENV A=1\nRUN echo said\nCOPY file /file\nWORKDIR /w\n# a comment\nCMD cat /file\n",
        "-t", name, "-t", f"{name}:two",
    )  # fmt: skip
    made = [" ---> Running in ID", "Removing intermediate container ID", " ---> ID"]
    assert _plain(printed) == [
        "Step 1/7 : ARG TAG=latest",
        "Step 2/7 : FROM busybox:${TAG}",
        " ---> ID",
        "Step 3/7 : ENV A=1",
        *made,
        "Step 4/7 : RUN echo said",
        made[0],
        "said",
        *made[1:],
        "Step 5/7 : COPY file /file",
        " ---> ID",
        "Step 6/7 : WORKDIR /w",
        *made,
        "Step 7/7 : CMD cat /file",
        *made,
        "Successfully built ID",
        f"Successfully tagged {name}:latest",
        f"Successfully tagged {name}:two",
    ]
    assert _run(engine, name) == "text"
    assert engine.out("ps", "-aq") == ""


@covers("build -q", "build --iidfile")
def test_quiet_says_the_id_alone(engine: Engine, context: Path, name: str) -> None:
    printed = _build(engine, context, "FROM busybox\nRUN echo not seen\n", "-q", "-t", name)
    assert printed.strip() == engine.out("inspect", "-f", "{{.Id}}", name)
    _build(engine, context, "FROM busybox\nRUN echo not seen\n", "--iidfile", str(context / "id"))
    assert (context / "id").read_text() == printed.strip()
    failed = _build(engine, context, "FROM busybox\nRUN echo seen; exit 4\n", "-q", check=False)
    assert "seen" in failed and "The command '/bin/sh -c echo seen; exit 4' returned a non-zero code: 4" in failed


def test_every_instruction_shows_in_the_configuration(engine: Engine, context: Path, name: str) -> None:
    _build(
        engine,
        context,
        """FROM busybox
MAINTAINER me <a@b>
LABEL a=b c="d e"
ENV A=1 B="two words"
ENV OLD form value
EXPOSE 80 90/udp 100-101
VOLUME /v1 /v2
VOLUME ["/v3"]
USER nobody
WORKDIR /a/../b
WORKDIR c
STOPSIGNAL SIGINT
SHELL ["/bin/sh", "-e", "-c"]
HEALTHCHECK --interval=90s --retries=3 CMD echo ok
ONBUILD RUN echo "$A"
CMD echo $A
ENTRYPOINT ["/bin/sh"]
CMD ["-c", "true"]
""",
        "-t", name,
    )  # fmt: skip
    document = _inspect(engine, name)
    config = document["Config"]
    expected: dict[str, Any] = {
        "User": "nobody",
        "ExposedPorts": {"80/tcp": {}, "90/udp": {}, "100/tcp": {}, "101/tcp": {}},
        "Env": [PATH, "A=1", "B=two words", "OLD=form value"],
        "Cmd": ["-c", "true"],
        "Healthcheck": {"Test": ["CMD-SHELL", "echo ok"], "Interval": 90 * 10**9, "Retries": 3},
        "Volumes": {"/v1": {}, "/v2": {}, "/v3": {}},
        "WorkingDir": "/b/c",
        "Entrypoint": ["/bin/sh"],
        "OnBuild": ['RUN echo "$A"'],
        "Labels": {"a": "b", "c": "d e"},
        "StopSignal": "SIGINT",
        "Shell": ["/bin/sh", "-e", "-c"],
    }
    assert {key: config.get(key) for key in expected} == expected
    assert document["Author"] == "me <a@b>" and document["Comment"] == ""
    assert _history(engine, name)[:-1] == [
        '/bin/sh -e -c #(nop)  CMD ["-c" "true"]',
        '/bin/sh -e -c #(nop)  ENTRYPOINT ["/bin/sh"]',
        '/bin/sh -e -c #(nop)  CMD ["/bin/sh" "-e" "-c" "echo $A"]',
        '/bin/sh -e -c #(nop)  ONBUILD RUN echo "$A"',
        """/bin/sh -e -c #(nop)  HEALTHCHECK &{["CMD-SHELL" "echo ok"] "1m30s" "0s" "0s" '\\x03'}""",
        "/bin/sh -e -c #(nop)  SHELL [/bin/sh -e -c]",
        "/bin/sh -c #(nop)  STOPSIGNAL SIGINT",
        "/bin/sh -c #(nop) WORKDIR /b/c",
        "/bin/sh -c #(nop) WORKDIR /a/../b",
        "/bin/sh -c #(nop)  USER nobody",
        "/bin/sh -c #(nop)  VOLUME [/v3]",
        "/bin/sh -c #(nop)  VOLUME [/v1 /v2]",
        "/bin/sh -c #(nop)  EXPOSE 100-101 80 90/udp",
        "/bin/sh -c #(nop)  ENV OLD=form value",
        "/bin/sh -c #(nop)  ENV A=1 B=two words",
        "/bin/sh -c #(nop)  LABEL a=b c=d e",
        "/bin/sh -c #(nop)  MAINTAINER me <a@b>",
    ]
    again = _build(engine, context, f"FROM {name}\nENTRYPOINT []\n", "-t", f"{name}:child")
    assert _plain(again)[1:4] == ["# Executing 1 build trigger", " ---> Running in ID", "1"]
    child = _inspect(engine, f"{name}:child")["Config"]
    assert not child["OnBuild"] and not child["Entrypoint"] and not child["Cmd"]


@covers("build --no-cache")
def test_the_cache_knows_steps_contents_and_modes(engine: Engine, context: Path, name: str) -> None:
    dockerfile = "FROM busybox\nENV A=1\nCOPY files /files\nRUN echo ran > /ran\n"
    _write(context, {"files/one": "1", "files/deep/two": "2"})

    def hits(*arguments: str) -> int:
        return _build(engine, context, dockerfile, "-t", name, *arguments).count(" ---> Using cache")

    assert hits() == 0
    first = _inspect(engine, name)["Id"]
    assert hits() == 3 and _inspect(engine, name)["Id"] == first
    os.utime(context / "files/one", (1, 1))
    assert hits() == 3
    (context / "files/one").chmod(0o600)
    assert hits() == 1
    _write(context, {"files/one": "3"})
    assert hits() == 1 and _run(engine, name, "cat", "/files/one") == "3"
    assert hits("--no-cache") == 0
    dockerfile = dockerfile.replace("A=1", "A=2")
    assert hits() == 0
    dockerfile += "LABEL x=y\n"
    assert hits() == 3


def test_hashes_in_histories_are_docker_s(engine: Engine, context: Path, name: str) -> None:
    _write(context, {"a.txt": "hello\n", "sub/b.txt": "two\n"})
    (context / "sub").chmod(0o755)
    _build(engine, context, "FROM busybox\nCOPY a.txt /dst/\nCOPY sub /sub/\nCOPY a.txt sub /m/\nCOPY *.txt /w\n", "-t", name)
    one = "file:00ec16333078d287782d462baefc8bb9eb0231dc3aefba3ca3e2f7e5cf0cadda"
    assert _history(engine, name)[:4] == [
        f"/bin/sh -c #(nop) COPY {one} in /w ",
        "/bin/sh -c #(nop) COPY multi:96163e948853d580442eb78f8b12064aaf749fc1cd38ffa368085ac96cd14fdb in /m/ ",
        "/bin/sh -c #(nop) COPY dir:12fdc54fb9b86d7717b9a15cb743a660dccd2926eb976d600a665442737af6db in /sub/ ",
        f"/bin/sh -c #(nop) COPY {one} in /dst/ ",
    ]


@covers("build --build-arg")
def test_arguments_and_their_scopes(engine: Engine, context: Path, name: str) -> None:
    dockerfile = """ARG BASE=busybox
ARG GLOBAL=g
FROM $BASE
RUN echo "none=$GLOBAL"
ARG GLOBAL
ARG GIVEN=default
ARG LATER
ENV KEPT=$GIVEN
RUN echo "$GLOBAL $GIVEN $KEPT $LATER $http_proxy" > /out
"""
    printed = _build(
        engine, context, dockerfile, "-t", name, "--build-arg", "GIVEN=given", "--build-arg", "http_proxy=p", "--build-arg", "UNUSED=1"
    )
    assert "none=\n" in printed
    assert "[Warning] One or more build-args [UNUSED] were not consumed" in printed
    assert _run(engine, name, "cat", "/out") == "g given given  p"
    assert _inspect(engine, name)["Config"]["Env"] == [PATH, "KEPT=given"]
    assert _history(engine, name)[0] == '|2 GIVEN=given GLOBAL=g /bin/sh -c echo "$GLOBAL $GIVEN $KEPT $LATER $http_proxy" > /out'
    # Another value of a predefined one is no other step; of a declared one it is.
    again = _build(engine, context, dockerfile, "-t", name, "--build-arg", "GIVEN=given", "--build-arg", "http_proxy=q")
    assert again.count("Using cache") == 6
    again = _build(engine, context, dockerfile, "-t", name, "--build-arg", "GIVEN=other", "--build-arg", "http_proxy=q")
    assert again.count("Using cache") == 4


@covers("build --target")
def test_stages(engine: Engine, context: Path, name: str) -> None:
    _write(context, {"own": "mine"})
    dockerfile = """FROM busybox AS Make
RUN mkdir -p /out/sub && echo made > /out/one && echo two > /out/sub/two && ln -s out /link && chown -R 7:8 /out && chmod 4755 /out/one
FROM make AS next
RUN echo next > /next
FROM scratch AS files
COPY own /own
FROM busybox
COPY --from=make /out /copied
COPY --from=0 /link/one /renamed
COPY --from=0 --chown=3:4 /out/on? out/sub /several/
COPY --from=files own /
COPY --from=busybox /etc/passwd /passwd
"""
    printed = _build(engine, context, dockerfile, "-t", name)
    assert printed.count("Successfully built") == 1
    script = (
        "stat -c '%n %a %u:%g' /copied /copied/one /copied/sub/two /renamed /several/one /several/two; cat /own /renamed; head -c4 /passwd"
    )
    assert _run(engine, name, "sh", "-c", script).splitlines() == [
        "/copied 755 0:0",
        "/copied/one 4755 7:8",
        "/copied/sub/two 644 7:8",
        "/renamed 4755 7:8",
        "/several/one 755 3:4",
        "/several/two 644 3:4",
        "minemade",
        "root",
    ]
    assert _build(engine, context, dockerfile, "-t", name).count("Using cache") == 8
    _build(engine, context, dockerfile, "-t", f"{name}:next", "--target", "NEXT")
    assert _run(engine, f"{name}:next", "cat", "/next", "/out/one") == "next\nmade"
    for line, text in (
        ("COPY --from=4 /a /b", "invalid from flag value 4: index out of bounds"),
        ("COPY --from=3 /a /b", "invalid from flag value 3: refers to current build stage"),
        ("COPY --from=make /none /b", "COPY failed: stat none: file does not exist"),
        ("COPY --from=make /non* /b", "COPY failed: no source files were specified"),
    ):
        assert text in _build(engine, context, dockerfile + line, check=False)
    assert "make stage name already used" in _build(engine, context, "FROM busybox AS make\nFROM busybox AS MAKE\n", check=False)


def test_where_copies_go_and_whose_they_are(engine: Engine, context: Path, name: str) -> None:
    _write(context, {"p/f": "x", "p/q/g": "y", "one": "1"})
    (context / "p/f").chmod(0o4755)
    (context / "p/q").chmod(0o750)
    (context / "p").chmod(0o700)
    (context / "to-p").symlink_to("p")
    (context / "p/lg").symlink_to("q/g")
    os.link(context / "p/q/g", context / "p/hard")
    _build(
        engine,
        context,
        """FROM busybox
RUN mkdir /isdir /real && touch /isfile /real/file && ln -s /real /sl && ln -s /real/file /slf && mkdir -p /d/one
COPY p /tmp
COPY p /new
COPY --chown=7:8 p /owned
COPY --chown=7:8 one /par/ents/f
COPY one /par2/ents/
COPY to-p /linked
COPY p/lg /lgfile
COPY p/q one /two/
COPY one /sl
COPY one /slf
COPY p/q /sl/in
COPY one /isdir
COPY one /d/
WORKDIR /work
COPY one rel/ative
COPY --chown=nobody:nobody one .
COPY one /dot/.
""",
        "-t", name,
    )  # fmt: skip
    paths = (
        "/tmp /tmp/f /tmp/q /new /new/f /new/q /new/lg /new/hard /owned /owned/f /owned/q/g /par /par/ents /par/ents/f /par2/ents "
        "/par2/ents/one /linked/q/g /lgfile /two/g /two/one /real/one /slf /real/file /real/in/g /isdir/one /d/one /work/rel "
        "/work/rel/ative /work/one /dot"
    )
    assert _run(engine, name, "sh", "-c", f"stat -c '%n %F %a %u:%g' {paths}").splitlines() == [
        "/tmp directory 1777 0:0",
        "/tmp/f regular file 755 0:0",
        "/tmp/q directory 750 0:0",
        "/new directory 755 0:0",
        "/new/f regular file 755 0:0",
        "/new/q directory 750 0:0",
        "/new/lg symbolic link 777 0:0",
        "/new/hard regular file 644 0:0",
        "/owned directory 755 7:8",
        "/owned/f regular file 755 7:8",
        "/owned/q/g regular file 644 7:8",
        "/par directory 755 7:8",
        "/par/ents directory 755 7:8",
        "/par/ents/f regular file 644 7:8",
        "/par2/ents directory 755 0:0",
        "/par2/ents/one regular file 644 0:0",
        "/linked/q/g regular file 644 0:0",
        "/lgfile regular file 644 0:0",
        "/two/g regular file 644 0:0",
        "/two/one regular file 644 0:0",
        "/real/one regular file 644 0:0",
        "/slf symbolic link 777 0:0",
        "/real/file regular file 644 0:0",
        "/real/in/g regular file 644 0:0",
        "/isdir/one regular file 644 0:0",
        "/d/one regular file 644 0:0",
        "/work/rel directory 755 0:0",
        "/work/rel/ative regular file 644 0:0",
        "/work/one regular file 644 65534:65534",
        "/dot regular file 644 0:0",
    ]
    script = "cat /real/file /d/one; [ $(stat -c %i /new/hard) = $(stat -c %i /new/q/g) ] && echo linked"
    assert _run(engine, name, "sh", "-c", script) == "11linked"


def test_what_is_written_to_a_volume(engine: Engine, context: Path, name: str) -> None:
    _write(context, {"one": "1"})
    _build(engine, context, "FROM busybox\nVOLUME /v\nCOPY one /v/copied\nWORKDIR /v/work\nRUN echo lost > /v/ran; ls /v\n", "-t", name)
    assert _run(engine, name, "ls", "/v") == "copied\nwork"


def _tar(files: Files, mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(path)
            info.size, info.uid, info.gid, info.mtime = len(data), 5, 6, 1_000_000_000
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_add_unpacks_archives_by_what_they_are(engine: Engine, context: Path, name: str, mode: str) -> None:
    _write(context, {"any.name": _tar({"in/side": "text"}, mode), "none.tar": "no archive"})
    _build(
        engine,
        context,
        "FROM busybox\nADD any.name /arch\nADD --chown=9:9 any.name /arch2/\nADD none.tar /\nCOPY any.name /\n"
        "RUN stat -c '%u:%g %Y' /arch/in/side > /s\n",
        "-t",
        name,
    )
    script = "cat /arch/in/side /arch2/in/side /none.tar; echo; cat /s; stat -c '%u:%g' /arch2/in/side; ls /any.name"
    assert _run(engine, name, "sh", "-c", script).splitlines() == [
        "texttextno archive", "5:6 1000000000", "5:6", "/any.name"
    ]  # fmt: skip


@pytest.fixture
def server(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A web server in the engine's namespace, on all addresses: its port in a URL without the host, and its folder."""
    folder = tmp_path_factory.mktemp("www")
    argv = [*engine.nsenter(), sys.executable, "-u", "-m", "http.server", "0", "--directory", str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            match = re.search(r"port (\d+)", process.stdout.readline())
            assert match is not None
            yield f":{match[1]}", folder
        finally:
            process.kill()


@covers("build --network", "build --add-host")
def test_run_has_a_network(engine: Engine, context: Path, name: str, server: tuple[str, Path]) -> None:
    port, folder = server
    _write(folder, {"pool/pkg_1.tar.gz": _tar({"usr/share/pkg/readme": "installed"}, "w:gz")})
    install = "wget -q -O /tmp/p http://{}/pool/pkg_1.tar.gz && tar xzf /tmp/p -C / && cat /usr/share/pkg/readme"
    gateway = engine.out("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}") or "172.17.0.1"
    printed = _build(engine, context, f"FROM busybox\nRUN {install.format(gateway + port)}\n", "-t", name)
    assert "installed" in printed and _run(engine, name, "cat", "/usr/share/pkg/readme") == "installed"
    printed = _build(engine, context, f"FROM busybox\nRUN {install.format('127.0.0.1' + port)}\n", "--network", "host")
    assert "installed" in printed
    printed = _build(engine, context, f"FROM busybox\nRUN {install.format('repo.test' + port)}\n", "--add-host", f"repo.test:{gateway}")
    assert "installed" in printed
    failed = _build(engine, context, f"FROM busybox\nRUN {install.format(gateway + port)} #2\n", "--network", "none", check=False)
    assert "returned a non-zero code: 1" in failed
    failed = _build(engine, context, "FROM busybox\nRUN true #3\n", "--network", "nosuch", check=False)
    assert "network nosuch not found" in failed


def test_add_downloads(engine: Engine, context: Path, name: str, server: tuple[str, Path]) -> None:
    port, folder = server
    url = f"http://127.0.0.1{port}"
    _write(folder, {"file.tar": _tar({"x": "y"}), "plain": "plain"})
    os.utime(folder / "plain", (1_000_000_000, 1_000_000_000))
    dockerfile = f"FROM busybox\nADD {url}/plain /dir/\nADD {url}/file.tar /as\nADD --chown=1:2 {url}/plain?x=y /owned\n"
    _build(engine, context, dockerfile, "-t", name)
    script = "stat -c '%a %u:%g %Y' /dir/plain; stat -c '%F' /as; stat -c '%a %u:%g' /owned; cat /dir/plain"
    assert _run(engine, name, "sh", "-c", script).splitlines() == ["600 0:0 1000000000", "regular file", "600 1:2", "plain"]
    assert _build(engine, context, dockerfile).count("Using cache") == 3
    _write(folder, {"plain": "other"})
    assert _build(engine, context, dockerfile).count("Using cache") == 0
    failed = _build(engine, context, f"FROM busybox\nADD {url}/none /x\n", check=False)
    assert f"ADD failed: failed to GET {url}/none with status 404" in failed
    failed = _build(engine, context, f"FROM busybox\nADD {url}/ /x/\n", check=False)
    assert f"ADD failed: cannot determine filename for source {url}/" in failed
    failed = _build(engine, context, "FROM busybox\nADD http://127.0.0.1:1/x /x\n", check=False)
    assert 'ADD failed: Get "http://127.0.0.1:1/x": dial tcp 127.0.0.1:1: connect: connection refused' in failed


@covers("build -f")
def test_contexts_from_elsewhere(engine: Engine, context: Path, name: str, server: tuple[str, Path]) -> None:
    port, folder = server
    url = f"http://127.0.0.1{port}"
    files: Files = {"Dockerfile": "FROM busybox\nCOPY file /\n", "file": "from afar", "other/D": "FROM busybox\nRUN echo other\n"}
    for mode in ("w", "w:gz"):
        engine.docker("build", "-t", name, "-", stdin=_tar(files, mode))
        assert _run(engine, name, "cat", "/file") == "from afar"
    assert "other" in engine.out("build", "-f", "other/D", "-", stdin=_tar(files))
    _write(
        folder,
        {"ctx.tar.gz": _tar(files, "w:gz"), "Dockerfile.txt": "FROM busybox\nRUN echo alone\n", "bad.txt": "FROM busybox\nCOPY a /\n"},
    )
    assert "alone" in engine.out("build", "-", stdin=b"FROM busybox\nRUN echo alone\n")

    # The client fetches URLs itself; the API's own way is other programs'.
    def remote(source: str) -> tuple[int, str]:
        status, body = engine.request("POST", f"/{engine.api}/build?t={name}:url&nocache=1&remote={source}")
        return status, body.decode() if isinstance(body, bytes) else json.dumps(body)

    assert remote(f"{url}/ctx.tar.gz")[0] == 200 and _run(engine, f"{name}:url", "cat", "/file") == "from afar"
    assert "alone" in remote(f"{url}/Dockerfile.txt")[1]
    assert "COPY failed: missing build context" in remote(f"{url}/bad.txt")[1]
    for source, text in ((f"{url}/none", "with status 404"), ("http://127.0.0.1:1/x", "connection refused")):
        status, failed = remote(source)
        assert status in (404, 500) and "error downloading remote context" in failed and text in failed


def test_a_git_repository_is_a_context(engine: Engine, context: Path, name: str, server: tuple[str, Path]) -> None:
    port, folder = server

    def git(*words: str) -> None:
        options = ("-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=master")
        subprocess.run(["git", *options, *words], cwd=context, check=True, capture_output=True)

    _write(
        context,
        {"Dockerfile": "FROM busybox\nCOPY file /\n", "file": "main", "sub/Dockerfile": "FROM busybox\nCOPY in /file\n", "sub/in": "sub"},
    )
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "branch")
    _write(context, {"file": "branch"})
    git("commit", "-qam", "two")
    git("checkout", "-q", "master")
    git("clone", "-q", "--bare", ".", str(folder / "repo.git"))
    subprocess.run(["git", "update-server-info"], cwd=folder / "repo.git", check=True)
    for suffix, text in (("", "main"), ("#branch", "branch"), ("#master:sub", "sub"), ("#:sub", "sub")):
        body = engine.request("POST", f"/{engine.api}/build?t={name}&remote=http://127.0.0.1{port}/repo.git{suffix.replace('#', '%23')}")
        assert body[0] == 200, body
        assert _run(engine, name, "cat", "/file") == text


@pytest.fixture
def git_daemon(engine: Engine, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Serves the repositories in a folder as git://: a server of bare files would not do for shallow clones."""
    folder = tmp_path / "repositories"
    folder.mkdir()
    argv = ["git", "daemon", "--reuseaddr", "--export-all", f"--base-path={folder}", "--listen=127.0.0.1", "--port=9418", str(folder)]
    process = subprocess.Popen([*engine.nsenter(), *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: ":9418" in engine.inside("ss", "-Hltn"), "the git server listens")
        yield "git://127.0.0.1", folder
    finally:
        process.terminate()
        process.wait()


def test_a_git_context_has_its_submodules(engine: Engine, context: Path, name: str, git_daemon: tuple[str, Path]) -> None:
    url, folder = git_daemon

    def git(at: Path, *words: str) -> None:
        options = ("user.name=n", "user.email=e", "init.defaultBranch=master", "protocol.file.allow=always")
        subprocess.run(["git", *(word for one in options for word in ("-c", one)), *words], cwd=at, check=True, capture_output=True)

    def serve(at: Path, to: str) -> None:
        git(at, "add", "-A")
        git(at, "commit", "-qm", to)
        git(at, "clone", "-q", "--bare", ".", str(folder / to))

    for part in ("deep", "part", "main"):
        (context / part).mkdir()
        git(context / part, "init", "-q")
    # Zeros at an archive's end are content as well as its end.
    _write(context / "deep", {"file": "deep", "zeros": "\0" * 3000})
    serve(context / "deep", "deep.git")
    _write(context / "part", {"file": "part", "Dockerfile": "FROM busybox\nCOPY . /all\n"})
    git(context / "part", "submodule", "add", "-q", str(folder / "deep.git"), "in/deep")
    git(context / "part", "config", "-f", ".gitmodules", "submodule.in/deep.url", "../deep.git")
    serve(context / "part", "part.git")
    _write(context / "main", {"Dockerfile": "FROM busybox\nCOPY . /all\n", "dir/Dockerfile": "FROM busybox\nCOPY . /all\n"})
    git(context / "main", "submodule", "add", "-q", str(folder / "part.git"), "dir/part")
    git(context / "main", "config", "-f", ".gitmodules", "submodule.dir/part.url", f"{url}/part.git")
    serve(context / "main", "main.git")
    for suffix, root in (("", "/all/dir/part"), ("%23:dir", "/all/part"), ("%23master:dir/part", "/all")):
        body = engine.request("POST", f"/{engine.api}/build?t={name}&remote={url}/main.git{suffix}")
        assert body[0] == 200 and b"Successfully built" in body[1], body
        assert _run(engine, name, "cat", f"{root}/file") == "part"
        assert _run(engine, name, "cat", f"{root}/in/deep/file") == "deep"
        assert _run(engine, name, "wc", "-c", f"{root}/in/deep/zeros").split()[0] == "3000"


def test_ignored_files_are_the_client_s_business_but_for_two(engine: Engine, context: Path, name: str) -> None:
    _write(context, {"a": "a", "b": "b", ".dockerignore": "b\nDockerfile\n.dockerignore\n"})
    _build(engine, context, "FROM busybox\nCOPY . /all\n", "-t", name)
    assert _run(engine, name, "ls", "-A", "/all") == "a"
    _write(context, {".dockerignore": "*\n!a\n"})
    _build(engine, context, "FROM busybox\nCOPY . /all\n", "-t", name)
    assert _run(engine, name, "ls", "-A", "/all") == "a"
    failed = _build(engine, context, "FROM busybox\nCOPY b /\n", check=False)
    assert "COPY failed: file not found in build context or excluded by .dockerignore: stat b: file does not exist" in failed


@covers("build --rm", "build --force-rm")
def test_what_is_left_of_containers(engine: Engine, context: Path, name: str) -> None:
    dockerfile = "FROM busybox\nENV A=1\nCOPY Dockerfile /\nRUN echo once\n"
    _build(engine, context, dockerfile, "--rm=false", "-t", name)
    assert engine.out("ps", "-a", "--format", "{{.Status}}").splitlines()[0].startswith("Exited (0)")
    assert len(engine.out("ps", "-aq").split()) == 2
    engine.docker("rm", *engine.out("ps", "-aq").split())
    failed = _build(engine, context, "FROM busybox\nRUN echo why; exit 9\n", check=False)
    assert "The command '/bin/sh -c echo why; exit 9' returned a non-zero code: 9" in failed
    (left,) = engine.out("ps", "-aq").split()
    assert engine.out("inspect", "-f", "{{.State.ExitCode}}", left) == "9"
    assert engine.out("diff", left) == ""
    engine.docker("rm", left)
    failed = _build(engine, context, "FROM busybox\nRUN echo gone; exit 9\n", "--force-rm", check=False)
    assert "Removing intermediate container" in failed and engine.out("ps", "-aq") == ""


def test_a_client_that_leaves_ends_the_build(engine: Engine, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo begun && sleep 300\n")
    with subprocess.Popen(
        ["docker", "build", str(context)], env=engine.environ(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as client:
        assert client.stdout is not None
        for line in client.stdout:
            if line.startswith(b"begun"):
                break
        assert len(engine.out("ps", "-q").split()) == 1
        client.terminate()
        client.wait()
    wait_until(lambda: engine.out("ps", "-aq") == "", "the build's container is gone")


def test_images_between_are_hidden_and_go_with_the_last(engine: Engine, context: Path, name: str) -> None:
    before = set(engine.out("images", "-aq", "--no-trunc").split())
    _build(engine, context, "FROM busybox\nENV A=1\nENV B=2\nENV C=3\n", "-t", name)
    image = _inspect(engine, name)
    assert len(set(engine.out("images", "-aq", "--no-trunc").split()) - before) == 3
    assert set(engine.out("images", "-q", "--no-trunc").split()) - before == {image["Id"]}
    parent = _inspect(engine, image["Parent"])
    assert parent["RepoTags"] == [] and parent["Config"]["Env"][-1] == "B=2"
    assert engine.out("history", "-q", "--no-trunc", name).splitlines()[:2] == [image["Id"], parent["Id"]]
    removed = engine.out("rmi", name).splitlines()
    assert removed[0] == f"Untagged: {name}:latest" and len([line for line in removed if line.startswith("Deleted: ")]) == 3
    assert set(engine.out("images", "-aq", "--no-trunc").split()) == before


def test_a_step_that_changes_nothing_adds_no_layer(engine: Engine, context: Path, name: str) -> None:
    base = len(_inspect(engine, "busybox:latest")["RootFS"]["Layers"])
    _build(engine, context, "FROM busybox\nRUN true\nWORKDIR /tmp\nRUN touch /x && rm /x\n", "-t", name)
    assert len(_inspect(engine, name)["RootFS"]["Layers"]) == base
    _build(engine, context, "FROM busybox\nRUN true\nWORKDIR /made\nRUN touch /x\n", "-t", name)
    assert len(_inspect(engine, name)["RootFS"]["Layers"]) == base + 2


@covers("build --label")
def test_labels_of_the_command_line(engine: Engine, context: Path, name: str) -> None:
    printed = _build(engine, context, "FROM busybox\nLABEL a=1\n", "--label", "b=$A x", "--label", "a=2", "-t", name)
    assert "Step 3/4 : LABEL a=2" in printed and "Step 4/4 : LABEL b=$A x" in printed
    assert _inspect(engine, name)["Config"]["Labels"] == {"a": "2", "b": "$A x"}


@covers("build --cache-from")
def test_the_cache_of_another_image(engine: Engine, context: Path, name: str) -> None:
    dockerfile = "FROM busybox\nENV A=1\nRUN echo $A > /one\nRUN echo two > /two\nLABEL l=m\n"
    _build(engine, context, dockerfile, "-t", name)
    image = _inspect(engine, name)["Id"]
    assert _build(engine, context, dockerfile, "--cache-from", "nosuch").count("Using cache") == 0
    assert _build(engine, context, dockerfile, "--cache-from", name).count("Using cache") == 4
    # As it comes from elsewhere: the layers and the history, and no image between.
    archive = context / "image.tar"
    engine.docker("save", "-o", str(archive), name)
    engine.docker("rmi", "-f", name)
    engine.docker("image", "prune", "-f")
    engine.docker("load", "-i", str(archive))
    archive.unlink()
    assert _build(engine, context, dockerfile).count("Using cache") == 0
    engine.docker("image", "prune", "-f")
    assert _build(engine, context, dockerfile, "--cache-from", name, "-t", f"{name}:again").count("Using cache") == 4
    assert _inspect(engine, f"{name}:again")["Id"] == image
    longer = dockerfile.replace("LABEL l=m", "LABEL l=n")
    assert _build(engine, context, longer, "--cache-from", name, "-t", f"{name}:longer").count("Using cache") == 3
    assert _run(engine, f"{name}:longer", "cat", "/one", "/two") == "1\ntwo"


@covers("build --pull")
def test_bases_come_from_the_registry(engine: Engine, context: Path, name: str, hub: Registry) -> None:
    image = f"{ADDRESS}/busybox:latest"
    printed = _build(engine, context, f"FROM {image}\nENV A=1\n", "-t", name)
    assert "Status: Downloaded newer image for" in printed and "Digest: sha256:" in printed
    assert "Digest" not in _build(engine, context, f"FROM {image}\nENV A=2\n", "-t", name)
    assert "Status: Image is up to date for" in _build(engine, context, f"FROM {image}\nENV A=3\n", "-t", name, "--pull")
    failed = _build(engine, context, f"FROM {ADDRESS}/nothing/here\n", check=False)
    assert f"manifest for {ADDRESS}/nothing/here:latest not found: manifest unknown: manifest unknown" in failed
    failed = _build(engine, context, f"FROM busybox\nCOPY --from={ADDRESS}/nothing/here /a /b\n", check=False)
    assert f"invalid from flag value {ADDRESS}/nothing/here: manifest for" in failed


@covers("build --shm-size", "build --memory", "build --ulimit")
def test_limits_of_run(engine: Engine, context: Path) -> None:
    dockerfile = "FROM busybox\nRUN df -m /dev/shm | tail -n1 | awk '{print \"shm\", $2}'; echo files $(ulimit -n)\n"
    printed = _build(engine, context, dockerfile, "--shm-size", "32m", "--memory", "64m", "--ulimit", "nofile=100:200")
    assert "shm 32\n" in printed and "files 100\n" in printed
    failed = _build(engine, context, "FROM busybox\nRUN true #x\n", "--memory", "1m", check=False)
    assert "Minimum memory limit allowed is 6MB" in failed


def test_scratch_alone(engine: Engine, context: Path, name: str) -> None:
    static = subprocess.run([*engine.nsenter(), "cat", "/bin/busybox"], check=True, capture_output=True).stdout
    _write(context, {"busybox": static})
    (context / "busybox").chmod(0o755)
    _build(
        engine,
        context,
        'FROM scratch\nCOPY busybox /bin/\nENTRYPOINT ["/bin/busybox"]\nRUN ["/bin/busybox", "mkdir", "/made"]\n',
        "-t",
        name,
    )
    assert _run(engine, name, "ls", "-d", "/made") == "/made"
    assert _inspect(engine, name)["Config"]["Env"] == [PATH]
    _build(engine, context, "FROM scratch\nENV A=1\nENV B=2\n", "-t", f"{name}:empty")
    assert not _inspect(engine, f"{name}:empty")["RootFS"].get("Layers")
    assert "No image was generated. Is your Dockerfile empty?" in _build(engine, context, "FROM scratch\n", check=False)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("COPY nofile /x", "COPY failed: file not found in build context or excluded by .dockerignore: stat nofile: file does not exist"),
        ("COPY ../a /x", "COPY failed: forbidden path outside the build context: ../a ()"),
        ("COPY a.txt d /x", "When using COPY with more than one source file, the destination must be a directory and end with a /"),
        ("COPY *.no /x", "COPY failed: no source files were specified"),
        ("COPY --chmod=755 a.txt /x", "the --chmod option requires BuildKit."),
        ("COPY http://x.y/z /x", "COPY failed: source can't be a URL for COPY"),
        (
            "COPY --chown=nouser a.txt /x",
            "unable to convert uid/gid chown string to host mapping: can't find uid for user nouser: no such user: nouser",
        ),
        ("RUN --mount=type=cache,target=/x true", "the --mount option requires BuildKit."),
        ("RUN <<EOF\necho hi\nEOF", "unknown instruction: ECHO"),
        ('RUN ["nosuchcmd"]', 'exec: "nosuchcmd": executable file not found in $PATH'),
        ("EXPOSE abc", "Invalid containerPort: abc"),
        ("STOPSIGNAL BOGUS", "Invalid signal: BOGUS"),
        ("WORKDIR $NOPE", "cannot normalize nothing"),
        ("VOLUME $NOPE", "VOLUME specified can not be an empty string"),
        ("ENV A=${B:?why}", 'failed to process "${B:?why}": B: why'),
        ("BOGUS x", "dockerfile parse error line 2: unknown instruction: BOGUS"),
        ("USER nosuch\nRUN true", "unable to find user nosuch: no matching entries in passwd file"),
    ],
)
def test_refusals(engine: Engine, context: Path, line: str, text: str) -> None:
    _write(context, {"a.txt": "a", "d/b": "b"})
    result = _build(engine, context, f"FROM busybox\n{line}\n", check=False)
    assert text in result


def test_wrong_requests(engine: Engine) -> None:
    context = _tar({"Dockerfile": "FROM busybox\nRUN true\n", "d/x": ""})
    for query, text in (
        ("squash=1", "squash is only supported with experimental mode"),
        ("version=3", 'invalid version "3"'),
        ("buildargs=x", "error reading build args"),
        ("labels=x", "error reading labels"),
        ("shmsize=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("dockerfile=no", "Cannot locate specified Dockerfile: no"),
        ("dockerfile=../x", "forbidden path outside the build context: ../x ()"),
        ("dockerfile=d", "is a directory"),
        ("t=Bad", "invalid reference format"),
        ("t=x@sha256:" + 64 * "a", "build tag cannot contain a digest"),
        ("target=nope", "failed to reach build target nope in Dockerfile"),
        ("platform=bogus", '"bogus": unknown operating system or architecture: invalid argument'),
        ("remote=nosuch", "remoteURL (nosuch) could not be recognized as URL"),
        ("securityopt=x", "The daemon on this platform does not support setting security options on build"),
        ("isolation=x", 'Unsupported isolation: "x"'),
    ):
        status, body = engine.request("POST", f"/v1.41/build?{query}", context, headers={"Content-Type": "application/x-tar"})
        assert status in (400, 500) and text in body["message"], (query, status, body)
    for data, text in ((b"garbage" * 300, "archive/tar: invalid tar header"), (b"", "Cannot locate specified Dockerfile: Dockerfile")):
        status, body = engine.request("POST", "/v1.41/build", data, headers={"Content-Type": "application/x-tar"})
        assert status in (400, 500) and text in body["message"]
    assert engine.out("ps", "-aq") == ""


@covers("builder prune")
def test_builder_prune(engine: Engine, context: Path, name: str) -> None:
    _build(engine, context, "FROM busybox\nENV A=1\n", "-t", name)
    assert engine.out("builder", "prune", "-f").splitlines()[-1] == "Total reclaimed space: 0B" or engine.name == "dockerd"
    assert _build(engine, context, "FROM busybox\nENV A=1\n", "-t", name).count("Using cache") == 1
    status, body = engine.request("POST", "/v1.41/build/prune", b"")
    assert status == 200 and body["SpaceReclaimed"] == 0


def test_events_of_a_build(engine: Engine, context: Path, name: str) -> None:
    since = time.time()
    _build(engine, context, "FROM busybox\nRUN true\n", "-t", name)
    until = str(time.time() + 0.2)
    lines = engine.out("events", "--since", f"{since:.3f}", "--until", until, "--format", "{{json .}}").splitlines()
    events = [json.loads(line) for line in lines]
    told = [(event["Type"], event["Action"]) for event in events if event["Type"] in ("container", "image")]
    kinds = ["create", "attach", "start", "die", "destroy"]
    assert [action for kind, action in told if kind == "container" and action in kinds and action != "attach"] == [
        "create",
        "start",
        "die",
        "destroy",
    ]
    assert ("image", "tag") in told
    with contextlib.suppress(StopIteration):
        tag = next(event for event in events if event["Action"] == "tag")
        assert tag["Actor"]["Attributes"]["name"] == f"{name}:latest"


def test_the_sdk_builds(engine: Engine, name: str) -> None:
    client = docker.DockerClient(base_url=f"unix://{engine.socket}", version=engine.api.removeprefix("v"))
    try:
        image, log = client.images.build(fileobj=io.BytesIO(b"FROM busybox\nLABEL a=b\nRUN echo said\n"), tag=name, rm=True)
        assert image.labels == {"a": "b"} and image.tags == [f"{name}:latest"]
        assert any(line.get("stream") == "said\n" for line in log)
        with pytest.raises(docker.errors.BuildError, match="returned a non-zero code: 3"):
            client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 3\n"), rm=True, forcerm=True)
        assert client.api.prune_builds()["SpaceReclaimed"] == 0
    finally:
        client.close()
