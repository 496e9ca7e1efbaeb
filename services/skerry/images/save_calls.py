"""Save on the wire: which images the names mean, and the tar's pieces as bytes or as files."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument, NotFound
from skerry.core.journal import EventJournal
from skerry.images import config as configs
from skerry.images import library
from skerry.images.archive.save import Blob, Chosen, pieces, size_of
from skerry.images.blobs import Blobs
from skerry.images.catalog import Catalog, Entry
from skerry.images.collector import Collector
from skerry.images.manifest import Platform
from skerry.images.platforms import parse_platform
from skerry.images.reference import could_be_id, parse

_CHUNK = 1 << 20
_MAX_NAMES = 10_000


class SaveCalls:
    """The image store's part that writes archives."""

    _catalog: Catalog
    _journal: EventJournal
    _blobs: Blobs
    _collector: Collector
    _boot_id: str
    _stopping: asyncio.Event

    async def Save(self, request: pb.SaveRequest, context: Any) -> AsyncIterator[pb.SaveResponse]:
        if len(request.images) > _MAX_NAMES:
            raise InvalidArgument(f"more than {_MAX_NAMES} images")
        chosen = await choose(self._catalog, request)
        while True:
            async with self._collector.keeping(_digests(chosen)):
                # What was swept before we kept it is no longer in the catalog: seen now, or there until we are done.
                now = await choose(self._catalog, request)
                if _digests(now) == _digests(chosen):
                    async for response in self._saved(now, request.boot_id):
                        yield response
                    return
                chosen = now

    async def _saved(self, chosen: list[Chosen], boot_id: str) -> AsyncIterator[pb.SaveResponse]:
        same_machine = bool(boot_id) and boot_id == self._boot_id
        found = pieces(chosen)
        paths = {piece.digest: await asyncio.to_thread(self._blobs.path, piece.digest) for piece in found if isinstance(piece, Blob)}
        yield pb.SaveResponse(begin=pb.SaveBegin(size=size_of(found)))
        for one in chosen:
            image = one.entry.image
            await self._journal.publish(library.event("save", image.id, image.config, image.id))
        for piece in found:
            if not isinstance(piece, Blob):
                for start in range(0, len(piece), _CHUNK):
                    yield pb.SaveResponse(chunk=piece[start : start + _CHUNK])
            elif same_machine and (path := paths[piece.digest]) is not None:
                yield pb.SaveResponse(file=pb.FilePiece(path=path, size=piece.size))
            else:
                async for data in self._content(piece.digest):
                    yield pb.SaveResponse(chunk=data)
        if same_machine:
            await self._stopping.wait()  # the caller ends the call when it has read the files

    async def _content(self, digest: str) -> AsyncIterator[bytes]:
        with ExitStack() as stack:
            file = await asyncio.to_thread(stack.enter_context, self._blobs.open(digest))
            while data := await asyncio.to_thread(file.read, _CHUNK):
                yield data


def _digests(chosen: list[Chosen]) -> set[str]:
    return {layer.diff_id for one in chosen for layer in one.entry.image.layers}


async def choose(catalog: Catalog, request: pb.SaveRequest) -> list[Chosen]:
    """Returns the images that the names mean, each once, with the names to be saved. Raises NotFound in Docker's words."""
    found: dict[str, Chosen] = {}
    wanted = parse_platform(request.platform, Platform()) if request.platform else None
    repositories: dict[str, list[tuple[Entry, str]]] | None = None
    for text in request.images:
        if repositories is None and not _is_id(text) and _names_all(text):
            repositories = await _repositories(catalog)
        for entry, name in await _meant(catalog, text, repositories or {}):
            if wanted is not None:
                _check(entry, wanted, text)
            chosen = found.setdefault(entry.image.id, Chosen(entry, []))
            if name and name not in chosen.names:
                chosen.names.append(name)
    return list(found.values())


def _is_id(text: str) -> bool:
    return could_be_id(text) and (text.startswith("sha256:") or len(text) == 64)


def _names_all(text: str) -> bool:
    reference = parse(text)
    return not (reference.tag or reference.digest)


async def _repositories(catalog: Catalog) -> dict[str, list[tuple[Entry, str]]]:
    """Returns the tags of every repository, and their images: asked once, however many repositories are saved."""
    found: dict[str, list[tuple[Entry, str]]] = {}
    for entry in await catalog.all():
        for name in entry.names.tags:
            found.setdefault(parse(name).repository, []).append((entry, name))
    return found


async def _meant(catalog: Catalog, text: str, repositories: dict[str, list[tuple[Entry, str]]]) -> list[tuple[Entry, str]]:
    """Docker's rules: an id takes no names along, a repository without a tag all of its tags, a name itself."""
    if _is_id(text):
        return [((await library.find(catalog, text))[0], "")]
    reference = parse(text)
    if reference.digest:
        return [((await _named(catalog, f"{reference.repository}@{reference.digest}")), "")]
    if reference.tag:
        name = library.full_name(reference)
        return [(await _named(catalog, name), name)]
    if every := repositories.get(reference.repository):
        return sorted(every, key=lambda pair: pair[1])
    if could_be_id(text):
        try:
            return [(await catalog.by_prefix(text), "")]
        except (NotFound, InvalidArgument):
            pass
    raise NotFound(f"No such image: {text}")


async def _named(catalog: Catalog, name: str) -> Entry:
    try:
        return await catalog.by_name(name)
    except NotFound:
        raise NotFound("reference does not exist") from None


def _check(entry: Entry, wanted: Platform, text: str) -> None:
    document = configs.decode(entry.image.config)
    actual = Platform(document.os or "linux", document.architecture or "", document.variant or "")
    if (actual.os, actual.architecture) != (wanted.os, wanted.architecture) or (wanted.variant and wanted.variant != actual.variant):
        raise NotFound(
            f"image with reference {text} was found but does not match the specified platform: wanted {wanted}, actual: {actual}"
        )
