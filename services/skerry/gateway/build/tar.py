"""Tar headers of a build context, read one by one from a file that anybody may have made. Nothing is extracted here, ever.

POSIX ustar and pax, GNU long names and base-256 numbers. Source: POSIX.1-2017 pax, GNU tar's manual.
"""

import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from skerry.core.errors import InvalidArgument

BLOCK = 512
REGULAR, HARDLINK, SYMLINK, DIRECTORY = "0", "1", "2", "5"
DEVICES = frozenset("346")
_EXTENSION_LIMIT = 1 << 20
_INVALID = "archive/tar: invalid tar header"
_XATTR = "SCHILY.xattr."


class Member(msgspec.Struct, frozen=True):
    """One entry. Texts carry bytes that are no UTF-8 as surrogates."""

    name: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    # Whole seconds.
    mtime: int
    link: str
    user: str
    group: str
    major: int
    minor: int
    xattrs: tuple[tuple[str, str], ...]
    # Of the content in the file.
    offset: int


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _number(raw: bytes) -> int:
    if raw[0] & 0x80:
        value = int.from_bytes(bytes([raw[0] & 0x7F]) + raw[1:], "big")
        if raw[0] & 0x40:  # negative: two's complement
            value -= 1 << (8 * len(raw) - 1)
        return value
    digits = raw.strip(b" \0").split(b"\0", 1)[0]
    try:
        return int(digits or b"0", 8)
    except ValueError:
        raise InvalidArgument(_INVALID) from None


def _checked(block: bytes) -> None:
    stored = _number(block[148:156])
    plain = sum(block[:148]) + 8 * 32 + sum(block[156:])
    signed = sum(one - 256 if one > 127 else one for one in block[:148] + block[156:]) + 8 * 32
    if stored not in (plain, signed):
        raise InvalidArgument(_INVALID)


def looks_like_tar(block: bytes) -> bool:
    """Tells whether an archive may begin with these first 512 bytes."""
    if len(block) < BLOCK:
        return False
    try:
        _checked(block)
    except InvalidArgument:
        return False
    return any(block)


def members(file: BinaryIO, size: int) -> Iterator[Member]:
    """Yields the entries of a file of size bytes. Raises InvalidArgument in Go's words for what is damaged or cut off."""
    at = 0
    extra: dict[str, str] = {}
    everywhere: dict[str, str] = {}
    while True:
        file.seek(at)
        block = file.read(BLOCK)
        if not block:
            return
        if len(block) < BLOCK:
            raise InvalidArgument("unexpected EOF")
        if not any(block):
            return
        _checked(block)
        at += BLOCK
        kind = chr(block[156]) if block[156] else REGULAR
        length = _number(block[124:136])
        if "size" in extra and kind not in "xgLK":
            length = _integer(extra["size"])
        data = 0 if kind in {HARDLINK, SYMLINK, DIRECTORY, *DEVICES} else length
        if length < 0 or at + data > size:
            raise InvalidArgument("unexpected EOF" if length >= 0 else _INVALID)
        if kind in "xgLK":
            _extension(kind, _limited(file, length), everywhere if kind == "g" else extra)
        else:
            yield _member(block, kind, data, at, {**everywhere, **extra})
            extra = {}
        at += -(-data // BLOCK) * BLOCK


def _limited(file: BinaryIO, length: int) -> bytes:
    if length > _EXTENSION_LIMIT:
        raise InvalidArgument(f"archive/tar: an extended header is larger than {_EXTENSION_LIMIT} bytes")
    return file.read(length)


def _integer(text: str) -> int:
    try:
        return int(text[:20])
    except ValueError:
        raise InvalidArgument(_INVALID) from None


def _extension(kind: str, body: bytes, into: dict[str, str]) -> None:
    if kind == "L":
        into["path"] = _text(body)
    elif kind == "K":
        into["linkpath"] = _text(body)
    else:
        at = 0
        while at < len(body) and body[at]:
            space = body.find(b" ", at, at + 20)
            length = int(body[at:space]) if space > at and body[at:space].isdigit() else 0
            record = body[space + 1 : at + length]
            key, equals, value = record.partition(b"=")
            if not equals or not value.endswith(b"\n") or at + length > len(body):
                raise InvalidArgument(_INVALID)
            into[key.decode("utf-8", "surrogateescape")] = value[:-1].decode("utf-8", "surrogateescape")
            at += length


def _member(block: bytes, kind: str, size: int, offset: int, extra: dict[str, str]) -> Member:
    if kind == "S" or any(key.startswith("GNU.sparse.") for key in extra):
        raise InvalidArgument("sparse files are not supported in a build context")
    ustar = block[257:262] == b"ustar"
    prefix = _text(block[345:500]) if ustar and block[257:265] != b"ustar  \0" else ""
    name = extra.get("path") or (f"{prefix}/{_text(block[:100])}" if prefix else _text(block[:100]))
    link = extra.get("linkpath") or _text(block[157:257])
    if "\0" in name or "\0" in link:
        raise InvalidArgument(_INVALID)
    if kind in "07" and name.endswith("/"):
        kind = DIRECTORY
    mtime = extra.get("mtime", "").partition(".")[0]
    return Member(
        name=name,
        kind=REGULAR if kind == "7" else kind,
        mode=_number(block[100:108]),
        uid=_integer(extra["uid"]) if "uid" in extra else _number(block[108:116]),
        gid=_integer(extra["gid"]) if "gid" in extra else _number(block[116:124]),
        size=size,
        mtime=_integer(mtime) if mtime else _number(block[136:148]),
        link=link,
        user=extra.get("uname") or (_text(block[265:297]) if ustar else ""),
        group=extra.get("gname") or (_text(block[297:329]) if ustar else ""),
        major=_number(block[329:337]) if ustar and kind in DEVICES else 0,
        minor=_number(block[337:345]) if ustar and kind in DEVICES else 0,
        xattrs=tuple(sorted((key.removeprefix(_XATTR), value) for key, value in extra.items() if key.startswith(_XATTR))),
        offset=offset,
    )


def header(member: Member) -> bytes:
    """Returns the blocks that stand before a member's content in an archive: ustar, with a pax header where that does not do."""
    info = tarfile.TarInfo(member.name)
    info.type = member.kind.encode()
    info.mode = member.mode & 0o7777
    info.uid, info.gid, info.size, info.mtime = member.uid, member.gid, member.size, member.mtime
    info.linkname = member.link
    info.devmajor, info.devminor = member.major, member.minor
    if member.xattrs:
        info.pax_headers = {f"{_XATTR}{key}": value for key, value in member.xattrs}
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """Returns what fills a member's last block."""
    return bytes(-size % BLOCK)


END = bytes(2 * BLOCK)


def bare(name: str, mode: int, *, kind: str = DIRECTORY, size: int = 0, mtime: int = 0) -> Member:
    """Returns an entry owned by root that no archive had."""
    return Member(name, kind, mode, 0, 0, size, mtime, "", "", "", 0, 0, (), 0)


def base(path: str) -> str:
    """Returns the last component of a path with or without a slash at its end."""
    return os.path.basename(path.rstrip("/"))
