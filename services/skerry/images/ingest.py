"""What is on its way from registries, kept over cancelled pulls, network failures and deaths of this service.

A part is ROOT/images/ingest/<hex>.part, a blob's bytes as they came. Nothing in it is believed: who resumes it reads and hashes it from its
first byte. A claim is ROOT/images/ingest/<hex>.claim: the blobs of an image whose pull has not ended, so that a collection spares those
layers that are there already.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from skerry.core.errors import Failed
from skerry.core.files import write_atomic
from skerry.images.singly import Singly

_log = logging.getLogger(__name__)
_PART = ".part"
_CLAIM = ".claim"
_TIDY_SECONDS = 3600.0


class Part:
    """One blob's file, held by one fetch. Its methods block."""

    def __init__(self, path: str, limit: int) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        # Bytes that were here at the beginning; what is longer than the blob can be none of it.
        self.begin = os.fstat(self._fd).st_size
        if self.begin > limit:
            os.ftruncate(self._fd, 0)
            self.begin = 0
        self._at = 0
        self._unwanted = False

    def read(self, offset: int, size: int) -> bytes:
        """Returns what lay here at the beginning, from offset on; b"" at its end."""
        return os.pread(self._fd, min(size, max(0, self.begin - offset)), offset)

    def write(self, data: bytes | memoryview) -> None:
        """Takes the blob's next bytes, from its first on: those that are here already are not written again. Raises Failed."""
        view = memoryview(data)
        known = min(len(view), max(0, self.begin - self._at))
        self._at += known
        view = view[known:]
        try:
            while view:
                count = os.pwrite(self._fd, view, self._at)
                self._at += count
                view = view[count:]
        except OSError as error:
            raise Failed(f"write {self.path}: {(error.strerror or str(error)).lower()}") from None

    def sync(self) -> None:
        """Makes the content durable."""
        os.fdatasync(self._fd)

    def discard(self) -> None:
        """Says that what is here is of no use."""
        self._unwanted = True

    @property
    def unwanted(self) -> bool:
        """Whether it was discarded."""
        return self._unwanted

    def restart(self) -> None:
        """Begins anew with nothing."""
        os.ftruncate(self._fd, 0)
        self.begin = self._at = 0
        self._unwanted = False

    def close(self) -> None:
        """Ends the use. The file stays when it may serve another time."""
        empty = os.fstat(self._fd).st_size == 0
        os.close(self._fd)
        if self._unwanted or empty:
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                pass  # the blob store took it over


class Ingest:
    """The folder of parts. Parts that nobody went on with for max_age seconds go, and the oldest while all take more than max_bytes."""

    def __init__(self, folder: str, *, max_age: float, max_bytes: int) -> None:
        self._folder = folder
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._turns = Singly()
        self._held: set[str] = set()
        os.makedirs(folder, mode=0o700, exist_ok=True)

    @asynccontextmanager
    async def part(self, digest: str, size: int) -> AsyncIterator[Part]:
        """Holds the part of a blob of size bytes while the body runs; waits for whoever holds it."""
        name = f"{digest.removeprefix('sha256:')}{_PART}"
        async with self._turns.of(name):
            self._held.add(name)
            try:
                part = await asyncio.to_thread(Part, os.path.join(self._folder, name), size)
                try:
                    yield part
                finally:
                    part.close()
            finally:
                self._held.discard(name)

    @asynccontextmanager
    async def claim(self, image_id: str, digests: Iterable[str]) -> AsyncIterator[None]:
        """Keeps blobs of an image from being collected, also after the body's failure; the body's success ends the claim."""
        path = os.path.join(self._folder, f"{image_id.removeprefix('sha256:')}{_CLAIM}")
        await asyncio.to_thread(write_atomic, path, "\n".join(digests).encode(), sync=False)
        yield
        # Two pulls of one image: the first to end may take the claim of the other, which holds collections off by itself.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def claimed(self, sizes: dict[str, int]) -> set[str]:
        """Returns the blobs of unfinished pulls, the newest first and no more than max_bytes, of those whose sizes are given. Blocks."""
        found: set[str] = set()
        room = self._max_bytes
        for _, _, path in sorted(self._entries(_CLAIM), reverse=True):
            with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as file:
                wanted = {digest for digest in file.read().split() if digest in sizes} - found
                room -= sum(sizes[digest] for digest in wanted)
                if room >= 0:
                    found |= wanted
        return found

    async def tidying(self) -> None:
        """Removes what is too old or too much, now and every hour."""
        while True:
            await asyncio.to_thread(self.tidy)
            await asyncio.sleep(_TIDY_SECONDS)

    def tidy(self) -> None:
        """Removes what is too old or too much. Blocks."""
        oldest = time.time() - self._max_age
        for changed, _, path in self._entries(_CLAIM):
            if changed < oldest:
                os.unlink(path)
        found = self._entries(_PART)
        total = sum(size for _, size, _ in found)
        for changed, size, path in sorted(found):
            if total > self._max_bytes or changed < oldest:
                _log.info("interrupted download given up", extra={"path": path, "bytes": size})
                os.unlink(path)
                total -= size

    def _entries(self, suffix: str) -> list[tuple[float, int, str]]:
        """Returns time of change, size and path of all such files that nobody holds."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(suffix) and entry.name not in self._held:
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime, status.st_size, entry.path))
        return found
