"""A file tree in memory over an archive in a file: what COPY and ADD look things up in. Symlinks never lead out of it."""

import hashlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from skerry.core.errors import InvalidArgument
from skerry.gateway.build.tar import DIRECTORY, HARDLINK, REGULAR, SYMLINK, Member, members

_LINKS = 255
_PIECE = 1 << 20


class Limits:
    """What an archive may hold."""

    def __init__(self, entries: int, depth: int) -> None:
        self.entries = entries
        self.depth = depth


class Node:
    """One name in the tree. member is None for a directory that no entry described."""

    __slots__ = ("children", "digest", "member")

    def __init__(self, member: Member | None) -> None:
        self.member = member
        self.children: dict[str, Node] | None = {} if member is None or member.kind == DIRECTORY else None
        self.digest = ""

    @property
    def link(self) -> str | None:
        """Returns where a symlink points, None for anything else."""
        return self.member.link if self.member is not None and self.member.kind == SYMLINK else None


class Missing(Exception):
    """There is no such path."""


class Tree:
    """The tree of an archive in `file`. Reading and hashing block: call them on a thread."""

    def __init__(self, file: BinaryIO, *, type_bits: bool = False) -> None:
        """type_bits: hashes see modes with the file type's bits and owners' names, as for files that Docker reads from an image."""
        self._file = file
        self._type_bits = type_bits
        self.root = Node(None)

    @classmethod
    def read(cls, file: BinaryIO, size: int, limits: Limits, *, type_bits: bool = False) -> "Tree":
        """Returns the tree of an archive of size bytes. Raises InvalidArgument for what is no archive, or too much of one."""
        tree = cls(file, type_bits=type_bits)
        for count, member in enumerate(members(file, size), 1):
            if count > limits.entries:
                raise InvalidArgument(f"the build context has more than {limits.entries} entries")
            tree.add(member, limits.depth)
        return tree

    def add(self, member: Member, depth: int = 1) -> None:
        """Adds one entry. Raises InvalidArgument."""
        # Clamped at the root, as if it were extracted inside of it.
        parts = _parts(os.path.normpath("/" + member.name))
        if len(parts) > depth:
            raise InvalidArgument(f"the build context is deeper than {depth} directories")
        if not parts:
            if member.kind == DIRECTORY:
                self.root.member = member
            return
        if any(len(os.fsencode(part)) > 255 for part in parts):
            raise InvalidArgument("the build context has a file name longer than 255 bytes")
        parent = self._parent(parts[:-1])
        assert parent.children is not None
        there = parent.children.get(parts[-1])
        if member.kind == HARDLINK:
            # The content is the other name's; where there is none, the archive is damaged.
            try:
                self.find(member.link)
            except Missing:
                raise InvalidArgument(f"hard link {member.name} to {member.link}, which is not in the archive") from None
        if there is not None and there.children is not None and member.kind == DIRECTORY:
            there.member = member
        else:
            parent.children[parts[-1]] = Node(member)

    def _parent(self, parts: list[str]) -> Node:
        node = self.root
        done: list[str] = []
        for part in parts:
            assert node.children is not None
            child = node.children.get(part)
            if child is not None and child.link is not None:
                try:
                    child = self.find("/".join([*done, part]))[1]
                except Missing:
                    child = None
            if child is None or child.children is None:
                child = node.children[part] = Node(None)
            node = child
            done.append(part)
        return node

    def find(self, path: str) -> tuple[str, Node]:
        """Returns where a path leads, all symlinks followed inside the tree, and the node there. Raises Missing."""
        pending = _parts(path)[::-1]
        done: list[str] = []
        nodes = [self.root]
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                if done:
                    done.pop()
                    nodes.pop()
                continue
            children = nodes[-1].children
            child = children.get(part) if children is not None else None
            if child is None:
                raise Missing(path)
            if (link := child.link) is not None:
                links += 1
                if links > _LINKS:
                    raise Missing(path)
                if link.startswith("/"):
                    done, nodes = [], [self.root]
                pending += _parts(link)[::-1]
                continue
            done.append(part)
            nodes.append(child)
        return "/".join(done), nodes[-1]

    def has(self, path: str) -> bool:
        """Tells whether a path leads to something."""
        try:
            self.find(path)
        except Missing:
            return False
        return True

    def remove(self, name: str) -> None:
        """Takes a name at the top away, if it is there."""
        assert self.root.children is not None
        self.root.children.pop(name, None)

    def has_link(self, path: str) -> bool:
        """Tells whether a path, or a directory on the way to it, is a symlink here."""
        node = self.root
        for part in _parts(path):
            child = node.children.get(part) if node.children is not None else None
            if child is None:
                return False
            if child.link is not None:
                return True
            node = child
        return False

    def walk(self, path: str, node: Node) -> Iterator[tuple[str, Node]]:
        """Yields path and node of everything below a node, and the node itself first; names in order. Symlinks are not followed."""
        pending = [(path, node)]
        while pending:
            path, node = pending.pop()
            yield path, node
            if node.children:
                pending += [(f"{path}/{name}" if path else name, node.children[name]) for name in sorted(node.children, reverse=True)]

    def content(self, node: Node) -> Iterator[bytes]:
        """Yields a regular file's bytes; a hard link's are those of the file it names. Raises Missing."""
        member = self.described(node)
        if member is None or member.kind != REGULAR:
            raise Missing("")
        at, left = member.offset, member.size
        while left:
            data = os.pread(self._file.fileno(), min(left, _PIECE), at)
            if not data:
                raise InvalidArgument("unexpected EOF")
            at += len(data)
            left -= len(data)
            yield data

    def original(self, node: Node) -> Node:
        """Returns the entry that a hard link is another name of; anything else is itself. Raises Missing."""
        for _ in range(_LINKS):
            member = node.member
            if member is None or member.kind != HARDLINK:
                return node
            node = self.find(member.link)[1]
        raise Missing("")

    def described(self, node: Node) -> Member | None:
        """Returns what an entry says of itself: a hard link says what the entry says that it is another name of. Raises Missing."""
        return self.original(node).member

    def digest(self, path: str, node: Node) -> str:
        """Returns Docker's hash of one entry, without times: sha256 over header fields and content; a bare directory's is its path."""
        if node.member is None:
            return path
        if not node.digest:
            node.digest = self._hash(path, node, node.member)
        return node.digest

    def _hash(self, path: str, node: Node, member: Member) -> str:
        name, mode, user, group = member.name, member.mode, member.user, member.group
        if self._type_bits:
            name = path + ("/" if member.kind == DIRECTORY else "")
            mode |= {REGULAR: 0o100000, DIRECTORY: 0o40000, SYMLINK: 0o120000, HARDLINK: 0o100000}.get(member.kind, 0)
            user, group = ("root" if number == 0 else "" for number in (member.uid, member.gid))
        fields = (
            ("name", name),
            ("mode", mode),
            ("uid", member.uid),
            ("gid", member.gid),
            ("size", member.size),
            ("typeflag", member.kind),
            ("linkname", member.link),
            ("uname", user),
            ("gname", group),
            ("devmajor", member.major),
            ("devminor", member.minor),
            *member.xattrs,
        )
        digest = hashlib.sha256("".join(f"{key}{value}" for key, value in fields).encode("utf-8", "surrogateescape"))
        original = self.described(node)
        if original is not None and original.kind == REGULAR:
            # A hard link's too, unlike dockerd: copied without the file that it names, nothing else would tell that that changed.
            for data in self.content(node):
                digest.update(data)
        return digest.hexdigest()


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
