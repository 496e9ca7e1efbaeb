"""Pull-through: what a client asks of a repository of another registry is fetched from there, kept, and asked for again only when it may
have changed. A blob that several clients want is fetched once; each is sent what has come so far and then what comes.
"""

import asyncio
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import aiohttp
from aiohttp import web

from skerry.core.errors import Failed, InvalidArgument, NotFound, SkerryError, Unauthorized
from skerry.core.lifecycle import Tasks
from skerry.images import manifest
from skerry.images.catalog.repositories import BlobPlace, ManifestRecord
from skerry.images.distribution import documents
from skerry.images.distribution.refusals import Refusal
from skerry.images.distribution.sending import blob_headers, send_blob
from skerry.images.distribution.serving import Serving
from skerry.images.distribution.shelf import Shelf
from skerry.images.distribution.upstreams import Upstreams
from skerry.images.registry.repository import Repository

_log = logging.getLogger(__name__)
_PIECE = 1 << 18
# The last bytes of a blob are sent when its digest is known to be right: a client never gets a wrong blob whole.
_HELD_BACK = 1 << 16


class _Fetch:
    """One blob on its way, in a file that grows."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.size = -1
        self.written = 0
        self.done = False
        self.error: SkerryError | None = None
        self.begun = asyncio.Event()
        # Those that get it when it is whole.
        self.repositories: set[str] = set()
        # Of the file, while it grows.
        self.fd = -1
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        await self._changed.wait()

    @property
    def visible(self) -> int:
        return self.written if self.done else min(self.written, max(0, self.size - _HELD_BACK))


class Mirror:
    """Stands for other registries."""

    def __init__(self, shelf: Shelf, serving: Serving, upstreams: Upstreams, tasks: Tasks, folder: str) -> None:
        self._shelf = shelf
        self._serving = serving
        self._upstreams = upstreams
        self._tasks = tasks
        self._folder = folder
        self._under_way: dict[str, _Fetch] = {}

    def stands_for(self, repository: str) -> bool:
        """Tells whether the repository is another registry's."""
        return self._upstreams.has(repository)

    async def by_digest(self, repository: str, digest: str) -> ManifestRecord:
        """Raises NotFound, Refusal."""
        try:
            record = await self._serving.by_digest(repository, digest)
        except NotFound:
            return await self._fetched(repository, digest)
        await self._used(repository, record)
        return record

    async def by_tag(self, repository: str, tag: str) -> ManifestRecord:
        """Asks the registry what the tag means now. What is here is the answer when it cannot be asked, or was pushed here.

        Raises NotFound, Refusal.
        """
        records = self._shelf.records
        known: ManifestRecord | None = None
        try:
            place = await records.tagged(repository, tag)
            known = await records.manifest(repository, place.digest)
            if not place.copied and not place.image:
                return known
        except NotFound:
            pass
        try:
            upstream = await self._upstreams.of(repository)
            digest = await _meaning(upstream, tag)
            if known is not None and known.digest == digest:
                await self._used(repository, known)
                return known
            return await self._fetched(repository, tag, digest)
        except NotFound:
            if known is not None and known.expires_ns:
                await records.untag(repository, tag)
            return await self._here(repository, tag)
        except (SkerryError, Refusal, aiohttp.ClientError, TimeoutError, OSError) as error:
            _log.warning("upstream cannot be asked", extra={"repository": repository, "reason": str(error)})
            try:
                return await self._here(repository, tag)
            except NotFound:
                raise Refusal("UNSUPPORTED", f"upstream: {error}", status=502) from None

    async def _here(self, repository: str, tag: str) -> ManifestRecord:
        return await self._serving.by_tag(repository, tag)

    async def _used(self, repository: str, record: ManifestRecord) -> None:
        expires = self._expiry()
        if record.expires_ns and expires - record.expires_ns > int(self._shelf.settings.distribution_copy_seconds * 1e8):
            await self._shelf.records.touch_manifest(repository, record.digest, expires)

    def _expiry(self) -> int:
        return time.time_ns() + int(self._shelf.settings.distribution_copy_seconds * 1e9)

    async def _fetched(self, repository: str, reference: str, digest: str = "") -> ManifestRecord:
        """Fetches and keeps a manifest. Raises NotFound, Refusal."""
        shelf = self._shelf
        data, kind = await self._kept(repository, digest) if digest else (b"", "")
        if not data:
            upstream = await self._upstreams.of(repository)
            try:
                data, kind, _ = await upstream.manifest(digest or reference)
            except Unauthorized as error:
                self._upstreams.forget(repository)
                raise Refusal("DENIED", f"upstream: {error}") from None
        document = documents.read(data, kind)
        async with shelf.collector.taking():
            content = (await shelf.keep(data)).digest
            record = documents.record(document, content, content, len(data), expires_ns=self._expiry())
            # What of its blobs is here already; the others come when they are asked for.
            here = [one for one in documents.blobs_of(document) if one.digest.startswith("sha256:") and await shelf.has(one.digest)]
            places = [BlobPlace(one.digest, one.digest, one.size) for one in here]
            await shelf.records.put_manifest(repository, record, [] if ":" in reference else [reference], places)
        return record

    async def _kept(self, repository: str, digest: str) -> tuple[bytes, str]:
        try:
            found = await self._shelf.records.manifest(repository, digest)
            return await self._shelf.document(found), found.media_type
        except (NotFound, Refusal):
            return b"", ""

    async def blob(self, request: web.Request, repository: str, digest: str) -> web.StreamResponse:
        """Sends a blob that is not here yet. Raises Refusal."""
        if not digest.startswith("sha256:"):
            raise Refusal("BLOB_UNKNOWN", "blob unknown to registry")
        upstream = await self._upstreams.of(repository)
        try:
            size = await _size(upstream, digest)
        except NotFound:
            raise Refusal("BLOB_UNKNOWN", "blob unknown to registry") from None
        except (SkerryError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Refusal("UNSUPPORTED", f"upstream: {error}", status=502) from None
        if size > self._shelf.settings.distribution_max_blob:
            raise Refusal("SIZE_INVALID", "the blob is too large", status=413)
        if await self._shelf.has(digest):
            # It came by another way; upstream says that it is this repository's too.
            async with self._shelf.collector.taking():
                await self._note(repository, digest, size)
            return await send_blob(request, self._shelf, BlobPlace(digest, digest, size))
        response = web.StreamResponse(headers={**blob_headers(digest), "Accept-Ranges": "none"})
        response.content_length = size
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        fetch = self._under_way.get(digest)
        if fetch is None:
            fetch = self._start(upstream, digest, size)
        fetch.repositories.add(repository)
        await fetch.begun.wait()
        if fetch.fd >= 0:
            # Opened once more at once: the fetch may end before the answer does.
            await self._follow(request, response, fetch, os.dup(fetch.fd))
            return response
        while not fetch.done and fetch.error is None:
            await fetch.wait()
        if fetch.error is not None:
            raise Refusal("UNSUPPORTED", f"upstream: {fetch.error}", status=502)
        return await send_blob(request, self._shelf, BlobPlace(digest, digest, size))

    async def _follow(self, request: web.Request, response: web.StreamResponse, fetch: _Fetch, fd: int) -> None:
        try:
            await response.prepare(request)
            sent = 0
            while sent < fetch.size:
                if fetch.error is not None:
                    # Nothing more can be said than by an end that comes too early.
                    raise ConnectionResetError(str(fetch.error))
                if fetch.visible <= sent:
                    await fetch.wait()
                    continue
                data = await asyncio.to_thread(os.pread, fd, min(_PIECE, fetch.visible - sent), sent)
                await response.write(data)
                sent += len(data)
            await response.write_eof()
        finally:
            os.close(fd)

    def _start(self, upstream: Repository, digest: str, size: int) -> _Fetch:
        fetch = _Fetch()
        fetch.size = size
        self._under_way[digest] = fetch

        async def work() -> None:
            try:
                async with self._shelf.collector.taking():
                    await self._fetch(fetch, upstream, digest)
                    for repository in list(fetch.repositories):
                        await self._note(repository, digest, size)
                fetch.done = True
            except SkerryError as error:
                fetch.error = error
            except asyncio.CancelledError:
                fetch.error = NotFound("the registry stops")
                raise
            finally:
                del self._under_way[digest]
                fetch.begun.set()
                fetch.changed()

        fetch.task = self._tasks.spawn(work(), f"mirror {digest}")
        return fetch

    async def _note(self, repository: str, digest: str, size: int) -> None:
        await self._shelf.records.put_blob(repository, BlobPlace(digest, digest, size), self._shelf.loose_until())

    async def _fetch(self, fetch: _Fetch, upstream: Repository, digest: str) -> None:
        """Writes the blob to a file that clients read along, and makes it the store's."""
        opened = self._shelf.blobs.by_path()
        taking = await asyncio.to_thread(opened.__enter__) if opened is not None else None
        path = taking.path if taking is not None else await asyncio.to_thread(_empty_file, self._folder)
        try:
            fd = await asyncio.to_thread(os.open, path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                await self._written(fetch, fd, upstream, digest)
            finally:
                fetch.fd = -1
                await asyncio.to_thread(os.close, fd)
            if taking is not None:
                await asyncio.to_thread(taking.take, fetch.size)
            else:
                await asyncio.to_thread(self._copied, path, digest)
        finally:
            await asyncio.to_thread(_closed, opened, path)

    async def _written(self, fetch: _Fetch, fd: int, upstream: Repository, digest: str) -> None:
        check = hashlib.sha256()
        fetch.fd = fd
        fetch.begun.set()
        async for chunk in upstream.blob(digest, fetch.size):
            await asyncio.to_thread(_append, fd, check.update, chunk)
            fetch.written += len(chunk)
            fetch.changed()
        if f"sha256:{check.hexdigest()}" != digest:
            raise InvalidArgument(f"upstream sent something else than {digest}")

    def _copied(self, path: str, digest: str) -> None:
        with open(path, "rb") as file, self._shelf.blobs.writer() as out:
            while data := file.read(_PIECE):
                out.write(data)
            out.commit(digest)


def _append(fd: int, check: Callable[[bytes], None], chunk: bytes) -> None:
    check(chunk)
    view = memoryview(chunk)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        raise Failed(f"write: {(error.strerror or str(error)).lower()}") from None


def _empty_file(folder: str) -> str:
    fd, path = tempfile.mkstemp(prefix="mirror-", dir=folder)
    os.close(fd)
    return path


def _closed(opened: AbstractContextManager[object] | None, path: str) -> None:
    if opened is not None:
        opened.__exit__(None, None, None)
    else:
        os.unlink(path)


async def _meaning(upstream: Repository, tag: str) -> str:
    """Returns the digest that a tag has upstream; "" when it does not say. Raises NotFound, SkerryError."""

    async def once() -> str:
        async with upstream.request("HEAD", f"manifests/{tag}", {"Accept": ", ".join(manifest.ACCEPT)}) as response:
            if response.status == 404:
                raise NotFound(f"upstream has no tag {tag}")
            if response.status in (401, 403):
                raise Unauthorized("upstream wants other credentials")
            return response.headers.get("Docker-Content-Digest", "") if response.status == 200 else ""

    return await upstream.retried(once)


async def _size(upstream: Repository, digest: str) -> int:
    async def once() -> int:
        async with upstream.request("HEAD", f"blobs/{digest}", {}) as response:
            if response.status != 200 or response.content_length is None:
                raise NotFound(f"upstream has no blob {digest}")
            return response.content_length

    return await upstream.retried(once)
