"""Those who wait for a container's end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers.state import Answer, Phase, State


class Waiters:
    """Waits for one container: registered at once, answered by `answer` and `removed`."""

    def __init__(self) -> None:
        self._exits: set[asyncio.Future[Answer]] = set()
        self._removals: set[asyncio.Future[Answer]] = set()

    def answer(self, answer: Answer) -> None:
        """Answers all that wait for an exit."""
        _resolve(self._exits, answer)

    def removed(self, answer: Answer) -> None:
        """Answers all: who waits for an exit of a removed container would wait for ever."""
        _resolve(self._exits, answer)
        _resolve(self._removals, answer)

    def register(self, condition: pb.WaitCondition, state: State, after_run: int | None) -> "asyncio.Future[Answer]":
        """Returns a future that is done when the condition holds; no exit from now on is missed."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if condition == pb.WAIT_CONDITION_REMOVED:
            self._removals.add(future)
        elif (known := _known(condition, state, after_run)) is not None:
            future.set_result(known)
        else:
            self._exits.add(future)
        return future

    def forget(self, future: "asyncio.Future[Answer]") -> None:
        """Ends a wait that nobody awaits any more."""
        self._exits.discard(future)
        self._removals.discard(future)
        future.cancel()


def _resolve(futures: "set[asyncio.Future[Answer]]", answer: Answer) -> None:
    for future in futures:
        if not future.done():
            future.set_result(answer)
    futures.clear()


def _known(condition: pb.WaitCondition, state: State, after_run: int | None) -> Answer | None:
    if after_run is not None and state.answered_run > after_run:
        return Answer(state.answered_run, state.answered_code)
    if condition == pb.WAIT_CONDITION_NEXT_EXIT:
        return None
    if state.phase in (Phase.CREATED, Phase.DEAD) or (state.phase is Phase.EXITED and state.settled):
        return Answer(state.run, state.exit_code, state.error)
    return None


async def responses(
    waiters: Waiters, condition: pb.WaitCondition, state: State, after_run: int | None, stopping: asyncio.Event
) -> AsyncIterator[pb.WaitResponse]:
    """Yields Registered, then Exited; ends without Exited when the service stops."""
    future = waiters.register(condition, state, after_run)
    stop: asyncio.Future[Any] = asyncio.ensure_future(stopping.wait())
    try:
        yield pb.WaitResponse(registered=pb.Registered(run=state.run))
        await asyncio.wait([future, stop], return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            answer = future.result()
            yield pb.WaitResponse(exited=pb.Exited(run=answer.run, exit_code=answer.code, error=answer.error))
    finally:
        stop.cancel()
        waiters.forget(future)
