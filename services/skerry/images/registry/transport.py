"""HTTP to registries, their token servers and storage services: TLS, proxies, redirects, and what is worth another try."""

import asyncio
import email.utils
import logging
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from skerry.core.errors import Failed
from skerry.images.registry import proxies
from skerry.images.registry.certificates import Certificates
from skerry.images.registry.endpoints import Endpoint
from skerry.images.registry.words import is_tls_alert, words_of

T = TypeVar("T")
# A request's body, or what makes it: it may have to be sent a second time.
Body = bytes | Callable[[], AsyncIterator[bytes]] | None
_log = logging.getLogger(__name__)
TRIES = 5
_REDIRECTS = 10
# What a server that is overloaded may make us wait. One that wants more has a limit that no pause helps against.
_LONGEST_PAUSE = 60.0
TIMEOUT = aiohttp.ClientTimeout(total=None, connect=30, sock_connect=15, sock_read=60)
_PORTS = {"http": 80, "https": 443}


class Again(Exception):
    """Worth another try after a pause of at least `pause` seconds."""

    def __init__(self, reason: str, pause: float = 0) -> None:
        super().__init__(reason)
        self.pause = pause


# What may be gone at the next try.
TRANSIENT = (aiohttp.ClientError, TimeoutError, Again, OSError)


class Transport:
    """Sends requests. Made by `open_transport`."""

    def __init__(self, session: aiohttp.ClientSession, certificates: Certificates, through: proxies.Proxies) -> None:
        self._session = session
        self._certificates = certificates
        self._proxies = through

    @asynccontextmanager
    async def send(
        self, method: str, url: URL, endpoint: Endpoint, headers: dict[str, str], body: Body = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Sends one request and follows redirects. The endpoint's certificates are used for all of them, as Docker does.

        Authorization goes to no other host than the first. Raises TRANSIENT, Failed.
        """
        tls = await self._certificates.context(endpoint.host, verify=endpoint.verify)
        for _ in range(_REDIRECTS):
            data = body() if callable(body) else body
            async with self._session.request(
                method, url, headers=headers, data=data, timeout=TIMEOUT, allow_redirects=False, ssl=tls, proxy=self._proxies.for_url(url)
            ) as response:
                target = response.headers.get("Location", "")
                if response.status not in (301, 302, 303, 307, 308) or not target:
                    yield response
                    return
                if response.status <= 303 and method not in ("GET", "HEAD"):
                    method, body = "GET", None
            there = URL(urljoin(str(url), target), encoded=True)
            if there.scheme not in ("http", "https") or not there.host:
                raise Failed(f'{method.capitalize()} "{url}": unsupported protocol scheme "{there.scheme}"')
            if not same_host(url, there):
                # Storage services refuse two ways of authentication, and the user's password is the registry's business alone.
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            url = there
        raise Failed(f'{method.capitalize()} "{url}": stopped after {_REDIRECTS} redirects')


def same_host(one: URL, other: URL) -> bool:
    """Tells whether what authorizes at one may be sent to other: the same server, or the same by TLS."""
    if one.host != other.host:
        return False
    if one.scheme == other.scheme:
        return one.port == other.port
    return other.scheme == "https" and (one.port, other.port) == (_PORTS["http"], _PORTS["https"])


@asynccontextmanager
async def open_transport(certificates: str) -> AsyncIterator[Transport]:
    """Owns the connections. certificates is a folder as Docker's certs.d. Raises InvalidArgument for a proxy of an unknown kind."""
    through = proxies.from_environment(os.environ)
    # No cookies: what one registry sets is nobody else's business, nor the next user's. No environment: that would add ~/.netrc.
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(
        # No limit: how many layers come at once is a setting, and a request that waits for a connection would count as one that fails.
        connector=aiohttp.TCPConnector(limit=0),
        trust_env=False,
        auto_decompress=False,
        cookie_jar=jar,
        read_bufsize=1 << 18,
        headers={"User-Agent": "skerry"},
    ) as session:
        yield Transport(session, Certificates(certificates), through)


def hopeless(error: Exception) -> bool:
    """Tells whether trying again would only keep the user waiting: nobody listens, no such name, no
    good certificate, no TLS at all, a proxy that refuses.
    """
    if isinstance(error, aiohttp.ClientSSLError) or is_tls_alert(error):
        return True
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.status < 500
    return isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError | socket.gaierror)


async def retried(
    once: Callable[[], Awaitable[T]],
    told: Callable[[float], None] | None = None,
    final: Callable[[Exception], bool] = hopeless,
) -> T:
    """Runs once until it returns, TRIES times at most; told hears the seconds of each pause. Raises the last of TRANSIENT."""
    for attempt in range(1, TRIES + 1):
        try:
            return await once()
        except TRANSIENT as error:
            if attempt == TRIES or final(error):
                raise
            await pause(attempt, error, told)
    raise AssertionError("the loop returns or raises")


async def overloaded(response: aiohttp.ClientResponse) -> Again | None:
    """Returns what to raise when the server wants to be asked later; None: what it says is its answer."""
    if response.status != 429 and (response.status < 500 or response.status == 501):
        return None
    wanted = retry_after(response.headers.get("Retry-After", ""), time.time())
    if response.status == 429 and wanted > _LONGEST_PAUSE:
        return None
    text = f"received unexpected HTTP status: {response.status} {response.reason}"
    if response.status == 429:
        text = await words_of(response, text)
    return Again(text, min(wanted, _LONGEST_PAUSE))


def retry_after(value: str, now: float) -> float:
    """Reads Retry-After (seconds, or a date) as seconds from now (Unix time); 0 for none."""
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError):
        return 0


async def pause(failures: int, error: Exception, told: Callable[[float], None] | None = None) -> None:
    """Waits as long as the server wants, or longer after each failure."""
    wanted = getattr(error, "pause", 0) or min(0.2 * 2**failures, 10)
    _log.info("registry: trying again", extra={"reason": str(error), "pause": wanted})
    if told is not None:
        told(wanted)
    await asyncio.sleep(wanted * random.uniform(1.0, 1.2))
