"""Uploads under way.

In a store of files they outlive this service: the next one goes on where the bytes end. Over a bucket they are the service's that began
them, and gone with it: a client that goes on is told BLOB_UPLOAD_UNKNOWN and begins anew.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial

import msgspec

from skerry.core.errors import Failed
from skerry.images.blobs import Blobs, BlobWriter, KeepsUploads
from skerry.images.catalog.repositories import BlobPlace
from skerry.images.distribution.refusals import Refusal

_GATHERED = 1 << 18
_SHA512 = "sha512:"


class _Told(msgspec.Struct, frozen=True):
    """What an upload is for."""

    repository: str
    algorithm: str


class Upload:
    """One blob on its way in. Used by one request at a time (`Uploads.use`)."""

    def __init__(self, name: str, told: _Told, opened: AbstractContextManager[BlobWriter]) -> None:
        self.name = name
        self.repository = told.repository
        self.offset = 0
        self.touched = time.monotonic()
        self.lock = asyncio.Lock()
        self.over = False
        self._opened = opened
        self._entered: BlobWriter | None = None
        # Of what a predecessor left the other digest is made at the end, by reading it once more.
        self._other = hashlib.sha512() if told.algorithm == "sha512" else None

    async def open(self) -> None:
        """Makes it ready to take bytes. Idempotent."""
        if self._entered is None:
            self._entered = await asyncio.to_thread(self._opened.__enter__)
            self.offset = getattr(self._entered, "size", 0)
            if self.offset:
                self._other = None

    @property
    def _writer(self) -> BlobWriter:
        if self._entered is None:
            raise AssertionError("an upload is opened before it is used")
        return self._entered

    async def append(self, chunks: AsyncIterator[bytes], room: int) -> None:
        """Takes bytes to the end of chunks; what came before a failure stays. Raises Refusal when more than room come."""
        pieces: list[bytes] = []
        size = 0
        async for chunk in chunks:
            pieces.append(chunk)
            size += len(chunk)
            if self.offset + size > room:
                raise Refusal("SIZE_INVALID", f"the blob is larger than {room} bytes allow", status=413)
            if size >= _GATHERED:
                await self._write(b"".join(pieces))
                pieces, size = [], 0
        if pieces:
            await self._write(b"".join(pieces))

    async def _write(self, data: bytes) -> None:
        def work() -> None:
            self._writer.write(data)
            if self._other is not None:
                self._other.update(data)

        # A request that ends in the middle must not leave a thread that still writes: the next would write beside it.
        writing = asyncio.get_running_loop().run_in_executor(None, work)
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait({writing})
            if writing.exception() is None:
                self.offset += len(data)
            else:
                self.over = True
            raise
        self.offset += len(data)
        self.touched = time.monotonic()

    async def commit(self, digest: str, blobs: Blobs) -> BlobPlace:
        """Makes it durable under its digest. Raises Refusal DIGEST_INVALID when it has another."""
        other = digest.startswith(_SHA512)
        if other and self._other is not None and f"{_SHA512}{self._other.hexdigest()}" != digest:
            raise Refusal("DIGEST_INVALID", "provided digest did not match uploaded content")
        try:
            content, size = await asyncio.to_thread(self._writer.commit, "" if other else digest)
        except Failed as error:
            if "verification failed" in str(error):
                raise Refusal("DIGEST_INVALID", "provided digest did not match uploaded content") from None
            raise
        # Chunks that came without a word of the algorithm: the whole is read once more.
        if other and self._other is None and await asyncio.to_thread(sha512_of, blobs, content) != digest:
            raise Refusal("DIGEST_INVALID", "provided digest did not match uploaded content")
        return BlobPlace(digest, content, size)

    def close(self, *, keep: bool = False) -> None:
        """Ends its use here; removes what was not committed, unless it is to be kept and can be. Blocks."""
        self.over = True
        if self._entered is None:
            if keep:
                return
            self._entered = self._opened.__enter__()
        if keep and hasattr(self._entered, "keep"):
            self._entered.keep = True
        self._opened.__exit__(None, None, None)


class Uploads:
    """All uploads under way, `most` at once; one that gets no byte for idle seconds is given up."""

    def __init__(self, blobs: Blobs, *, most: int, idle: float) -> None:
        self._blobs = blobs
        self._kept = blobs if isinstance(blobs, KeepsUploads) else None
        self._most = most
        self.idle = idle
        self._open: dict[str, Upload] = {}

    async def begin(self, repository: str, algorithm: str) -> Upload:
        """Opens one. Raises Refusal TOOMANYREQUESTS."""
        await self.expire()
        if len(self._open) >= self._most:
            raise Refusal("TOOMANYREQUESTS", f"more than {self._most} uploads at once")
        name, told = os.urandom(16).hex(), _Told(repository, algorithm)
        upload = Upload(name, told, self._kept.upload(name, msgspec.json.encode(told)) if self._kept is not None else self._blobs.writer())
        await upload.open()
        self._open[name] = upload
        return upload

    async def restore(self) -> None:
        """Takes up what a predecessor left. To be called once, before all else."""
        if self._kept is None:
            return
        for name, note in (await asyncio.to_thread(self._kept.begun)).items():
            try:
                told = msgspec.json.decode(note, type=_Told)
            except msgspec.DecodeError:
                told = _Told("", "")  # nobody asks for it: it goes when its time is over
            self._open[name] = Upload(name, told, self._kept.upload(name, note))

    @asynccontextmanager
    async def use(self, name: str, repository: str) -> AsyncIterator[Upload]:
        """Gives one upload to one request. Raises Refusal BLOB_UPLOAD_UNKNOWN."""
        upload = self._open.get(name)
        if upload is None or upload.repository != repository:
            raise Refusal("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        async with upload.lock:
            if upload.over:
                raise Refusal("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
            await upload.open()
            yield upload
            upload.touched = time.monotonic()

    async def end(self, upload: Upload) -> None:
        """Forgets it, and what of it is not committed. Idempotent."""
        if self._open.pop(upload.name, None) is not None:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, upload.close))

    async def expire(self) -> None:
        """Gives up what is idle."""
        before = time.monotonic() - self.idle
        for upload in [one for one in self._open.values() if one.touched < before and not one.lock.locked()]:
            await self.end(upload)

    async def watch(self) -> None:
        """Expires for ever."""
        while True:
            await asyncio.sleep(min(30.0, self.idle / 2))
            await self.expire()

    async def close(self) -> None:
        """Leaves all to the next service, where that is possible."""
        for upload in list(self._open.values()):
            del self._open[upload.name]
            await asyncio.to_thread(partial(upload.close, keep=True))


def sha512_of(blobs: Blobs, content: str) -> str:
    """Returns a stored blob's sha512 digest. Blocks."""
    check = hashlib.sha512()
    with blobs.open(content) as reader:
        for data in iter(partial(reader.read, _GATHERED), b""):
            check.update(data)
    return f"{_SHA512}{check.hexdigest()}"
