"""Load and Import on the wire: chunks or a named pipe in, progress and images out."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument, SkerryError
from skerry.images import library
from skerry.images.intake import ImportPlan, Intake
from skerry.images.remote import Remotes
from skerry.images.steps import with_progress
from skerry.images.streams import Streams, drained
from skerry.images.uploads import Chunks, Piped, Pipes, Upload, told


class IntakeCalls:
    """The image store's part that takes archives in."""

    _intake: Intake
    _boot_id: str
    # Set by whoever makes the service.
    streams: Streams
    pipes: Pipes
    remotes: Remotes
    upload_idle: float

    async def Load(self, request_iterator: AsyncIterator[pb.LoadRequest], context: Any) -> AsyncIterator[pb.LoadResponse]:
        requests = aiter(request_iterator)
        first = await anext(requests, None)
        opening = first.open if first is not None and first.WhichOneof("part") == "open" else None
        with ExitStack() as stack:
            if opening is None:
                upload: Upload = self._chunks(requests, first.chunk if first is not None else b"")
            else:
                upload, path = self._opened(stack, requests, opening.boot_id)
                yield pb.LoadResponse(opened=pb.UploadOpened(path=path))
            platform = opening.platform if opening is not None else ""
            async for step in with_progress(lambda tell: self._intake.load(upload, platform, tell)):
                if isinstance(step, pb.Progress):
                    yield pb.LoadResponse(progress=step)
                    continue
                for one in step:
                    for name, old in one.moved:
                        text = f"The image {name} already exists, renaming the old one with ID {old} to empty string\n"
                        yield pb.LoadResponse(said=text)
                    yield pb.LoadResponse(loaded=pb.Loaded(image=library.to_proto(one.entry), names=one.names))

    async def Import(self, request_iterator: AsyncIterator[pb.ImportRequest], context: Any) -> AsyncIterator[pb.ImportResponse]:
        requests = aiter(request_iterator)
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidArgument("import: the first message must be the header")
        header = first.header
        try:
            plan = self._intake.plan_import(header)
        except SkerryError:
            if not header.boot_id:
                await drained(requests)
            raise
        if header.source:
            async for response in self._fetched(plan, header.source):
                yield response
            return
        with ExitStack() as stack:
            if header.boot_id:
                upload, path = self._opened(stack, requests, header.boot_id)
                yield pb.ImportResponse(opened=pb.UploadOpened(path=path))
            else:
                upload = self._chunks(requests, b"")
            async for step in with_progress(lambda tell: self._intake.import_(plan, upload)):
                if not isinstance(step, pb.Progress):
                    yield pb.ImportResponse(image=library.to_proto(step))

    async def _fetched(self, plan: ImportPlan, source: str) -> AsyncIterator[pb.ImportResponse]:
        async with self.remotes.opened(source) as remote:
            yield pb.ImportResponse(progress=pb.Progress(status=f"Downloading from {remote.url}"))
            async for step in with_progress(
                lambda tell: self._intake.import_(plan, Chunks(self.streams, remote.chunks(tell), self.upload_idle))
            ):
                if isinstance(step, pb.Progress):
                    yield pb.ImportResponse(progress=step)
                else:
                    yield pb.ImportResponse(image=library.to_proto(step))

    def _chunks(self, requests: AsyncIterator[Any], first: bytes) -> Upload:
        async def chunks() -> AsyncIterator[bytes]:
            yield first
            async for request in requests:
                yield request.chunk

        return Chunks(self.streams, chunks(), self.upload_idle)

    def _opened(self, stack: ExitStack, requests: AsyncIterator[Any], boot_id: str) -> tuple[Upload, str]:
        """Returns the upload and the path of its pipe; the path is empty when the client is on another machine."""
        if boot_id != self._boot_id:
            return self._chunks(requests, b""), ""
        pipe = stack.enter_context(self.pipes.one(self.upload_idle))
        return Piped(self.streams, pipe, lambda: told(requests)), pipe.path
