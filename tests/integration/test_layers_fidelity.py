"""Layers in both forms are what GNU tar makes of the same tar, but for whiteouts; hostile ones change nothing outside."""

import os
import shutil
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from integration.mntns import private_mounts
from integration.tars import Member, archive, directory, hardlink, listing, symlink
from skerry.containers.layers import erofs, mounts, tar
from skerry.containers.layers.unpack import unpack
from skerry.core import linux
from skerry.core.errors import InvalidArgument

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
_EVERY = 0xFFFFFFFF
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry) for entry in ((1, 6, _EVERY), (2, 4, 1000), (4, 4, _EVERY), (16, 4, _EVERY), (32, 4, _EVERY))
)
FORMS = ("erofs", "directories")


def prepared(form: str, data: bytes, place: Path) -> str:
    """Returns the directory in which a layer is readable."""
    place.mkdir(parents=True)
    (place / "tar").write_bytes(data)
    (place / "m").mkdir()
    if form == "erofs":
        erofs.build(f"{place}/tar", f"{place}/index")
        mounts.mount_layer(f"{place}/index", f"{place}/tar", f"{place}/m")
    else:
        unpack(f"{place}/tar", f"{place}/m")
    return f"{place}/m"


def odd_members() -> list[Member]:
    long = b"/".join([b"long", *[b"d" * 200] * 5, b"n" * 255])
    return [
        directory(b"./", 0o755),
        directory(b"etc/", 0o2750, uid=3, gid=4, mtime="1500000000.123456789"),
        Member(b"etc/plain", data=b"hello\n", mode=0o640, uid=1000, gid=70000, mtime="1234567890.5"),
        Member(b"etc/empty", mtime="-5"),
        Member(b"etc/setuid", data=b"x" * 5000, mode=0o4755, uid=9, pax={b"SCHILY.xattr.security.capability": CAPABILITY}),
        Member(b"etc/attributes", data=b"a", pax={b"SCHILY.xattr.user.note": b"with\nnewline=\0nul", b"SCHILY.xattr.trusted.t": b"1"}),
        Member(b"etc/acl", data=b"acl", mode=0o644, pax={b"SCHILY.xattr.system.posix_acl_access": ACL}),
        hardlink(b"etc/hard1", b"etc/plain"),
        hardlink(b"hard2", b"./etc/hard1"),
        # GNU tar makes such links late, which changes their directory's time: they have one of their own.
        symlink(b"links/soft", b"../hard2"),
        symlink(b"links/dangling", b"/no/where"),
        Member(b"null", tar.CHARACTER, mode=0o666, device=(1, 3)),
        Member(b"disk", tar.BLOCK_DEVICE, mode=0o660, device=(259, 70000), gid=6),
        Member(b"pipe", tar.FIFO, mode=0o600),
        Member(b"\xff\xfe not utf-8 \x80", data=b"raw"),
        Member(long, data=b"deep"),
        Member(b"big", data=bytes(range(256)) * 5000),
        *[Member(b"many/%04d" % number, data=b"%d" % number) for number in range(300)],
        # An entry given twice: the last one counts.
        Member(b"twice", data=b"first"),
        Member(b"twice", data=b"second"),
        directory(b"late/sub/"),
        Member(b"late/sub/file", data=b"1"),
        directory(b"late/", 0o700, mtime="1111111111"),
    ]


def gnu_extracted(place: Path, data: bytes) -> str:
    place.mkdir()
    (place / "tar").write_bytes(data)
    (place / "m").mkdir()
    subprocess.run(
        ["tar", "-xp", "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-f", "../tar"], cwd=place / "m", check=True
    )
    return f"{place}/m"


@pytest.mark.root
@pytest.mark.parametrize("form", FORMS)
@private_mounts
def test_a_layer_is_what_gnu_tar_makes_of_it(tmp_path: Path, form: str) -> None:
    data = archive(*odd_members())
    expected = listing(gnu_extracted(tmp_path / "gnu", data))
    found = listing(prepared(form, data, tmp_path / form))
    for made in (found, expected):
        # Parents that no entry names: their times and modes are nobody's.
        nobodys = {b"links", b"many", b"long", *(name for name in made if name.startswith(b"long/") and not name.endswith(b"n"))}
        for implicit in nobodys:
            del made[implicit]
    different = {name: (found.get(name), what) for name, what in expected.items() if found.get(name) != what}
    assert different == {}, different
    assert found.keys() == expected.keys()


@pytest.mark.root
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", ["gnu", "0.0", "0.1", "1.0"])
@private_mounts
def test_sparse_files_of_all_forms_read_back_whole(tmp_path: Path, form: str, variant: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "sparse", "wb") as file:
        # Some pieces begin in the middle of a page, one is at the very end.
        for position, data in ((0, b"a" * 700), (70_001, b"b" * 5_000), (1 << 20, b"c" * 4096), (9_000_000, b"d" * 3)):
            file.seek(position)
            file.write(data)
        file.truncate(20_000_000)
    options = ["--format=gnu"] if variant == "gnu" else ["--format=posix", f"--sparse-version={variant}"]
    subprocess.run(["tar", "-cS", *options, "-f", str(tmp_path / "in.tar"), "sparse"], cwd=source, check=True)
    data = (tmp_path / "in.tar").read_bytes()
    assert len(data) < 1 << 20
    where = prepared(form, data, tmp_path / form)
    assert os.listdir(where) == ["sparse"]
    assert Path(where, "sparse").read_bytes() == (source / "sparse").read_bytes()


@pytest.mark.root
@pytest.mark.parametrize("form", FORMS)
@private_mounts
def test_whiteouts_become_overlays_own(tmp_path: Path, form: str) -> None:
    upper = archive(
        Member(b".wh.gone"),
        Member(b"kept/.wh.child"),
        directory(b"opaque/"),
        Member(b"opaque/new", data=b"new"),
        Member(b"opaque/.wh..wh..opq"),
        Member(b".wh.replaced"),
        directory(b"replaced/"),
        Member(b"replaced/mine", data=b"m"),
        # Hides lower layers' only: this layer's own file stays.
        Member(b"own", data=b"own"),
        Member(b".wh.own"),
        Member(b".wh..wh.plnk", data=b"aufs"),
        Member(b"evil", data=b"e", pax={b"SCHILY.xattr.trusted.overlay.redirect": b"/etc", b"SCHILY.xattr.trusted.overlay.opaque": b"y"}),
    )
    lower = archive(
        *[Member(name, data=b"old") for name in (b"gone", b"kept/child", b"kept/other", b"opaque/old", b"replaced/old", b"own")],
    )
    layers = [prepared(form, upper, tmp_path / "u"), prepared(form, lower, tmp_path / "l")]
    status = os.lstat(f"{layers[0]}/gone")
    assert stat.S_ISCHR(status.st_mode)
    assert status.st_rdev == 0
    assert os.getxattr(f"{layers[0]}/opaque", "trusted.overlay.opaque") == b"y"
    assert os.listxattr(f"{layers[0]}/evil") == []
    for name in ("up", "work", "rootfs"):
        (tmp_path / name).mkdir()
    mounts.mount_overlay(layers, f"{tmp_path}/up", f"{tmp_path}/work", f"{tmp_path}/rootfs")
    seen = sorted(str(path.relative_to(tmp_path / "rootfs")) for path in (tmp_path / "rootfs").rglob("*"))
    assert seen == ["evil", "kept", "kept/other", "opaque", "opaque/new", "own", "replaced", "replaced/mine"]
    assert (tmp_path / "rootfs/own").read_bytes() == b"own"


HOSTILE = {
    "dots": [Member(b"../../escape", data=b"x")],
    "absolute": [Member(b"/escape", data=b"x")],
    "dots in the middle": [Member(b"a/../../../escape", data=b"x")],
    "symlink parent": [symlink(b"l", b"../../.."), Member(b"l/escape", data=b"x")],
    "absolute symlink parent": [symlink(b"l", b"OUTSIDE"), Member(b"l/escape", data=b"x")],
    "symlink to itself": [symlink(b"l", b"l"), Member(b"l/escape", data=b"x")],
    "nested symlinks": [
        directory(b"d"),
        symlink(b"d/a", b".."),
        symlink(b"d/a2", b"a/.."),
        symlink(b"m", b"d/a2/../.."),
        Member(b"m/escape", data=b"x"),
    ],
    "symlink file overwritten": [symlink(b"f", b"OUTSIDE/victim"), Member(b"f", data=b"x")],
    "hard link out": [hardlink(b"h", b"../../../OUTSIDE/victim"), Member(b"h", data=b"x")],
    "hard link by symlink": [symlink(b"l", b"OUTSIDE"), hardlink(b"h", b"l/victim"), Member(b"h", data=b"x")],
    "hard link to symlink": [symlink(b"l", b"OUTSIDE/victim"), hardlink(b"h", b"l"), Member(b"h", data=b"x")],
    "hard link to a directory": [directory(b"d"), hardlink(b"h", b"d")],
    "whiteout by symlink": [symlink(b"l", b"OUTSIDE"), Member(b"l/.wh.victim")],
    "opaque by symlink": [symlink(b"l", b"OUTSIDE"), Member(b"l/.wh..wh..opq")],
    "whiteout of dots": [Member(b"d/.wh..."), Member(b"d/.wh...")],
    "whiteout of nothing": [Member(b".wh.")],
    "directory over symlink": [symlink(b"d", b"OUTSIDE"), directory(b"d/", 0o777), Member(b"d/victim", data=b"x")],
    "file as parent": [Member(b"f", data=b"x"), Member(b"f/escape", data=b"x")],
    "magic link": [symlink(b"l", b"/proc/self/root"), Member(b"l/escape", data=b"x")],
    "directory replaced by symlink": [
        directory(b"d"),
        Member(b"d/a", data=b"x"),
        symlink(b"d", b"OUTSIDE"),
        Member(b"d/victim", data=b"x"),
    ],
    "root is a link": [symlink(b"./", b"OUTSIDE"), Member(b"victim", data=b"x")],
    "NUL in a name": [Member(b"n", pax={b"path": b"a\0b"})],
    "unknown type": [Member(b"u", b"Z")],
}


@pytest.mark.root
@pytest.mark.parametrize("form", FORMS)
@private_mounts
def test_hostile_tars_change_nothing_outside(tmp_path: Path, form: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"unharmed")
    before = listing(str(outside))
    escapes = []
    for number, (name, members) in enumerate(HOSTILE.items()):
        for member in members:
            member.link = member.link.replace(b"OUTSIDE", os.fsencode(outside))
        place = tmp_path / "layers" / str(number)
        try:
            prepared(form, archive(*members), place)
        except InvalidArgument:
            pass  # refused, with nothing of the host's touched
        strays = [str(path) for where in (tmp_path, tmp_path / "layers") for path in where.glob("escape")]
        if strays or os.path.exists("/escape") or listing(str(outside)) != before:
            escapes.append((name, strays))
        if form == "erofs" and os.path.ismount(place / "m"):
            linux.unmount(f"{place}/m")
        shutil.rmtree(place)
    assert escapes == []


@pytest.mark.root
@private_mounts
def test_both_forms_accept_and_refuse_the_same_tars(tmp_path: Path) -> None:
    verdicts: dict[str, dict[str, bool]] = {}
    for form in FORMS:
        for number, (name, members) in enumerate(HOSTILE.items()):
            try:
                prepared(form, archive(*members), tmp_path / form / str(number))
                verdict = True
            except InvalidArgument:
                verdict = False
            verdicts.setdefault(name, {})[form] = verdict
    assert {name: verdict for name, verdict in verdicts.items() if len(set(verdict.values())) > 1} == {}


@pytest.mark.root
@pytest.mark.parametrize("form", FORMS)
@private_mounts
def test_links_in_paths_are_followed_within_the_layer(tmp_path: Path, form: str) -> None:
    data = archive(
        directory(b"run/"),
        directory(b"var/"),
        symlink(b"var/run", b"/run"),
        Member(b"var/run/pid", data=b"1"),
        hardlink(b"same", b"var/run/pid"),
    )
    where = prepared(form, data, tmp_path / form)
    assert Path(where, "run/pid").read_bytes() == b"1"
    assert os.stat(f"{where}/same").st_nlink == 2
    assert os.path.islink(f"{where}/var/run")
