"""A layer as a tree in memory: what extracting its tar would give, with the rules for whiteouts applied."""

import stat
from collections.abc import Iterable

from skerry.containers.layers import layout, tar
from skerry.core.errors import InvalidArgument

WHITEOUT_PREFIX = layout.WHITEOUT_PREFIX
AUFS_PREFIX = layout.AUFS_PREFIX
OPAQUE_MARK = layout.OPAQUE_MARK
_LINK_BUDGET = 40


class Node:
    """One inode. children is None for all but directories; hard links are the same node under several names."""

    __slots__ = (
        "children",
        "device",
        "gid",
        "link",
        "links",
        "mode",
        "mtime",
        "offset",
        "opaque",
        "segments",
        "size",
        "uid",
        "whiteout",
        "xattrs",
    )

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.uid = 0
        self.gid = 0
        self.mtime = 0
        self.size = 0
        self.offset = 0
        self.segments: list[tuple[int, int, int]] | None = None
        self.link = b""
        self.device = (0, 0)
        self.children: dict[bytes, Node] | None = {} if stat.S_ISDIR(mode) else None
        self.xattrs: list[tuple[bytes, bytes]] = []
        self.links = 1
        self.opaque = False
        self.whiteout = False

    def take(self, entry: tar.Entry) -> None:
        """Gives the node an entry's attributes and content."""
        self.mode, self.uid, self.gid, self.mtime = entry.mode, entry.uid, entry.gid, entry.mtime
        self.size, self.offset, self.segments = entry.size, entry.offset, entry.segments
        self.link, self.device, self.xattrs = entry.link, entry.device, entry.xattrs
        # Overlay's own form, which a tar may hold too.
        self.whiteout = entry.kind == tar.CHARACTER and entry.device == (0, 0)


class Tree:
    """Grows by `add`. Symbolic links in the paths of entries are followed inside the layer, never out of it."""

    def __init__(self) -> None:
        self.root = _directory()
        self.entries = 0
        # Bytes of all regular files, holes included.
        self.bytes = 0
        self._directories: dict[bytes, Node] = {b"": self.root}

    def add(self, entry: tar.Entry) -> None:
        """Applies one entry. Raises InvalidArgument when it cannot be: a parent that is no directory, a link to nothing."""
        self.entries += 1
        if not entry.path:
            if entry.kind != tar.DIRECTORY:
                raise InvalidArgument("tar: the root is not a directory")
            self.root.take(entry)
            return
        parent_path, _, name = entry.path.rpartition(b"/")
        siblings = self._siblings(parent_path)
        if name.startswith(WHITEOUT_PREFIX):
            self._whiteout(parent_path, siblings, name)
        elif entry.kind == tar.HARDLINK:
            self._link(entry, siblings, name)
        else:
            self._put(entry, siblings, name)

    def _put(self, entry: tar.Entry, siblings: "dict[bytes, Node]", name: bytes) -> None:
        old = siblings.get(name)
        if old is not None and old.children is not None and entry.kind == tar.DIRECTORY:
            old.take(entry)
            return
        node = Node(entry.mode)
        node.take(entry)
        # What came before hid the lower layers' entry; the new directory must go on hiding it.
        node.opaque = old is not None and old.whiteout and node.children is not None
        if old is not None:
            self._drop(old)
        siblings[name] = node
        self.bytes += entry.size

    def _drop(self, old: Node) -> None:
        old.links -= 1
        # A replaced directory or link may be part of any cached path.
        if old.children is not None or stat.S_ISLNK(old.mode):
            self._directories = {b"": self.root}

    def _link(self, entry: tar.Entry, siblings: "dict[bytes, Node]", name: bytes) -> None:
        parent_path, _, target_name = entry.link.rpartition(b"/")
        target = self._siblings(parent_path, create=False).get(target_name)
        if target is None or target.children is not None or target.whiteout:
            raise InvalidArgument(f"tar: hard link {_shown(entry.path)} to {_shown(entry.link)}, which is no file of this layer")
        old = siblings.get(name)
        if old is target:
            return
        if old is not None:
            self._drop(old)
        target.links += 1
        siblings[name] = target

    def _whiteout(self, parent_path: bytes, siblings: "dict[bytes, Node]", name: bytes) -> None:
        if name == OPAQUE_MARK:
            self._resolve(parent_path, create=True).opaque = True
            return
        if name.startswith(AUFS_PREFIX):
            return
        hidden = name[len(WHITEOUT_PREFIX) :]
        if hidden in (b"", b".", b".."):
            raise InvalidArgument(f"tar: bad whiteout {_shown(name)}")
        # It only hides what lower layers have: an entry of this layer stays.
        old = siblings.get(hidden)
        if old is None:
            node = siblings[hidden] = Node(stat.S_IFCHR)
            node.whiteout = True
        elif old.children is not None:
            old.opaque = True

    def _siblings(self, path: bytes, *, create: bool = True) -> "dict[bytes, Node]":
        children = self._resolve(path, create=create).children
        assert children is not None
        return children

    def _resolve(self, path: bytes, *, create: bool) -> Node:
        node = self._directories.get(path)
        if node is None:
            node = self._walk(path, create=create)
            self._directories[path] = node
        return node

    def _walk(self, path: bytes, *, create: bool) -> Node:
        trail = [self.root]
        # (component, whether it comes from a symbolic link's text), next one last.
        pending = [(part, False) for part in reversed(path.split(b"/"))]
        budget = _LINK_BUDGET
        while pending:
            part, linked = pending.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if len(trail) > 1:
                    trail.pop()
                continue
            children = trail[-1].children
            assert children is not None
            node = children.get(part)
            if node is not None and stat.S_ISLNK(node.mode):
                budget -= 1
                if budget == 0:
                    raise InvalidArgument(f"tar: too many symbolic links in {_shown(path)}")
                if node.link.startswith(b"/"):
                    del trail[1:]
                pending += [(each, True) for each in reversed(node.link.split(b"/"))]
                continue
            if node is None or node.whiteout:
                if linked or not create:
                    raise InvalidArgument(f"tar: {_shown(path)} leads to nothing")
                made = children[part] = _directory()
                made.opaque = node is not None
                node = made
            if node.children is None:
                raise InvalidArgument(f"tar: {_shown(path)} is not a directory")
            trail.append(node)
        return trail[-1]


def grow(entries: Iterable[tar.Entry]) -> Tree:
    """Returns the tree of a whole layer."""
    tree = Tree()
    for entry in entries:
        tree.add(entry)
    return tree


def _directory() -> Node:
    return Node(stat.S_IFDIR | 0o755)


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")[:200]
