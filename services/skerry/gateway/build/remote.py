"""What a build reads from the network: ADD's URLs, and contexts by URL or git. Bounded in size and time; nothing is extracted."""

import asyncio
import email.message
import os
import posixpath
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from skerry.api.images.v1 import images_pb2
from skerry.core import process
from skerry.core.errors import Failed, Forbidden, InvalidArgument, NotFound, SkerryError, Unauthorized
from skerry.gateway.build import tar
from skerry.gateway.build.output import Output
from skerry.gateway.build.registry import Builds
from skerry.gateway.build.spool import Spooled, received
from skerry.gateway.build.tree import Tree
from skerry.gateway.docker.images import progress

_CONNECT_SECONDS = 30
_SILENT_SECONDS = 60
_GIT_SECONDS = 600
_PIECE = 1 << 20
_REDIRECTS = 10
_REFUSED: dict[int, type[SkerryError]] = {400: InvalidArgument, 401: Unauthorized, 403: Forbidden, 404: NotFound}
_UNNAMED = "__unnamed__"
_TOLD_EVERY = 0.1
_GIT_PATH = re.compile(r"\.git(?:#.+)?\Z")
_GIT_PREFIXES = ("git://", "github.com/", "git@")
# Only these; "ext::" and the like run programs.
_GIT_PROTOCOLS = "http:https:git:ssh"
_FORBIDDEN_REF = re.compile(r"-|.*[\s\0]")


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


async def clone(stack: AsyncExitStack, remote: str, builds: Builds) -> Spooled:
    """Fetches a git repository ([#REF[:DIRECTORY]]) with the host's git and returns the tar of its files. Raises Failed, InvalidArgument.

    The repository is untrusted: its hooks and filters do not run, submodules are fetched by the same rules, and the working tree is
    never made: the tar comes from `git archive`.
    """
    url, ref, directory = git_parts(remote)
    os.makedirs(builds.place.directory, mode=0o700, exist_ok=True)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="git-", dir=builds.place.directory))

    # No file that git makes may be larger than a context.
    bound = [prlimit, f"--fsize={builds.place.limit}"] if (prlimit := shutil.which("prlimit")) else []

    async def git(*words: str) -> process.Result:
        environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": folder,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": _GIT_PROTOCOLS,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new",
            "LC_ALL": "C",
        }
        environ |= {name: os.environ[name] for name in ("http_proxy", "https_proxy", "no_proxy") if name in os.environ}
        options = ("-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "-c", "protocol.file.allow=never", "-C", folder)
        return await process.run([*bound, "git", *options, *words], timeout=_GIT_SECONDS, check=False, env=environ)

    async def checked(*words: str) -> None:
        result = await git(*words)
        if result.status:
            raise Failed(f"error fetching: {result.last_line()}" if words[0] == "fetch" else f"git {words[0]}: {result.last_line()}")

    try:
        await checked("init", "--quiet", "--bare")
        commit = "FETCH_HEAD"
        # A server that serves files alone knows no shallow fetches.
        result = await git("fetch", "--quiet", "--depth", "1", "--", url, ref or "HEAD")
        if result.status:
            result = await git("fetch", "--quiet", "--", url, ref or "HEAD")
        if result.status and not ref:
            raise Failed(f"error fetching: {result.last_line()}")
        if result.status:
            # A commit that no name points to: everything, then the commit.
            await checked("fetch", "--quiet", "--", url, "+refs/*:refs/remote/*")
            commit = f"{ref}^{{commit}}"
        path = f"{folder}/context.tar"
        await checked("archive", "--format=tar", "-o", path, f"{commit}:{directory}" if directory else commit)
    except Failed as error:
        if str(error).startswith("cannot run git"):
            raise Failed("a git repository as build context needs git on the engine's host: " + str(error)) from None
        raise
    file = await asyncio.to_thread(open, path, "rb")
    stack.callback(file.close)
    size = os.fstat(file.fileno()).st_size
    builds.place.check(size)
    return Spooled(file, size)


def git_parts(remote: str) -> tuple[str, str, str]:
    """Returns URL, reference (empty: the server's own) and directory of URL#REFERENCE:DIRECTORY. Raises InvalidArgument."""
    url, _, fragment = remote.partition("#")
    ref, _, directory = fragment.partition(":")
    if url.startswith("github.com/"):
        url = f"https://{url}"
    directory = posixpath.normpath(directory).strip("/") if directory else ""
    if directory == "." or not directory:
        directory = ""
    if directory == ".." or directory.startswith("../"):
        raise InvalidArgument(f"error setting git checkout root, not a directory: {directory}")
    if _FORBIDDEN_REF.match(ref) or _FORBIDDEN_REF.match(url) or _FORBIDDEN_REF.match(directory):
        raise InvalidArgument(f"invalid git repository: {remote}")
    return url, ref, directory
