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


Step = Callable[[], Awaitable[Any]]


async def attempt(what: str, step: Step, patience: float = 0.5) -> bool:
    """Does an idempotent step now; False: its service is away. Never raises: what the service refuses is not asked for again."""
    try:
        await call_again(step, patience=patience, what=what)
    except Unavailable:
        return False
    except (SkerryError, grpc.aio.AioRpcError) as error:
        _log.warning("step failed", extra={"step": what, "error": str(error)})
    return True


async def soon(peers: Peers, what: str, step: Step, patience: float = 0.5) -> None:
    """Does an idempotent step now; when its service is away, goes on trying behind the caller's back.

    Never raises: a removal does not stop at one step. What is still undone when the process ends is found by reconcile at the next start.
    """
    if not await attempt(what, step, patience):
        later(peers, what, step)


def later(peers: Peers, what: str, *steps: Step) -> None:
    """Does idempotent steps in the background, each when the one before is done."""
    _ = peers.tasks.spawn(_keep_trying(what, steps), name=what)


async def _keep_trying(what: str, steps: tuple[Step, ...]) -> None:
    try:
        async with asyncio.timeout(_GIVE_UP):
            for step in steps:
                await _until_done(what, step)
    except (TimeoutError, SkerryError, grpc.aio.AioRpcError) as error:
        _log.warning("step given up", extra={"step": what, "error": str(error)})


async def _until_done(what: str, step: Step) -> None:
    while True:
        try:
            await call_again(step, what=what)
        except Unavailable:
            await asyncio.sleep(_AGAIN)
        else:
            return
