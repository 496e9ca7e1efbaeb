"""What Docker calls a layer's size: the bytes of its files, each hard-linked file once, and the lengths of symlinks' targets.

Counted from a tar's headers as the tar passes by; names and contents are never looked at. A file that a layer holds twice counts twice.
Source: dockerd's overlay2 driver, which adds up the sizes that lstat gives in the unpacked layer.
"""

from typing import Any

from skerry.core.errors import InvalidArgument
from skerry.images.archive.tars import BLOCK, octal_or_binary
from skerry.images.blobs import Blobs

_READ = 1 << 20
_MAX_EXTENDED = 1 << 20
_FILES = frozenset(b"07\0")
_SYMLINK, _OLD_SPARSE = ord("2"), ord("S")
# Entries whose size field says nothing: no content follows.
_HEADER_ONLY = frozenset(b"123456")
_PAX, _LONG_TARGET = ord("x"), ord("K")
# Names are not needed.
_EXTENDED = frozenset(b"xgLK")
_ZEROS = bytes(BLOCK)


class FileSizes:
    """Takes a plain tar piece by piece."""

    def __init__(self) -> None:
        # Bytes that come before the next header.
        self.skip = 0
        self._total = 0
        self._unread = b""
        self._over = False
        # What extended headers said of the entry that comes.
        self._told: dict[str, int] = {}
        # An extended header on its way: its kind and bytes.
        self._kind, self._extended = 0, 0

    @property
    def total(self) -> int:
        """Bytes of the files; -1 when the tar was not understood."""
        return self._total

    def feed(self, data: bytes | memoryview) -> None:
        """Counts the next bytes of the tar."""
        at, end = 0, len(data)
        while not self._over:
            if self.skip >= end - at:
                self.skip -= end - at
                return
            at, self.skip = at + self.skip, 0
            wanted = (self._extended or BLOCK) - len(self._unread)
            piece = bytes(data[at : at + wanted])
            at += len(piece)
            if self._unread:
                piece = self._unread + piece
            if len(piece) < (self._extended or BLOCK):
                self._unread = piece
                return
            self._unread = b""
            try:
                self._whole(piece)
            except (InvalidArgument, ValueError):
                self._total, self._over = -1, True

    def _whole(self, piece: bytes) -> None:
        if self._extended:
            self.skip, self._extended = -self._extended % BLOCK, 0
            if self._kind == _LONG_TARGET:
                self._told["link"] = len(piece.rstrip(b"\0"))
            elif self._kind == _PAX:
                self._told |= _records(piece)
        elif self._kind == _OLD_SPARSE:
            # More of a sparse file's map: it goes on as long as its last byte says so.
            if not piece[504]:
                self._kind, self.skip = 0, self._told.pop("after")
        elif piece == _ZEROS:
            self._over = True
        else:
            self._header(piece)

    def _header(self, block: bytes) -> None:
        kind, size = block[156], octal_or_binary(block[124:136])
        self._kind = 0
        if kind in _EXTENDED:
            if size > _MAX_EXTENDED:
                raise InvalidArgument("extended header")
            self._kind, self._extended = kind, size
            return
        told, self._told = self._told, {}
        size = 0 if kind in _HEADER_ONLY else told.get("size", size)
        self.skip = size + -size % BLOCK
        if kind in _FILES:
            self._total += told.get("real", size)
        elif kind == _SYMLINK:
            self._total += told.get("link", len(block[157:257].partition(b"\0")[0]))
        elif kind == _OLD_SPARSE:
            self._total += octal_or_binary(block[483:495])
            if block[482]:
                self._kind, self._told["after"], self.skip = kind, self.skip, 0


def _records(data: bytes) -> dict[str, int]:
    """Returns what a PAX header says of sizes."""
    found: dict[str, int] = {}
    start = 0
    while start < len(data):
        space = data.index(b" ", start)
        end = start + int(data[start:space])
        if not space < end <= len(data):
            raise InvalidArgument("extended header")
        key, _, value = data[space + 1 : end - 1].partition(b"=")
        if key == b"size":
            found["size"] = int(value)
        elif key in (b"GNU.sparse.realsize", b"GNU.sparse.size"):
            found["real"] = int(value)
        elif key == b"linkpath":
            found["link"] = len(value)
        start = end
    if min(found.values(), default=0) < 0:
        raise InvalidArgument("negative size")
    return found


def measured(blobs: Blobs, diff_id: str) -> int:
    """Returns what FileSizes counts in a layer of the store. Blocks. Raises NotFound, Failed, Unavailable."""
    sizes = FileSizes()
    with blobs.open(diff_id) as opened:
        reader: Any = opened
        while data := reader.read(_READ):
            sizes.feed(data)
            if sizes.skip > _READ and hasattr(reader, "seek"):
                reader.seek(sizes.skip, 1)
                sizes.skip = 0
    return sizes.total
