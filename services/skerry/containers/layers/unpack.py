"""Extracts layer tars into directories for overlayfs: the form for kernels that cannot mount EROFS from files.

Every name is used relative to an open directory that the kernel resolved below the root, so no link in a tar leads out of it.
"""

import ctypes
import errno
import os
import stat

from skerry.containers.layers import tar
from skerry.containers.layers.erofs import Summary
from skerry.containers.layers.tar_source import FileSource, Source
from skerry.containers.layers.tree import AUFS_PREFIX, OPAQUE_MARK, WHITEOUT_PREFIX
from skerry.containers.layers.unpacker import DIRECTORY, OPAQUE, Unpacker, status_of
from skerry.core.errors import InvalidArgument

_RELATED = (errno.ELOOP, errno.ENOTDIR, errno.ENOENT, errno.EEXIST, errno.EXDEV)
_libc = ctypes.CDLL(None, use_errno=True)


def unpack(tar_path: str, directory: str, limits: tar.Limits = tar.DEFAULT) -> Summary:
    """Extracts a tar into an empty directory, whiteouts in overlay's form; durable when it returns.

    Blocks. Raises InvalidArgument for a bad tar, OSError. What was written until then is the caller's to remove.
    """
    fd = os.open(tar_path, os.O_RDONLY | os.O_CLOEXEC)
    root = os.open(directory, DIRECTORY)
    unpacker = _LayerUnpacker(FileSource(fd), root)
    try:
        for entry in tar.read(fd, limits):
            unpacker.add(entry)
        unpacker.finish()
        if _libc.syncfs(root) != 0:
            raise OSError(ctypes.get_errno(), "syncfs", directory)
    except OSError as error:
        if error.errno in _RELATED:
            raise InvalidArgument(f"tar: {unpacker.current}: {error.strerror}") from None
        raise
    finally:
        unpacker.forget()
        os.close(root)
        os.close(fd)
    return Summary(unpacker.entries, unpacker.bytes)


class _LayerUnpacker(Unpacker):
    """With whiteouts in overlay's form."""

    implied_mtime = 0

    def __init__(self, source: Source, root: int) -> None:
        super().__init__(source, root)
        self._times[b""] = 0

    def add(self, entry: tar.Entry) -> None:
        """See Unpacker."""
        parent_path, _, name = entry.path.rpartition(b"/")
        if not name.startswith(WHITEOUT_PREFIX):
            super().add(entry)
            return
        self.entries += 1
        self._path = entry.path
        self._whiteout(parent_path, name)

    def _hides(self, status: os.stat_result) -> bool:
        return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0

    def _whiteout(self, parent_path: bytes, name: bytes) -> None:
        parent = self._parent(parent_path)
        if name == OPAQUE_MARK:
            os.setxattr(parent, *OPAQUE)
            return
        if name.startswith(AUFS_PREFIX):
            return
        hidden = name[len(WHITEOUT_PREFIX) :]
        if hidden in (b"", b".", b".."):
            raise InvalidArgument(f"tar: bad whiteout {self.current}")
        old = status_of(hidden, parent)
        if old is None:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
            os.utime(hidden, ns=(0, 0), dir_fd=parent, follow_symlinks=False)
        elif stat.S_ISDIR(old.st_mode):
            fd = os.open(hidden, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
            try:
                os.setxattr(fd, *OPAQUE)
            finally:
                os.close(fd)
