"""A container's changes as a layer: mounted on the same layers below, it gives what the container saw."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.mntns import private_mounts
from integration.tars import listing
from integration.test_layers_fidelity import ACL, CAPABILITY, prepared
from skerry.containers.layers import tar
from skerry.containers.layers.diff import Kind, diff
from skerry.containers.layers.pack import pack_root, pack_upper
from skerry.containers.layers.writer import FileSink
from skerry.core import linux
from skerry.core.errors import Failed

FORMS = ("erofs", "directories")
FURNITURE = ("dev", "dev/pts", "dev/shm", "proc", "sys")


def lower_tree(place: Path) -> Path:
    """Makes what an image would hold."""
    place.mkdir()
    for name in ("keep/a/b", "opaque/a/b", "gone/a", "move", "mode", *FURNITURE, "etc"):
        (place / name).mkdir(parents=True)
    files = "keep/file keep/a/b/file opaque/file opaque/a/b/file opaque/a/file gone/a/f gone/f move/f mode/f etc/f"
    for name in files.split():
        (place / name).write_text(name)
    os.link(place / "keep/file", place / "keep/hard")
    os.symlink("file", place / "keep/soft")
    for each in (place, *sorted(place.rglob("*"))):
        os.utime(each, ns=(10**18, 10**18), follow_symlinks=False)
    return place


def change(root: Path) -> None:
    """Does to a root file system what containers do, and then some."""
    raw = os.fsencode(root)
    (root / "keep/file").write_text("changed")
    (root / "keep/new").write_text("new")
    os.link(root / "keep/new", root / "keep/new-hard")
    os.symlink("/no/where", root / "keep/dangling")
    os.link(root / "keep/dangling", root / "keep/dangling-hard", follow_symlinks=False)
    (root / "keep/a/b/file").unlink()
    subprocess.run(["rm", "-r", root / "opaque", root / "gone"], check=True)
    (root / "opaque/a").mkdir(parents=True)
    (root / "opaque/a/other").write_text("other")
    subprocess.run(["mv", root / "move", root / "moved"], check=True)
    os.chmod(root / "mode", 0o2711)
    os.chown(root / "mode/f", 70000, 3_000_000_000)
    (root / "etc/f").unlink()
    os.symlink("hosts", root / "etc/f")
    os.mkfifo(root / "pipe", 0o620)
    os.mknod(root / "null", 0o20666, os.makedev(1, 3))
    os.mknod(root / "disk", 0o60660, os.makedev(259, 70000))
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"{root}/socket")
    (root / "program").write_bytes(b"x" * 5000)
    os.chown(root / "program", 9, 9)
    os.chmod(root / "program", 0o6755)
    os.setxattr(root / "program", "security.capability", CAPABILITY)
    os.setxattr(root / "program", "user.note", b"with\nnewline=\0nul")
    os.setxattr(root / "keep", "user.dir", b"1")
    os.setxattr(root / "keep/new", "trusted.t", b"2")
    os.setxattr(root / "keep/new", "system.posix_acl_access", ACL)
    with open(root / "sparse", "wb") as file:
        file.seek(3_000_000)
        file.write(b"end")
        file.truncate(8_000_000)
    long = b"/".join([raw + b"/long", *[b"d" * 200] * 5])
    os.makedirs(long)
    for name in (long + b"/" + b"n" * 255, raw + b"/\xff\xfe not utf-8 \x80", raw + b"/new\nline"):
        with open(name, "wb") as file:
            file.write(b"odd")
    (root / "large").write_bytes(os.urandom(3_000_000))
    os.utime(root / "large", ns=(1_234_567_890_987_654_321,) * 2)
    os.utime(root / "program", ns=(-5 * 10**9,) * 2)


@contextlib.contextmanager
def overlay(place: Path, lower: str, *, upper: bool = True, more: str = "") -> Iterator[Path]:
    for name in ("upper", "work", "m"):
        (place / name).mkdir(parents=True)
    options = f"lowerdir={lower}" + (f",upperdir={place}/upper,workdir={place}/work" if upper else "")
    linux.mount("overlay", str(place / "m"), "overlay", 0, options + more)
    try:
        yield place / "m"
    finally:
        linux.unmount(str(place / "m"))


def layer_of(upper: Path, below: Path, target: Path) -> bytes:
    with open(target, "wb") as file:
        sink = FileSink(file.fileno())
        pack_upper(str(upper), str(below), sink)
        sink.close()
    return target.read_bytes()


def seen(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Describes a root as layers have it: times in seconds, no sockets, nothing of the root itself."""
    found = listing(str(root))
    return {
        name: (*what[:3], what[3] // 10**9, *what[4:])  # type: ignore[operator]
        for name, what in found.items()
        if name not in (b"socket", b".")
    }


@pytest.mark.root
@pytest.mark.parametrize("form", FORMS)
@private_mounts
def test_a_layer_gives_back_what_the_container_saw(tmp_path: Path, form: str) -> None:
    tmp_path = Path(tmp_path)
    lower = lower_tree(tmp_path / "lower")
    with overlay(tmp_path / "one", str(lower)) as root:
        change(root)
        before = seen(root)
        data = layer_of(tmp_path / "one/upper", lower, tmp_path / "layer.tar")
    layer = prepared(form, data, tmp_path / form)
    with overlay(tmp_path / "two", f"{layer}:{lower}", upper=False) as again:
        after = seen(again)
    different = {name: (after.get(name), what) for name, what in before.items() if after.get(name) != what}
    assert different == {}, different
    assert after.keys() == before.keys()
    # Nothing of overlayfs' own is in the tar.
    with open(tmp_path / "layer.tar", "rb") as file:
        entries = {entry.path: entry for entry in tar.read(file.fileno())}
    assert b"trusted.overlay" not in data
    assert {path for path in entries if b".wh." in path} == {b".wh.gone", b".wh.move", b"keep/a/b/.wh.file", b"opaque/.wh..wh..opq"}
    assert entries[b"keep/new-hard"].link == b"keep/new" and entries[b"keep/dangling-hard"].kind == tar.HARDLINK


@pytest.mark.root
@private_mounts
def test_a_whole_root_is_what_is_seen_in_it(tmp_path: Path) -> None:
    tmp_path = Path(tmp_path)
    lower = lower_tree(tmp_path / "lower")
    with overlay(tmp_path / "one", str(lower)) as root:
        change(root)
        # What is mounted in it is not the container's.
        linux.mount("tmpfs", str(root / "proc"), "tmpfs")
        (root / "proc/hidden").write_text("x")
        with open(tmp_path / "root.tar", "wb") as file:
            sink = FileSink(file.fileno())
            pack_root(str(root), sink)
            sink.close()
        linux.unmount(str(root / "proc"))
        before = seen(root)
    (tmp_path / "gnu").mkdir()
    options = ["-xp", "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*"]
    subprocess.run(["tar", *options, "-f", tmp_path / "root.tar", "-C", tmp_path / "gnu"], check=True)
    after = seen(tmp_path / "gnu")
    added = {b".dockerenv", b"dev/console", b"etc/hostname", b"etc/hosts", b"etc/mtab", b"etc/resolv.conf"}
    assert after.keys() - before.keys() == added and before.keys() <= after.keys()
    # GNU tar changed the times of directories whose furniture came late; overlayfs counts a link that its other name has left.
    skipped = {b"proc", b"etc", b"dev", b"keep/hard"}
    different = {name: (after[name], what) for name, what in before.items() if after[name] != what and name not in skipped}
    assert different == {}, different


@pytest.mark.root
@private_mounts
def test_what_the_runtime_made_for_mounts_is_no_change(tmp_path: Path) -> None:
    tmp_path = Path(tmp_path)
    (tmp_path / "lower").mkdir()
    (tmp_path / "lower/bin").mkdir()
    with overlay(tmp_path / "one", str(tmp_path / "lower")) as root:
        for name in FURNITURE:
            (root / name).mkdir(parents=True)
        (root / "etc").mkdir()
        for name in ("etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/console", ".dockerenv"):
            (root / name).touch(0o700)
        upper, lower = tmp_path / "one/upper", tmp_path / "lower"
        assert list(diff(str(upper), str(lower))) == []
        assert layer_of(upper, lower, tmp_path / "a.tar") == bytes(1024)
        (root / "etc/mine").write_text("x")
        (root / "dev/mine").write_text("x")
        assert list(diff(str(upper), str(lower))) == [
            (b"/dev", Kind.MODIFIED), (b"/dev/mine", Kind.ADDED), (b"/etc", Kind.MODIFIED), (b"/etc/mine", Kind.ADDED),
        ]  # fmt: skip
        layer_of(upper, lower, tmp_path / "b.tar")
        with open(tmp_path / "b.tar", "rb") as file:
            assert [entry.path for entry in tar.read(file.fileno())] == [b"dev", b"dev/mine", b"etc", b"etc/mine"]


@pytest.mark.root
@private_mounts
def test_renames_by_reference_are_refused(tmp_path: Path) -> None:
    tmp_path = Path(tmp_path)
    lower = lower_tree(tmp_path / "lower")
    with overlay(tmp_path / "one", str(lower), more=",redirect_dir=on") as root:
        os.rename(root / "keep", root / "kept")
        upper = tmp_path / "one/upper"
        for read in (lambda: list(diff(str(upper), str(lower))), lambda: layer_of(upper, lower, tmp_path / "t")):
            with pytest.raises(Failed, match="redirect_dir"):
                read()


@pytest.mark.root
@private_mounts
def test_a_path_deeper_than_layers_may_be_is_refused(tmp_path: Path) -> None:
    tmp_path = Path(tmp_path)
    lower = lower_tree(tmp_path / "lower")
    with overlay(tmp_path / "one", str(lower)) as root:
        os.makedirs(root / "/".join(["d"] * 300))
        with pytest.raises(Failed, match="deeper"):
            layer_of(tmp_path / "one/upper", lower, tmp_path / "t")
        with pytest.raises(Failed, match="deeper"):
            list(diff(f"{tmp_path}/one/upper", str(lower)))
