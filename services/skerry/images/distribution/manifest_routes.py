"""Manifests (OCI distribution specification 1.1: end-3, 7, 9)."""

import asyncio
import hashlib

import msgspec
from aiohttp import web

from skerry.core.errors import NotFound
from skerry.images.catalog.repositories import ManifestRecord
from skerry.images.distribution import documents
from skerry.images.distribution.becoming import Becoming
from skerry.images.distribution.blob_routes import body_of
from skerry.images.distribution.mirror import Mirror
from skerry.images.distribution.names import check_tag, digest_or_refusal, is_digest, repository_of
from skerry.images.distribution.refusals import Refusal
from skerry.images.distribution.serving import Serving
from skerry.images.distribution.shelf import Shelf

_MAX_TAGS = 100


class ManifestRoutes:
    """Handlers."""

    def __init__(self, shelf: Shelf, serving: Serving, becoming: Becoming, mirror: Mirror) -> None:
        self._shelf = shelf
        self._serving = serving
        self._becoming = becoming
        self._mirror = mirror

    async def get(self, request: web.Request) -> web.StreamResponse:
        """GET and HEAD."""
        name, reference = request.match_info["name"], request.match_info["reference"]
        repository = repository_of(name)
        await self._shelf.gate.check(request, "pull", name)
        record = await self._found(repository, reference)
        headers = {"Docker-Content-Digest": record.digest, "Content-Type": record.media_type, "ETag": f'"{record.digest}"'}
        if request.headers.get("If-None-Match", "").strip('W/"') == record.digest:
            return web.Response(status=304, headers=headers)
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(record.size)})
        return web.Response(body=await self._shelf.document(record), headers=headers)

    async def _found(self, repository: str, reference: str) -> ManifestRecord:
        try:
            if ":" in reference:
                digest_or_refusal(reference)
                if self._mirror.stands_for(repository):
                    return await self._mirror.by_digest(repository, reference)
                return await self._serving.by_digest(repository, reference)
            check_tag(reference)
            if self._mirror.stands_for(repository):
                return await self._mirror.by_tag(repository, reference)
            return await self._serving.by_tag(repository, reference)
        except NotFound:
            raise Refusal("MANIFEST_UNKNOWN", f"manifest unknown: {reference[:200]}") from None

    async def put(self, request: web.Request) -> web.StreamResponse:
        """PUT by tag, or by digest with tags in the query."""
        name, reference = request.match_info["name"], request.match_info["reference"]
        repository = repository_of(name)
        await self._shelf.gate.check(request, "push", name)
        by_digest = ":" in reference
        tags = request.query.getall("tag", []) if by_digest else [reference]
        if len(tags) > _MAX_TAGS:
            raise Refusal("MANIFEST_INVALID", f"more than {_MAX_TAGS} tags at once", status=414)
        for tag in tags:
            check_tag(tag)
        wanted = digest_or_refusal(reference) if by_digest else request.query.get("digest", "")
        if wanted and not is_digest(wanted):
            raise Refusal("DIGEST_INVALID", f"invalid digest: {wanted[:200]!r}")
        data = await self._body(request)
        digest = f"{(wanted or 'sha256:').partition(':')[0]}:"
        digest += await asyncio.to_thread(lambda: hashlib.new(digest[:-1], data).hexdigest())
        if wanted and digest != wanted:
            raise Refusal("DIGEST_INVALID", "provided digest did not match uploaded content")
        document = documents.read(data, request.headers.get("Content-Type", ""))
        if len(data) > await self._shelf.room(repository):
            raise Refusal("DENIED", "quota exceeded", status=413)
        async with self._shelf.collector.taking(leaves=True):
            await self._complete(repository, document)
            content = (await self._shelf.keep(data)).digest
            record = documents.record(document, digest, content, len(data), await self._image_of(repository, digest))
            if tags:
                image = await self._becoming.image(repository, tags, data, document, digest)
                if not image:
                    # The tag means something else now than an image: that keeps its other names.
                    await self._serving.unname(repository, {f"{repository}:{tag}" for tag in tags})
                record = msgspec.structs.replace(record, image=image or record.image)
            await self._shelf.records.put_manifest(repository, record, tags, [])
        return self._created(name, record, tags if by_digest else [])

    def _created(self, name: str, record: ManifestRecord, tags: list[str]) -> web.Response:
        headers = {"Location": f"/v2/{name}/manifests/{record.digest}", "Docker-Content-Digest": record.digest}
        if record.subject:
            headers["OCI-Subject"] = record.subject
        response = web.Response(status=201, headers=headers)
        for tag in tags:
            response.headers.add("OCI-Tag", tag)
        return response

    async def _body(self, request: web.Request) -> bytes:
        limit = self._shelf.settings.distribution_max_manifest
        data = bytearray()
        if (request.content_length or 0) <= limit:
            async for chunk in body_of(request, self._shelf.uploads.idle):
                data += chunk
                if len(data) > limit:
                    break
            else:
                return bytes(data)
        raise Refusal("MANIFEST_INVALID", f"manifest is larger than {limit} bytes", status=413)

    async def _complete(self, repository: str, document: documents.Document) -> None:
        """Raises Refusal when the repository lacks what the manifest names."""
        for one in documents.blobs_of(document):
            place = await self._serving.blob(repository, one.digest)
            if place is None or not await self._shelf.has(place.content):
                raise Refusal("MANIFEST_BLOB_UNKNOWN", f"blob unknown to registry: {one.digest}")
            if place.size != one.size:
                raise Refusal("MANIFEST_INVALID", f"{one.digest} has {place.size} bytes, not {one.size}")
        for one in document.manifests or []:
            try:
                await self._serving.by_digest(repository, one.digest)
            except NotFound:
                raise Refusal("MANIFEST_BLOB_UNKNOWN", f"manifest unknown to registry: {one.digest}") from None

    async def _image_of(self, repository: str, digest: str) -> str:
        try:
            return (await self._shelf.records.manifest(repository, digest)).image
        except NotFound:
            return ""

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """DELETE of a tag, or of a manifest with its tags."""
        name, reference = request.match_info["name"], request.match_info["reference"]
        repository = repository_of(name)
        await self._shelf.gate.check(request, "delete", name)
        gone = await (self._drop(repository, reference) if ":" in reference else self._untag(repository, check_tag(reference)))
        if not gone:
            raise Refusal("MANIFEST_UNKNOWN", f"manifest unknown: {reference[:200]}")
        self._shelf.collector.soon()
        return web.Response(status=202)

    async def _untag(self, repository: str, tag: str) -> bool:
        known = tag in await self._tags(repository)
        await self._shelf.records.untag(repository, tag)
        await self._serving.unname(repository, {f"{repository}:{tag}"})
        return known

    async def _drop(self, repository: str, digest: str) -> bool:
        digest_or_refusal(digest)
        try:
            record = await self._serving.by_digest(repository, digest)
        except NotFound:
            return False
        tags = [tag for tag in await self._tags(repository) if await self._means(repository, tag, digest)]
        await self._shelf.records.drop_manifest(repository, digest)
        names = {f"{repository}:{tag}" for tag in tags} if record.image else set()
        await self._serving.unname(repository, names | {f"{repository}@{digest}"})
        return True

    async def _means(self, repository: str, tag: str, digest: str) -> bool:
        try:
            return (await self._shelf.records.tagged(repository, tag)).digest == digest
        except NotFound:
            return False

    async def _tags(self, repository: str) -> list[str]:
        try:
            return await self._shelf.records.tags(repository)
        except NotFound:
            return []
