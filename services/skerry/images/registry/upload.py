"""Sending to a repository: the distribution protocol's push side. Errors carry the registry's words, as Docker shows them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from urllib.parse import quote, urljoin

import aiohttp

from skerry.core.errors import Failed, Forbidden, InvalidArgument, NotFound, SkerryError, Unauthorized
from skerry.images.registry.repository import Repository
from skerry.images.registry.transport import TRANSIENT
from skerry.images.registry.words import words_of

# Seconds in which a registry must take something of a body.
_STALL = 120.0
_OCTETS = "application/octet-stream"
# Bytes per request where a whole blob is refused; many proxies stop at 1 MiB by default.
_PIECES = (4 << 20, 1 << 20, 1 << 18)
Chunks = Callable[[], AsyncIterator[bytes]]


class _TooLarge(Exception):
    """One request was larger than something on the way admits."""

    def __init__(self, error: SkerryError) -> None:
        super().__init__(str(error))
        self.error = error


class Target:
    """One repository that takes blobs and manifests."""

    def __init__(self, repository: Repository, registry: str, path: str) -> None:
        self._repository = repository
        # The registry's name as images carry it ("docker.io"), the repository's path.
        self.registry = registry
        self.path = path

    async def has(self, digest: str) -> bool:
        """Tells whether the repository has a blob. What forbids asking is no answer: the upload will say it. Raises Failed, Unavailable."""

        async def once() -> bool:
            async with self._repository.request("HEAD", f"blobs/{digest}", {}) as response:
                return response.status == 200

        return await self._repository.retried(once)

    async def mount(self, digest: str, source: str) -> bool:
        """Asks the registry to take a blob from another of its repositories; False when it does not. Raises Failed, Unavailable."""

        async def once() -> str | None:
            path = f"blobs/uploads/?mount={quote(digest)}&from={quote(source, safe='')}"
            async with self._repository.request("POST", path, {}) as response:
                return None if response.status == 201 else response.headers.get("Location", "")

        try:
            began = await self._repository.retried(once)
        except Unauthorized:
            return False  # no token that reads the other repository
        if began:
            # An upload instead, which nobody wants. Registries forget them by themselves too.
            with contextlib.suppress(*TRANSIENT, SkerryError):
                async with self._repository.request("DELETE", urljoin(self._repository.url, began), {}):
                    pass
        return began is None

    async def blob(self, digest: str, size: int, chunks: Chunks, told: Callable[[int], None], again: Callable[[float], None]) -> None:
        """Uploads a blob: in one request, or in pieces where one is too large for the registry or what stands before it.

        told hears how many bytes are on their way, again how long the pause before another try is.
        Raises Unauthorized, Forbidden, NotFound, InvalidArgument, Failed, Unavailable.
        """
        try:
            return await self._repository.retried(partial(self._whole, digest, size, chunks, told), again)
        except _TooLarge as error:
            refused = error
        for piece in _PIECES:
            if piece < size:
                try:
                    return await self._repository.retried(partial(self._pieces, digest, piece, chunks, told), again)
                except _TooLarge as error:
                    refused = error
        raise refused.error

    async def _begin(self) -> str:
        """Returns the URL of a new upload."""
        async with self._repository.request("POST", "blobs/uploads/", {}) as response:
            if response.status != 202:
                raise await refusal(response)
            return self._next(response)

    def _next(self, response: aiohttp.ClientResponse) -> str:
        location = response.headers.get("Location", "")
        if not location:
            raise Failed("the registry goes on with an upload without a location")
        return urljoin(self._repository.url, location)

    async def _whole(self, digest: str, size: int, chunks: Chunks, told: Callable[[int], None]) -> None:
        url = _with_digest(await self._begin(), digest)
        async with asyncio.timeout(_STALL) as stall:
            body = _watched(chunks, told, stall)
            headers = {"Content-Type": _OCTETS, "Content-Length": str(size)}
            async with self._repository.request("PUT", url, headers, body) as response:
                stall.reschedule(None)
                await _expect(response, 201)

    async def _pieces(self, digest: str, piece: int, chunks: Chunks, told: Callable[[int], None]) -> None:
        url, sent = await self._begin(), 0
        async for data in _sized(chunks(), piece):
            headers = {"Content-Type": _OCTETS, "Content-Range": f"{sent}-{sent + len(data) - 1}"}
            async with asyncio.timeout(_STALL), self._repository.request("PATCH", url, headers, data) as response:
                await _expect(response, 202)
                url = self._next(response)
            sent += len(data)
            told(sent)
        async with self._repository.request("PUT", _with_digest(url, digest), {}) as response:
            await _expect(response, 201)

    async def manifest(self, tag: str, data: bytes, media_type: str) -> None:
        """Makes the tag mean this manifest. Raises as `blob`."""

        async def once() -> None:
            async with self._repository.request("PUT", f"manifests/{tag}", {"Content-Type": media_type}, data) as response:
                if response.status not in (200, 201, 202):
                    raise await refusal(response)

        await self._repository.retried(once)


async def _expect(response: aiohttp.ClientResponse, status: int) -> None:
    if response.status == status:
        return
    error = await refusal(response)
    raise _TooLarge(error) if response.status == 413 else error


def _with_digest(url: str, digest: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}digest={quote(digest)}"


async def _sized(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Yields the same bytes in pieces of size, the last one smaller."""
    rest = bytearray()
    async for chunk in chunks:
        rest += chunk
        while len(rest) >= size:
            yield bytes(rest[:size])
            del rest[:size]
    if rest:
        yield bytes(rest)


def _watched(chunks: Chunks, told: Callable[[int], None], stall: asyncio.Timeout) -> Chunks:
    async def body() -> AsyncIterator[bytes]:
        sent = 0
        async for chunk in chunks():
            stall.reschedule(asyncio.get_running_loop().time() + _STALL)
            yield chunk
            sent += len(chunk)
            told(sent)
        # From here the client library's own timeout watches for the answer.
        stall.reschedule(None)

    return body


async def refusal(response: aiohttp.ClientResponse) -> SkerryError:
    """Returns what the registry answered as an error in Docker's words ("denied: requested access to the resource is denied")."""
    if response.status == 401:
        basic = response.headers.get("WWW-Authenticate", "").lower().startswith("basic")
        if basic and "Authorization" not in response.request_info.headers:
            return Failed("no basic auth credentials")
        return Unauthorized(await words_of(response, "unauthorized: authentication required"))
    if response.status == 403:
        return Forbidden(await words_of(response, "denied: requested access to the resource is denied"))
    default = f"received unexpected HTTP status: {response.status} {response.reason}"
    if response.status == 404:
        return NotFound(await words_of(response, default))
    if 400 <= response.status < 500:
        return InvalidArgument(await words_of(response, default))
    return Failed(default)
