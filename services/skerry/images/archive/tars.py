"""Reading a client's tar in one pass: entry by entry, nothing ever written by its names, every header bounded and read in linear time.

Not the standard library's reader: that one runs backtracking patterns over extended headers (a header of 1 MiB holds the interpreter
for minutes) and expands sparse files to whatever size they claim. Only what `docker save` and OCI layouts use is understood.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from skerry.core.errors import InvalidArgument

BLOCK = 512
_MAX_ENTRIES = 20_000
_MAX_HEADER = 1 << 20
_SKIP = 1 << 20
# Go's words, which dockerd wraps.
_INVALID = "invalid tar archive: archive/tar: invalid tar header"
_CUT = "invalid tar archive: unexpected EOF"
_KINDS = {b"0": "file", b"\0": "file", b"7": "file", b"1": "hardlink", b"2": "symlink"}
_HEADER_ONLY = b"123456"


class Member(msgspec.Struct):
    """One entry. kind is file, hardlink, symlink or other; link is what a link points at, as written."""

    name: str
    kind: str
    link: str
    size: int


class Content:
    """The bytes of one entry, readable until the next entry is asked for."""

    def __init__(self, source: Any, size: int) -> None:
        self._source = source
        self.left = size

    def read(self, size: int = -1) -> bytes:
        """Reads up to size bytes, or all that is left; b"" at the entry's end. Raises InvalidArgument when the archive ends before."""
        if size < 0:
            parts = []
            while part := self.read(_SKIP):
                parts.append(part)
            return b"".join(parts)
        wanted = min(size, self.left)
        if not wanted:
            return b""
        data: bytes = self._source.read(wanted)
        if not data:
            raise InvalidArgument(_CUT)
        self.left -= len(data)
        return data


def members(source: Any) -> Iterator[tuple[Member, Content | None]]:
    """Yields each entry, files with their content, in the archive's order. Raises InvalidArgument for a broken or sparse tar."""
    told: dict[str, Any] = {}
    number = 0
    while (block := _header(source)) is not None:
        number += 1
        if number > _MAX_ENTRIES:
            raise InvalidArgument(f"archive has more than {_MAX_ENTRIES} entries")
        kind, size = block[156:157], octal_or_binary(block[124:136])
        if kind in (b"x", b"g", b"L", b"K"):
            data = _extended(source, size)
            if kind == b"x":
                told |= _records(data)
            elif kind != b"g":
                told["path" if kind == b"L" else "linkpath"] = _text(data)
            continue
        if kind == b"S":
            raise InvalidArgument("invalid tar archive: sparse files are not supported")
        size = 0 if kind in _HEADER_ONLY else told.get("size", size)
        member = Member(told.get("path") or _name(block), _KINDS.get(kind, "other"), told.get("linkpath") or _text(block[157:257]), size)
        told = {}
        content = Content(source, size)
        yield member, content if member.kind == "file" and not member.name.endswith("/") else None
        while content.read(_SKIP):
            pass
        _exactly(source, -size % BLOCK)


def begins(head: bytes) -> bool:
    """Tells whether bytes look like the begin of a tar: nothing at all, an end mark, or a header with the right sum."""
    block = head[:BLOCK]
    return not block.strip(b"\0") or (len(block) == BLOCK and _sums(block))


def _header(source: Any) -> bytes | None:
    block = _exactly(source, BLOCK, may_end=True)
    if not block or not block.strip(b"\0"):
        return None
    if not _sums(block):
        raise InvalidArgument(_INVALID)
    return block


def _sums(block: bytes) -> bool:
    try:
        told = octal_or_binary(block[148:156])
    except InvalidArgument:
        return False
    rest = block[:148] + block[156:]
    total = 8 * 32 + sum(rest)
    # Some old writers summed signed bytes.
    return told in (total, total - 256 * sum(byte > 127 for byte in rest))


def _exactly(source: Any, size: int, *, may_end: bool = False) -> bytes:
    parts = b""
    while len(parts) < size:
        data = source.read(size - len(parts))
        if not data:
            if may_end and not parts:
                return b""
            raise InvalidArgument(_CUT)
        parts += data
    return parts


def _extended(source: Any, size: int) -> bytes:
    if size > _MAX_HEADER:
        raise InvalidArgument(f"invalid tar archive: extended header of {size} bytes")
    data = _exactly(source, size)
    _exactly(source, -size % BLOCK)
    return data


def octal_or_binary(field: bytes) -> int:
    """Reads a number of a header. Raises InvalidArgument."""
    if field[0] & 0x80:
        # Base 256, for what octal digits cannot say. Negative numbers have the next bit set.
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] & 0x40 or value >= 1 << 63:
            raise InvalidArgument(_INVALID)
        return value
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise InvalidArgument(_INVALID)
    return int(digits or b"0", 8)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _name(block: bytes) -> str:
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        return f"{prefix}/{name}"
    return name


def _records(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    start = 0
    while start < len(data):
        space = data.find(b" ", start, start + 10)
        digits = data[start:space] if space > 0 else b""
        end = start + int(digits) if digits.isdigit() else 0
        record = data[space + 1 : end]
        if end > len(data) or not record.endswith(b"\n") or b"=" not in record:
            raise InvalidArgument(_INVALID)
        start = end
        key, _, value = record[:-1].partition(b"=")
        if key in (b"path", b"linkpath"):
            found[key.decode()] = _text(value)
        elif key == b"size":
            if not value.isdigit() or len(value) > 18:
                raise InvalidArgument(_INVALID)
            found["size"] = int(value)
        elif key.startswith(b"GNU.sparse."):
            raise InvalidArgument("invalid tar archive: sparse files are not supported")
    return found
