"""What a build reads from the network: ADD's URLs, and contexts by URL (by git: git.py). Bounded in size and time; nothing is extracted."""

import email.message
import os
import posixpath
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from skerry.api.images.v1 import images_pb2
from skerry.core.errors import Failed, Forbidden, InvalidArgument, NotFound, SkerryError, Unauthorized
from skerry.gateway.build import tar
from skerry.gateway.build.output import Output
from skerry.gateway.build.registry import Builds
from skerry.gateway.build.spool import Spooled, received
from skerry.gateway.build.tree import Tree
from skerry.gateway.docker.images import progress

_CONNECT_SECONDS = 30
_SILENT_SECONDS = 60
_PIECE = 1 << 20
_REDIRECTS = 10
_REFUSED: dict[int, type[SkerryError]] = {400: InvalidArgument, 401: Unauthorized, 403: Forbidden, 404: NotFound}
_UNNAMED = "__unnamed__"
_TOLD_EVERY = 0.1
_GIT_PATH = re.compile(r"\.git(?:#.+)?\Z")
_GIT_PREFIXES = ("git://", "github.com/", "git@")


def is_url(text: str) -> bool:
    """Tells whether a source or a context is to be downloaded."""
    return text.startswith(("http://", "https://"))


def is_git(text: str) -> bool:
    """Tells whether a context is a git repository, as Docker decides it."""
    return (is_url(text) and _GIT_PATH.search(text) is not None) or text.startswith(_GIT_PREFIXES)


class Fetched:
    """A download: its bytes and what the server said of them."""

    def __init__(self, spooled: Spooled, headers: Any) -> None:
        self.spooled = spooled
        self.headers = headers

    @property
    def content_type(self) -> str:
        return str(self.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


async def fetch(stack: AsyncExitStack, url: str, builds: Builds, output: Output, action: str) -> Fetched:
    """Downloads a URL into a file that lives as long as the stack. Raises SkerryError with the reason as Go words it."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS)
    session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, trust_env=True, auto_decompress=False))
    try:
        response = await session.get(url, max_redirects=_REDIRECTS, headers={"Accept-Encoding": "identity"})
        if response.status >= 400:
            kind = _REFUSED.get(response.status, Failed)
            raise kind(f"failed to GET {url} with status {response.status} {response.reason}: ")
        pieces = _told(response, output, action)
        spooled = await stack.enter_async_context(received(pieces, builds.place))
        return Fetched(spooled, response.headers)
    except aiohttp.ClientConnectorError as error:
        raise Failed(f'Get "{url}": dial tcp{_unreachable(error)}') from None
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Failed(f'Get "{url}": {str(error) or type(error).__name__}') from None


def _unreachable(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f": lookup {error.host}: no such host"
    number = error.os_error.errno
    reason = os.strerror(number).lower() if number else str(error.os_error)
    return f" {error.host}:{error.port}: connect: {reason}"


async def _told(response: aiohttp.ClientResponse, output: Output, action: str) -> AsyncIterator[bytes]:
    done, total, last = 0, response.content_length or 0, 0.0
    async for data in response.content.iter_chunked(_PIECE):
        done += len(data)
        yield data
        if (now := time.monotonic()) - last >= _TOLD_EVERY or done == total:
            last = now
            await output.progress(progress(images_pb2.Progress(status=action, current=done, total=total)))


async def download(stack: AsyncExitStack, url: str, builds: Builds, output: Output) -> tuple[Tree, str]:
    """Downloads what ADD names; returns a tree with that one file, and the file's name, "" when there is none to be known."""
    fetched = await fetch(stack, url, builds, output, "Downloading")
    await output.say("\n")
    name = _name(url, fetched.headers)
    size = fetched.spooled.size
    member = tar.bare(name or _UNNAMED, 0o600, kind=tar.REGULAR, size=size, mtime=_modified(fetched.headers))
    tree = Tree(fetched.spooled.file, type_bits=True)
    tree.add(member)
    return tree, name


def _name(url: str, headers: Any) -> str:
    path = urlsplit(url).path
    if path and not path.endswith("/"):
        return posixpath.basename(path)
    message = email.message.Message()
    message["Content-Disposition"] = headers.get("Content-Disposition", "")
    given = message.get_filename("") or ""
    return "" if given.endswith("/") else posixpath.basename(given).lstrip(".")


def _modified(headers: Any) -> int:
    try:
        return max(0, int(parsedate_to_datetime(headers.get("Last-Modified", "")).timestamp()))
    except (ValueError, TypeError, OverflowError):
        return 0
