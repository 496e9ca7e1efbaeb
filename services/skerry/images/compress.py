"""Compressing layers for registries: once, remembered by diff_id. The same tar gives the same bytes until the library changes."""

import asyncio
import hashlib
import threading
from collections.abc import Callable

from isal import isal_zlib

from skerry.core.errors import Failed, SkerryError
from skerry.images.blobs import Blobs
from skerry.images.catalog import Form, LayerRecord, PushRecords
from skerry.images.layers import CHUNK, FORMAT_ERRORS, Watched, compression, peek, plain
from skerry.images.singly import Singly
from skerry.images.streams import Streams

# ISA-L's best of speed and size (0.4 s and 105 MB for a layer of 250 MB; level 3 saves 2 % and takes 1.4 times as long).
_LEVEL = 2
# Plain bytes after which progress is told, about ten times a second.
_TOLD_EVERY = 48 << 20
_GZIP_WINDOW = 31
GZIP = "gzip"
_UNREADABLE: tuple[type[Exception], ...] = (SkerryError, *FORMAT_ERRORS)


class Compressing:
    """Makes gzip forms of layers."""

    def __init__(self, records: PushRecords, blobs: Blobs, streams: Streams, *, keep: bool) -> None:
        self._records = records
        self._blobs = blobs
        self._streams = streams
        self._keep = keep
        self._turns = Singly()

    async def form(self, diff_id: str, told: Callable[[int], None]) -> Form:
        """Returns a layer's gzip form, which is in the blob store now; it stays there as `keep` says. Raises NotFound, Failed.

        told hears how many bytes of the plain tar are done, unless somebody else had the layer compressed at the same time.
        """
        loop = asyncio.get_running_loop()

        def tell(done: int) -> None:
            loop.call_soon_threadsafe(told, done)

        async with self._turns.of(diff_id):
            for form in await self._records.forms(diff_id):
                if form.kept and form.compression == GZIP and await asyncio.to_thread(self._blobs.has, form.digest):
                    return form
            stop = threading.Event()
            try:
                digest, size = await self._streams.run(lambda: gzip_form(self._blobs, diff_id, stop, tell))
            finally:
                stop.set()
            form = Form(diff_id, digest, size, self._keep)
            await self._records.remember([form])
            return form


class Forms:
    """Which blobs are, beyond doubt, compressed forms of a layer: those that were decompressed here. No manifest's word counts, nor what an
    image's record has as `compressed`: that is kept, not proven.
    """

    def __init__(self, records: PushRecords, blobs: Blobs, streams: Streams) -> None:
        self._records = records
        self._blobs = blobs
        self._streams = streams

    async def has(self, layer: LayerRecord, digest: str) -> bool:
        """Tells whether a blob is this layer compressed, or its plain tar. Decompresses it when that was never done."""
        if digest == layer.diff_id or any(form.digest == digest for form in await self._records.forms(layer.diff_id)):
            return True
        return await self.proven(layer, digest) is not None

    async def proven(self, layer: LayerRecord, digest: str) -> Form | None:
        """Decompresses a blob of the store; returns it as the layer's form, which is remembered, or None."""
        form = await self._streams.run(lambda: proven(self._blobs, layer, digest))
        if form is not None:
            await self._records.remember([form])
        return form


def gzip_form(blobs: Blobs, diff_id: str, stop: threading.Event, told: Callable[[int], None]) -> tuple[str, int]:
    """Compresses a layer into the blob store; returns digest and size. Blocks. Raises NotFound, Failed (damaged, or stop is set)."""
    squeeze = isal_zlib.compressobj(level=_LEVEL, wbits=_GZIP_WINDOW)
    check, done, said = hashlib.sha256(), 0, 0
    with blobs.open(diff_id) as source, blobs.writer() as out:
        while data := source.read(CHUNK):
            if stop.is_set():
                raise Failed("compressing was given up")
            check.update(data)
            out.write(squeeze.compress(data))
            done += len(data)
            if done - said >= _TOLD_EVERY:
                said = done
                told(done)
        if f"sha256:{check.hexdigest()}" != diff_id:
            raise Failed(f"filesystem layer verification failed for digest {diff_id}")
        out.write(squeeze.flush())
        return out.commit()


def proven(blobs: Blobs, layer: LayerRecord, digest: str) -> Form | None:
    """Decompresses a blob that is here; returns it as the layer's form, None when it is another's, or damaged. Blocks."""
    if not blobs.has(digest):
        return None
    check, size = hashlib.sha256(), 0
    try:
        with blobs.open(digest) as file:
            head = peek(file)
            through = Watched(file, head, hashed=True)
            kind = compression(head)
            reader = plain(through, kind)
            while size <= layer.size and (data := reader.read(CHUNK)):
                check.update(data)
                size += len(data)
            through.rest()
    except _UNREADABLE:
        return None
    if not kind or f"sha256:{check.hexdigest()}" != layer.diff_id or through.digest() != digest:
        return None
    return Form(layer.diff_id, digest, through.count, compression=kind)
