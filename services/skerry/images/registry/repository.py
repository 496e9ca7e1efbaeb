"""One repository of a registry: the distribution protocol's requests and its pull side.

Errors carry Docker's words. Everything has a timeout; transport errors, 429 and 5xx are tried again with growing pauses; a blob whose
connection broke goes on with Range where it stopped.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
from yarl import URL

from skerry.core.errors import Failed, NotFound, SkerryError, Unauthorized
from skerry.images.manifest import ACCEPT, MAX_CONFIG, MAX_MANIFEST, digest_of
from skerry.images.reference import DEFAULT_DOMAIN, Reference
from skerry.images.registry import transport
from skerry.images.registry.auth import Challenge, Credentials, Tokens, challenge_of
from skerry.images.registry.endpoints import Endpoint
from skerry.images.registry.transport import TRANSIENT, TRIES, Again, Body, Transport, hopeless, overloaded, pause
from skerry.images.registry.words import bounded, unreachable, words_of

T = TypeVar("T")
_CHUNK = 1 << 18
_PAGE = 500
_MAX_TAGS = 10_000
_RANGE = re.compile(r"bytes (\d+)-\d+/")


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class Repository:
    """One repository at one endpoint, asked by one user. actions are what tokens are asked for: "pull", or "pull,push"."""

    def __init__(
        self,
        transport: Transport,
        tokens: Tokens,
        name: Reference,
        endpoint: Endpoint,
        credentials: Credentials,
        actions: str = "pull",
    ) -> None:
        self._transport = transport
        self._tokens = tokens
        self._name = name
        self._endpoint = endpoint
        self._credentials = credentials
        self._scope = f"repository:{name.path}:{actions}"
        self._challenge: Challenge | None = None
        # Whether anything answered here.
        self.reached = False

    @property
    def url(self) -> str:
        """Where the repository's own paths begin."""
        return f"{self._endpoint.base}/v2/{self._name.path}/"

    async def ping(self) -> None:
        """Asks whether a registry is there and whom it wants: once, where another may do or no answer came. Raises Failed, Unavailable."""

        async def once() -> None:
            url = URL(f"{self._endpoint.base}/v2/", encoded=True)
            async with self._transport.send("GET", url, self._endpoint, {}) as response:
                self.reached = True
                if (later := await overloaded(response)) is not None:
                    raise later
                if response.status == 401:
                    self._challenge = challenge_of(response.headers.get("WWW-Authenticate", ""))

        def final(error: Exception) -> bool:
            return self._endpoint.mirror or isinstance(error, TimeoutError) or hopeless(error)

        try:
            await transport.retried(once, final=final)
        except TRANSIENT as error:
            raise self._last(error) from None

    async def manifest(self, tag_or_digest: str) -> tuple[bytes, str, str]:
        """Returns the bytes, the media type and the digest, which was checked. Raises NotFound, Unauthorized, Failed, Unavailable."""
        by_digest = tag_or_digest.startswith("sha256:")
        what = f"{self._name.familiar_name}{'@' if by_digest else ':'}{tag_or_digest}"

        async def once() -> tuple[bytes, str, str]:
            async with self._get(f"manifests/{tag_or_digest}", {"Accept": ", ".join(ACCEPT)}) as response:
                if response.status == 404:
                    reason = await words_of(response, "manifest unknown: manifest unknown")
                    if reason.startswith("name unknown"):
                        raise NotFound(f"repository {self._name.familiar_name} not found: {reason}")
                    raise NotFound(f"manifest for {what} not found: {reason}")
                await self._check(response, "Get" if by_digest else "Head")
                data = await bounded(response, MAX_MANIFEST)
                digest = digest_of(data)
                told = tag_or_digest if by_digest else response.headers.get("Docker-Content-Digest", digest)
                if told != digest:
                    raise Failed(f"manifest verification failed for digest {told}")
                return data, response.headers.get("Content-Type", ""), digest

        return await self.retried(once)

    async def tags(self) -> list[str]:
        """Returns all tags of the repository. Raises as `manifest`."""
        found: list[str] = []
        path = f"tags/list?n={_PAGE}"

        async def once() -> tuple[list[str], bool]:
            async with self._get(path, {}) as response:
                await self._check(response)
                try:
                    page = msgspec.json.decode(await bounded(response, MAX_MANIFEST), type=_Tags)
                except msgspec.DecodeError as error:
                    raise Failed(f"invalid list of tags: {error}") from None
                return page.tags or [], "next" in response.links

        while len(found) < _MAX_TAGS:
            tags, more = await self.retried(once)
            found += tags
            if not (tags and more):
                return found
            path = f"tags/list?n={_PAGE}&last={quote(tags[-1])}"
        raise Failed(f"{self._name.familiar_name} has more than {_MAX_TAGS} tags")

    async def small_blob(self, digest: str) -> bytes:
        """Returns a blob of at most 8 MiB whole, its digest checked. Raises as `manifest`."""

        async def once() -> bytes:
            async with self._get(f"blobs/{digest}", {}) as response:
                await self._check_blob(response)
                data = await bounded(response, MAX_CONFIG)
                if digest_of(data) != digest:
                    raise Failed(f"image config verification failed for digest {digest}")
                return data

        return await self.retried(once)

    async def blob(
        self, digest: str, size: int, offset: int = 0, urls: Sequence[str] = (), told: Callable[[float], None] | None = None
    ) -> AsyncIterator[bytes]:
        """Yields a blob's bytes from offset on; a broken connection is taken up where it stopped. The digest is the caller's to check.

        urls are where a foreign layer lies that the registry does not have. told hears the seconds of each pause. Raises as `manifest`.
        """
        where, others, failures = f"blobs/{digest}", list(urls), 0
        while offset < size:
            before = offset
            try:
                async with self._get(where, {"Range": f"bytes={offset}-"} if offset else {}) as response:
                    await self._check_blob(response)
                    await _skip(response, offset - _begins(response, offset))
                    async for chunk in response.content.iter_chunked(_CHUNK):
                        offset += len(chunk)
                        if offset > size:
                            raise Failed(f"blob {digest} is larger than the {size} bytes that its manifest says")
                        yield chunk
                if offset < size:
                    raise Again(f"unexpected EOF after {offset} of {size} bytes")
            except NotFound:
                if not others:
                    raise
                where = others.pop(0)
                if urlsplit(where).scheme not in ("http", "https"):
                    raise Failed(f"unsupported URL of a foreign layer: {where[:200]}") from None
            except TRANSIENT as error:
                failures = 0 if offset > before else failures + 1
                if failures >= TRIES or hopeless(error):
                    raise self._last(error) from None
                await pause(failures, error, told)

    async def retried(self, once: Callable[[], Awaitable[T]], told: Callable[[float], None] | None = None) -> T:
        """Runs once until it returns, five times at most; told hears the seconds of each pause. Raises the last error in Docker's words."""
        try:
            return await transport.retried(once, told)
        except TRANSIENT as error:
            raise self._last(error) from None

    def _last(self, error: Exception) -> SkerryError:
        return Failed(str(error)) if isinstance(error, Again) else unreachable(f"{self._endpoint.base}/v2/", error)

    def _get(self, path: str, headers: dict[str, str]) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self.request("GET", path, headers)

    @asynccontextmanager
    async def request(self, method: str, path: str, headers: dict[str, str], body: Body = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """Sends one request, twice when the registry wants to know who asks.

        path is below the repository, or a whole URL as the registry told it; the user's name goes to the registry's own host only.
        Raises what `retried` tries again.
        """
        url = URL(path if "://" in path else f"{self.url}{path}", encoded=True)
        ours = url.origin() == URL(self._endpoint.base).origin()
        # As Docker, which asks for a tag's digest first.
        what = "Head" if method == "GET" and path.startswith("manifests/") and ":" not in path else method.capitalize()
        asked = f'{what} "{url}"'
        authorization = await self._authorization(asked) if ours else ""
        for attempt in (1, 2):
            sent = {**headers, **({"Authorization": authorization} if authorization else {})}
            async with self._transport.send(method, url, self._endpoint, sent, body) as response:
                if response.status == 401 and attempt == 1 and ours:
                    told = challenge_of(response.headers.get("WWW-Authenticate", ""))
                    refused, self._challenge = authorization, told or self._challenge
                    authorization = await self._authorization(asked, refused)
                    if authorization and authorization != refused:
                        continue
                if (later := await overloaded(response)) is not None:
                    raise later
                yield response
                return

    async def _authorization(self, asked: str, refused: str = "") -> str:
        """Returns the header that answers the registry's challenge, another one than was refused; empty: there is nothing to answer."""
        user, challenge = self._credentials, self._challenge
        if user.registry_token:
            return f"Bearer {user.registry_token}"
        if challenge is None or (challenge.scheme == "basic" and not user.username):
            return ""
        if challenge.scheme == "basic":
            return user.basic()
        # The challenge may ask for more than ours: a mount needs the repository that it takes from.
        scopes = [one for one in dict.fromkeys([self._scope, *challenge.scopes]) if one.startswith("repository:")]
        was = refused.removeprefix("Bearer ")
        return f"Bearer {await self._tokens.token(self._endpoint, challenge, scopes, user, refused=was, asked=asked)}"

    async def _check_blob(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 404:
            raise NotFound("unknown blob")
        await self._check(response)

    async def _check(self, response: aiohttp.ClientResponse, asked: str = "") -> None:
        """Raises what an answer that is none means, in Docker's words."""
        status, name = response.status, self._name.familiar_name
        if status in (200, 206):
            return
        basic = response.headers.get("WWW-Authenticate", "").lower().startswith("basic")
        if status == 401 and basic and not self._credentials.username:
            raise Failed(f'{asked or "Get"} "{response.url}": no basic auth credentials')
        default = f"received unexpected HTTP status: {status} {response.reason}"
        if status == 401:
            default = "unauthorized: authentication required"
        if status == 403:
            default = "denied: requested access to the resource is denied"
        if status == 404:
            default = "name unknown: repository name not known to registry"
        reason = await words_of(response, default)
        if reason.startswith("denied:") or (status == 404 and self._name.domain == DEFAULT_DOMAIN):
            # Docker answers 404 here: the registry does not tell a private repository from none.
            raise NotFound(f"pull access denied for {name}, repository does not exist or may require 'docker login': {reason}")
        if status == 401:
            raise Unauthorized(reason)
        if status == 404:
            raise NotFound(f"repository {name} not found: {reason}")
        raise Failed(reason if 400 <= status < 500 else default)


def _begins(response: aiohttp.ClientResponse, asked: int) -> int:
    """Returns the offset of an answer's first byte: a registry that does not know Range begins at 0."""
    if response.status != 206:
        return 0
    found = _RANGE.match(response.headers.get("Content-Range", ""))
    begins = int(found.group(1)) if found else asked
    if begins > asked:
        raise Failed(f"the registry answers from byte {begins} on, not from {asked}")
    return begins


async def _skip(response: aiohttp.ClientResponse, count: int) -> None:
    while count > 0:
        chunk = await response.content.read(min(count, _CHUNK))
        if not chunk:
            raise Again("unexpected EOF")
        count -= len(chunk)
