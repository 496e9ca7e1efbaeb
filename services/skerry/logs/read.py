"""Reading for `docker logs`: brings the log up to what was asked for, then streams and follows."""

import asyncio
import time
from collections.abc import AsyncIterator

from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.logs.containers import ContainerLog, Containers
from skerry.logs.stores import Cursor, Want

# Followers are woken by the writer; this only bounds what a lost wake-up would cost.
_LOOK_SECONDS = 5.0


async def read(containers: Containers, request: pb.ReadRequest, stopping: asyncio.Event) -> AsyncIterator[pb.ReadResponse]:
    """Yields framed records. A container of which nothing was accepted yet has an empty log: the gateway knows which ones exist.

    Raises InvalidArgument; NotSupported for driver none.
    """
    if not (request.stdout or request.stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    log = await _caught_up(containers, request, stopping)
    while log is None and request.follow and not stopping.is_set():
        bell = containers.opened
        if (log := await containers.find(request.container_id)) is None:
            await _wait(bell, stopping, _LOOK_SECONDS)
    if log is None:
        if request.min_offset:
            yield pb.ReadResponse(warning=_late(request))
        return
    if log.store.offset < request.min_offset:
        yield pb.ReadResponse(warning=_late(request))
    cursor = await containers.run(log.store.open_cursor, want(request))
    try:
        async for data in _stream(containers, log, cursor, request, stopping):
            yield pb.ReadResponse(data=data)
    finally:
        await containers.run(cursor.close)


def want(request: pb.ReadRequest) -> Want:
    """Returns the store's form of a request."""
    return Want(
        stdout=request.stdout,
        stderr=request.stderr,
        since_ns=request.since_ns,
        until_ns=request.until_ns,
        tail=request.tail if request.HasField("tail") else None,
        timestamps=request.timestamps,
        details=request.details,
        multiplexed=request.framing != pb.FRAMING_RAW,
    )


def _late(request: pb.ReadRequest) -> str:
    return f"the log router has not received the newest lines within {request.wait_ms} ms"


async def _stream(
    containers: Containers, log: ContainerLog, cursor: Cursor, request: pb.ReadRequest, stopping: asyncio.Event
) -> AsyncIterator[bytes]:
    while not (log.removed or stopping.is_set()):
        # Both asked before the read: what came with the end is read for certain, and what comes during it is not slept over.
        bell = log.bell
        ended = log.store.ended and log.store.offset >= request.min_offset
        data = await containers.run(cursor.read)
        if data is None:
            return
        if data:
            yield data
            continue
        if not request.follow or ended:
            return
        if request.until_ns and time.time_ns() > request.until_ns:
            return
        await _wait(bell, stopping, _seconds(request.until_ns))


def _seconds(until_ns: int) -> float:
    return min(_LOOK_SECONDS, max(0.0, (until_ns - time.time_ns()) / 1e9) + 0.01) if until_ns else _LOOK_SECONDS


async def _wait(bell: asyncio.Event, stopping: asyncio.Event, seconds: float) -> None:
    """Waits for one of both, seconds at most."""
    waits = [asyncio.ensure_future(event.wait()) for event in (bell, stopping)]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _caught_up(containers: Containers, request: pb.ReadRequest, stopping: asyncio.Event) -> ContainerLog | None:
    """Returns the log once it has min_offset, or after wait_ms as it is."""
    deadline = time.monotonic() + min(request.wait_ms, 60_000) / 1000
    while True:
        bell = containers.opened
        log = await containers.find(request.container_id)
        if log is not None:
            bell = log.bell
        if request.min_offset == 0 or (log is not None and log.store.offset >= request.min_offset):
            return log
        left = deadline - time.monotonic()
        if left <= 0 or stopping.is_set():
            return log
        await _wait(bell, stopping, left)
