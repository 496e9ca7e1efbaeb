"""GET /containers/{id}/logs: the router's, or while it is away what the node's spool still has."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc
import grpc.aio
from aiohttp import web

from skerry.api.containers.v1 import containers_pb2
from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.core.errors import InvalidArgument, NotSupported
from skerry.core.rpc.channel import call_again, translated
from skerry.gateway.beside import beside
from skerry.gateway.call import Call, Route, find, streaming
from skerry.gateway.docker.times import timestamp
from skerry.gateway.pump import frame
from skerry.gateway.routes.attach import stream_type
from skerry.gateway.versions import STREAM_CONTENT_TYPES

_log = logging.getLogger(__name__)
# How long the router may take to accept what the container has written, before what it has is shown.
_BEHIND_MS = 2000
_HEAD_SECONDS = 0.25
_AGAIN_SECONDS = 0.2
_PATIENCE = 10.0
_LIVE = frozenset({containers_pb2.STATUS_RUNNING, containers_pb2.STATUS_PAUSED, containers_pb2.STATUS_RESTARTING})


async def logs(call: Call) -> web.StreamResponse:
    """Sends all that was written before the request, and with follow what comes until the container ends."""
    stdout, stderr = call.flag("stdout"), call.flag("stderr")
    if not stdout and not stderr:
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    container = await call.container()
    if container.log.driver == "none":
        raise NotSupported("configured logging driver does not support reading")
    now = time.time_ns()
    tty = container.spec.tty
    request = pb.ReadRequest(
        container_id=container.id,
        stdout=stdout,
        stderr=stderr,
        since_ns=max(0, timestamp(call.text("since"), now)),
        until_ns=max(0, timestamp(call.text("until"), now)),
        timestamps=call.flag("timestamps"),
        follow=call.flag("follow") and container.state.status in _LIVE | {containers_pb2.STATUS_CREATED},
        wait_ms=_BEHIND_MS,
        framing=pb.FRAMING_RAW if tty else pb.FRAMING_MULTIPLEXED,
        details=call.flag("details"),
    )
    tail = call.text("tail")
    if tail.isascii() and tail.isdigit():
        request.tail = min(int(tail), 2**63 - 1)
    spool = containers_pb2.GetSpoolRequest(id=container.id)
    request.min_offset = (await call_again(lambda: call.peers.containers.GetSpool(spool), what="the container service")).end_offset
    with call.peers.stream():
        async with aclosing(_records(call, request, container)) as records:
            # The first piece decides between an error's status and a stream; a silent container must not hold the head back.
            async with beside(_first(records)) as first:
                await asyncio.wait({first}, timeout=_HEAD_SECONDS if request.follow else None)
                if first.done():
                    first.result()
                content_type = stream_type(call.version, tty) if call.version >= STREAM_CONTENT_TYPES else "application/octet-stream"
                response = await streaming(call, content_type)
                if data := await first:
                    await response.write(data)
            async for data in records:
                await response.write(data)
    await response.write_eof()
    return response


async def _first(records: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(records, b"")


async def _records(call: Call, request: pb.ReadRequest, container: containers_pb2.Container) -> AsyncGenerator[bytes, None]:
    """Yields pieces of whole records. A router that restarts is waited for while the followed run lasts."""
    sent = 0
    tty = container.spec.tty
    run = container.state.run + (container.state.status not in _LIVE)
    patience = time.monotonic() + _PATIENCE
    while True:
        stream = call.peers.logs.Read(request)
        skip, lost = sent, False
        try:
            async for item in stream:
                if item.warning:
                    _log.warning("log is behind", extra={"container": request.container_id, "warning": item.warning})
                    if request.stderr and not tty:
                        yield frame(2, f"{item.warning}\n".encode())
                data = item.data
                if skip:
                    skip, data = max(0, skip - len(data)), data[skip:]
                if data:
                    sent += len(data)
                    yield data
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise translated(error) from error
            if not sent:
                async for data in _spool(call, request, tty):
                    yield data
                return
            # A tail is counted from another end by now: what was sent could not be told from what was not.
            if request.HasField("tail") or (not request.follow and time.monotonic() > patience):
                raise translated(error) from error
            lost = True
        finally:
            stream.cancel()
        if not lost:
            if not request.follow or call.peers.stopping.is_set():
                return
            state = (await find(call.peers, request.container_id)).state
            if state.status not in _LIVE or state.run != run:
                return
        await asyncio.sleep(_AGAIN_SECONDS)


async def _spool(call: Call, request: pb.ReadRequest, tty: bool) -> AsyncGenerator[bytes, None]:
    note = "the log router is not reachable: older lines may be missing"
    _log.warning("log read from the spool", extra={"container": request.container_id})
    if request.stderr and not tty:
        yield frame(2, f"WARNING: {note}\n".encode())
    spool = containers_pb2.ReadSpoolRequest(
        id=request.container_id,
        stdout=request.stdout,
        stderr=request.stderr,
        since_ns=request.since_ns,
        until_ns=request.until_ns,
        timestamps=request.timestamps,
        follow=request.follow,
        multiplexed=not tty,
    )
    if request.HasField("tail"):
        spool.tail = request.tail
    stream = call.peers.containers.ReadSpool(spool)
    try:
        async for item in stream:
            yield item.data
    except grpc.aio.AioRpcError as error:
        raise translated(error) from error
    finally:
        stream.cancel()


ROUTES: list[Route] = [("GET", "/containers/{id}/logs", logs)]
