"""Checking the whole store: every blob against its digest, every image against the blobs it needs. `skerry images fsck`.

What another blob holds too is rebuilt from it: a layer's plain tar from the compressed form that is kept beside it. Damaged content is
removed when asked to repair, so that the next pull or load brings it back; rows are never removed.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import SkerryError
from skerry.images import library
from skerry.images.blobs import Blobs
from skerry.images.catalog import Catalog, Entry, LayerRecord
from skerry.images.collector import Collector
from skerry.images.layers import take
from skerry.images.manifest import digest_of

_READ = 1 << 20


class Checker:
    """Runs checks, one at a time."""

    def __init__(self, catalog: Catalog, blobs: Blobs, collector: Collector, *, layer_bytes: int) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._collector = collector
        self._limit = layer_bytes
        self._lock = asyncio.Lock()

    async def run(self, *, repair: bool) -> AsyncIterator[pb.CheckResponse]:
        """Yields findings and progress, the summary last. Nothing is swept meanwhile."""
        async with self._lock:
            async with self._collector.taking(leaves=repair):
                check = _Check(self._catalog, self._blobs, self._limit, self._collector.claimed, repair=repair)
                async for step in check.steps():
                    yield step
            if repair:
                await self._collector.collect()


class _Check:
    def __init__(self, catalog: Catalog, blobs: Blobs, limit: int, claimed: Callable[[dict[str, int]], set[str]], *, repair: bool) -> None:
        self._claimed = claimed
        self._catalog = catalog
        self._blobs = blobs
        self._limit = limit
        self._repair = repair
        self._users: dict[str, list[str]] = defaultdict(list)
        # The compressed form that a layer can be made from again.
        self._sources: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._damaged: set[str] = set()
        self._summary = pb.CheckSummary()

    async def steps(self) -> AsyncIterator[pb.CheckResponse]:
        entries = await self._catalog.all()
        for entry in entries:
            await self._learn(entry)
            for finding in _record(entry):
                yield self._found(finding)
        used = await self._catalog.blobs_in_use()
        listed = await asyncio.to_thread(lambda: {one.digest: one for one in self._blobs.listed()})
        # The layers of pulls that were interrupted wait for their next try.
        used |= await asyncio.to_thread(self._claimed, {one.digest: one.size for one in listed.values()})
        kept_as = {one.kept_as for one in listed.values() if one.digest in used}
        for number, digest in enumerate(sorted(listed), 1):
            if not await asyncio.to_thread(self._intact, digest):
                self._damaged.add(digest)
            yield pb.CheckResponse(progress=pb.CheckProgress(checked=number, total=len(listed)))
        for digest in sorted(self._damaged):
            yield self._found(await self._mended(digest, pb.Finding.KIND_DAMAGED, needed=digest in used | kept_as))
        for digest in sorted(used - listed.keys() - self._optional(used)):
            yield self._found(await self._mended(digest, pb.Finding.KIND_MISSING, needed=True))
        for digest in sorted(listed.keys() - used - kept_as - self._damaged):
            done = "removed" if self._repair else "`--repair` removes it"
            yield self._found(
                pb.Finding(kind=pb.Finding.KIND_UNUSED, subject=digest, text=f"no image needs it: {done}", repaired=self._repair)
            )
        self._summary.images = len(entries)
        yield pb.CheckResponse(summary=self._summary)

    async def _learn(self, entry: Entry) -> None:
        shown = [library.familiar(name) for name in entry.names.tags] or [entry.image.id]
        for layer in entry.image.layers:
            self._users[layer.diff_id] += shown
            self._sizes[layer.diff_id] = layer.size
            forms = [form.digest for form in await self._catalog.forms(layer.diff_id) if form.kept]
            for compressed in filter(None, (*forms, layer.compressed)):
                self._users[compressed] += shown
                self._sources[layer.diff_id] = compressed

    def _optional(self, used: set[str]) -> set[str]:
        """Compressed forms are a convenience: the plain tar is what an image needs."""
        return {digest for digest in used if digest in self._users and digest not in self._sizes}

    def _found(self, finding: pb.Finding) -> pb.CheckResponse:
        finding.images.extend(sorted(set(self._users.get(finding.subject, ()))))
        self._summary.findings += 1
        self._summary.repaired += finding.repaired
        return pb.CheckResponse(finding=finding)

    def _intact(self, digest: str) -> bool:
        hashed, size = hashlib.sha256(), 0
        try:
            with self._blobs.open(digest) as reader:
                while data := reader.read(_READ):
                    hashed.update(data)
                    size += len(data)
        except (SkerryError, OSError):
            return False
        self._summary.blobs += 1
        self._summary.bytes += size
        return f"sha256:{hashed.hexdigest()}" == digest

    async def _mended(self, digest: str, kind: "pb.Finding.Kind", *, needed: bool) -> pb.Finding:
        what = "its content is not what its digest says" if kind == pb.Finding.KIND_DAMAGED else "it is not there"
        finding = pb.Finding(kind=kind, subject=digest)
        source = self._sources.get(digest, "")
        rebuildable = bool(source) and source not in self._damaged and await asyncio.to_thread(self._blobs.has, source)
        # The plain tar may be made from the compressed form, and of that form nobody but a push has need.
        dispensable = not needed or (digest in self._users and digest not in self._sizes)
        if not self._repair:
            advice = "`--repair` rebuilds it" if rebuildable else "`--repair` removes it" if dispensable else "pull or load the image again"
            if not (rebuildable or dispensable) and kind == pb.Finding.KIND_DAMAGED:
                advice = "`--repair` removes the damaged content; then pull or load the image again"
            finding.text = f"{what}: {advice}"
            return finding
        await asyncio.to_thread(self._blobs.remove, digest)
        if rebuildable:
            failure = await asyncio.to_thread(self._rebuilt, digest, source)
            finding.repaired = not failure
            finding.text = f"{what}: {failure or f'rebuilt from {source}'}"
        elif dispensable:
            finding.repaired = True
            finding.text = f"{what}: removed, no image depends on it"
        else:
            removed = "the damaged content was removed; " if kind == pb.Finding.KIND_DAMAGED else ""
            finding.text = f"{what}: {removed}pull or load the image again"
        return finding

    def _rebuilt(self, diff_id: str, source: str) -> str:
        """Makes a layer's plain tar again; returns why that failed, or nothing."""
        try:
            with self._blobs.open(source) as reader:
                take(reader, self._blobs, keep_compressed=False, limit=self._limit, expected_diff=diff_id)
        except (SkerryError, OSError) as error:
            return f"could not be rebuilt from {source}: {error}; pull or load the image again"
        return ""


def _record(entry: Entry) -> list[pb.Finding]:
    """Returns what a row says against itself."""
    image = entry.image
    if digest_of(image.config) != image.id:
        text = "its configuration is not what its id says: remove the image and pull or load it again"
        return [pb.Finding(kind=pb.Finding.KIND_RECORD, subject=image.id, text=text)]
    return [
        pb.Finding(kind=pb.Finding.KIND_RECORD, subject=image.id, text=f"layer {layer.diff_id} is recorded with {layer.size} bytes")
        for layer in image.layers
        if _impossible(layer)
    ]


def _impossible(layer: LayerRecord) -> bool:
    # A tar is made of blocks of 512 bytes and is never empty.
    return layer.size <= 0
