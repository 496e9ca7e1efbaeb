"""Taking a node's records: one stream, many containers, each in its own order, acknowledged when written."""

import asyncio
import logging
from collections.abc import AsyncIterator

from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.core.errors import InvalidArgument, SkerryError
from skerry.core.lifecycle import Tasks
from skerry.logs import drivers
from skerry.logs.containers import ContainerLog, Containers, about

_log = logging.getLogger(__name__)
# Bytes taken off the stream and not written yet. Above it the node waits.
_PENDING_LIMIT = 32 << 20
_BATCH_LIMIT = 1 << 20


class Shipment:
    """One Ship stream."""

    def __init__(self, containers: Containers, tasks: Tasks) -> None:
        self._containers = containers
        self._tasks = tasks
        self._answers: asyncio.Queue[pb.ShipResponse | None] = asyncio.Queue()
        self._logs: dict[str, ContainerLog] = {}
        self._waiting: dict[str, list[tuple[int, bytes]]] = {}
        self._pending = 0
        self._room = asyncio.Event()
        self._wrong: SkerryError | None = None

    async def serve(self, requests: AsyncIterator[pb.ShipRequest], stopping: asyncio.Event) -> AsyncIterator[pb.ShipResponse]:
        """Yields answers until the node ends the stream or the router stops."""
        reading = self._tasks.spawn(self._read(requests), "ship")
        stopped = self._tasks.spawn(self._stop(stopping), "ship stop")
        try:
            while (answer := await self._answers.get()) is not None:
                yield answer
            if self._wrong is not None:
                raise self._wrong
        finally:
            reading.cancel()
            stopped.cancel()

    async def _stop(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._answers.put_nowait(None)

    async def _read(self, requests: AsyncIterator[pb.ShipRequest]) -> None:
        try:
            async for request in requests:
                if request.WhichOneof("part") == "open":
                    await self._open(request.open)
                else:
                    await self._batch(request.batch)
        except SkerryError as error:
            self._wrong = error
        finally:
            self._answers.put_nowait(None)

    async def _open(self, request: pb.Open) -> None:
        try:
            drivers.checked(request.driver, request.options)
            log = await self._containers.open(request.container_id, about(request))
        except (OSError, SkerryError) as error:
            self._refuse(request.container_id, error)
            return
        self._logs[request.container_id] = log
        self._waiting[request.container_id] = []
        self._answers.put_nowait(pb.ShipResponse(opened=pb.Opened(container_id=request.container_id, offset=log.store.offset)))

    async def _batch(self, batch: pb.Batch) -> None:
        if len(batch.frames) > _BATCH_LIMIT:
            raise InvalidArgument(f"batch of {len(batch.frames)} bytes; at most {_BATCH_LIMIT}")
        waiting = self._waiting.get(batch.container_id)
        if waiting is None:
            self._refuse(batch.container_id, InvalidArgument("not opened on this stream"))
            return
        while self._pending > _PENDING_LIMIT:
            self._room.clear()
            await self._room.wait()
        waiting.append((batch.offset, batch.frames))
        self._pending += len(batch.frames)
        if len(waiting) == 1:
            _ = self._tasks.spawn(self._write(batch.container_id), "write")

    async def _write(self, container_id: str) -> None:
        """Writes what waits for one container until nothing does. Only one runs per container: the list is emptied last."""
        waiting, log = self._waiting[container_id], self._logs[container_id]
        while waiting:
            batches = list(waiting)
            try:
                offset = await self._containers.accept(log, batches)
                self._answers.put_nowait(pb.ShipResponse(ack=pb.Ack(container_id=container_id, offset=offset)))
            except (OSError, SkerryError) as error:
                # What follows would be a gap: the node opens again and sends from what is accepted.
                batches = list(waiting)
                self._waiting.pop(container_id, None)
                self._refuse(container_id, error)
            del waiting[: len(batches)]
            self._pending -= sum(len(frames) for _, frames in batches)
            self._room.set()

    def _refuse(self, container_id: str, error: Exception) -> None:
        _log.warning("records refused", extra={"container": container_id, "reason": str(error)})
        self._answers.put_nowait(pb.ShipResponse(refused=pb.Refused(container_id=container_id, reason=str(error))))
