"""Bind mounts, tmpfs mounts and subpaths: what a container sees of the host, and what it never does."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engines import Engine

covers = pytest.mark.covers


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs that was mounted on the host after the engine's start."""
    place = tmp_path / "late"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "late", place], check=True)
    subprocess.run(["mount", "--make-private", place], check=True)
    (place / "here").write_text("x")
    yield place
    subprocess.run(f"umount -l {place}/* 2>/dev/null; umount -l {place}", shell=True, check=False)


def _refused(engine: Engine, *words: str) -> str:
    result = engine.docker("run", "--rm", *words, "busybox", "true", check=False)
    assert result.returncode == 125, result
    return result.stderr


@covers("run -v", "run --mount")
def test_binds_are_made_when_missing_with_v_only(engine: Engine, name: str, tmp_path: Path) -> None:
    engine.docker("run", "--rm", "-v", f"{tmp_path}/new/deep:/x", "busybox", "touch", "/x/f")
    assert (tmp_path / "new/deep/f").exists() and (tmp_path / "new").stat().st_mode & 0o7777 == 0o755
    told = _refused(engine, "--mount", f"type=bind,source={tmp_path}/none,target=/x")
    assert f'invalid mount config for type "bind": bind source path does not exist: {tmp_path}/none' in told
    assert not (tmp_path / "none").exists()
    if engine.name == "skerry":
        # dockerd 20.10 does not know this one.
        engine.docker(
            "run", "--rm", "--mount", f"type=bind,source={tmp_path}/asked,target=/x,bind-create-src", "busybox", "true", check=False
        )
        body = {
            "Image": "busybox",
            "Cmd": ["true"],
            "HostConfig": {
                "Mounts": [{"Type": "bind", "Source": f"{tmp_path}/made", "Target": "/x", "BindOptions": {"CreateMountpoint": True}}]
            },
        }
        assert engine.request("POST", f"/v1.41/containers/create?name={name}", body)[0] == 400
        assert engine.request("POST", f"/v1.42/containers/create?name={name}", body)[0] == 201
        engine.docker("start", "-a", name)
        assert (tmp_path / "made").is_dir()


def test_files_links_and_read_only_binds(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    assert engine.out("run", "--rm", "-v", f"{tmp_path}/link:/etc/some/file:ro", "busybox", "cat", "/etc/some/file") == "content"
    told = engine.docker("run", "--rm", "-v", f"{tmp_path}:/x:ro", "busybox", "touch", "/x/y", check=False)
    assert told.returncode == 1 and "Read-only file system" in told.stderr
    engine.docker("run", "--rm", "-v", f"{tmp_path}:/x", "busybox", "sh", "-c", "echo new > /x/file")
    assert (tmp_path / "file").read_text() == "new\n"


def test_what_the_host_mounted_after_the_engines_start_is_seen(engine: Engine, name: str, mounted: Path) -> None:
    assert engine.out("run", "--rm", "-v", f"{mounted}:/x", "busybox", "sh", "-c", "cat /x/here; touch /x/back") == "x"
    assert (mounted / "back").exists()
    # Of a directory above it too, for files, when it has to be made there, for a copy, and for a volume that binds it.
    assert engine.out("run", "--rm", "-v", f"{mounted.parent}:/x", "busybox", "cat", "/x/late/here") == "x"
    assert engine.out("run", "--rm", "--mount", f"type=bind,source={mounted}/here,target=/y", "busybox", "cat", "/y") == "x"
    engine.docker("run", "--name", name, "-v", f"{mounted}/made/by:/x", "busybox", "touch", "/x/f")
    assert (mounted / "made/by/f").exists()
    engine.docker("cp", f"{name}:/x/f", f"{mounted}/copied")
    assert (mounted / "copied").exists()
    engine.docker("volume", "create", "-o", "type=none", "-o", f"device={mounted}", "-o", "o=bind", name)
    assert engine.out("run", "--rm", "-v", f"{name}:/t", "busybox", "cat", "/t/here") == "x"
    engine.docker("rm", name)
    engine.docker("volume", "rm", name)
    # Nothing of ours keeps it busy.
    subprocess.run(["umount", mounted], check=True)


@pytest.mark.parametrize(
    ("mode", "shared", "text"),
    [
        ("shared", False, "but it is not a shared mount"),
        ("rshared", False, "but it is not a shared mount"),
        ("slave", False, "but it is not a shared or slave mount"),
        ("rslave", False, "but it is not a shared or slave mount"),
        ("private", False, ""),
        ("rprivate", False, ""),
        ("shared", True, ""),
        ("rshared", True, ""),
        ("slave", True, ""),
        ("rslave", True, ""),
        ("private", True, ""),
    ],
)
def test_propagation(engine: Engine, name: str, mounted: Path, mode: str, shared: bool, text: str) -> None:
    if shared:
        subprocess.run(["mount", "--make-shared", mounted], check=True)
    if text:
        assert f"path {mounted} is mounted on {mounted} {text}" in _refused(engine, "-v", f"{mounted}:/x:{mode}")
        return
    (mounted / "sub").mkdir()
    (mounted / "up").mkdir()
    words = ["-d", "--name", name, "--privileged", "-v", f"{mounted}:/x:{mode}", "busybox"]
    engine.docker("run", *words, "sh", "-c", "mount -t tmpfs inner /x/up; touch /x/up/inside; sleep 1000")
    subprocess.run(["mount", "-t", "tmpfs", "outer", mounted / "sub"], check=True)
    (mounted / "sub/outside").touch()
    seen = engine.out("exec", name, "sh", "-c", "until [ -e /x/up/inside ]; do sleep 0.05; done; ls /x/sub")
    assert seen == ("outside" if shared and "private" not in mode else "")
    assert os.path.exists(mounted / "up/inside") == (shared and mode.endswith("shared"))
    (point,) = [mount for mount in json.loads(engine.out("inspect", name))[0]["Mounts"] if mount["Destination"] == "/x"]
    assert point["Propagation"] == mode
    # The container's end takes nothing of the host's along.
    engine.docker("rm", "-f", name)
    assert (mounted / "sub/outside").exists()


def test_binds_of_the_engines_own_files_do_not_keep_mounts_busy(engine: Engine, name: str) -> None:
    top = os.path.dirname(engine.folder)
    engine.docker("create", "--name", name, "-v", f"{top}:/x", "busybox", "ls", "/x")
    assert json.loads(engine.out("inspect", name))[0]["Mounts"][0]["Propagation"] == "rslave"
    assert os.path.basename(engine.folder) in engine.out("start", "-a", name)
    told = _refused(engine, "-v", f"{top}:/x:private")
    assert 'must use either propagation mode "rslave" or "rshared" when mount source is within the daemon root' in told


def test_read_only_is_recursive_unless_told_otherwise(engine: Engine, mounted: Path) -> None:
    (mounted / "sub").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "inner", mounted / "sub"], check=True)

    def writes(*words: str) -> bool:
        return engine.docker("run", "--rm", *words, "busybox", "touch", "/x/sub/f", check=False).returncode == 0

    bind = f"type=bind,source={mounted},target=/x"
    assert engine.docker("run", "--rm", "-v", f"{mounted}:/x:ro", "busybox", "touch", "/x/f", check=False).returncode != 0
    assert writes("--mount", bind)
    assert engine.out("run", "--rm", "--mount", f"{bind},bind-recursive=disabled", "busybox", "ls", "-A", "/x/sub") == ""
    if engine.name == "dockerd":
        # 20.10: never.
        assert writes("-v", f"{mounted}:/x:ro") and writes("--mount", f"{bind},readonly")
        return
    assert not writes("-v", f"{mounted}:/x:ro") and not writes("--mount", f"{bind},readonly")
    assert writes("--mount", f"{bind},readonly,bind-recursive=writable")
    assert not writes("--mount", f"{bind},readonly,bind-recursive=readonly,bind-propagation=rprivate")
    mount = {"Type": "bind", "Source": str(mounted), "Target": "/x", "ReadOnly": True}
    for version, options, status in (
        ("v1.44", {"ReadOnlyNonRecursive": True, "ReadOnlyForceRecursive": True}, 400),
        ("v1.43", {"ReadOnlyNonRecursive": True, "ReadOnlyForceRecursive": True}, 201),
        ("v1.44", {"ReadOnlyForceRecursive": True}, 201),
    ):
        body = {"Image": "busybox", "HostConfig": {"Mounts": [{**mount, "BindOptions": options}]}}
        assert engine.request("POST", f"/{version}/containers/create", body)[0] == status
    body = {"Image": "busybox", "HostConfig": {"Mounts": [{**mount, "ReadOnly": False, "BindOptions": {"ReadOnlyForceRecursive": True}}]}}
    assert "mount options conflict" in engine.request("POST", "/v1.44/containers/create", body)[1]["message"]


@covers("run --tmpfs")
@pytest.mark.parametrize(
    ("words", "options"),
    [
        (("--tmpfs", "/t"), ["nosuid", "nodev", "noexec", "rw"]),
        (("--tmpfs", "/t:size=1m,mode=700,exec,uid=3"), ["size=1024k", "mode=700", "uid=3", "nosuid"]),
        (("--tmpfs", "/t:ro"), ["ro"]),
        (("--mount", "type=tmpfs,target=/t,tmpfs-size=2m,tmpfs-mode=1770"), ["size=2048k", "mode=1770"]),
        (("--mount", "type=tmpfs,target=/t,readonly"), ["ro"]),
    ],
)
def test_tmpfs_mounts(engine: Engine, words: tuple[str, ...], options: list[str]) -> None:
    line = engine.out("run", "--rm", *words, "busybox", "grep", " /t ", "/proc/mounts")
    assert line.split()[2] == "tmpfs" and set(options) <= set(line.split()[3].split(","))


@pytest.mark.parametrize(
    ("mount", "text"),
    [
        ({"Type": "tmpfs", "Source": "x", "Target": "/t"}, "field Source must not be specified"),
        ({"Type": "bind", "Source": "x", "Target": "/t"}, "mount path must be absolute"),
        ({"Type": "bind", "Source": "/tmp", "Target": "t"}, "mount path must be absolute"),
        ({"Type": "bind", "Source": "/tmp", "Target": "/"}, "invalid specification: destination can't be '/'"),
        ({"Type": "bind", "Target": "/t"}, "field Source must not be empty"),
        ({"Type": "volume"}, "field Target must not be empty"),
        ({"Type": "volume", "Target": "/t", "ReadOnly": True}, "must not set ReadOnly mode when using anonymous volumes"),
        ({"Type": "bind", "Source": "/tmp", "Target": "/t", "BindOptions": {"Propagation": "odd"}}, "invalid propagation mode: odd"),
        ({"Type": "bind", "Source": "/tmp", "Target": "/t", "VolumeOptions": {}}, "field VolumeOptions must not be specified"),
        ({"Type": "volume", "Target": "/t", "BindOptions": {}}, "field BindOptions must not be specified"),
        ({"Type": "odd", "Target": "/t"}, "mount type unknown"),
    ],
)
def test_what_cannot_be_mounted(engine: Engine, mount: dict[str, Any], text: str) -> None:
    status, answer = engine.request("POST", f"/{engine.api}/containers/create", {"Image": "busybox", "HostConfig": {"Mounts": [mount]}})
    assert status == 400 and text in answer["message"], answer


@pytest.mark.parametrize("text", ["", ":/x", "/a:/b:ro:rw", "/a:/b:odd", "/a:/b:ro,rw", "/a:ro", "v:x", "v:/", "/a:/b:z,Z"])
def test_texts_of_v_that_mean_nothing(engine: Engine, text: str) -> None:
    status, answer = engine.request("POST", f"/{engine.api}/containers/create", {"Image": "busybox", "HostConfig": {"Binds": [text]}})
    assert status in (400, 500) and re.search("invalid (volume specification|mode|mount|spec)", answer["message"]), answer


def test_one_target_is_mounted_once(engine: Engine, tmp_path: Path) -> None:
    assert "Duplicate mount point: /x" in _refused(engine, "-v", f"{tmp_path}:/x", "-v", f"{tmp_path}:/x/")


_PARTS = """cd /v; mkdir -p a/b empty; echo deep > a/b/f; echo file > file
ln -s /etc abs; ln -s ../../.. up; ln -s a/b in; ln -s abs/passwd chain; ln -s nowhere dangling; ln -s /proc/self/root magic"""


class TestSubpath:
    """volume-subpath (API 1.45): dockerd 20.10 does not know it."""

    @pytest.fixture(autouse=True)
    def _only_where_it_is_known(self, engine: Engine, name: str) -> Iterator[None]:
        if engine.name == "skerry":
            engine.docker("run", "--rm", "-v", f"{name}:/v", "busybox", "sh", "-c", _PARTS)
        yield
        engine.docker("volume", "rm", "-f", name)

    def _run(self, engine: Engine, name: str, subpath: str, *command: str) -> subprocess.CompletedProcess[str]:
        mount = f"type=volume,source={name},target=/s,volume-subpath={subpath}"
        return engine.docker("run", "--rm", "--mount", mount, "busybox", *command, check=False)

    @pytest.mark.parametrize(("subpath", "path"), [("a/b", "/s/f"), ("a/../a", "/s/b/f"), ("in", "/s/f"), ("a/b/f", "/s")])
    def test_a_part_of_a_volume_is_mounted(self, engine: Engine, name: str, subpath: str, path: str) -> None:
        if engine.name == "skerry":
            assert self._run(engine, name, subpath, "cat", path).stdout == "deep\n"

    @pytest.mark.parametrize(
        ("subpath", "text"),
        [
            ("..", "subpath must be a relative path within the volume"),
            ("a/../../x", "subpath must be a relative path within the volume"),
            ("/etc", "subpath must be a relative path within the volume"),
            ("abs", "path concatenation escapes the base directory"),
            ("up", "path concatenation escapes the base directory"),
            ("up/etc", "path concatenation escapes the base directory"),
            ("chain", "path concatenation escapes the base directory"),
            ("magic/etc", "path concatenation escapes the base directory"),
            ("dangling", "cannot access path"),
            ("nothing", "cannot access path"),
            ("file/x", "path"),
        ],
    )
    def test_none_leads_out(self, engine: Engine, name: str, subpath: str, text: str) -> None:
        if engine.name == "skerry":
            refused = self._run(engine, name, subpath, "true")
            assert refused.returncode in (125, 127) and text in refused.stderr

    def test_rules(self, engine: Engine, name: str) -> None:
        if engine.name == "skerry":
            mount: dict[str, Any] = {"Type": "volume", "Target": "/s", "VolumeOptions": {"Subpath": "a"}}
            body = {"Image": "busybox", "HostConfig": {"Mounts": [mount]}}
            told = engine.request("POST", "/v1.45/containers/create", body)[1]["message"]
            assert told.endswith("must not set Subpath when using anonymous volumes")
            # First use fills an empty part of a volume as it does a whole one.
            mount = {**mount, "Source": name, "Target": "/etc", "VolumeOptions": {"Subpath": "empty"}}
            body["HostConfig"]["Mounts"] = [mount]
            made = engine.request("POST", "/v1.45/containers/create", body)[1]["Id"]
            assert "passwd" in os.listdir(engine.out("volume", "inspect", "-f", "{{.Mountpoint}}", name) + "/empty")
            engine.docker("rm", made)
