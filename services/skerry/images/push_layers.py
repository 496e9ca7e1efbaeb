"""Bringing an image's layers into a repository with as few bytes as possible: what is there stays, what is elsewhere in the registry is
mounted, the rest is uploaded in the form that was made once.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed
from skerry.core.ids import short
from skerry.images.blobs import Blobs
from skerry.images.catalog import Form, LayerRecord, PushRecords
from skerry.images.compress import GZIP, Compressing, Forms
from skerry.images.fetches import Tell
from skerry.images.registry.upload import Target
from skerry.images.singly import Singly
from skerry.images.streams import Streams

_PIECE = 1 << 20
_PROGRESS_SECONDS = 0.1
# Other repositories that are asked for one blob.
_MOUNTS = 3
_FORMS = 4


class Missing(Exception):
    """A form that is neither here nor in the registry."""


class LayerPush:
    """Uploads layers, `parallel` at once over all pushes."""

    def __init__(self, records: PushRecords, blobs: Blobs, streams: Streams, compressing: Compressing, *, parallel: int) -> None:
        self._records = records
        self._blobs = blobs
        self._streams = streams
        self._compressing = compressing
        self.known = Forms(records, blobs, streams)
        self._slots = asyncio.Semaphore(parallel)
        self._turns = Singly()

    async def settle(self, target: Target, layer: LayerRecord, tell: Tell) -> Form:
        """Makes a layer exist in the repository, in whatever gzip form; returns that. Raises as Target.blob and Compressing.form."""
        forms = await self._forms(layer)
        async with self._turn(target, layer.diff_id, tell):
            if (form := await self._there(target, forms, tell)) is not None:
                return form
            form = next((one for one in forms if one.kept), None)
            if form is None:
                form = await self._compressing.form(layer.diff_id, partial(_prepared, layer, tell))
                if form.digest not in {one.digest for one in forms} and await self._there(target, [form], tell) is not None:
                    return form
            await self._upload(target, form, tell)
            return form

    async def settle_exactly(self, target: Target, form: Form, tell: Tell) -> None:
        """Makes this form exist in the repository. Raises as Target.blob; Missing when it is nowhere."""
        async with self._turn(target, form.diff_id, tell):
            if await self._there(target, [form], tell) is None:
                if not await self.has(form.digest):
                    raise Missing(form.digest)
                await self._upload(target, form, tell)

    async def has(self, digest: str) -> bool:
        """Tells whether the blob store has a form."""
        return await asyncio.to_thread(self._blobs.has, digest)

    async def document(self, target: Target, digest: str, data: bytes) -> None:
        """Makes a configuration exist in the repository. Raises as Target.blob."""

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        if not await target.has(digest):
            await target.blob(digest, len(data), chunks, lambda sent: None, lambda pause: None)

    @asynccontextmanager
    async def _turn(self, target: Target, diff_id: str, tell: Tell) -> AsyncIterator[None]:
        """Holds a slot among all uploads, and the only one for this layer and repository: the second push finds what the first brought."""
        if self._slots.locked():
            tell(pb.Progress(id=short(diff_id), status="Waiting"))
        async with self._turns.of((target.registry, target.path, diff_id)), self._slots:
            yield

    async def _forms(self, layer: LayerRecord) -> list[Form]:
        """Returns the gzip forms to look for, best first; kept means here that the blob is in the store now."""
        forms = [form for form in await self._records.forms(layer.diff_id) if form.compression == GZIP][:_FORMS]
        if not forms and layer.compressed:
            form = await self.known.proven(layer, layer.compressed)
            forms = [form] if form is not None and form.compression == GZIP else []
        return [msgspec.structs.replace(form, kept=await self.has(form.digest)) for form in forms]

    async def _there(self, target: Target, forms: list[Form], tell: Tell) -> Form | None:
        """Returns the form that the repository has, or has now by a mount."""
        for form in forms:
            if await target.has(form.digest):
                tell(pb.Progress(id=short(form.diff_id), status="Layer already exists"))
                return form
        for form in forms:
            sources = [one for one in await self._records.seen_in(target.registry, form.digest) if one != target.path]
            for source in sources[:_MOUNTS]:
                if await target.mount(form.digest, source):
                    tell(pb.Progress(id=short(form.diff_id), status=f"Mounted from {source}"))
                    return form
        return None

    async def _upload(self, target: Target, form: Form, tell: Tell) -> None:
        name = short(form.diff_id)
        shown = 0.0

        def told(sent: int) -> None:
            nonlocal shown
            if (now := time.monotonic()) - shown > _PROGRESS_SECONDS or sent >= form.size:
                shown = now
                tell(pb.Progress(id=name, status="Pushing", current=sent, total=form.size))

        def again(pause: float) -> None:
            seconds = max(1, round(pause))
            tell(pb.Progress(id=name, status=f"Retrying in {seconds} second{'s' if seconds > 1 else ''}"))

        await target.blob(form.digest, form.size, lambda: self._pieces(form), told, again)
        tell(pb.Progress(id=name, status="Pushed"))

    async def _pieces(self, form: Form) -> AsyncIterator[bytes]:
        def piece(offset: int) -> bytes:
            # Opened each time: a push that is given up leaves no file to a thread that still reads.
            with self._blobs.open(form.digest, offset) as file:
                return file.read(_PIECE)

        sent = 0
        while sent < form.size:
            data = await self._streams.run(partial(piece, sent))
            if not data or sent + len(data) > form.size:
                raise Failed(f"blob {form.digest} does not have {form.size} bytes")
            yield data
            sent += len(data)


def _prepared(layer: LayerRecord, tell: Tell, done: int) -> None:
    tell(pb.Progress(id=short(layer.diff_id), status="Preparing", current=done, total=layer.size))
