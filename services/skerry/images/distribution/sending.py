"""Sending content with Range (RFC 9110), never whole in memory."""

import asyncio
import re
from functools import partial

from aiohttp import web

from skerry.core.errors import NotFound
from skerry.images.catalog.repositories import BlobPlace
from skerry.images.distribution.refusals import Refusal
from skerry.images.distribution.shelf import Shelf

_PIECE = 1 << 20
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})\Z")


def blob_headers(digest: str) -> dict[str, str]:
    """Returns the headers of a blob: its name says what it is, for ever."""
    return {
        "Docker-Content-Digest": digest,
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000, immutable",
    }


def asked_range(header: str, size: int) -> tuple[int, int] | None:
    """Returns begin and end (exclusive) of a single range; None: the whole, also for what is not understood (RFC 9110, 14.2).

    Raises Refusal with status 416 when the range lies behind the end.
    """
    match = _RANGE.match(header)
    if match is None or not (match[1] or match[2]):
        return None
    if match[1]:
        begin, end = int(match[1]), int(match[2]) + 1 if match[2] else size
        if match[2] and end <= begin:
            return None
    else:
        begin, end = max(0, size - int(match[2])), size
    if begin >= size or begin >= end:
        raise Refusal("SIZE_INVALID", "the range is behind the end", status=416, headers={"Content-Range": f"bytes */{size}"})
    return begin, min(end, size)


async def send_blob(request: web.Request, shelf: Shelf, place: BlobPlace) -> web.StreamResponse:
    """Answers GET and HEAD of a blob. Raises NotFound, Refusal."""
    headers = blob_headers(place.digest)
    path = await asyncio.to_thread(shelf.blobs.path, place.content)
    if path is not None:
        return web.FileResponse(path, chunk_size=_PIECE, headers=headers)
    size = await asyncio.to_thread(shelf.blobs.size, place.content)
    part = asked_range(request.headers.get("Range", ""), size)
    begin, end = part or (0, size)
    response = web.StreamResponse(status=206 if part else 200, headers=headers)
    response.content_length = end - begin
    if part:
        response.headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    async with shelf.collector.keeping({place.content}):
        await response.prepare(request)
        if request.method != "HEAD":
            await _pour(response, shelf, place.content, begin, end)
    await response.write_eof()
    return response


async def _pour(response: web.StreamResponse, shelf: Shelf, content: str, begin: int, end: int) -> None:
    opened = shelf.blobs.open(content, begin)
    reader = await shelf.streams.run(opened.__enter__)
    try:
        while begin < end:
            data = await shelf.streams.run(partial(reader.read, min(_PIECE, end - begin)))
            if not data:
                raise NotFound(f"blob {content} ended at {begin}")
            await response.write(data)
            begin += len(data)
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)
