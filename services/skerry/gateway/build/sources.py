"""What COPY and ADD read: from words to entries of a tree with Docker's hashes, and from those to the archives that go into a container."""

import hashlib
import io
import os
import posixpath
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

import msgspec

from skerry.core.errors import Failed
from skerry.gateway.build import tar
from skerry.gateway.build.patterns import compiled, has_wildcards
from skerry.gateway.build.spool import is_archive
from skerry.gateway.build.tree import Missing, Node, Tree

_PIECE = 256 << 10


class Source:
    """One file or directory that is to be copied."""

    def __init__(self, tree: Tree, asked: str, path: str, node: Node, digest: str, *, unpack: bool) -> None:
        # As asked for: its last part is the name that a file gets in a directory.
        self.asked = asked
        self.tree = tree
        self.path = path
        self.node = node
        # "file:HEX", "dir:HEX", or HEX alone for a download.
        self.digest = digest
        # ADD unpacks it when it is an archive.
        self.unpack = unpack

    @property
    def is_directory(self) -> bool:
        return self.node.children is not None

    def archive(self) -> bool:
        """Tells whether ADD unpacks it. Blocks."""
        return self.unpack and not self.is_directory and is_archive(self.file())

    def file(self) -> BinaryIO:
        """Returns the content of a file."""
        return cast("BinaryIO", io.BufferedReader(_Content(self.tree, self.node)))


class _Content(io.RawIOBase):
    """A file of a tree as a file."""

    def __init__(self, tree: Tree, node: Node) -> None:
        self._tree = tree
        self._node = node
        self._pieces = tree.content(node)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        if (offset, whence) != (0, 0):
            raise io.UnsupportedOperation("only to the begin")
        self._pieces, self._rest = self._tree.content(self._node), b""
        return 0

    def tell(self) -> int:
        return 0

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]  # narrower than the stubs' Buffer
        if not self._rest:
            self._rest = next(self._pieces, b"")
        data, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        memoryview(buffer)[: len(data)] = data
        return len(data)


def resolve(tree: Tree | None, words: Sequence[str], *, context: bool, unpack: bool = False, alone: bool = True) -> list[Source]:
    """Finds what the words name. Blocks (hashes). Raises Failed in Docker's words.

    context: the tree is the build context, and not an image's. alone: finding nothing at all is an error.
    """
    if tree is None:
        raise Failed("missing build context")
    found: list[Source] = []
    for word in words:
        asked = word.removeprefix("/").removeprefix("./")
        if (posixpath.normpath(asked) + "/").startswith("../"):
            raise Failed(f"forbidden path outside the build context: {asked} ()")
        if not has_wildcards(asked):
            found.append(_one(tree, asked, context=context, unpack=unpack))
            continue
        pattern = compiled(asked)
        for path, _ in tree.walk("", tree.root):
            if path and pattern is not None and pattern.match(path):
                found.append(_one(tree, path, context=context, unpack=unpack))
    if not found and alone:
        raise Failed("no source files were specified")
    return found


def _one(tree: Tree, asked: str, *, context: bool, unpack: bool) -> Source:
    try:
        path, node = tree.find(asked)
        if node.children is None:
            return Source(tree, asked, path, node, f"file:{tree.digest(path, node)}", unpack=unpack)
        digests = sorted(tree.digest(below, one) for below, one in tree.walk(path, node) if below)
        return Source(tree, asked, path, node, _joined("dir", digests), unpack=unpack)
    except Missing:
        text = f"stat {asked}: file does not exist"
        raise Failed(f"file not found in build context or excluded by .dockerignore: {text}" if context else text) from None


def digest(digests: Sequence[str]) -> str:
    """Returns the hash that stands in the history and in the cache for all sources of a step."""
    return digests[0] if len(digests) == 1 else _joined("multi", digests)


def _joined(kind: str, digests: Sequence[str]) -> str:
    return f"{kind}:{hashlib.sha256(','.join(digests).encode('utf-8', 'surrogateescape')).hexdigest()}"


class Archive(msgspec.Struct):
    """One PutArchive: what goes where."""

    # A directory in the container; it is made when it is missing.
    path: str
    sources: list[tuple[Source, str]] = []
    # Missing directories that get the owner of --chown too.
    directories: list[str] = []
    # The content of the only source is an archive itself.
    raw: bool = False
    # path is a file's place, unless there is a directory.
    file_or_directory: bool = False

    def pieces(self, *, keep_owner: bool) -> Iterator[bytes]:
        """Yields the archive. Blocks. keep_owner: owners and set-id bits stay; else all belongs to root. Raises Missing."""
        if self.raw:
            yield from self.sources[0][0].tree.content(self.sources[0][0].node)
            return
        writer = _Writer(keep_owner=keep_owner)
        for name in self.directories:
            writer.directory(name)
        for source, name in self.sources:
            yield from writer.source(source, name)
        yield from writer.end()


class _Writer:
    """Writes members in pieces of a good size."""

    def __init__(self, *, keep_owner: bool) -> None:
        self._keep_owner = keep_owner
        self._buffer = bytearray()
        # Files that have several names in the archive they come from, and the first name they got here.
        self._names: dict[Node, str] = {}

    def directory(self, name: str) -> None:
        self._buffer += tar.header(tar.bare(f"{name}/", 0o755, mtime=int(time.time())))

    def source(self, source: Source, name: str) -> Iterator[bytes]:
        """Yields one source under a name; a directory's content under it, or at the top when it is empty."""
        if not source.is_directory:
            yield from self._member(source.tree, source.node, name)
            return
        skip = len(source.path) + bool(source.path)
        for path, node in source.tree.walk(source.path, source.node):
            if below := path[skip:]:
                yield from self._member(source.tree, node, f"{name}/{below}" if name else below)

    def _member(self, tree: Tree, node: Node, name: str) -> Iterator[bytes]:
        # A directory that no entry described is as one that was made.
        member = tree.described(node) or tar.bare("", 0o755, mtime=int(time.time()))
        first = self._names.setdefault(tree.original(node), name) if member.kind == tar.REGULAR else name
        if first != name:
            member = msgspec.structs.replace(member, kind=tar.HARDLINK, link=first, size=0)
        self._buffer += tar.header(self._owned(msgspec.structs.replace(member, name=name + ("/" if member.kind == tar.DIRECTORY else ""))))
        if member.kind == tar.REGULAR:
            for data in tree.content(node):
                self._buffer += data
                if len(self._buffer) >= _PIECE:
                    yield from self._flush()
            self._buffer += tar.padding(member.size)
        if len(self._buffer) >= _PIECE:
            yield from self._flush()

    def _owned(self, member: tar.Member) -> tar.Member:
        if self._keep_owner:
            return member
        mode = member.mode
        if member.kind in (tar.REGULAR, tar.HARDLINK):
            # What the kernel does when Docker gives a file to its owner.
            mode &= ~(0o6000 if mode & 0o010 else 0o4000)
        return msgspec.structs.replace(member, uid=0, gid=0, mode=mode)

    def _flush(self) -> Iterator[bytes]:
        data, self._buffer = bytes(self._buffer), bytearray()
        for start in range(0, len(data), _PIECE * 4):
            yield data[start : start + _PIECE * 4]

    def end(self) -> Iterator[bytes]:
        self._buffer += tar.END
        yield from self._flush()


def file_name(source: Source) -> str:
    """Returns the name that a file gets in a directory."""
    return os.path.basename(source.asked.rstrip("/"))
