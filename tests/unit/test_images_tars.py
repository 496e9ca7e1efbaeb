"""The archive's tar reader: what the usual writers write, and that hostile headers cost nothing."""

import io
import tarfile
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import InvalidArgument
from skerry.images.archive.tars import begins, members


def packed(form: int, *infos: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, data in infos:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


class Trickle(io.RawIOBase):
    """Gives one byte, then two, ... as a pipe may."""

    def __init__(self, data: bytes) -> None:
        self._file, self._next = io.BytesIO(data), 0

    def read(self, size: int = -1) -> bytes:
        self._next = self._next % 700 + 1
        return self._file.read(min(size, self._next))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_the_usual_writers_write_is_read(form: int) -> None:
    long = "/".join(["d" * 60] * 3) if form != tarfile.USTAR_FORMAT else "d" * 60 + "/" + "e" * 90
    data = packed(form, (entry("dir/", tarfile.DIRTYPE), b""), (entry(long), b"x" * 1000), (entry("s", tarfile.SYMTYPE, "../a"), b""),
                  (entry("h", tarfile.LNKTYPE, long[:90]), b""), (entry("last"), b""))  # fmt: skip
    seen = [(one.name.rstrip("/"), one.kind, one.link, content and content.read()) for one, content in members(Trickle(data))]
    assert seen == [
        ("dir", "other", "", None),
        (long, "file", "", b"x" * 1000),
        ("s", "symlink", "../a", None),
        ("h", "hardlink", long[:90], None),
        ("last", "file", "", b""),
    ]


def test_content_that_is_not_read_is_skipped() -> None:
    data = packed(tarfile.PAX_FORMAT, (entry("a"), b"1" * 2000), (entry("b"), b"2"))
    assert [one.name for one, _ in members(io.BytesIO(data))] == ["a", "b"]


def header(kind: bytes, size: int, field: bytes | None = None) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if field is not None:
        block[124:136] = field
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def extended(kind: bytes, data: bytes) -> bytes:
    return header(kind, len(data)) + data + b"\0" * (-len(data) % 512) + header(b"0", 0) + b"\0" * 1024


HOSTILE = {
    "pax of digits": extended(b"x", b"1" * (1 << 20)),
    "pax without equals": extended(b"x", b"8 abcde\n"),
    "pax that ends behind its end": extended(b"x", b"99 path=a\n"),
    "pax of length nought": extended(b"x", b"0 path=a\n"),
    "pax of negative length": extended(b"x", b"-5 path=a\n"),
    "pax size nonsense": extended(b"x", b"12 size=abc\n"),
    "pax size huge": extended(b"x", b"31 size=999999999999999999999\n"),
    "sparse by pax": extended(b"x", b"22 GNU.sparse.major=1\n"),
    "sparse of old": header(b"S", 1 << 60) + b"\0" * 1024,
    "header of 8 GiB": header(b"x", 8 << 30),
    "long name of 8 GiB": header(b"L", 8 << 30),
    "size is negative": header(b"0", 0, b"\xff" * 12),
    "size is not octal": header(b"0", 0, b"89abcdef\0\0\0\0"),
    "file longer than the archive": header(b"0", 1 << 60) + b"x" * 512,
    "sum is wrong": b"x" * 512,
    "cut in a header": header(b"0", 0)[:100],
    "many entries": header(b"5", 0) * 20_001,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused_at_once(name: str) -> None:
    begin = time.monotonic()
    with pytest.raises(InvalidArgument):
        for _ in members(io.BytesIO(HOSTILE[name])):
            pass
    assert time.monotonic() - begin < 5


@given(st.binary(max_size=3000), st.integers(0, 1500), st.binary(max_size=20))
def test_any_bytes_are_read_or_refused(data: bytes, at: int, patch: bytes) -> None:
    good = packed(tarfile.PAX_FORMAT, (entry("a" * 120), b"data"), (entry("b"), b""))
    for one in (data, good[:at] + patch + good[at + len(patch) :]):
        try:
            for _, content in members(io.BytesIO(one)):
                if content is not None:
                    content.read()
        except InvalidArgument:
            pass


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", True), (b"\0" * 512, True), (packed(tarfile.USTAR_FORMAT, (entry("a"), b"")), True), (b"hello", False), (b"x" * 512, False)],
)
def test_what_begins_as_a_tar(data: Any, expected: bool) -> None:
    assert begins(data) is expected
