"""Asking registries: the distribution protocol's requests and its pull side, anonymous or with what the user gave.

Errors carry Docker's words. Everything has a timeout; transport errors, 429 and 5xx are tried again with growing pauses; a blob whose
connection broke goes on with Range where it stopped.
"""

import asyncio
import base64
import logging
import os
import random
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import msgspec
from yarl import URL

from skerry.core.errors import Failed, NotFound, SkerryError, Unauthorized, Unavailable
from skerry.images.manifest import ACCEPT, MAX_CONFIG, MAX_MANIFEST, digest_of
from skerry.images.reference import DEFAULT_DOMAIN, Reference

T = TypeVar("T")
# A request's body, or what makes it: it may have to be sent a second time.
Body = bytes | Callable[[], AsyncIterator[bytes]] | None
_log = logging.getLogger(__name__)
_HUB = "registry-1.docker.io"
_TRIES = 5
_CHUNK = 1 << 18
_PAGE = 500
_MAX_TAGS = 10_000
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class Credentials(msgspec.Struct, frozen=True):
    """What X-Registry-Auth brought. Never logged."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class Endpoint(msgspec.Struct, frozen=True):
    """Where a repository is asked for: base URL without a slash at its end."""

    base: str
    mirror: bool = False


class Again(Exception):
    """Worth another try after a pause; says how long at least."""

    def __init__(self, reason: str, pause: float = 0) -> None:
        super().__init__(reason)
        self.pause = pause


# What may be gone at the next try.
TRANSIENT = (aiohttp.ClientError, TimeoutError, Again, OSError)


def endpoints(domain: str, mirrors: list[str], insecure: list[str]) -> list[Endpoint]:
    """Returns where to ask, best first: mirrors (of docker.io only), then the registry itself by https, by http where that is allowed."""
    found = [Endpoint(mirror.rstrip("/"), mirror=True) for mirror in mirrors] if domain == DEFAULT_DOMAIN else []
    host = _HUB if domain == DEFAULT_DOMAIN else domain
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    # As Docker: the loopback range counts as insecure, so that a registry under development needs no certificate.
    if host in insecure or name in insecure or name == "localhost" or name.startswith("127.") or name == "[::1]":
        return [*found, Endpoint(f"http://{host}")]
    return [*found, Endpoint(f"https://{host}")]


class Repository:
    """One repository of a registry, asked by one user. The token it gets is kept for its lifetime; actions are what it is asked for."""

    def __init__(
        self, session: aiohttp.ClientSession, name: Reference, endpoint: Endpoint, credentials: Credentials, actions: str = "pull"
    ) -> None:
        self._session = session
        self._name = name
        self._endpoint = endpoint
        self._actions = actions
        self._credentials = credentials
        self._authorization = f"Bearer {credentials.registry_token}" if credentials.registry_token else ""

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
                await self._check(response)
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
                await self._check(response)
                data = await bounded(response, MAX_CONFIG)
                if digest_of(data) != digest:
                    raise Failed(f"image config verification failed for digest {digest}")
                return data

        return await self.retried(once)

    async def blob(self, digest: str, size: int) -> AsyncIterator[bytes]:
        """Yields a blob's bytes; a broken connection is taken up where it stopped. The digest is the caller's to check."""
        offset, failures = 0, 0
        while True:
            before = offset
            try:
                async with self._get(f"blobs/{digest}", {"Range": f"bytes={offset}-"} if offset else {}) as response:
                    await self._check(response)
                    if offset and response.status != 206:
                        # The registry does not know Range: what we have is skipped.
                        await _skip(response, offset)
                    async for chunk in response.content.iter_chunked(_CHUNK):
                        offset += len(chunk)
                        if offset > size:
                            raise Failed(f"blob {digest} is larger than the {size} bytes that its manifest says")
                        yield chunk
                if offset < size:
                    raise Again(f"unexpected EOF after {offset} of {size} bytes")
                return
            except TRANSIENT as error:
                failures = 0 if offset > before else failures + 1
                if failures >= _TRIES:
                    raise self._last(error) from None
                await _pause(failures, error)

    async def retried(self, once: Callable[[], Awaitable[T]], told: Callable[[float], None] | None = None) -> T:
        """Runs once until it returns, five times at most; told hears the seconds of each pause. Raises the last error in Docker's words."""
        for attempt in range(1, _TRIES + 1):
            try:
                return await once()
            except TRANSIENT as error:
                if attempt == _TRIES or _hopeless(error):
                    raise self._last(error) from None
                await _pause(attempt, error, told)
        raise AssertionError("the loop returns or raises")

    def _last(self, error: Exception) -> SkerryError:
        return unreachable(f"{self._endpoint.base}/v2/", error)

    def _get(self, path: str, headers: dict[str, str]) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self.request("GET", path, headers)

    @asynccontextmanager
    async def request(self, method: str, path: str, headers: dict[str, str], body: Body = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """Sends one request, twice when the registry wants to know who asks.

        path is below the repository, or a whole URL as the registry told it; the user's name goes to the registry's own host only.
        Raises what `retried` tries again.
        """
        url = URL(path if "://" in path else f"{self._endpoint.base}/v2/{self._name.path}/{path}", encoded=True)
        ours = url.origin() == URL(self._endpoint.base).origin()
        for attempt in (1, 2):
            sent = {**headers, **({"Authorization": self._authorization} if self._authorization and ours else {})}
            data = body() if callable(body) else body
            # aiohttp drops Authorization when a redirect leaves the host: storage services refuse two ways of authentication.
            async with self._session.request(method, url, headers=sent, data=data, timeout=TIMEOUT, max_redirects=5) as response:
                if response.status == 401 and attempt == 1 and ours and await self._authorize(response):
                    continue
                if response.status == 429 or response.status >= 500:
                    raise Again(f"received unexpected HTTP status: {response.status} {response.reason}", _retry_after(response))
                yield response
                return

    async def ping(self) -> None:
        """Asks whether a registry is there and whom it wants; answers its challenge. Raises Failed, Unauthorized, Unavailable."""

        async def once() -> None:
            async with self._session.get(f"{self._endpoint.base}/v2/", timeout=TIMEOUT) as response:
                if response.status == 429 or response.status >= 500:
                    raise Again(f"received unexpected HTTP status: {response.status} {response.reason}", _retry_after(response))
                if response.status == 401 and not self._authorization:
                    await self._authorize(response)

        await self.retried(once)

    @property
    def url(self) -> str:
        """Where the repository's own paths begin."""
        return f"{self._endpoint.base}/v2/{self._name.path}/"

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status in (200, 206):
            return
        name = self._name.familiar_name
        if response.status == 401 and response.headers.get("WWW-Authenticate", "").lower().startswith("basic"):
            if not self._authorization:
                raise Failed(f'Get "{response.url}": no basic auth credentials')
            raise Unauthorized(f'Get "{response.url}": {await words_of(response, "unauthorized: authentication required")}')
        if response.status in (401, 403) or (response.status == 404 and self._name.domain == DEFAULT_DOMAIN):
            reason = await words_of(response, "denied: requested access to the resource is denied")
            text = f"pull access denied for {name}, repository does not exist or may require 'docker login': {reason}"
            # Docker answers 404 here: the registry does not tell a private repository from none.
            raise NotFound(text)
        if response.status == 404:
            raise NotFound(
                f"repository {name} not found: {await words_of(response, 'name unknown: repository name not known to registry')}"
            )
        raise Failed(f"received unexpected HTTP status: {response.status} {response.reason}")

    async def _authorize(self, response: aiohttp.ClientResponse) -> bool:
        """Answers a challenge; False when there is nothing to answer it with."""
        header = response.headers.get("WWW-Authenticate", "")
        scheme, _, rest = header.partition(" ")
        parameters = dict(CHALLENGE.findall(rest))
        user = self._credentials
        if scheme.lower() == "basic" and user.username:
            raw = f"{user.username}:{user.password}".encode()
            self._authorization = f"Basic {base64.b64encode(raw).decode()}"
            return True
        if scheme.lower() == "bearer" and parameters.get("realm"):
            self._authorization = f"Bearer {await self._token(parameters)}"
            return True
        return False

    async def _token(self, parameters: dict[str, str]) -> str:
        # The challenge may ask for more than ours: a mount needs the repository that it takes from.
        scopes = dict.fromkeys([f"repository:{self._name.path}:{self._actions}", *parameters.get("scope", "").split()])
        query = [("scope", scope) for scope in scopes if scope.startswith("repository:")]
        if parameters.get("service"):
            query.append(("service", parameters["service"]))
        user = self._credentials
        auth = aiohttp.BasicAuth(user.username, user.password) if user.username else None
        realm = parameters["realm"]
        if urlsplit(realm).scheme not in ("http", "https"):
            raise Failed(f"unsupported token realm: {realm[:200]}")
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        async with self._session.get(url, auth=auth, timeout=TIMEOUT) as response:
            if response.status in (401, 403):
                raise Unauthorized(
                    f'Get "{self._endpoint.base}/v2/": unauthorized: {await words_of(response, "incorrect username or password")}'
                )
            if response.status != 200:
                raise Again(f"token server answered {response.status}", _retry_after(response))
            try:
                document = msgspec.json.decode(await bounded(response, 1 << 20), type=dict[str, object])
            except msgspec.DecodeError as error:
                raise Failed(f"invalid answer of the token server: {error}") from None
        return str(document.get("token") or document.get("access_token") or "")


def unreachable(url: str, error: Exception) -> SkerryError:
    """Returns what kept a request from being answered, in the words of Docker's HTTP client."""
    if isinstance(error, aiohttp.ClientConnectorError):
        host = urlsplit(url).netloc
        code = error.os_error.errno
        reason = (os.strerror(code) if code and code > 0 else str(error.os_error)).lower()
        return Failed(f'Get "{url}": dial tcp {host}: connect: {reason}')
    if isinstance(error, TimeoutError):
        return Unavailable(f'Get "{url}": net/http: request canceled (Client.Timeout exceeded while awaiting headers)')
    return Failed(f'Get "{url}": {str(error) or type(error).__name__}')


async def bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Returns an answer whole. Raises Failed when it is larger than limit bytes."""
    data = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        data += chunk
        if len(data) > limit:
            raise Failed(f"answer of {response.url.host} is larger than {limit} bytes")
    return bytes(data)


async def _skip(response: aiohttp.ClientResponse, count: int) -> None:
    while count:
        chunk = await response.content.read(min(count, _CHUNK))
        if not chunk:
            raise Again("unexpected EOF")
        count -= len(chunk)


async def words_of(response: aiohttp.ClientResponse, default: str) -> str:
    """Returns the registry's own first error as Docker writes it ("manifest unknown: manifest unknown")."""
    try:
        document = msgspec.json.decode(await bounded(response, 1 << 16), type=dict[str, list[dict[str, object]]])
        first = document["errors"][0]
        code = str(first["code"]).lower().replace("_", " ")
        return f"{code}: {first.get('message') or code}"[:500]
    except (msgspec.DecodeError, LookupError, Failed, TypeError):
        return default


def _retry_after(response: aiohttp.ClientResponse) -> float:
    value = response.headers.get("Retry-After", "")
    return min(float(value), 60) if value.isdigit() else 0


def _hopeless(error: Exception) -> bool:
    # Nobody listens, or no such name: five tries would only keep the user waiting.
    return isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError | socket.gaierror)


async def _pause(failures: int, error: Exception, told: Callable[[float], None] | None = None) -> None:
    wanted = getattr(error, "pause", 0) or min(0.2 * 2**failures, 10)
    _log.info("registry: trying again", extra={"reason": str(error), "pause": wanted})
    if told is not None:
        told(wanted)
    await asyncio.sleep(wanted * random.uniform(0.8, 1.2))
