"""Archives into containers: for `docker cp` and for the steps of a build."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import grpc.aio

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.rpc.channel import call
from skerry.core.rpc.pipe import PIPE
from skerry.gateway.beside import beside
from skerry.gateway.peers import Peers
from skerry.gateway.sending import boot_id, pour

_PIECE = 1 << 20
_TELL_SECONDS = 1.0


async def put_archive(peers: Peers, opened: pb.PutArchiveOpen, pieces: AsyncIterator[bytes]) -> None:
    """Extracts an archive that comes in pieces of at most 1 MiB. Raises what the node raises, or what the pieces' source does."""

    async def requests() -> AsyncIterator[pb.PutArchiveRequest]:
        yield pb.PutArchiveRequest(open=opened)
        async for piece in pieces:
            yield pb.PutArchiveRequest(chunk=piece)

    await call(lambda: peers.containers.PutArchive(requests()))


async def put_large(peers: Peers, opened: pb.PutArchiveOpen, pieces: AsyncIterator[bytes]) -> None:
    """Like put_archive, for pieces of any size: through a FIFO where the node is on this machine."""
    opened.boot_id = boot_id()
    stream: Any = peers.containers.PutArchive()
    answer = asyncio.ensure_future(_answer(stream))
    try:
        async with beside(_feed(stream, opened, pieces)) as feeding:
            await asyncio.wait({feeding, answer}, return_when=asyncio.FIRST_COMPLETED)
            if feeding.done():
                feeding.result()  # raises what the pieces' source raised
            await answer
    finally:
        stream.cancel()
        answer.cancel()
        await asyncio.wait({answer})


async def _answer(stream: Any) -> None:
    await call(lambda: stream)


async def _feed(stream: Any, opened: pb.PutArchiveOpen, pieces: AsyncIterator[bytes]) -> None:
    """Sends it all. That the node takes no more is for its answer to say."""
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await stream.write(pb.PutArchiveRequest(open=opened))
        path = dict(await stream.initial_metadata() or ()).get(PIPE, b"")
        with _opened(path) as pipe:
            if pipe >= 0:
                with suppress(BrokenPipeError):
                    await pour(_told(stream, pieces), pipe)
            else:
                async for piece in pieces:
                    for start in range(0, len(piece), _PIECE):
                        await stream.write(pb.PutArchiveRequest(chunk=piece[start : start + _PIECE]))
        await stream.done_writing()


async def _told(stream: Any, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Passes pieces on and tells the node, now and then, how many bytes they were: it does not see them."""
    written, told = 0, time.monotonic()
    async for piece in pieces:
        yield piece
        written += len(piece)
        if time.monotonic() - told > _TELL_SECONDS:
            await stream.write(pb.PutArchiveRequest(written=written))
            told = time.monotonic()


@contextmanager
def _opened(path: bytes) -> Iterator[int]:
    """Opens a FIFO that somebody reads; yields -1 where it is not there: the same kernel, and yet not the same files."""
    pipe = -1
    if path:
        with suppress(OSError):
            pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield pipe
    finally:
        if pipe >= 0:
            os.close(pipe)
