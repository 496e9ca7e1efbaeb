"""Mount targets through links of the image or of a shared volume: none leads a mount, or a copy of content, out of the container's root."""

import io
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines import Engine

# Name in the image and where the link leads; CANARY is a directory of the host.
_LINKS = {
    "absolute": "CANARY",
    "relative": "../../../../../..CANARY",
    "dots": "../..",
    "dangling": "/nowhere/at/all",
    "first": "second",
    "second": "/absolute",
    "cwd": "/proc/self/cwd/..CANARY",
    "magic": "/proc/self/rootCANARY",
    "init": "/proc/1/rootCANARY",
    "loop": "loop",
    "inner": "real",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the host that nobody gave to a container."""
    place = tmp_path_factory.mktemp("host") / "canary"
    (place / "sub").mkdir(parents=True)
    (place / "secret").write_text("of the host")
    return place


@pytest.fixture
def canary(place: Path) -> Iterator[Path]:
    """The same. What is in it stays as it is, and nothing is mounted on it."""
    before = _state(place)
    yield place
    assert _state(place) == before
    for process in ("self", str(os.getppid())):
        assert str(place) not in Path(f"/proc/{process}/mountinfo").read_text()


def _state(place: Path) -> list[tuple[str, int, int, int]]:
    return [
        (str(path), status.st_mode, status.st_uid, status.st_mtime_ns) for path in sorted(place.rglob("*")) for status in (path.lstat(),)
    ] + [("", place.stat().st_mode, place.stat().st_uid, place.stat().st_mtime_ns)]


@pytest.fixture(scope="module")
def linked(engine: Engine, place: Path) -> Iterator[str]:
    """An image of busybox with the links."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path in ("bin", "real", "real/sub"):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add("/bin/busybox", "bin/busybox")
        for applet in ("sh", "cat", "ls"):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
        for link, target in _LINKS.items():
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, target.replace("CANARY", str(place))
            tar.addfile(entry)
    engine.docker("import", "-", "links:targets", stdin=out.getvalue())
    yield "links:targets"
    engine.docker("rmi", "-f", "links:targets")


@pytest.mark.parametrize("kind", ["bind", "file", "volume", "tmpfs"])
@pytest.mark.parametrize(
    "target",
    ["/absolute", "/relative", "/relative/sub", "/absolute/sub", "/dots/x", "/dangling", "/dangling/x", "/first", "/first/sub", "/cwd",
     "/magic", "/magic/sub", "/init/sub", "/loop", "/inner/sub", "/real/../../../..CANARY", "/real/./../absolute/new/deep"],
)  # fmt: skip
def test_a_target_stays_in_the_root(engine: Engine, name: str, linked: str, canary: Path, tmp_path: Path, target: str, kind: str) -> None:
    target = target.replace("CANARY", str(canary))
    (tmp_path / "given").mkdir()
    (tmp_path / "given/mark").write_text("given")
    words = {
        "bind": ["-v", f"{tmp_path}/given:{target}"],
        "file": ["-v", f"{tmp_path}/given/mark:{target}"],
        "volume": ["-v", f"{name}:{target}"],
        "tmpfs": ["--tmpfs", target],
    }[kind]
    show = f"cat '{target}'" if kind == "file" else f"cat '{target}/mark'"
    result = engine.docker("run", "--rm", *words, linked, "sh", "-c", f"ls '{target}'; {show}; cat '{canary}/secret'", check=False)
    # It is mounted somewhere in the root, or refused; the host's file is in no case there.
    assert "of the host" not in result.stdout
    if target.startswith(("/cwd", "/magic", "/init")):
        # Links into /proc: runc mounts in the root's own directory of that name, crun refuses.
        assert result.returncode in (1, 125)
    elif target == "/loop" or (kind, target) == ("file", "/inner/sub"):
        assert result.returncode == 125
    else:
        assert result.returncode == 1 and "given" in (result.stdout if kind in ("bind", "file") else "given"), result
    if kind == "volume":
        mountpoint = engine.out("volume", "inspect", "-f", "{{.Mountpoint}}", name)
        # First use copied what the image has there: nothing of the host.
        assert "secret" not in os.listdir(mountpoint)
        engine.docker("volume", "rm", name)


def test_a_shared_volume_whose_directories_are_swapped_for_links(engine: Engine, name: str, canary: Path) -> None:
    swap = f"cd /v; while :; do mkdir t; rmdir t; ln -s {canary} t; rm t; ln -s ../../../../../../..{canary} t; rm t; done 2>/dev/null"
    engine.docker("run", "-d", "--name", name, "-v", f"{name}:/v", "busybox", "sh", "-c", swap)
    mounted = 0
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        words = ["-v", f"{name}:/v", "-v", f"{name}w:/v/t/sub", "busybox", "sh", "-c", f"cat {canary}/secret; ls {canary}"]
        result = engine.docker("run", "--rm", *words, check=False)
        assert "of the host" not in result.stdout and "secret" not in result.stdout
        mounted += result.returncode in (0, 1)
    engine.docker("rm", "-f", name)
    assert mounted
    for volume in (name, f"{name}w"):
        assert "secret" not in os.listdir(engine.out("volume", "inspect", "-f", "{{.Mountpoint}}", volume))
        engine.docker("volume", "rm", volume)


def test_a_subpath_that_is_swapped_for_a_link(engine: Engine, name: str, canary: Path) -> None:
    if engine.name == "dockerd":
        # 20.10 has none.
        engine.docker("volume", "create", name)
        engine.docker("volume", "rm", name)
        return
    swap = f"cd /v; while :; do mkdir t; rmdir t; ln -s {canary} t; rm t; ln -s ../../../../../../..{canary} t; rm t; done 2>/dev/null"
    engine.docker("run", "-d", "--name", name, "-v", f"{name}:/v", "busybox", "sh", "-c", swap)
    said = set()
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        mount = f"type=volume,source={name},target=/s,volume-subpath=t"
        result = engine.docker("run", "--rm", "--mount", mount, "busybox", "sh", "-c", "ls /s; touch /s/f", check=False)
        assert "secret" not in result.stdout
        said.add(result.returncode)
    engine.docker("rm", "-f", name)
    engine.docker("volume", "rm", name)
    assert said - {0}
