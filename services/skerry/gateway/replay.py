"""What `attach?logs=1` sends before the stream when the spool does not go back far enough: the router's log up to where it begins."""

import logging
from collections.abc import AsyncIterator

import grpc.aio

from skerry.api.containers.v1 import containers_pb2
from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.gateway.peers import Peers
from skerry.gateway.pump import frame

_log = logging.getLogger(__name__)
# How long the router may take to accept what comes before the stream.
_BEHIND_MS = 5000


async def replay(peers: Peers, opening: containers_pb2.AttachOpen, opened: containers_pb2.AttachOpened) -> AsyncIterator[bytes]:
    """Yields the log's records, framed as the stream is. A router that is away is told to the client: the stream goes on all the same."""
    request = pb.ReadRequest(
        container_id=opening.id,
        stdout=opening.stdout,
        stderr=opening.stderr,
        until_ns=opened.before_ns,
        min_offset=opened.offset,
        wait_ms=_BEHIND_MS,
        framing=pb.FRAMING_RAW if opened.tty else pb.FRAMING_MULTIPLEXED,
    )
    stream = peers.logs.Read(request)
    warning = ""
    try:
        async for item in stream:
            if item.data:
                yield item.data
            warning = item.warning or warning
    except grpc.aio.AioRpcError as error:
        warning = error.details() or error.code().name
    finally:
        stream.cancel()
    if warning:
        _log.warning("log is not complete", extra={"container": opening.id, "warning": warning})
        text = f"the log before this could not be read to its end: {warning}\n"
        yield text.replace("\n", "\r\n").encode() if opened.tty else frame(2, text.encode())
