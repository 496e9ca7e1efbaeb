"""Reads layer tars: ustar, pax, GNU long names and numbers, all four sparse forms. Headers only; data stays where it is in the file.

Nothing in a tar is trusted. Names are cleaned here, once: relative, without ".", "..", empty components or NULs.
"""

import os
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

from skerry.containers.layers import layout
from skerry.containers.layers.tar_source import FileSource, Source
from skerry.core.errors import InvalidArgument

BLOCK = layout.BLOCK
# Limits: above anything that real images hold, below what hurts the host.
MAX_EXTENDED = 1 << 20
MAX_NAME = 255
MAX_PATH = layout.MAX_PATH
MAX_SEGMENTS = 1 << 16
MAX_XATTRS = 64 << 10
_MAX_ID = (1 << 32) - 2
_MAX_SIZE = 1 << 62


class Limits(NamedTuple):
    """What one layer may have; the operator may set others."""

    entries: int = 1_000_000
    # Names in a path.
    depth: int = layout.MAX_DEPTH


DEFAULT = Limits()

REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = layout.KINDS
_MODES = {
    REGULAR: stat.S_IFREG,
    SYMLINK: stat.S_IFLNK,
    CHARACTER: stat.S_IFCHR,
    BLOCK_DEVICE: stat.S_IFBLK,
    DIRECTORY: stat.S_IFDIR,
    FIFO: stat.S_IFIFO,
}
_SAME_AS_REGULAR = {b"\0", b"7", b"S"}
_XATTR = b"SCHILY.xattr."


class Entry:
    """One member. kind is a constant of this module; segments is None for a file whose data are in one piece."""

    __slots__ = ("device", "gid", "kind", "link", "mode", "mtime", "name", "offset", "path", "segments", "size", "uid", "xattrs")

    def __init__(self, kind: bytes, name: bytes) -> None:
        self.kind = kind
        # As the tar has it.
        self.name = name
        # Cleaned; b"" is the root.
        self.path = clean(name)
        # Symlink: the text as it is. Hardlink: cleaned path.
        self.link = b""
        # With the type bits; a hardlink's are a regular file's.
        self.mode = 0
        self.uid = 0
        self.gid = 0
        # Nanoseconds.
        self.mtime = 0
        # Of the file as it is read, holes included.
        self.size = 0
        # Of the data in the tar.
        self.offset = 0
        # (position in the file, length, offset in the tar), ascending, none empty.
        self.segments: list[tuple[int, int, int]] | None = None
        self.device = (0, 0)
        self.xattrs: list[tuple[bytes, bytes]] = []


def read(fd: int, limits: Limits = DEFAULT) -> Iterator[Entry]:
    """Yields the members of the tar in the file fd in order. Raises InvalidArgument for anything malformed or above the limits."""
    return members(FileSource(fd), os.fstat(fd).st_size, limits)


def members(source: Source, size: int, limits: Limits = DEFAULT) -> Iterator[Entry]:
    """Like read, from any source. size is that of the tar, or more when it is not known: then a source notices the end by itself."""
    offset = entries = 0
    shared: dict[bytes, bytes] = {}
    extended: dict[bytes, bytes] = {}
    while True:
        block = source.read(offset, BLOCK)
        if len(block) < BLOCK or block.count(0) == BLOCK:
            if block and len(block) < BLOCK:
                raise InvalidArgument("tar: unexpected end")
            return
        _check(block)
        offset += BLOCK
        kind = block[156:157]
        if kind in b"xgLK":
            length = _number(block[124:136])
            if not 0 <= length <= MAX_EXTENDED:
                raise InvalidArgument(f"tar: extended header of {length} bytes, at most {MAX_EXTENDED} are allowed")
            body = source.read(offset, length)
            if len(body) < length:
                raise InvalidArgument("tar: unexpected end")
            offset += _padded(length)
            _extend(kind, body, shared, extended)
            continue
        entries += 1
        if entries > limits.entries:
            raise InvalidArgument(f"tar: more than {limits.entries} entries")
        entry, offset = _member(source, block, offset, {**shared, **extended})
        if entry.path.count(b"/") >= limits.depth:
            raise InvalidArgument(f"tar: a path is deeper than {limits.depth}")
        if offset > size:
            raise InvalidArgument("tar: unexpected end")
        extended = {}
        yield entry


def clean(name: bytes) -> bytes:
    """Returns name as a path below the root: ".." goes no higher. Raises InvalidArgument above the limits."""
    if b"\0" in name:
        raise InvalidArgument("tar: a name contains NUL")
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part == b"..":
            if parts:
                parts.pop()
            continue
        if len(part) > MAX_NAME:
            raise InvalidArgument(f"tar: a name is longer than {MAX_NAME} bytes")
        parts.append(part)
    result = b"/".join(parts)
    if len(result) > MAX_PATH:
        raise InvalidArgument(f"tar: a path is longer than {MAX_PATH} bytes")
    return result


def header(name: bytes, kind: bytes, size: int, mode: int = 0o644, link: bytes = b"") -> bytes:
    """Returns a plain ustar header; name and link must fit in 100 bytes."""
    fields = struct.pack(
        "<100s8s8s8s12s12s8s1s100s8s",
        name,
        b"%07o" % mode,
        b"0000000",
        b"0000000",
        b"%011o" % size,
        b"%011o" % 0,
        b" " * 8,
        kind,
        link,
        b"ustar\x0000",
    )
    block = bytearray(fields.ljust(BLOCK, b"\0"))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _check(block: bytes) -> None:
    stored = _number(block[148:156])
    rest = sum(block) - sum(block[148:156]) + 8 * 32
    if stored != rest:
        # Ancient programs summed signed characters.
        signed = rest - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
        if stored != signed:
            raise InvalidArgument("tar: bad header checksum")


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return (
            int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big") if field[0] == 0x80 else int.from_bytes(field, "big", signed=True)
        )
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    if text.strip(b"01234567"):
        raise InvalidArgument("tar: bad number in a header")
    return int(text, 8)


def _decimal(text: bytes, low: int, high: int) -> int:
    digits = text.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 20 or not low <= int(text) <= high:
        raise InvalidArgument("tar: bad number in a pax header")
    return int(text)


def _padded(size: int) -> int:
    return size + -size % BLOCK


def _extend(kind: bytes, body: bytes, shared: dict[bytes, bytes], extended: dict[bytes, bytes]) -> None:
    if kind == b"x":
        extended.update(_pax(body))
    elif kind == b"g":
        shared.update(_pax(body))
    else:
        # pax records override GNU's long names, as in every reader.
        extended.setdefault(b"path" if kind == b"L" else b"linkpath", body.rstrip(b"\0"))


def _pax(body: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    sparse: list[bytes] = []
    position = 0
    while position < len(body):
        space = body.find(b" ", position, position + 21)
        if space < 0:
            raise InvalidArgument("tar: bad pax header")
        length = _decimal(body[position:space], 0, MAX_EXTENDED)
        end = position + length
        key, separator, value = body[space + 1 : end - 1].partition(b"=")
        if end <= space + 1 or end > len(body) or body[end - 1] != 10 or not separator:
            raise InvalidArgument("tar: bad pax header")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            sparse.append(value)
        else:
            records[key] = value
        position = end
    if sparse:
        # Form 0.0 repeats the keys; from here on it is form 0.1.
        records[b"GNU.sparse.map"] = b",".join(sparse)
    return records


def _member(source: Source, block: bytes, offset: int, pax: dict[bytes, bytes]) -> tuple[Entry, int]:
    kind = block[156:157]
    size = _decimal(pax[b"size"], 0, _MAX_SIZE) if b"size" in pax else _number(block[124:136])
    if not 0 <= size <= _MAX_SIZE:
        raise InvalidArgument("tar: bad size")
    old_sparse = kind == b"S"
    if kind in _SAME_AS_REGULAR:
        kind = REGULAR
    name = pax.get(b"GNU.sparse.name") or pax.get(b"path") or _name(block)
    entry = Entry(kind, name)
    if kind == REGULAR and name.endswith(b"/") and block[156:157] == b"\0":
        kind = entry.kind = DIRECTORY  # how tars from before ustar mark them
    if kind != HARDLINK and kind not in _MODES:
        raise InvalidArgument(f"tar: unknown entry type {kind!r}")
    _attributes(entry, block, pax)
    entry.offset = offset
    if kind in (HARDLINK, SYMLINK):
        _link(entry, pax.get(b"linkpath") or block[157:257].partition(b"\0")[0])
    elif kind in (CHARACTER, BLOCK_DEVICE):
        entry.device = (_number(block[329:337]), _number(block[337:345]))
        if not (0 <= entry.device[0] < 1 << 12 and 0 <= entry.device[1] < 1 << 20):
            raise InvalidArgument("tar: bad device number")
    if kind != REGULAR:
        # Whatever size says, these have no data; so read all programs.
        return entry, offset
    entry.size = size
    if old_sparse:
        start = _old_sparse(source, entry, block, offset)
        return entry, start + _padded(size)
    if b"GNU.sparse.map" in pax or pax.get(b"GNU.sparse.major") == b"1":
        _pax_sparse(source, entry, offset, pax)
    return entry, offset + _padded(size)


def _name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].partition(b"\0")[0]
        if prefix:
            return prefix + b"/" + name
    return name


def _attributes(entry: Entry, block: bytes, pax: dict[bytes, bytes]) -> None:
    entry.uid = _decimal(pax[b"uid"], 0, _MAX_ID) if b"uid" in pax else _number(block[108:116])
    entry.gid = _decimal(pax[b"gid"], 0, _MAX_ID) if b"gid" in pax else _number(block[116:124])
    if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
        raise InvalidArgument("tar: bad owner")
    if b"mtime" in pax:
        whole, _, fraction = pax[b"mtime"].partition(b".")
        seconds = _decimal(whole or b"0", -(1 << 33), 1 << 34)
        nanoseconds = _decimal((fraction + bytes(9).replace(b"\0", b"0"))[:9], 0, 999_999_999)
        entry.mtime = seconds * 1_000_000_000 + (-nanoseconds if whole.startswith(b"-") else nanoseconds)
    else:
        seconds = _number(block[136:148])
        if not -(1 << 33) <= seconds <= 1 << 34:
            raise InvalidArgument("tar: bad time")
        entry.mtime = seconds * 1_000_000_000
    entry.mode = _MODES.get(entry.kind, stat.S_IFREG) | (_number(block[100:108]) & 0o7777)
    if entry.kind == SYMLINK:
        entry.mode = stat.S_IFLNK | 0o777
    total = 0
    for key, value in pax.items():
        # Overlay's own attributes would let a layer hide or redirect what other layers hold.
        if key.startswith(_XATTR) and not key.startswith(_XATTR + b"trusted.overlay."):
            total += len(key) + len(value)
            if len(key) - len(_XATTR) > MAX_NAME or total > MAX_XATTRS or b"\0" in key:
                raise InvalidArgument(f"tar: extended attributes of more than {MAX_XATTRS} bytes")
            entry.xattrs.append((key[len(_XATTR) :], value))


def _link(entry: Entry, target: bytes) -> None:
    if b"\0" in target or not target or len(target) > MAX_PATH:
        raise InvalidArgument("tar: bad link target")
    entry.link = clean(target) if entry.kind == HARDLINK else target


def _old_sparse(source: Source, entry: Entry, block: bytes, offset: int) -> int:
    """Form of GNU tar's own format: a map of octal numbers in the header and in blocks after it. Returns where the data begin."""
    pairs = [(block[at : at + 12], block[at + 12 : at + 24]) for at in range(386, 482, 24)]
    more = block[482]
    while more:
        extension = source.read(offset, BLOCK)
        if len(extension) < BLOCK or len(pairs) > MAX_SEGMENTS:
            raise InvalidArgument("tar: bad sparse map")
        pairs += [(extension[at : at + 12], extension[at + 12 : at + 24]) for at in range(0, 504, 24)]
        more = extension[504]
        offset += BLOCK
    numbers = [number for pair in pairs if pair[0].strip(b"\0 ") for number in (_number(pair[0]), _number(pair[1]))]
    stored, entry.size = entry.size, _number(block[483:495])
    _segments(entry, numbers, offset, stored)
    entry.offset = offset
    return offset


def _pax_sparse(source: Source, entry: Entry, offset: int, pax: dict[bytes, bytes]) -> None:
    stored, data = entry.size, offset
    real = pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size")
    if real is None:
        raise InvalidArgument("tar: bad sparse map")
    if pax.get(b"GNU.sparse.major") == b"1":
        numbers, length = _map_in_data(source, offset, stored)
        data, stored = offset + length, stored - length
    else:
        texts = pax[b"GNU.sparse.map"].split(b",")
        numbers = [_decimal(text, 0, _MAX_SIZE) for text in texts if text]
    entry.size = _decimal(real, 0, _MAX_SIZE)
    _segments(entry, numbers, data, stored)


def _map_in_data(source: Source, offset: int, stored: int) -> tuple[list[int], int]:
    """Form 1.0: decimal numbers, one a line, before the data, padded to a block. Returns them and the map's length."""
    text, wanted = b"", 1
    while text.count(b"\n") < wanted:
        block = source.read(offset + len(text), BLOCK)
        if len(block) < BLOCK or len(text) + BLOCK > stored:
            raise InvalidArgument("tar: bad sparse map")
        text += block
        if wanted == 1 and b"\n" in text:
            wanted = 1 + 2 * _decimal(text.partition(b"\n")[0], 0, MAX_SEGMENTS)
    return [_decimal(line, 0, _MAX_SIZE) for line in text.split(b"\n")[1:wanted]], len(text)


def _segments(entry: Entry, numbers: list[int], data: int, stored: int) -> None:
    if len(numbers) % 2 or len(numbers) > 2 * MAX_SEGMENTS or not 0 <= entry.size <= _MAX_SIZE:
        raise InvalidArgument("tar: bad sparse map")
    entry.segments = []
    end = used = 0
    for position, length in zip(numbers[::2], numbers[1::2], strict=True):
        if position < end or length < 0 or position + length > entry.size or used + length > stored:
            raise InvalidArgument("tar: bad sparse map")
        if length:
            entry.segments.append((position, length, data + used))
        end, used = position + length, used + length
