"""The build context: what the client sent, or what it said to fetch, as a tree, and the Dockerfile in it."""

import asyncio
import posixpath
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from skerry.core.errors import Failed, InvalidArgument, SkerryError
from skerry.gateway.build import git, remote
from skerry.gateway.build.dockerfile import MAX_SIZE
from skerry.gateway.build.options import Options
from skerry.gateway.build.output import Output
from skerry.gateway.build.patterns import compiled
from skerry.gateway.build.registry import Builds
from skerry.gateway.build.spool import Spooled, received, unpacked
from skerry.gateway.build.tree import Missing, Tree

_IGNORE = ".dockerignore"
_IGNORE_LIMIT = 1 << 20
_ARCHIVES = re.compile(r"application/(?:(?:x-)?tar|octet-stream|(?:x-)?(?:gzip|bzip2?|xz|zstd))\Z")


class Context:
    """tree is None when only a Dockerfile was given."""

    def __init__(self, tree: Tree | None, dockerfile: bytes) -> None:
        self.tree = tree
        self.dockerfile = dockerfile


async def receive(stack: AsyncExitStack, options: Options, body: AsyncIterator[bytes], builds: Builds, output: Output) -> Context:
    """Takes the context in; it lives as long as the stack. Raises InvalidArgument, Failed in Docker's words."""
    spooled = await stack.enter_async_context(received(body, builds.place))
    if options.remote:
        fetched = await _fetched(stack, options.remote, builds, output)
        if isinstance(fetched, bytes):
            return Context(None, _checked(fetched, options.dockerfile))
        spooled = fetched
    plain = await asyncio.to_thread(unpacked, spooled, builds.place)
    if plain is not spooled:
        stack.callback(plain.file.close)
    tree = await asyncio.to_thread(Tree.read, plain.file, plain.size, builds.limits)
    return Context(tree, await asyncio.to_thread(dockerfile_of, tree, options.dockerfile))


async def _fetched(stack: AsyncExitStack, text: str, builds: Builds, output: Output) -> Spooled | bytes:
    """Returns an archive, or a Dockerfile alone."""
    if remote.is_git(text):
        return await git.clone(stack, text, builds)
    if not remote.is_url(text):
        raise Failed(f"remoteURL ({text}) could not be recognized as URL")
    try:
        fetched = await remote.fetch(stack, text, builds, output, "Downloading context")
    except SkerryError as error:
        raise type(error)(f"error downloading remote context {text}: {error}") from None
    if fetched.content_type == "text/plain":
        if fetched.spooled.size > MAX_SIZE:
            raise Failed(f"the Dockerfile is larger than {MAX_SIZE} bytes")
        return await asyncio.to_thread(_whole, fetched.spooled)
    if not _ARCHIVES.match(fetched.content_type):
        raise Failed(f'unsupported Content-Type "{fetched.content_type}"')
    return fetched.spooled


def _whole(spooled: Spooled) -> bytes:
    spooled.file.seek(0)
    return spooled.file.read(spooled.size)


def dockerfile_of(tree: Tree, path: str) -> bytes:
    """Returns the Dockerfile. It and .dockerignore are taken out of the tree when .dockerignore says so: the client sends them anyway."""
    name = path.removeprefix("/")
    if (posixpath.normpath(name) + "/").startswith("../"):
        raise Failed(f"forbidden path outside the build context: {path} ()")
    there = [one for one in ((name, "dockerfile") if path == "Dockerfile" else (name,)) if tree.has(one)]
    if not there:
        raise Failed(f"Cannot locate specified Dockerfile: {path}")
    name = there[0]
    try:
        data = _content(tree, name, MAX_SIZE)
    except Missing:
        raise Failed(f"unexpected error reading Dockerfile: read {name}: is a directory") from None
    ignored = _ignored(tree)
    for one in (_IGNORE, posixpath.normpath(name)):
        if "/" not in one and ignored(one):
            tree.remove(one)
    return _checked(data, path)


def _checked(data: bytes, path: str) -> bytes:
    if not data:
        raise InvalidArgument(f"the Dockerfile ({path}) cannot be empty")
    return data


def _content(tree: Tree, path: str, limit: int) -> bytes:
    data = b""
    for piece in tree.content(tree.find(path)[1]):
        data += piece
        if len(data) > limit:
            raise Failed(f"{path} is larger than {limit} bytes")
    return data


class _Ignored:
    """.dockerignore, asked for names at the top of the context alone."""

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for line in text.removeprefix("\ufeff").splitlines():
            pattern = line.strip()
            if not pattern or line.startswith("#"):
                continue
            kept = pattern.startswith("!")
            pattern = posixpath.normpath(pattern.removeprefix("!").strip()).removeprefix("/")
            # "**/" is any number of directories, none included: at the top it is nothing.
            while pattern.startswith("**/"):
                pattern = pattern[3:]
            if (found := compiled(pattern.replace("**", "*"))) is not None:
                self._rules.append((found, not kept))

    def __call__(self, name: str) -> bool:
        ignored = False
        for pattern, says in self._rules:
            if pattern.match(name):
                ignored = says
        return ignored


def _ignored(tree: Tree) -> _Ignored:
    try:
        return _Ignored(_content(tree, _IGNORE, _IGNORE_LIMIT).decode("utf-8", "surrogateescape"))
    except Missing:
        return _Ignored("")
