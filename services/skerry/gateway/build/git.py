"""Git repositories as build contexts, submodules included. Untrusted: hooks and filters do not run, and no working tree is ever made:
the context is the tars of `git archive`, one after the other.
"""

import asyncio
import os
import posixpath
import re
import shutil
import tempfile
from contextlib import AsyncExitStack
from typing import BinaryIO

import msgspec

from skerry.core import process
from skerry.core.errors import Failed, InvalidArgument
from skerry.gateway.build import tar
from skerry.gateway.build.registry import Builds
from skerry.gateway.build.spool import Place, Spooled

_SECONDS = 600
# Only these; "ext::" and the like run programs.
_PROTOCOLS = "http:https:git:ssh"
_OPTIONS = ("-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "-c", "protocol.file.allow=never")
_FORBIDDEN = re.compile(r"-|.*[\s\0]")
_MOST_MODULES = 100
_MOST_DEPTH = 10
_LINK_MODE = "160000"
_COPY = 1 << 20


class _Module(msgspec.Struct, frozen=True):
    """A submodule: where in its parent, and which commit of what."""

    path: str
    url: str
    commit: str


async def clone(stack: AsyncExitStack, remote: str, builds: Builds) -> Spooled:
    """Fetches a git repository ([#REF[:DIRECTORY]]) with the host's git; returns the tar of its files. Raises Failed, InvalidArgument."""
    url, ref, directory = git_parts(remote)
    os.makedirs(builds.place.directory, mode=0o700, exist_ok=True)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="git-", dir=builds.place.directory))
    cloning = _Cloning(folder, builds.place)
    try:
        await cloning.collect(url, ref, "", directory, 0)
    except Failed as error:
        if str(error).startswith("cannot run git"):
            raise Failed("a git repository as build context needs git on the engine's host: " + str(error)) from None
        raise
    file = await asyncio.to_thread(builds.place.file)
    stack.callback(file.close)
    return Spooled(file, await asyncio.to_thread(_joined, cloning.archives, file, builds.place))


class _Cloning:
    """Fetches one repository after the other; `archives` are the tars that make up the context."""

    def __init__(self, folder: str, place: Place) -> None:
        self.archives: list[str] = []
        self._folder = folder
        self._modules = 0
        # No file that git makes may be larger than a context.
        self._bound = [prlimit, f"--fsize={place.limit}"] if (prlimit := shutil.which("prlimit")) else []

    async def collect(self, url: str, ref: str, prefix: str, directory: str, depth: int) -> None:
        """Adds a repository's files, or those below a directory of it, under a prefix ("" or "a/b/")."""
        repository = os.path.join(self._folder, f"{self._modules}.git")
        commit = await self._fetched(repository, url, ref)
        modules = await self._submodules(repository, commit, url)
        if modules and depth >= _MOST_DEPTH:
            raise Failed(f"git submodules nest deeper than {_MOST_DEPTH}")
        for module in modules:
            if f"{directory}/".startswith(f"{module.path}/"):
                # The context lies within the submodule: nothing else of this repository is in it.
                await self._module(module, prefix, directory[len(module.path) + 1 :], depth)
                return
        path = f"{self._folder}/{self._modules}.tar"
        await self._checked(
            repository,
            *("archive", "--format=tar", f"--prefix={prefix}", "-o", path, f"{commit}:{directory}" if directory else commit),
        )
        self.archives.append(path)
        inside = f"{directory}/" if directory else ""
        for module in modules:
            if module.path.startswith(inside):
                await self._module(module, f"{prefix}{module.path[len(inside) :]}/", "", depth)

    async def _module(self, module: _Module, prefix: str, directory: str, depth: int) -> None:
        self._modules += 1
        if self._modules > _MOST_MODULES:
            raise Failed(f"a git repository has more than {_MOST_MODULES} submodules")
        await self.collect(module.url, module.commit, prefix, directory, depth + 1)

    async def _fetched(self, repository: str, url: str, ref: str) -> str:
        """Fetches a reference or a commit; returns what names it in the repository."""
        await self._checked("", "init", "--quiet", "--bare", repository)
        # A server that serves files alone knows no shallow fetches.
        result = await self._git(repository, "fetch", "--quiet", "--depth", "1", "--", url, ref or "HEAD")
        if result.status:
            result = await self._git(repository, "fetch", "--quiet", "--", url, ref or "HEAD")
        if not result.status:
            return "FETCH_HEAD"
        if not ref:
            raise Failed(f"error fetching: {result.last_line()}")
        # A commit that no name points to: everything, then the commit.
        await self._checked(repository, "fetch", "--quiet", "--", url, "+refs/*:refs/remote/*")
        return f"{ref}^{{commit}}"

    async def _submodules(self, repository: str, commit: str, url: str) -> list[_Module]:
        """Returns what .gitmodules says of the links in the tree."""
        tree = await self._git(repository, "ls-tree", "-r", "-z", commit)
        links: dict[str, str] = {}
        for line in tree.stdout.decode("utf-8", "surrogateescape").split("\0"):
            told, _, path = line.partition("\t")
            if told.startswith(_LINK_MODE):
                links[path] = told.split()[2]
        if not links:
            return []
        words = ("config", "-z", "--blob", f"{commit}:.gitmodules", "--get-regexp", r"^submodule\..*\.(path|url|update)$")
        said = (await self._git(repository, *words)).stdout.decode("utf-8", "surrogateescape")
        return _modules(said, links, url)

    async def _git(self, repository: str, *words: str) -> process.Result:
        environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": self._folder,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": _PROTOCOLS,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new",
            "LC_ALL": "C",
        }
        environ |= {name: os.environ[name] for name in ("http_proxy", "https_proxy", "no_proxy") if name in os.environ}
        place = ("-C", repository) if repository else ()
        return await process.run([*self._bound, "git", *_OPTIONS, *place, *words], timeout=_SECONDS, check=False, env=environ)

    async def _checked(self, repository: str, *words: str) -> None:
        result = await self._git(repository, *words)
        if result.status:
            raise Failed(f"error fetching: {result.last_line()}" if words[0] == "fetch" else f"git {words[0]}: {result.last_line()}")


def _modules(said: str, links: dict[str, str], url: str) -> list[_Module]:
    """Joins the entries of .gitmodules ("submodule.NAME.KEY\\nVALUE\\0") with the links. Raises Failed for a link without an entry."""
    entries: dict[str, dict[str, str]] = {}
    for line in filter(None, said.split("\0")):
        key, _, value = line.partition("\n")
        name, _, field = key.removeprefix("submodule.").rpartition(".")
        entries.setdefault(name, {})[field] = value
    by_path = {posixpath.normpath(entry["path"]): entry for entry in entries.values() if "path" in entry}
    found = []
    for path, commit in links.items():
        entry = by_path.get(path, {})
        if entry.get("update") == "none":
            continue
        if not entry.get("url"):
            raise Failed(f"error fetching submodules: no url found for submodule path '{path}' in .gitmodules")
        source = submodule_url(url, entry["url"])
        if _FORBIDDEN.match(source):
            raise Failed(f"error fetching submodules: invalid url for submodule path '{path}'")
        found.append(_Module(path, source, commit))
    return found


def submodule_url(parent: str, url: str) -> str:
    """Returns where a submodule is: "./" and "../" count from the parent's own URL. Source: git-submodule(1)."""
    if not url.startswith(("./", "../")):
        return url
    base, rest = parent.rstrip("/"), url
    while rest.startswith(("./", "../")):
        if rest.startswith("../"):
            head, slash, _ = base.rpartition("/")
            # Of host:path the part behind the colon is the last one.
            base = head if slash else base.rpartition(":")[0]
        rest = rest.partition("/")[2]
    joint = ":" if "/" not in base and "@" in base and ":" not in base else "/"
    return f"{base}{joint}{rest}"


def _joined(paths: list[str], file: BinaryIO, place: Place) -> int:
    """Writes archives one behind the other, as one; returns its size. Blocks."""
    size = 0
    for path in paths:
        with open(path, "rb") as source:
            end = 0
            for member in tar.members(source, os.fstat(source.fileno()).st_size):
                end = member.offset + member.size + len(tar.padding(member.size))
            size += end
            place.check(size)
            source.seek(0)
            while end:
                data = source.read(min(end, _COPY))
                file.write(data)
                end -= len(data)
        os.unlink(path)
    file.write(tar.END)
    file.flush()
    return size + len(tar.END)


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
    if _FORBIDDEN.match(ref) or _FORBIDDEN.match(url) or _FORBIDDEN.match(directory):
        raise InvalidArgument(f"invalid git repository: {remote}")
    return url, ref, directory
