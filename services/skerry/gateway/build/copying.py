"""COPY and ADD: found in the context, a stage, an image or the network; hashed; looked up; written into a container; made a layer."""

import asyncio
import posixpath
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack

from skerry.api.images.v1 import images_pb2
from skerry.core.errors import Failed, InvalidArgument, NotFound, SkerryError
from skerry.gateway.build import config as configs
from skerry.gateway.build.config import Config
from skerry.gateway.build.containers import Containers
from skerry.gateway.build.patterns import has_wildcards
from skerry.gateway.build.registry import Builds
from skerry.gateway.build.remote import download, is_url
from skerry.gateway.build.sources import Archive, Source, digest, file_name, resolve
from skerry.gateway.build.spool import Spooled, received
from skerry.gateway.build.steps import State, Steps, needs_buildkit
from skerry.gateway.build.syntax import Copy
from skerry.gateway.build.tree import Missing, Tree

_MISSING = re.compile(r"Could not find the file (.*) in container ", re.DOTALL)
# Of the container that COPY --from reads; it never runs.
_READER: Config = {"Cmd": ["#(nop) COPY --from"]}


class Origin:
    """Where --from reads: an image, or a stage that made none (None)."""

    def __init__(self, image: images_pb2.Image | None) -> None:
        self.image = image


class Copying:
    """See the module."""

    def __init__(self, steps: Steps, containers: Containers, builds: Builds, context: Tree | None) -> None:
        self._steps = steps
        self._containers = containers
        self._builds = builds
        self._context = context

    async def copy(self, state: State, step: Copy, origin: Origin | None) -> None:
        """Does one COPY or ADD, its variables already replaced; origin: what --from names, None for the context."""
        if step.chmod:
            raise needs_buildkit("chmod")
        keep_owner = origin is not None and not step.chown
        async with AsyncExitStack() as stack:
            known = () if origin is None or origin.image is None else self._builds.hashes(origin.image.id, step.sources)
            sources = [] if known else await self._sources(stack, step, origin)
            if max(len(known), len(sources)) > 1 and not step.target.endswith("/"):
                raise InvalidArgument(
                    f"When using {step.name} with more than one source file, the destination must be a directory and end with a /"
                )
            hashed = digest(known or [one.digest for one in sources])
            owner = f"--chown={step.chown}" if step.chown else ""
            config = configs.comment(state.config, f"{step.name} {owner}{hashed} in {step.target} ", one_word=True)
            if await self._steps.cached(state, config):
                return
            if known:
                sources = await self._sources(stack, step, origin)
            await self._write(state, step, sources, config, keep_owner=keep_owner)

    async def _sources(self, stack: AsyncExitStack, step: Copy, origin: Origin | None) -> list[Source]:
        try:
            if origin is not None:
                return await self._from_image(stack, step.sources, origin)
            found: list[Source] = []
            for word in step.sources:
                if is_url(word):
                    if step.name == "COPY":
                        raise Failed("source can't be a URL for COPY")
                    found.append(await self._from_network(stack, word, step.target))
                else:
                    found += await asyncio.to_thread(resolve, self._context, [word], context=True, unpack=step.name == "ADD", alone=False)
        except SkerryError as error:
            raise Failed(f"{step.name} failed: {error}") from None
        if not found:
            raise Failed(f"{step.name} failed: no source files were specified")
        return found

    async def _from_network(self, stack: AsyncExitStack, url: str, target: str) -> Source:
        """Downloads what ADD names; it is never unpacked."""
        tree, name = await download(stack, url, self._builds, self._containers.output)
        if not name and target.endswith("/"):
            raise Failed(f"cannot determine filename for source {url}")
        (asked, node), *_ = (tree.root.children or {}).items()
        return Source(tree, name or asked, asked, node, await asyncio.to_thread(tree.digest, asked, node), unpack=False)

    async def _from_image(self, stack: AsyncExitStack, words: Sequence[str], origin: Origin) -> list[Source]:
        if origin.image is None:
            raise Failed(f"stat {words[0].removeprefix('/')}: file does not exist")
        container_id = await self._containers.create(origin.image, _READER, told=False, bare=True)
        try:
            tree = await self._tree(stack, container_id, list(words))
            # A source that is a symlink is followed: what it leads to is fetched too.
            if led := await asyncio.to_thread(_leading_out, tree, words):
                real = [path for word in led for path in [(await self._containers.where(container_id, "/" + word.lstrip("/")))[0]]]
                tree = await self._tree(stack, container_id, [*words, *real])
        finally:
            self._containers.drop(container_id)
        found = await asyncio.to_thread(resolve, tree, words, context=False)
        self._builds.remember(origin.image.id, tuple(words), tuple(one.digest for one in found))
        return found

    async def _tree(self, stack: AsyncExitStack, container_id: str, members: list[str]) -> Tree:
        """Fetches paths and patterns of a container. Raises Failed in Docker's words for one that is not there."""
        spooled = await self._archive_of(stack, container_id, members)
        return await asyncio.to_thread(Tree.read, spooled.file, spooled.size, self._builds.limits, type_bits=True)

    async def _archive_of(self, stack: AsyncExitStack, container_id: str, members: list[str]) -> Spooled:
        while True:
            try:
                return await stack.enter_async_context(received(self._containers.read(container_id, members), self._builds.place))
            except NotFound as error:
                match = _MISSING.match(str(error))
                missing = match[1].lstrip("/") if match else ""
                left = [one for one in members if one.lstrip("/") != missing]
                if not has_wildcards(missing) or len(left) == len(members):
                    raise Failed(f"stat {missing}: file does not exist" if match else str(error)) from None
                # A pattern may match nothing, as long as another word does.
                if not left:
                    raise Failed("no source files were specified") from None
                members = left

    async def _write(self, state: State, step: Copy, sources: list[Source], config: Config, *, keep_owner: bool) -> None:
        container_id = await self._containers.create(state.image, config, told=False, bare=True)
        slash = "/" if step.target.endswith("/") else ""
        # Two slashes at the begin mean something to POSIX, not here.
        joined = posixpath.normpath(posixpath.join("/", state.config["WorkingDir"] or "/", step.target)).strip("/")
        target = f"/{joined}{slash}" if joined else "/"
        archives: list[Archive] = []
        for source in sources:
            archive = await self._archive(container_id, source, target, owned=bool(step.chown))
            last = archives[-1] if archives else None
            alone = archive.raw or archive.directories or archive.file_or_directory
            if last is not None and last.path == archive.path and not (alone or last.raw or last.file_or_directory):
                last.sources += archive.sources
            else:
                archives.append(archive)
        for archive in archives:
            await self._containers.put(container_id, archive, chown="" if archive.raw else step.chown, keep_owner=keep_owner)
        await self._steps.commit(state, await self._steps.layer(container_id), config, "")

    async def _archive(self, container_id: str, source: Source, target: str, *, owned: bool) -> Archive:
        """Decides where one source goes. owned: missing directories get the owner of --chown, as far as Docker does that."""
        if source.is_directory:
            if owned and target.strip("/") and not await self._containers.exists(container_id, target.rstrip("/")):
                parent, name = posixpath.split(target.rstrip("/"))
                return Archive(parent, [(source, name)], [name])
            return Archive(target.rstrip("/") or "/", [(source, "")])
        if await asyncio.to_thread(source.archive):
            return Archive(target.rstrip("/") or "/", [(source, "")], raw=True)
        if not owned and not target.endswith("/"):
            return Archive(target, [(source, file_name(source))], file_or_directory=True)
        path, is_directory = target, True
        if not target.endswith("/"):
            path, is_directory = await self._containers.where(container_id, target)
        if is_directory:
            path = posixpath.join(path, file_name(source))
        parent, name = posixpath.split(path)
        missing = await self._missing(container_id, parent) if owned else []
        if missing:
            above = posixpath.dirname(missing[0])
            skip = len(above.rstrip("/")) + 1
            return Archive(above, [(source, path[skip:])], [one[skip:] for one in missing])
        return Archive(parent, [(source, name)])

    async def _missing(self, container_id: str, path: str) -> list[str]:
        """Returns the directories on the way to path that are not there, outermost first."""
        found: list[str] = []
        path = path.rstrip("/")
        while path and not await self._containers.exists(container_id, path):
            found.insert(0, path)
            path = posixpath.dirname(path).rstrip("/")
        return found


def _leading_out(tree: Tree, words: Sequence[str]) -> list[str]:
    """Returns the words that name a symlink whose target is not in the tree."""
    found: list[str] = []
    for word in words:
        try:
            tree.find(word)
        except Missing:
            if tree.has_link(word):
                found.append(word)
    return found
