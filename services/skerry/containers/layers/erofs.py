"""Writes EROFS images that index a tar: inodes, directories and attributes here, file data in the untouched tar as a second device.

The format is the kernel's fs/erofs/erofs_fs.h. Blocks are 512 bytes, as a tar's, so that every file's data are aligned by themselves.
"""

import os
import stat
import struct
from collections.abc import Callable, Iterator

import msgspec

from skerry.containers.layers import tar
from skerry.containers.layers.tree import Node, grow
from skerry.core.errors import InvalidArgument

BLOCK = 512
_BLOCK_BITS = 9
# Superblock at 1024, device table right behind it; metadata from block 8 on.
_SUPER_OFFSET = 1024
_META_BLOCK = 8
_SLOT = 32
_CHUNKED, _DEVICE_TABLE = 0x4, 0x8
_FLAT_PLAIN, _CHUNK_BASED = 0, 4
_CHUNK_INDEXES = 0x20
_HOLE = struct.pack("<HHI", 0, 0, 0xFFFFFFFF)
_TAR_DEVICE = 1
_MAX_BLOCKS = (1 << 32) - 1

# Sparse files: pieces as small as a page, unless there would be too many of them.
_CHUNK = 4096
_MAX_CHUNKS = 1 << 16
_MAX_ALL_CHUNKS = 1 << 23
# Data that do not begin at a block of the tar are copied into the index.
_MAX_COPIED = 64 << 20

_FILE_TYPES = {stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFCHR: 3, stat.S_IFBLK: 4, stat.S_IFIFO: 5, stat.S_IFLNK: 7}
_XATTR_WHOLE = {b"system.posix_acl_access": 2, b"system.posix_acl_default": 3}
_XATTR_PREFIX = {b"user.": 1, b"trusted.": 4, b"security.": 6}
OPAQUE = (b"trusted.overlay.opaque", b"y")


class Summary(msgspec.Struct, frozen=True):
    """What was indexed or unpacked. bytes counts regular files, holes included."""

    entries: int
    bytes: int


def build(tar_path: str, index_path: str, limits: tar.Limits = tar.DEFAULT, *, sync: bool = True) -> Summary:
    """Writes the index of a tar, whiteouts in overlay's form; durable if sync. Blocks. Raises InvalidArgument for a bad tar, OSError."""
    fd = os.open(tar_path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        tree = grow(tar.read(fd, limits))
        blocks = -(-os.fstat(fd).st_size // BLOCK)
        if blocks > _MAX_BLOCKS:
            raise InvalidArgument("tar: larger than 2 TiB")
        image = _Image(fd, tree.root)
        with open(index_path, "wb") as file:
            image.write(file.write, blocks)
            file.flush()
            if sync:
                os.fdatasync(file.fileno())
    finally:
        os.close(fd)
    return Summary(tree.entries, tree.bytes)


class _Image:
    """Places every inode first, then writes; directories hold their children's numbers, so both passes are needed."""

    def __init__(self, fd: int, root: Node) -> None:
        self._fd = fd
        self._order = list(_walk(root))
        self._place: dict[int, int] = {}
        self._attributes: dict[int, bytes] = {}
        self._chunks: dict[int, bytes] = {}
        self._chunk_bits: dict[int, int] = {}
        self._copies: list[bytes] = []
        self._copied = self._all_chunks = 0
        # Copies come right behind the superblock's blocks and the metadata; so metadata are measured before anything is placed there.
        self._meta = self._layout()
        self._next = _META_BLOCK + self._meta // BLOCK
        self._blobs: list[bytes] = []

    def write(self, out: Callable[[bytes], object], blocks: int) -> None:
        """Calls out with the image's pieces in order."""
        metadata = bytearray(self._meta)
        parents = {
            id(child): node for node in self._order if node.children for child in node.children.values() if child.children is not None
        }
        copies_at = self._next
        for copy in self._copies:
            self._store(copy)
        for number, node in enumerate(self._order, 1):
            record = self._inode(node, number, parents.get(id(node), node), copies_at)
            at = self._place[id(node)]
            metadata[at : at + len(record)] = record
        super_block = struct.pack(
            "<IIIBBHQQIIII16s16sIHHHBBIQB23x",
            0xE0F5E1E2, 0, 0, _BLOCK_BITS, 0, self._number(self._order[0]), len(self._order), 0, 0, self._next, _META_BLOCK, 0,
            b"", b"", _CHUNKED | _DEVICE_TABLE, 0, 1, (_SUPER_OFFSET + 128) // 128, 0, 0, 0, 0, 0,
        )  # fmt: skip
        device = struct.pack("<64sII56x", b"", blocks, 0)
        for piece in ((bytes(_SUPER_OFFSET) + super_block + device).ljust(_META_BLOCK * BLOCK, b"\0"), bytes(metadata), *self._blobs):
            out(piece)

    def _layout(self) -> int:
        position = 0
        for node in self._order:
            key = id(node)
            attributes = self._attributes[key] = _xattr_body(node)
            self._place[key] = position
            size = 64 + len(attributes)
            if stat.S_ISREG(node.mode) and node.size:
                size += -size % 8 + self._plan(node)
            position += size + -size % 64
        return position + -position % BLOCK

    def _plan(self, node: Node) -> int:
        """Decides how a file's data are reached; returns the size of its chunk table."""
        if node.segments is None:
            bits = max(0, (node.size - 1).bit_length() - _BLOCK_BITS)
            self._chunk_bits[id(node)] = bits
            self._chunks[id(node)] = struct.pack("<HHI", 0, _TAR_DEVICE, node.offset // BLOCK)
        else:
            self._plan_sparse(node, node.segments)
        return len(self._chunks[id(node)])

    def _plan_sparse(self, node: Node, segments: list[tuple[int, int, int]]) -> None:
        chunk = _CHUNK
        while -(-node.size // chunk) > _MAX_CHUNKS:
            chunk *= 2
        count = -(-node.size // chunk)
        self._all_chunks += count
        if chunk.bit_length() - 1 - _BLOCK_BITS > 31 or self._all_chunks > _MAX_ALL_CHUNKS:
            raise InvalidArgument("tar: sparse files are too large")
        table = [_HOLE] * count
        pieces: dict[int, list[tuple[int, int, int]]] = {}
        for position, length, offset in segments:
            for number in range(position // chunk, (position + length - 1) // chunk + 1):
                begin = max(position, number * chunk)
                end = min(position + length, (number + 1) * chunk)
                whole = begin == number * chunk and end == min((number + 1) * chunk, node.size)
                source = offset + begin - position
                if whole and source % BLOCK == 0:
                    table[number] = struct.pack("<HHI", 0, _TAR_DEVICE, source // BLOCK)
                else:
                    pieces.setdefault(number, []).append((begin - number * chunk, end - begin, source))
        for number, parts in pieces.items():
            table[number] = self._copy(min(chunk, node.size - number * chunk), parts)
        self._chunks[id(node)] = b"".join(table)
        self._chunk_bits[id(node)] = chunk.bit_length() - 1 - _BLOCK_BITS

    def _copy(self, size: int, parts: list[tuple[int, int, int]]) -> bytes:
        """Keeps one chunk's bytes for the index itself; its block is known relative to the first copy only (device 0xFFFF until then)."""
        relative = self._copied // BLOCK
        self._copied += size + -size % BLOCK
        if self._copied > _MAX_COPIED:
            raise InvalidArgument("tar: sparse files with too much unaligned data")
        data = bytearray(size)
        for at, length, source in parts:
            data[at : at + length] = os.pread(self._fd, length, source)
        self._copies.append(bytes(data))
        return struct.pack("<HHI", 0, 0xFFFF, relative)

    def _number(self, node: Node) -> int:
        return self._place[id(node)] // _SLOT

    def _store(self, data: bytes) -> int:
        block = self._next
        self._blobs.append(data + bytes(-len(data) % BLOCK))
        self._next += len(self._blobs[-1]) // BLOCK
        return block

    def _inode(self, node: Node, number: int, parent: Node, copies_at: int) -> bytes:
        kind = stat.S_IFMT(node.mode)
        layout, union, size, links, tail = _FLAT_PLAIN, 0, node.size, node.links, b""
        if node.children is not None:
            data = self._directory(node, parent)
            size, union = len(data), self._store(data)
            links = 2 + sum(child.children is not None for child in node.children.values())
        elif kind == stat.S_IFLNK:
            size, union = len(node.link), self._store(node.link)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            major, minor = node.device
            union = (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
        elif kind == stat.S_IFREG and node.size:
            layout = _CHUNK_BASED
            union = _CHUNK_INDEXES | self._chunk_bits[id(node)]
            tail = self._chunks[id(node)]
            if node.segments is not None:
                tail = _settled(tail, copies_at)
        attributes = self._attributes[id(node)]
        count = (len(attributes) - 12) // 4 + 1 if attributes else 0
        seconds, nanoseconds = divmod(node.mtime, 1_000_000_000)
        record = struct.pack(
            "<HHHHQIIIIQII16x",
            1 | layout << 1, count, node.mode, 0, size, union, number, node.uid, node.gid, seconds & (1 << 64) - 1, nanoseconds, links,
        )  # fmt: skip
        record += attributes
        return record + bytes(-len(record) % 8) + tail if tail else record

    def _directory(self, node: Node, parent: Node) -> bytes:
        assert node.children is not None
        entries = [(b".", self._number(node), 2), (b"..", self._number(parent), 2)]
        entries += [(name, self._number(child), _FILE_TYPES[stat.S_IFMT(child.mode)]) for name, child in node.children.items()]
        entries.sort()
        blocks: list[bytes] = []
        current: list[tuple[bytes, int, int]] = []
        used = 0
        for entry in entries:
            need = 12 + len(entry[0])
            if used + need > BLOCK:
                blocks.append(_directory_block(current).ljust(BLOCK, b"\0"))
                current, used = [], 0
            current.append(entry)
            used += need
        blocks.append(_directory_block(current))
        return b"".join(blocks)


def _walk(root: Node) -> Iterator[Node]:
    """Yields each inode once, the root first."""
    seen: set[int] = set()
    pending = [root]
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if node.children:
            pending += [node.children[name] for name in sorted(node.children, reverse=True)]


def _settled(table: bytes, copies_at: int) -> bytes:
    """Turns the relative addresses of copied chunks into blocks of the index (device 0)."""
    entries = []
    for high, device, low in struct.iter_unpack("<HHI", table):
        entries.append(struct.pack("<HHI", high, 0, low + copies_at) if device == 0xFFFF else struct.pack("<HHI", high, device, low))
    return b"".join(entries)


def _directory_block(entries: list[tuple[bytes, int, int]]) -> bytes:
    offset = 12 * len(entries)
    heads = []
    for name, number, kind in entries:
        heads.append(struct.pack("<QHBB", number, offset, kind, 0))
        offset += len(name)
    return b"".join(heads) + b"".join(name for name, _, _ in entries)


def _xattr_body(node: Node) -> bytes:
    attributes = [*node.xattrs, OPAQUE] if node.opaque else node.xattrs
    if not attributes:
        return b""
    parts = [bytes(12)]
    for name, value in sorted(attributes):
        index = _XATTR_WHOLE.get(name)
        short = b""
        if index is None:
            prefix = next((prefix for prefix in _XATTR_PREFIX if name.startswith(prefix)), None)
            if prefix is None:
                continue  # of a kind that no Linux file system keeps
            index, short = _XATTR_PREFIX[prefix], name[len(prefix) :]
        body = struct.pack("<BBH", len(short), index, len(value)) + short + value
        parts.append(body + bytes(-len(body) % 4))
    return b"".join(parts) if len(parts) > 1 else b""
