"""Compressed rotated files as dockerd writes them: gzip whose extra field tells the last record's time."""

import gzip
import os
import struct
import tempfile
import zlib
from typing import BinaryIO, cast

_BLOCK = 1 << 20
_TAIL = 256 << 10
_TIME = b'"time":"'


def last_time(file: BinaryIO) -> bytes:
    """Returns the time of the last record as it stands there; empty when there is none."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    _, found, rest = file.read().rpartition(_TIME)
    return rest.partition(b'"')[0] if found else b""


def pack(source: str, target: str, mode: int) -> None:
    """Writes source into target. Raises OSError; target may then be there in part."""
    with open(source, "rb") as plain, open(target, "wb", opener=lambda path, flags: os.open(path, flags, mode)) as packed:
        extra = b'{"lastTime":"' + last_time(plain) + b'"}'
        plain.seek(0)
        # Magic, deflate, FEXTRA, no time, no hint, unknown system: Go's header.
        packed.write(b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H", len(extra)) + extra)
        squeeze = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        check = size = 0
        while block := plain.read(_BLOCK):
            check, size = zlib.crc32(block, check), size + len(block)
            packed.write(squeeze.compress(block))
        packed.write(squeeze.flush() + struct.pack("<II", check, size & 0xFFFFFFFF))


def unpacked(path: str) -> BinaryIO:
    """Returns a reader of what path holds. It seeks backwards only by reading all again."""
    return cast("BinaryIO", gzip.open(path, "rb"))


def spread(file: BinaryIO) -> BinaryIO:
    """Returns a nameless plain copy in the directory for temporary files, for those who go backwards; closes file."""
    plain = cast("BinaryIO", tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 - the caller closes it
    try:
        file.seek(0)
        while block := file.read(_BLOCK):
            plain.write(block)
        plain.seek(0)
    except BaseException:
        plain.close()
        raise
    file.close()
    return plain
