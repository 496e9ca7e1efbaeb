"""`main` in a process of its own: one copy. Job and tar come by stdin; head and tar go by stdout; a late error by stderr.

A process, because it wants a mount namespace, must be stoppable at any moment, and shall not hold up the service.
Imports little, as it must start quickly.
"""

import os
import posixpath
import resource
import stat
import sys
from collections.abc import Callable

from skerry.containers.copy.extract import Extractor
from skerry.containers.copy.job import Gone, Head, Job, Stat, failure, frame, read_job
from skerry.containers.copy.pack import Packer, matches
from skerry.containers.copy.stream import open_stream
from skerry.containers.copy.view import View, absolute, enter, missing
from skerry.containers.inside import make_below
from skerry.containers.layers import tar
from skerry.containers.layers.writer import PipeSink
from skerry.core.errors import Failed, InvalidArgument, NotFound, SkerryError

_PATH = os.O_PATH | os.O_CLOEXEC
_UNKNOWN_SIZE = 1 << 62
_MEMORY = 1 << 30
# Docker's words, which are right here too.
_LAMENT = "Error processing tar file(exit status 1)"
# Bits of Go's os.FileMode, by what stat(2) calls them.
_GO_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


def go_mode(mode: int) -> int:
    """Returns a mode as Go's os.FileMode has it."""
    bits = _GO_KINDS.get(stat.S_IFMT(mode), 0) | mode & 0o777
    return bits | sum(go for linux, go in _GO_BITS.items() if mode & linux)


class _Found:
    """A path of which the last part was not followed: an open directory and a name in it, "." for the directory itself."""

    def __init__(self, view: View, job: Job) -> None:
        self.path = absolute(job.path)
        above, self.base = posixpath.split(self.path)
        self.name = self.base or "."
        try:
            self.parent = view.open(above, _PATH | os.O_DIRECTORY)
            self.status = os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)
        except OSError as error:
            raise missing(error, job) from None

    def stat(self, view: View) -> Stat:
        status = self.status
        link = view.evaluate(self.path) if stat.S_ISLNK(status.st_mode) else ""
        shown = posixpath.basename(self.path.rstrip("/")) or "/"
        return Stat(shown, status.st_size, go_mode(status.st_mode), status.st_mtime_ns, link)


def _get(view: View, job: Job) -> None:
    if job.members:
        _get_members(view, job)
        return
    found = _Found(view, job)
    about = found.stat(view)
    directory = -1
    if stat.S_ISDIR(found.status.st_mode):
        try:
            directory = os.open(found.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=found.parent)
        except OSError as error:
            raise missing(error, job) from None
    _say(Head(stat=about))
    out = PipeSink(1)
    packer = Packer(out)
    shown = b"" if about.name == "/" else os.fsencode(about.name)
    if directory >= 0:
        packer.directory(directory, shown)
    else:
        packer.tree(found.parent, os.fsencode(found.name), shown)
    out.close()


def _get_members(view: View, job: Job) -> None:
    base = absolute(job.path).rstrip("/")
    chosen: list[str] = []
    for pattern in job.members:
        paths = matches(view, base, pattern)
        if not paths:
            raise NotFound(f"Could not find the file {posixpath.join(job.path, pattern)} in container {job.container}")
        chosen += [path for path in paths if path not in chosen]
    _say(Head(stat=_Found(view, job).stat(view)))
    out = PipeSink(1)
    packer = Packer(out)
    for path in chosen:
        above, name = posixpath.split(base + path)
        parent = view.open(above or "/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            packer.tree(parent, os.fsencode(name) or b".", os.fsencode(path.lstrip("/")))
        finally:
            os.close(parent)
    out.close()


def _place(view: View, path: str) -> tuple[str, str]:
    """Returns the directory that one member goes in and the name that it gets there; an empty one: its own."""
    try:
        os.close(view.open(path, _PATH | os.O_DIRECTORY))
    except OSError:
        above, name = posixpath.split(view.evaluate(path))
        return above, name
    return path, ""


def _put(view: View, job: Job) -> None:
    path, name = absolute(job.path), ""
    if job.file_or_directory:
        path, name = _place(view, path)
    if job.create_path:
        make_below(view.root, path)
    try:
        root = view.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise missing(error, job) from None
    if not stat.S_ISDIR(os.fstat(root).st_mode):
        raise InvalidArgument("extraction point is not a directory")
    place = view.real(root)
    if refusal := view.refusal(place):
        raise Failed(refusal)
    owner = None
    if job.owner:
        # Only then: it takes longer to load than a small copy takes.
        from skerry.containers import users

        user = users.resolve(job.rootfs, job.owner)
        owner = (user.uid, user.gid)
    _say(Head())
    stream = open_stream(0, job.most_bytes)
    extractor = Extractor(stream, view, root, place, no_overwrite_dir_non_dir=job.no_overwrite_dir_non_dir, owner=owner, mode=job.mode)
    try:
        for entry in tar.members(stream, _UNKNOWN_SIZE):
            if name:
                entry.name = entry.path = os.fsencode(name)
            extractor.add(entry)
        extractor.finish()
    except InvalidArgument as error:
        raise InvalidArgument(f"{_LAMENT}: {error}") from None
    except OSError as error:
        text = (error.strerror or str(error)).lower()
        raise Failed(f"{_LAMENT}: {posixpath.join(place, extractor.current)}: {text}") from None
    stream.drain()


def _say(head: Head) -> None:
    os.write(1, frame(head))


def _stat(view: View, job: Job) -> None:
    _say(Head(stat=_Found(view, job).stat(view)))


_OPERATIONS: dict[str, Callable[[View, Job], None]] = {"stat": _stat, "get": _get, "put": _put}


def main() -> None:
    """Runs one copy; exit status 1 and an error as JSON on stderr when it failed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    # A compressed archive chooses how much memory unpacking it takes.
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    os.umask(0)
    try:
        job = read_job(0)
        _OPERATIONS[job.operation](enter(job), job)
    except BrokenPipeError:
        raise SystemExit(1) from None  # who reads has gone: nobody is left to be told
    except (SkerryError, Gone, OSError) as error:
        problem = failure(error)
    except MemoryError:
        problem = Head(error=Failed.__name__, text="the archive needs too much memory to be unpacked")
    except (EOFError, ValueError):
        raise SystemExit(1) from None  # the service went away
    else:
        return
    sys.stderr.buffer.write(frame(problem))
    raise SystemExit(1)
