"""Calling another service: channels that find a restarted peer, and calls that are repeated when they are idempotent."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
import grpc.aio

from skerry.core.errors import SkerryError, Unavailable
from skerry.core.rpc.errors import from_rpc
from skerry.core.rpc.options import CHANNEL_OPTIONS
from skerry.core.rpc.tls import Tls, channel_credentials

T = TypeVar("T")


def open_channel(address: str, tls: Tls | None = None) -> grpc.aio.Channel:
    """Returns a channel to "unix:PATH" or "HOST:PORT". It connects when first used; close it, or use `async with`."""
    if tls is None or address.startswith("unix:"):
        return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    return grpc.aio.secure_channel(address, channel_credentials(tls), options=CHANNEL_OPTIONS)


def translated(error: grpc.aio.AioRpcError) -> Exception:
    """Returns the SkerryError the other side raised, or the error itself when it is a bug over there."""
    return from_rpc(error) or error


async def call(work: Callable[[], Awaitable[T]]) -> T:
    """Awaits work() once; its AioRpcError rises as the SkerryError that the other side raised."""
    try:
        return await work()
    except grpc.aio.AioRpcError as error:
        raise translated(error) from error


async def call_again(work: Callable[[], Awaitable[T]], *, patience: float = 10, what: str = "") -> T:
    """Like call, for idempotent calls: while the peer is away, tries again for patience seconds. Raises Unavailable naming `what`."""
    deadline = time.monotonic() + patience
    pause = 0.02
    while True:
        try:
            return await work()
        except grpc.aio.AioRpcError as error:
            known = from_rpc(error)
            # A service that says Unavailable itself has an answer; only a lost peer is worth asking again.
            away = error.code() is grpc.StatusCode.UNAVAILABLE and not _spoke(error)
            if not away or time.monotonic() + pause > deadline:
                if away:
                    raise Unavailable(f"{what or 'a service'} is not reachable: {error.details()}") from error
                raise known or error from error
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.5)


def _spoke(error: grpc.aio.AioRpcError) -> bool:
    return any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())


__all__ = ["SkerryError", "call", "call_again", "open_channel", "translated"]
