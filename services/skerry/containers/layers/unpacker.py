"""Makes what a tar holds below an open directory, safely also while others change what lies there.

Every name is used relative to an open directory that the kernel resolved below the root, so no link in a tar leads out of it. Starts
quickly: `docker cp` runs it in a process of its own.
"""

import errno
import os
import stat

from skerry.containers.inside import open_at
from skerry.containers.layers import tar
from skerry.containers.layers.tar_source import Source
from skerry.core.errors import InvalidArgument

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# What overlayfs takes for "nothing shows through from below".
OPAQUE = ("trusted.overlay.opaque", b"y")
_OPEN_DIRECTORIES = 256


class Unpacker:
    """Makes a tar's members below an open directory. What lies there is merged with: directories stay, all else is replaced.

    Safe also while others change the tree: every step is relative to a directory that is held open and follows no link in its last part.
    """

    # Modification time of directories that no member names; None: when they were made.
    implied_mtime: int | None = None

    def __init__(self, source: Source, root: int) -> None:
        self._source = source
        self._root = root
        self._open: dict[bytes, int] = {}
        # Set last, as making entries changes them.
        self._times: dict[bytes, int] = {}
        self.entries = 0
        self.bytes = 0
        self._path = b""

    @property
    def current(self) -> str:
        """The entry being made, for messages."""
        return self._path.decode("utf-8", "backslashreplace")[:200]

    def add(self, entry: tar.Entry) -> None:
        """Makes one member. Raises InvalidArgument, OSError."""
        self.entries += 1
        self._path = entry.path
        parent_path, _, name = entry.path.rpartition(b"/")
        if not entry.path:
            self._top(entry)
        elif entry.kind == tar.HARDLINK:
            self._link(entry, parent_path, name)
        elif entry.kind == tar.DIRECTORY:
            self._directory(entry, parent_path, name)
        else:
            self._leaf(entry, parent_path, name)

    def _top(self, entry: tar.Entry) -> None:
        if entry.kind != tar.DIRECTORY:
            raise InvalidArgument("tar: the root is not a directory")
        self._dress(self._root, entry)
        self._times[b""] = entry.mtime

    def _hides(self, status: os.stat_result) -> bool:
        """Tells whether what lies there stands for something deleted."""
        return False

    def _lookup(self, path: bytes, flags: int) -> int:
        return open_at(self._root, path or b".", flags)

    def _replace(self, entry: tar.Entry, parent: int, name: bytes, old: os.stat_result) -> None:
        """Removes what lies where a member goes. Raises InvalidArgument to refuse."""
        self._remove(name, parent, old)

    def finish(self) -> None:
        """Sets the directories' times."""
        for path, mtime in reversed(self._times.items()):
            try:
                fd = self._lookup(path, DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue  # replaced by something else later in the tar
            try:
                os.utime(fd, ns=(mtime, mtime))
            finally:
                os.close(fd)

    def forget(self) -> None:
        """Closes the cached directories."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def _parent(self, path: bytes, *, create: bool = True) -> int:
        if not path:
            return self._root
        fd = self._open.get(path)
        if fd is None:
            try:
                fd = self._lookup(path, DIRECTORY)
            except (FileNotFoundError, NotADirectoryError):
                if not create:
                    raise
                fd = self._make_parent(path)
            if len(self._open) >= _OPEN_DIRECTORIES:
                self.forget()
            self._open[path] = fd
        return fd

    def _make_parent(self, path: bytes) -> int:
        above, _, name = path.rpartition(b"/")
        parent = self._parent(above)
        old = status_of(name, parent)
        hidden = old is not None and self._hides(old)
        if hidden:
            os.unlink(name, dir_fd=parent)
        os.mkdir(name, 0o755, dir_fd=parent)
        if self.implied_mtime is not None:
            self._times[path] = self.implied_mtime
        fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        os.fchmod(fd, 0o755)
        if hidden:
            os.setxattr(fd, *OPAQUE)
        return fd

    def _link(self, entry: tar.Entry, parent_path: bytes, name: bytes) -> None:
        source_path, _, source_name = entry.link.rpartition(b"/")
        parent = self._parent(parent_path)
        # Duplicated: looking the other one up may close cached directories.
        parent = os.dup(parent)
        try:
            source = self._parent(source_path, create=False)
            target = status_of(source_name, source) if source_name else None
            if target is None or stat.S_ISDIR(target.st_mode) or self._hides(target):
                raise InvalidArgument(f"tar: hard link {self.current} to what is no file of this layer")
            old = status_of(name, parent)
            if old is not None and (old.st_dev, old.st_ino) == (target.st_dev, target.st_ino):
                return
            if old is not None:
                source = os.dup(source)
                try:
                    self._replace(entry, parent, name, old)
                    os.link(source_name, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
                finally:
                    os.close(source)
            else:
                os.link(source_name, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)

    def _directory(self, entry: tar.Entry, parent_path: bytes, name: bytes) -> None:
        parent = os.dup(self._parent(parent_path))
        try:
            old = status_of(name, parent)
            hidden = old is not None and self._hides(old)
            if old is not None and not stat.S_ISDIR(old.st_mode):
                self._replace(entry, parent, name, old)
            if old is None or not stat.S_ISDIR(old.st_mode):
                os.mkdir(name, 0o700, dir_fd=parent)
            fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        finally:
            os.close(parent)
        try:
            self._dress(fd, entry)
            if hidden:
                os.setxattr(fd, *OPAQUE)
        finally:
            os.close(fd)
        self._times.pop(entry.path, None)
        self._times[entry.path] = entry.mtime

    def _leaf(self, entry: tar.Entry, parent_path: bytes, name: bytes) -> None:
        parent = os.dup(self._parent(parent_path))
        try:
            old = status_of(name, parent)
            if old is not None:
                self._replace(entry, parent, name, old)
            if entry.kind == tar.REGULAR:
                self._file(entry, parent, name)
                return
            if entry.kind == tar.SYMLINK:
                os.symlink(entry.link, name, dir_fd=parent)
            else:
                os.mknod(name, entry.mode, os.makedev(*entry.device), dir_fd=parent)
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
            if entry.kind != tar.SYMLINK:
                _chmod(name, entry.mode, parent)
            for key, value in entry.xattrs:
                _set_xattr(b"/proc/self/fd/%d/%s" % (parent, name), key, value)
            os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)

    def _file(self, entry: tar.Entry, parent: int, name: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            segments = [(0, entry.size, entry.offset)] if entry.segments is None else entry.segments
            if entry.segments is not None:
                os.ftruncate(fd, entry.size)
            for position, length, offset in segments:
                self._source.copy(offset, length, fd, position)
            self.bytes += entry.size
            self._dress(fd, entry)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _dress(self, fd: int, entry: tar.Entry) -> None:
        # In this order: chown drops set-uid bits and file capabilities.
        os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, stat.S_IMODE(entry.mode))
        for key, value in entry.xattrs:
            _set_xattr(fd, key, value)

    def _remove(self, name: bytes, parent: int, old: os.stat_result) -> None:
        if stat.S_ISDIR(old.st_mode) or stat.S_ISLNK(old.st_mode):
            # Cached directories may have been reached through it.
            self.forget()
        if stat.S_ISDIR(old.st_mode):
            # Only then: it takes longer to load than a small copy takes.
            import shutil

            shutil.rmtree(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)


def status_of(name: bytes, parent: int) -> os.stat_result | None:
    """Returns what a name in an open directory stands for, links not followed; None for nothing."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _chmod(name: bytes, mode: int, parent: int) -> None:
    """Sets the mode of what is no symbolic link, without following one that takes its place meanwhile."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if stat.S_IFMT(os.fstat(fd).st_mode) == stat.S_IFMT(mode):
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(mode))
    finally:
        os.close(fd)


def _set_xattr(where: int | bytes, key: bytes, value: bytes) -> None:
    try:
        if isinstance(where, int):
            os.setxattr(where, key, value)
        else:
            os.setxattr(where, key, value, follow_symlinks=False)
    except OSError as error:
        # Of a kind that this file system, or this type of file, does not keep.
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
