"""Extracts an archive in a directory of a container, by `docker cp`'s rules."""

import os
import posixpath
import stat

from skerry.containers.copy.view import View
from skerry.containers.layers import tar
from skerry.containers.layers.tar_source import Source
from skerry.containers.layers.unpacker import Unpacker
from skerry.core.errors import InvalidArgument


class Extractor(Unpacker):
    """Members go below `root`, an open directory of the view that lies at `place` there; links lead where the container's do."""

    def __init__(
        self,
        source: Source,
        view: View,
        root: int,
        place: str,
        *,
        no_overwrite_dir_non_dir: bool = False,
        owner: tuple[int, int] | None = None,
        mode: int | None = None,
    ) -> None:
        super().__init__(source, root)
        self._view = view
        self._place = os.fsencode(place.rstrip("/"))
        self._strict = no_overwrite_dir_non_dir
        self._owner = owner
        self._mode = mode

    def add(self, entry: tar.Entry) -> None:
        """See Unpacker. Raises InvalidArgument in Docker's words."""
        if _leaves(entry.name):
            name = os.fsdecode(entry.name)
            raise InvalidArgument(f'"{posixpath.normpath(name.lstrip("/"))}" is outside of "{os.fsdecode(self._place) or "/"}"')
        if self._owner is not None:
            entry.uid, entry.gid = self._owner
        if self._mode is not None and entry.kind != tar.SYMLINK:
            entry.mode = stat.S_IFMT(entry.mode) | self._mode
        super().add(entry)

    def _top(self, entry: tar.Entry) -> None:
        """The directory itself stays as it is."""

    def _lookup(self, path: bytes, flags: int) -> int:
        return self._view.open(self._place + b"/" + path, flags)

    def _replace(self, entry: tar.Entry, parent: int, name: bytes, old: os.stat_result) -> None:
        if self._strict:
            there, comes = stat.S_ISDIR(old.st_mode), entry.kind == tar.DIRECTORY
            if there != comes:
                kinds = ("directory", "non-directory") if there else ("non-directory", "directory")
                target = os.fsdecode(self._place + b"/" + entry.path)
                raise InvalidArgument(f'cannot overwrite {kinds[0]} "{target}" with {kinds[1]} "{os.fsdecode(self._place) or "/"}"')
        super()._replace(entry, parent, name, old)


def _leaves(name: bytes) -> bool:
    """Tells whether a name, taken as a text, leads above the directory it is extracted in."""
    depth = 0
    for part in name.split(b"/"):
        if part == b"..":
            depth -= 1
            if depth < 0:
                return True
        elif part not in (b"", b"."):
            depth += 1
    return False
