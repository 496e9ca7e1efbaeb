"""Sending to a repository: the distribution protocol's push side. Errors carry the registry's words, as Docker shows them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import quote, urljoin

import aiohttp

from skerry.core.errors import Failed, Forbidden, InvalidArgument, NotFound, SkerryError, Unauthorized
from skerry.images.registry.client import TRANSIENT, Repository, words_of

# Seconds in which a registry must take something of a body.
_STALL = 120.0
Chunks = Callable[[], AsyncIterator[bytes]]


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
            with contextlib.suppress(*TRANSIENT):
                async with self._repository.request("DELETE", urljoin(self._repository.url, began), {}):
                    pass
        return began is None

    async def blob(self, digest: str, size: int, chunks: Chunks, told: Callable[[int], None], again: Callable[[float], None]) -> None:
        """Uploads a blob in one piece. told hears how many bytes are on their way, again how long the pause before another try is.

        Raises Unauthorized, Forbidden, NotFound, InvalidArgument, Failed, Unavailable.
        """

        async def once() -> None:
            async with self._repository.request("POST", "blobs/uploads/", {}) as response:
                if response.status != 202:
                    raise await refusal(response)
                location = response.headers.get("Location", "")
            if not location:
                raise Failed("the registry began an upload without a location")
            url = urljoin(self._repository.url, location)
            url = f"{url}{'&' if '?' in url else '?'}digest={quote(digest)}"
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            async with asyncio.timeout(_STALL) as stall:
                body = _watched(chunks, told, stall)
                async with self._repository.request("PUT", url, headers, body) as response:
                    stall.reschedule(None)
                    if response.status != 201:
                        raise await refusal(response)

        await self._repository.retried(once, again)

    async def manifest(self, tag: str, data: bytes, media_type: str) -> None:
        """Makes the tag mean this manifest. Raises as `blob`."""

        async def once() -> None:
            async with self._repository.request("PUT", f"manifests/{tag}", {"Content-Type": media_type}, data) as response:
                if response.status not in (200, 201, 202):
                    raise await refusal(response)

        await self._repository.retried(once)


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
