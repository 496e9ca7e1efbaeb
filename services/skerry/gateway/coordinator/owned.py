"""Work that goes on to its end when its client leaves."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from skerry.gateway.peers import Peers

T = TypeVar("T")


async def owned(peers: Peers, work: Coroutine[Any, Any, T], name: str) -> T:
    """Awaits work that goes on to its end when the caller is cancelled: a coordinator's steps must not stop half way."""
    outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        # The error is the client's: told through the future, so that the task itself has none left over to be reported.
        try:
            result = await work
        except Exception as error:  # noqa: BLE001 - handed on to who awaits the future
            if not outcome.done():
                outcome.set_exception(error)
        else:
            if not outcome.done():
                outcome.set_result(result)

    peers.tasks.spawn(run(), name=name).add_done_callback(lambda _: outcome.cancel())
    try:
        return await outcome
    except asyncio.CancelledError:
        outcome.cancel()
        raise
