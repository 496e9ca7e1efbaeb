"""Blobs and uploads (OCI distribution specification 1.1: end-2, 4 to 6, 9 to 11, 13, 14)."""

import asyncio
import re
from collections.abc import AsyncIterator

from aiohttp import web

from skerry.core.errors import NotFound, SkerryError
from skerry.images.catalog.repositories import BlobPlace
from skerry.images.distribution.access import Caller, canonical
from skerry.images.distribution.mirror import Mirror
from skerry.images.distribution.names import ALGORITHMS, digest_or_refusal, is_digest, repository_of
from skerry.images.distribution.refusals import Refusal
from skerry.images.distribution.sending import send_blob
from skerry.images.distribution.serving import Serving
from skerry.images.distribution.shelf import Shelf
from skerry.images.distribution.uploads import Upload

_CHUNK = 1 << 18
_CONTENT_RANGE = re.compile(r"(?:bytes )?(\d{1,19})-(\d{1,19})(?:/(?:\d+|\*))?\Z")


class BlobRoutes:
    """Handlers."""

    def __init__(self, shelf: Shelf, serving: Serving, mirror: Mirror) -> None:
        self._shelf = shelf
        self._serving = serving
        self._mirror = mirror

    async def get(self, request: web.Request) -> web.StreamResponse:
        """GET and HEAD of a blob."""
        name, digest = request.match_info["name"], digest_or_refusal(request.match_info["digest"])
        repository = repository_of(name)
        caller = await self._shelf.gate.check(request, "pull", name)
        place = await self._serving.blob(repository, digest)
        if place is not None:
            if request.method == "HEAD" and caller.may("push", canonical(name)):
                # Who asks so is about to push a manifest that names it.
                await self._shelf.records.touch_blob(repository, digest, self._shelf.loose_until())
            try:
                return await send_blob(request, self._shelf, place)
            except NotFound:
                pass  # a sweep was faster
        if self._mirror.stands_for(repository):
            return await self._mirror.blob(request, repository, digest)
        raise Refusal("BLOB_UNKNOWN", "blob unknown to registry")

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """DELETE of a blob: the repository has it no more."""
        name, digest = request.match_info["name"], digest_or_refusal(request.match_info["digest"])
        repository = repository_of(name)
        await self._shelf.gate.check(request, "delete", name)
        if not await self._shelf.records.drop_blob(repository, digest):
            raise Refusal("BLOB_UNKNOWN", "blob unknown to registry")
        self._shelf.collector.soon()
        return web.Response(status=202)

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """POST of an upload: a mount, a whole blob, or the begin of pieces."""
        name = request.match_info["name"]
        repository = repository_of(name)
        caller = await self._shelf.gate.check(request, "push", name)
        if "mount" in request.query:
            place = await self._mounted(request, caller, repository)
            if place is not None:
                return self._created(name, place)
        digest = request.query.get("digest", "")
        if digest:
            digest_or_refusal(digest)
        algorithm = digest.partition(":")[0] or request.query.get("digest-algorithm", "sha256")
        if algorithm not in ALGORITHMS:
            raise Refusal("DIGEST_INVALID", f"unsupported digest algorithm {algorithm[:50]!r}")
        await self._shelf.room(repository)
        upload = await self._shelf.uploads.begin(repository, algorithm)
        if not digest or "mount" in request.query:
            return self._progress(name, upload, 202)
        async with self._shelf.uploads.use(upload.name, repository) as mine:
            return await self._finish(request, name, mine, digest)

    async def status(self, request: web.Request) -> web.StreamResponse:
        """GET of an upload: how far it is."""
        name = request.match_info["name"]
        await self._shelf.gate.check(request, "push", name)
        async with self._shelf.uploads.use(request.match_info["upload"], repository_of(name)) as upload:
            return self._progress(name, upload, 204)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """DELETE of an upload."""
        name = request.match_info["name"]
        await self._shelf.gate.check(request, "push", name)
        async with self._shelf.uploads.use(request.match_info["upload"], repository_of(name)) as upload:
            await self._shelf.uploads.end(upload)
        return web.Response(status=204)

    async def piece(self, request: web.Request) -> web.StreamResponse:
        """PATCH: the next piece."""
        name = request.match_info["name"]
        repository = repository_of(name)
        await self._shelf.gate.check(request, "push", name)
        async with self._shelf.uploads.use(request.match_info["upload"], repository) as upload:
            self._check_range(request, name, upload)
            await self._take(request, upload)
            return self._progress(name, upload, 202)

    async def finish(self, request: web.Request) -> web.StreamResponse:
        """PUT: the last piece, or none, and the digest."""
        name = request.match_info["name"]
        repository = repository_of(name)
        await self._shelf.gate.check(request, "push", name)
        digest = digest_or_refusal(request.query.get("digest", ""))
        async with self._shelf.uploads.use(request.match_info["upload"], repository) as upload:
            self._check_range(request, name, upload)
            return await self._finish(request, name, upload, digest)

    async def _finish(self, request: web.Request, name: str, upload: Upload, digest: str) -> web.Response:
        shelf = self._shelf
        await self._take(request, upload)
        # Until it is recorded the blob is nobody's.
        async with shelf.collector.taking():
            try:
                place = await upload.commit(digest, shelf.blobs)
            finally:
                await shelf.uploads.end(upload)
            await shelf.records.put_blob(upload.repository, place, shelf.loose_until())
        return self._created(name, place)

    async def _take(self, request: web.Request, upload: Upload) -> None:
        room = await self._shelf.room(upload.repository)
        if upload.offset + (request.content_length or 0) > room:
            await self._shelf.uploads.end(upload)
            raise Refusal("SIZE_INVALID", f"the blob is larger than the {room} bytes that are left", status=413)
        try:
            await upload.append(body_of(request, self._shelf.uploads.idle), room)
        except (Refusal, SkerryError):
            # Too much, or a full disk: what came makes place at once.
            await self._shelf.uploads.end(upload)
            raise

    def _check_range(self, request: web.Request, name: str, upload: Upload) -> None:
        header = request.headers.get("Content-Range")
        if header is None:
            return
        match = _CONTENT_RANGE.match(header)
        length = request.content_length
        wrong = match is None or int(match[1]) != upload.offset
        if match is not None and length is not None:
            wrong |= int(match[2]) - int(match[1]) + 1 != length
        if wrong:
            headers = self._headers(name, upload)
            raise Refusal("BLOB_UPLOAD_INVALID", f"the upload goes on at {upload.offset}", status=416, headers=headers)

    async def _mounted(self, request: web.Request, caller: Caller, repository: str) -> BlobPlace | None:
        """Gives the repository a blob of another one that the caller may read."""
        digest, source = request.query["mount"], request.query.get("from", "")
        if not is_digest(digest):
            raise Refusal("DIGEST_INVALID", f"invalid digest: {digest[:200]!r}")
        shelf = self._shelf
        async with shelf.collector.taking():
            for other in [repository_of(source)] if source else await shelf.records.holders(digest):
                if not caller.may("pull", canonical(other)):
                    continue
                place = await self._serving.blob(other, digest)
                if place is not None and await shelf.has(place.content):
                    await shelf.records.put_blob(repository, place, shelf.loose_until())
                    return place
        return None

    def _created(self, name: str, place: BlobPlace) -> web.Response:
        headers = {"Location": f"/v2/{name}/blobs/{place.digest}", "Docker-Content-Digest": place.digest}
        return web.Response(status=201, headers=headers)

    def _headers(self, name: str, upload: Upload) -> dict[str, str]:
        return {
            "Location": f"/v2/{name}/blobs/uploads/{upload.name}",
            "Range": f"0-{max(0, upload.offset - 1)}",
            "Docker-Upload-UUID": upload.name,
        }

    def _progress(self, name: str, upload: Upload, status: int) -> web.Response:
        return web.Response(status=status, headers=self._headers(name, upload))


async def body_of(request: web.Request, idle: float) -> AsyncIterator[bytes]:
    """Yields a request's body. Raises Refusal when nothing comes for idle seconds."""
    while True:
        try:
            async with asyncio.timeout(idle):
                chunk = await request.content.readany()
        except TimeoutError:
            raise Refusal("BLOB_UPLOAD_INVALID", f"nothing came for {idle:g} s", status=408) from None
        if not chunk:
            return
        yield chunk
