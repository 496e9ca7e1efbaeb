"""Steps that must happen but that nobody waits for: tried at once, then again while the service is away."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from skerry.core.errors import SkerryError, Unavailable
from skerry.core.rpc.channel import call_again
from skerry.gateway.peers import Peers

_log = logging.getLogger(__name__)
_AGAIN = 5.0
_GIVE_UP = 3600.0


async def soon(peers: Peers, what: str, work: Callable[[], Awaitable[Any]], patience: float = 0.5) -> None:
    """Does an idempotent step now; when its service is away, goes on trying behind the caller's back.

    Never raises: a removal does not stop at one step. What is still undone when the process ends is found by reconcile at the next start.
    """
    try:
        await call_again(work, patience=patience, what=what)
    except Unavailable:
        later(peers, what, work)
    except (SkerryError, grpc.aio.AioRpcError) as error:
        _log.warning("step failed", extra={"step": what, "error": str(error)})


def later(peers: Peers, what: str, work: Callable[[], Awaitable[Any]]) -> None:
    """Does an idempotent step in the background."""
    _ = peers.tasks.spawn(_keep_trying(what, work), name=what)


async def _keep_trying(what: str, work: Callable[[], Awaitable[Any]]) -> None:
    try:
        async with asyncio.timeout(_GIVE_UP):
            while True:
                try:
                    await call_again(work, what=what)
                    return
                except Unavailable:
                    await asyncio.sleep(_AGAIN)
    except (TimeoutError, SkerryError, grpc.aio.AioRpcError) as error:
        _log.warning("step given up", extra={"step": what, "error": str(error)})
