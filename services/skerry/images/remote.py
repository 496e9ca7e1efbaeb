"""Root file systems that are imported from a URL: fetched by this service, with Docker's words for what goes wrong."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, Forbidden, InvalidArgument, NotFound, SkerryError, Unauthorized
from skerry.images.fetches import Tell

_MAX_URL = 8192
_MAX_REDIRECTS = 10
_MAX_ERROR_BODY = 64 << 10
_CHUNK = 1 << 20
_PROGRESS_SECONDS = 0.1
_ERRORS: dict[int, type[SkerryError]] = {400: InvalidArgument, 401: Unauthorized, 403: Forbidden, 404: NotFound}


class Remote:
    """A document that is being fetched."""

    def __init__(self, url: str, response: aiohttp.ClientResponse) -> None:
        self.url = url
        self._response = response

    async def chunks(self, tell: Tell) -> AsyncIterator[bytes]:
        """Yields its bytes and tells how far it is. Raises Failed when it breaks off."""
        total = self._response.content_length or 0
        count, shown = 0, 0.0
        try:
            async for data in self._response.content.iter_chunked(_CHUNK):
                count += len(data)
                if (now := time.monotonic()) - shown > _PROGRESS_SECONDS or count == total:
                    shown = now
                    tell(pb.Progress(status="Importing", current=count, total=total))
                yield data
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Failed(f"{self.url}: {_words(error)}") from None


class Remotes:
    """Fetches what imports name. idle: seconds without a byte after which a server is given up."""

    def __init__(self, session: aiohttp.ClientSession, idle: float) -> None:
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=min(idle, 120))

    @asynccontextmanager
    async def opened(self, text: str) -> AsyncIterator[Remote]:
        """Fetches a URL; one without a scheme is http. Raises InvalidArgument, NotFound, Unauthorized, Forbidden, Failed."""
        url = _checked(text)
        try:
            # encoded: sent as the user wrote it.
            asked = URL(url, encoded=True)
            response = await self._session.get(asked, timeout=self._timeout, max_redirects=_MAX_REDIRECTS)
        except aiohttp.TooManyRedirects:
            raise Failed(f'Get "{url}": stopped after {_MAX_REDIRECTS} redirects') from None
        except aiohttp.NonHttpUrlClientError as error:  # a redirect to something else
            raise Failed(f'Get "{url}": unsupported protocol scheme "{urlsplit(str(error)).scheme}"') from None
        except aiohttp.ClientConnectorDNSError:
            host = urlsplit(url).hostname
            raise NotFound(f'Get "{url}": dial tcp: lookup {host}: no such host') from None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Failed(f'Get "{url}": {_words(error)}') from None
        async with response:
            if response.status >= 400:
                raise await _refused(url, response)
            yield Remote(url, response)


@asynccontextmanager
async def open_remotes(idle: float) -> AsyncIterator[Remotes]:
    """Owns the connections. No cookies: what one server sets is nobody else's business."""
    async with aiohttp.ClientSession(trust_env=True, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Remotes(session, idle)


def _checked(text: str) -> str:
    if len(text) > _MAX_URL:
        raise InvalidArgument(f"URL is longer than {_MAX_URL} characters")
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        words = "missing ']' in host" if "IPv6" in str(error) else str(error)
        raise InvalidArgument(f'parse "{url}": {words}') from None
    if any(ord(one) < 0x20 or ord(one) == 0x7F for one in url):
        raise InvalidArgument(f"parse {url!r}: net/url: invalid control character in URL")
    if parts.scheme not in ("http", "https"):
        raise Failed(f'Get "{url}": unsupported protocol scheme "{parts.scheme}"')
    if not host:
        raise Failed(f'Get "{url}": http: no Host in request URL')
    return url


async def _refused(url: str, response: aiohttp.ClientResponse) -> SkerryError:
    words = f"failed to GET {url} with status {response.status} {response.reason}"
    try:
        async with asyncio.timeout(30):
            body = await response.content.read(_MAX_ERROR_BODY)
        words += f": {body.decode('utf-8', 'replace').strip()}"
    except (aiohttp.ClientError, TimeoutError):
        words += ": error reading body"
    return _ERRORS.get(response.status, Failed)(words)


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        address = f"{error.host}:{error.port}"
        return f"dial tcp {address}: connect: {os.strerror(error.errno).lower() if error.errno else error.strerror}"
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    return "unexpected EOF" if isinstance(error, aiohttp.ClientPayloadError) else str(error) or type(error).__name__
