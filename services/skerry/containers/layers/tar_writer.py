"""Writes the headers of tars as Docker does: ustar, with a pax header before what does not fit."""

import os
import stat
import struct
from collections.abc import Iterable

from skerry.containers.layers import tar

_HEADER = struct.Struct("<100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_MOST_ID = 0o7777777
_MOST_SIZE = 0o77777777777
_KINDS = {
    stat.S_IFREG: tar.REGULAR,
    stat.S_IFDIR: tar.DIRECTORY,
    stat.S_IFLNK: tar.SYMLINK,
    stat.S_IFCHR: tar.CHARACTER,
    stat.S_IFBLK: tar.BLOCK_DEVICE,
    stat.S_IFIFO: tar.FIFO,
}


def kind_of(mode: int) -> bytes | None:
    """Returns the entry type of a file's mode; None for what tars cannot hold (sockets)."""
    return _KINDS.get(stat.S_IFMT(mode))


def member(
    name: bytes, status: os.stat_result, *, kind: bytes, link: bytes = b"", xattrs: Iterable[tuple[bytes, bytes]] = (), size: int = 0
) -> bytes:
    """Returns all header blocks of one member; size bytes of data, padded to blocks, follow. Times are whole seconds, as Docker's."""
    seconds = status.st_mtime_ns // 1_000_000_000
    pax: list[tuple[bytes, bytes]] = []
    if len(name) > 100 or not name.isascii():
        pax.append((b"path", name))
    if len(link) > 100 or not link.isascii():
        pax.append((b"linkpath", link))
    for key, value, most in (
        (b"uid", status.st_uid, _MOST_ID),
        (b"gid", status.st_gid, _MOST_ID),
        (b"size", size, _MOST_SIZE),
        (b"mtime", seconds, _MOST_SIZE),
    ):
        if not 0 <= value <= most:
            pax.append((key, b"%d" % value))
    pax += [(b"SCHILY.xattr." + key, value) for key, value in xattrs]
    device = (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in (tar.CHARACTER, tar.BLOCK_DEVICE) else (0, 0)
    block = _block(name, kind, size, _written_mode(status.st_mode), (status.st_uid, status.st_gid), seconds, link, device)
    return _pax(name, pax) + block if pax else block


def padding(size: int) -> bytes:
    """Returns what fills the last block of size bytes of data."""
    return bytes(-size % tar.BLOCK)


def _written_mode(mode: int) -> int:
    # With the bits of the type, as Docker has written it since the days of Go 1.8, so that digests agree.
    return mode & 0o177777


END = bytes(2 * tar.BLOCK)


def _pax(name: bytes, records: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(_record(key, value) for key, value in records)
    base = name.rstrip(b"/").rpartition(b"/")[2][:80]
    return _block(b"PaxHeaders.0/" + base, b"x", len(body), 0o644, (0, 0), 0, b"", (0, 0)) + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    # The length counts its own digits.
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _block(
    name: bytes, kind: bytes, size: int, mode: int, owner: tuple[int, int], seconds: int, link: bytes, device: tuple[int, int]
) -> bytes:
    uid, gid = (number if 0 <= number <= _MOST_ID else 0 for number in owner)
    block = bytearray(
        _HEADER.pack(
            name[:100],
            b"%07o" % mode,
            b"%07o" % uid,
            b"%07o" % gid,
            b"%011o" % (size if size <= _MOST_SIZE else 0),
            b"%011o" % (seconds if 0 <= seconds <= _MOST_SIZE else 0),
            b" " * 8,
            kind,
            link[:100],
            b"ustar\x0000",
            b"",
            b"",
            b"%07o" % device[0],
            b"%07o" % device[1],
            b"",
        )
    )
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
