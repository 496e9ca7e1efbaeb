"""The tar reader never fails but by InvalidArgument, and reads what Python's own tarfile writes."""

import io
import os
import tarfile
import tempfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.tars import Member, archive, record
from skerry.containers.layers import tar
from skerry.containers.layers.tree import grow
from skerry.core.errors import InvalidArgument


def read(data: bytes) -> list[tar.Entry]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return list(tar.read(file.fileno()))


SPARSE = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"9"}
NAMES = st.text(st.characters(blacklist_characters="\0/", blacklist_categories=("Cs",)), min_size=1, max_size=60)
GOOD = archive(
    Member(b"a" * 120, data=b"x" * 600),
    Member(
        b"s",
        data=b"1\n0\n3\n".ljust(512, b"\0") + b"abc",
        pax=SPARSE,
    ),
    Member(b"l", tar.SYMLINK, link=b"t" * 150),
    Member(b"h", tar.HARDLINK, link=b"s"),
    Member(b"c", tar.CHARACTER, device=(1, 3)),
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_tars_are_refused_or_read_but_never_break_the_reader(data: st.DataObject) -> None:
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            # With a right checksum, so that what lies deeper is reached.
            start = at - at % 512
            block = damaged[start : start + 512]
            block[148:156] = b" " * 8
            damaged[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    cut = data.draw(st.integers(0, len(damaged)))
    try:
        grow(iter(read(bytes(damaged[: cut or None]))))
    except InvalidArgument:
        return


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            NAMES.filter(lambda name: name not in (".", "..")),
            st.binary(max_size=2000),
            st.integers(0, 1 << 31),
            st.integers(0, 0o7777),
        ),
        max_size=8,
        unique_by=lambda each: each[0],
    ),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_what_tarfile_writes_is_read(members: list[tuple[str, bytes, int, int]], form: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as out:
        for name, data, owner, mode in members:
            info = tarfile.TarInfo("d" * 90 + "/" + name)
            info.size, info.uid, info.mode = len(data), owner, mode
            out.addfile(info, io.BytesIO(data))
    content = buffer.getvalue()
    found = [(entry.path, content[entry.offset : entry.offset + entry.size], entry.uid, entry.mode & 0o7777) for entry in read(content)]
    assert found == [(b"d" * 90 + b"/" + os.fsencode(name), data, owner, mode) for name, data, owner, mode in members]


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [(b"/a//b/./c/", b"a/b/c"), (b"../../x", b"x"), (b"a/../b", b"b"), (b"a/../../..", b""), (b"./", b"")],
)
def test_names_are_relative_and_never_climb(name: bytes, cleaned: bytes) -> None:
    assert tar.clean(name) == cleaned


LIMITS: dict[str, Callable[[], bytes]] = {
    "an extended header of 1 MiB and more": lambda: tar.header(b"x", b"x", (1 << 20) + 1) + bytes(2 << 20),
    "a component of 256 bytes": lambda: archive(Member(b"n" * 256)),
    "a path of 4096 bytes": lambda: archive(Member(b"/".join([b"n" * 200] * 21))),
    "a depth of 257": lambda: archive(Member(b"/".join([b"n"] * 257))),
    "NUL in a name": lambda: archive(Member(b"n", pax={b"path": b"a\0b"})),
    "NUL in a link": lambda: archive(Member(b"n", tar.SYMLINK, pax={b"linkpath": b"a\0b"})),
    "an empty link": lambda: archive(Member(b"n", tar.SYMLINK)),
    "attributes above 64 KiB": lambda: archive(Member(b"n", pax={b"SCHILY.xattr.user.a": bytes(70_000)})),
    "a negative owner": lambda: archive(Member(b"n", uid=-1)),
    "a size beyond the end": lambda: tar.header(b"n", b"0", 5000) + bytes(1024),
    "a sparse map that overlaps": lambda: archive(_sparse(b"2\n0\n3\n2\n3\n")),
    "a sparse map beyond the size": lambda: archive(_sparse(b"1\n8\n3\n")),
    "a sparse map with too many pieces": lambda: archive(_sparse(b"99999999\n")),
    "a pax length that is wrong": lambda: tar.header(b"x", b"x", 512) + b"99 path=x\n".ljust(512, b"\0") + archive(Member(b"n")),
    "a pax number with an underscore": lambda: archive(Member(b"n", pax={b"size": b"1_0"})),
    "a bad checksum": lambda: b"x" + archive(Member(b"n"))[1:],
}


def _sparse(numbers: bytes) -> Member:
    return Member(b"s", data=numbers.ljust(512, b"\0") + b"abcdef", pax={b"GNU.sparse.major": b"1", b"GNU.sparse.realsize": b"9"})


@pytest.mark.parametrize("what", LIMITS)
def test_limits_hold(what: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^tar: "):
        read(LIMITS[what]())


def test_attributes_of_overlayfs_itself_are_dropped() -> None:
    (entry,) = read(archive(Member(b"n", pax={b"SCHILY.xattr.trusted.overlay.opaque": b"y", b"SCHILY.xattr.user.kept": b"1"})))
    assert entry.xattrs == [(b"user.kept", b"1")]


def test_global_records_count_until_overridden() -> None:
    shared = record(b"uid", b"7")
    data = tar.header(b"g", b"g", len(shared)) + shared.ljust(512, b"\0") + tar.header(b"a", b"0", 0) + archive(Member(b"b", uid=9))
    assert [entry.uid for entry in read(data)] == [7, 9]


def test_negative_times_with_fractions_are_kept() -> None:
    assert [entry.mtime for entry in read(archive(Member(b"n", mtime="-1.25")))] == [-1_250_000_000]
