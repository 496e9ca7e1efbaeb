"""Blobs as files: ROOT/blobs/sha256/<hex>, written as ROOT/tmp/<random> first."""

import asyncio
import fcntl
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from typing import BinaryIO

from skerry.core import linux
from skerry.core.errors import Failed, InvalidArgument, NotFound
from skerry.core.files import sync_directory
from skerry.images.blobs import Arrived, Link, Listed

_ALGORITHM = "sha256:"
_WRITEBACK = 16 << 20
_PIECE = 1 << 20


class _Writer:
    def __init__(self, blobs: "FileBlobs", path: str) -> None:
        self._blobs = blobs
        self.path = path
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - closed by writer()
        self._hash = hashlib.sha256()
        self._size = 0
        self._begun = 0

    def write(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        view = memoryview(data)
        self._size += len(view)
        try:
            while view:
                view = view[self._file.write(view) :]
            if self._size - self._begun >= _WRITEBACK:
                # While more comes the disk works: the sync at the end finds little left to do.
                linux.start_writeback(self._file.fileno(), self._begun, self._size - self._begun)
                self._begun = self._size
        except OSError as error:
            # Said here, where it is known that not the client's stream is at fault.
            raise Failed(f"write {self.path}: {(error.strerror or str(error)).lower()}") from None

    def commit(self, expected: str = "") -> tuple[str, int]:
        digest = f"{_ALGORITHM}{self._hash.hexdigest()}"
        _check(digest, expected)
        if self._blobs.has(digest):
            os.utime(self._blobs.where(digest))  # as young as if it had come now: a sweep's grace counts from here
            return digest, self._size  # the same bytes: what nodes have mounted stays the one copy
        os.fdatasync(self._file.fileno())
        os.rename(self.path, self._blobs.where(digest))
        sync_directory(self._blobs.folder)
        return digest, self._size

    def take(self, limit: int, seen: Callable[[memoryview], None] | None = None) -> tuple[str, int]:
        """Takes what another process wrote into `path` instead of calling write."""
        # The disk writes while the processor hashes.
        with ThreadPoolExecutor(1) as disk, open(self.path, "rb", buffering=0) as file:
            written = disk.submit(os.fdatasync, self._file.fileno())
            buffer = memoryview(bytearray(_PIECE))
            while count := file.readinto(buffer):
                self._hash.update(buffer[:count])
                if seen is not None:
                    seen(buffer[:count])
                self._size += count
                if self._size > limit:
                    raise InvalidArgument(f"layer is larger than {limit} bytes")
            written.result()  # what the disk refused is told once only: here
        return self.commit()

    def close(self) -> None:
        self._file.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass  # committed


class _LayerWriter:
    """The plain tar always, the form it came in when asked for."""

    def __init__(self, plain: _Writer, compressed: _Writer | None) -> None:
        self._plain = plain
        self._compressed = compressed
        self.write = plain.write

    def came(self, data: bytes | memoryview) -> None:
        if self._compressed is not None:
            self._compressed.write(data)

    def commit(self, expected_diff: str = "", expected: str = "") -> tuple[str, int, str]:
        diff_id, size = self._plain.commit(expected_diff)
        return diff_id, size, self._compressed.commit(expected)[0] if self._compressed is not None else ""


class _TakingOver:
    """The plain tar as the layer comes; the form it came in is a file already, hashed by who wrote it."""

    def __init__(self, blobs: "FileBlobs", plain: _Writer, part: Arrived, *, keep: bool) -> None:
        self._blobs = blobs
        self._plain = plain
        self._part = part
        self._keep = keep
        self.write = plain.write

    def came(self, data: bytes | memoryview) -> None:
        return

    def commit(self, expected_diff: str = "", expected: str = "") -> tuple[str, int, str]:
        diff_id, size = self._plain.commit(expected_diff)
        if not self._keep:
            return diff_id, size, ""
        self._blobs.adopt(self._part, expected)
        return diff_id, size, expected


class _TakingOverPlain:
    """A layer that came plain: the file is what will be kept."""

    def __init__(self, blobs: "FileBlobs", part: Arrived) -> None:
        self._blobs = blobs
        self._part = part
        self._hash = hashlib.sha256()
        self._size = 0

    def came(self, data: bytes | memoryview) -> None:
        return

    def write(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        self._size += len(data)

    def commit(self, expected_diff: str = "", expected: str = "") -> tuple[str, int, str]:
        digest = f"{_ALGORITHM}{self._hash.hexdigest()}"
        _check(digest, expected_diff)
        self._blobs.adopt(self._part, digest)
        return digest, self._size, ""


def _check(digest: str, expected: str) -> None:
    if expected and digest != expected:
        raise Failed(f"filesystem layer verification failed for digest {expected}: content has {digest}")


@asynccontextmanager
async def exclusively(root: str, patience: float = 10.0) -> AsyncIterator[None]:
    """Keeps every other image store out of root while the body runs: each would remove what the other is writing.

    A predecessor that still drains is waited for; raises Failed when another has it for longer than patience seconds.
    """
    deadline = time.monotonic() + patience
    with open(os.path.join(root, "lock"), "wb") as file:  # noqa: ASYNC230 - an empty file, at start
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Failed(f"another image store uses {root}") from None
            await asyncio.sleep(0.05)
        yield


class FileBlobs:
    """Blobs below a directory of this process alone (see `exclusively`). What a killed one left unfinished is removed at opening."""

    def __init__(self, root: str) -> None:
        self.folder = os.path.join(root, "blobs", "sha256")
        self._temporary = os.path.join(root, "tmp")
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        os.makedirs(self._temporary, mode=0o700, exist_ok=True)
        for name in os.listdir(self._temporary):
            os.unlink(os.path.join(self._temporary, name))

    @contextmanager
    def writer(self) -> Iterator[_Writer]:
        one = _Writer(self, os.path.join(self._temporary, os.urandom(16).hex()))
        try:
            yield one
        finally:
            one.close()

    @contextmanager
    def layer(self, compression: str, *, keep: bool, expected: str = "") -> Iterator[_LayerWriter]:
        with ExitStack() as stack:
            plain = stack.enter_context(self.writer())
            compressed = stack.enter_context(self.writer()) if compression and keep else None
            yield _LayerWriter(plain, compressed)

    @contextmanager
    def taking_over(self, part: Arrived, compression: str, *, keep: bool) -> Iterator[_TakingOver | _TakingOverPlain]:
        if not compression:
            yield _TakingOverPlain(self, part)
            return
        with self.writer() as plain:
            yield _TakingOver(self, plain, part, keep=keep)

    def adopt(self, part: Arrived, digest: str) -> None:
        """Makes a file of this file system, whose digest was checked, the blob; it stays where it is when the blob is here already."""
        if self.has(digest):
            os.utime(self.where(digest))
            return
        part.sync()
        os.rename(part.path, self.where(digest))
        sync_directory(self.folder)

    def by_path(self) -> AbstractContextManager[_Writer]:
        return self.writer()

    def where(self, digest: str) -> str:
        """Returns where the blob lies, or would lie."""
        return os.path.join(self.folder, digest.removeprefix(_ALGORITHM))

    def has(self, digest: str) -> bool:
        return os.path.exists(self.where(digest))

    def size(self, digest: str) -> int:
        return os.stat(self.path(digest)).st_size

    def path(self, digest: str) -> str:
        path = self.where(digest)
        if not os.path.exists(path):
            raise NotFound(f"blob {digest} is not in the store")
        return path

    @contextmanager
    def open(self, digest: str, offset: int = 0) -> Iterator[BinaryIO]:
        with open(self.path(digest), "rb") as file:
            file.seek(offset)
            yield file

    def link(self, diff_id: str) -> Link | None:
        self.path(diff_id)
        return None

    def read(self, digest: str, limit: int) -> bytes:
        with open(self.path(digest), "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise Failed(f"blob {digest} is larger than {limit} bytes")
        return data

    def remove(self, digest: str) -> int:
        path = self.where(digest)
        try:
            freed = os.stat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            return 0
        return freed

    def all(self) -> Iterator[str]:
        for name in os.listdir(self.folder):
            yield f"{_ALGORITHM}{name}"

    def listed(self) -> Iterator[Listed]:
        with os.scandir(self.folder) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                yield Listed(f"{_ALGORITHM}{entry.name}", status.st_size, status.st_mtime)

    def tidy(self, before: float) -> None:
        # Nobody else writes here, and at opening all was removed.
        return
