"""A container's files as its processes see them: root, volumes and binds in a mount namespace of the worker's own.

Nothing here trusts the container, which may run and change its tree meanwhile: paths are resolved by the kernel below the root, mounts
are made on descriptors, and what was mounted goes with the process.
"""

import errno
import os
import posixpath
import stat

from skerry.containers.copy.job import Bind, Gone, Job
from skerry.containers.inside import evaluate, make_below, open_at
from skerry.core import linux
from skerry.core.errors import Failed, NotFound

_PATH = os.O_PATH | os.O_CLOEXEC


class View:
    """The root of a container, held open."""

    def __init__(self, root: int, binds: tuple[Bind, ...], *, read_only: bool) -> None:
        self.root = root
        self._place = os.readlink(f"/proc/self/fd/{root}")
        self._binds = binds
        self._read_only = read_only

    def open(self, path: str | bytes, flags: int) -> int:
        """Opens a path of the container; raises OSError."""
        return open_at(self.root, path, flags)

    def real(self, fd: int) -> str:
        """Returns where in the container a descriptor leads, with all links resolved."""
        place = os.readlink(f"/proc/self/fd/{fd}")
        return "/" + place.removeprefix(self._place).strip("/")

    def evaluate(self, path: str) -> str:
        """Returns path with all links resolved as far as there are files; only a text: whoever opens it resolves it anew."""
        return evaluate(self.root, path)

    def refusal(self, real: str) -> str:
        """Returns Docker's reason why nothing may be written at a resolved path; empty when it may."""
        holders = [bind for bind in self._binds if bind.asked and (real + "/").startswith(bind.target.rstrip("/") + "/")]
        if holders:
            innermost = max(holders, key=lambda bind: len(bind.target))
            return "mounted volume is marked read-only" if innermost.read_only else ""
        return "container rootfs is marked read-only" if self._read_only else ""


def enter(job: Job) -> View:
    """Gives this process (of one thread) a mount namespace with the container's mounts. Raises Gone, Failed, OSError."""
    linux.unshare(linux.CLONE_NEWNS)
    # Nothing that is mounted here is seen elsewhere.
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    root = os.open(job.rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if os.fstat(root).st_dev == os.stat(os.path.dirname(job.rootfs)).st_dev:
        raise Gone(job.container)
    # A mount inside another one comes after it.
    for bind in sorted(job.binds, key=lambda each: each.target.count("/")):
        _mount(root, bind)
    if job.read_only and job.operation == "put":
        _make_read_only(root)
    return View(root, job.binds, read_only=job.read_only)


def _mount(root: int, bind: Bind) -> None:
    try:
        directory = stat.S_ISDIR(os.stat(bind.source).st_mode)
        target = _target(root, bind.target, directory=directory)
        try:
            flags = linux.MS_BIND | (linux.MS_REC if bind.recursive else 0)
            linux.mount(bind.source, f"/proc/self/fd/{target}", flags=flags)
        finally:
            os.close(target)
        if bind.read_only:
            # Anew: the descriptor from before leads below the mount.
            _make_read_only(mounted := open_at(root, bind.target, _PATH))
            os.close(mounted)
    except OSError as error:
        raise Failed(f"error while mounting volume '{bind.source}': {(error.strerror or '').lower()}") from None


def _make_read_only(fd: int) -> None:
    linux.mount("none", f"/proc/self/fd/{fd}", flags=linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY)


def _target(root: int, path: str, *, directory: bool) -> int:
    """Opens a mount's target, which is made when it is missing (the container never ran)."""
    try:
        return open_at(root, path, _PATH)
    except FileNotFoundError:
        pass
    if directory:
        make_below(root, path)
    else:
        above, name = posixpath.split(path)
        make_below(root, above)
        parent = open_at(root, above, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=parent))
        finally:
            os.close(parent)
    return open_at(root, path, _PATH)


def absolute(path: str) -> str:
    """Returns a client's path as absolute and without "..", keeping a trailing "/" or "/." as Docker does."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if posixpath.basename(path) == "." and posixpath.basename(clean) != ".":
        return clean.rstrip("/") + "/."
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def missing(error: OSError, job: Job) -> Exception:
    """Returns Docker's error for a path that cannot be looked up."""
    if error.errno == errno.ENOENT:
        return NotFound(f"Could not find the file {job.path} in container {job.container}")
    return Failed(f"lstat {job.path}: {(error.strerror or str(error)).lower()}")
