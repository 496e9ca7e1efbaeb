"""Stopping, killing and freezing the process of one container."""

import signal

from skerry.containers.container import Container
from skerry.containers.state import KillAsked, PauseAsked, Phase, State, StopAsked, UnpauseAsked
from skerry.containers.transitions import step
from skerry.core.errors import Conflict, Failed, InvalidArgument
from skerry.core.signals import parse_signal, supported

_DEFAULT_SECONDS = 10
# After SIGKILL the kernel ends a process at once, unless it hangs in a device; and the settling of the end is bounded as well.
_KILL_SECONDS = 10
_SETTLE_SECONDS = 30


async def stop(container: Container, timeout: int | None, signal_name: str, *, by_restart: bool) -> None:
    """Signals, waits, kills; returns when the end is settled. timeout in seconds, None: the container's, -1: for ever.

    Raises NotModified when it does not run, InvalidArgument for an unknown signal, Failed when the process cannot be ended.
    """
    spec = container.spec
    number = supported(parse_signal(signal_name or spec.stop_signal or "TERM"))
    if timeout is None:
        timeout = spec.stop_timeout if spec.HasField("stop_timeout") else _DEFAULT_SECONDS
    await container.until(lambda state: state.phase is not Phase.STARTING)
    await container.apply(StopAsked(by_restart))
    run = container.state.run
    if container.state.active:
        await _send(container, number, final=True)
        if not await container.until(lambda state: not _lives(state, run), None if timeout < 0 else timeout):
            await _kill_and_wait(container, run)
    await _settled(container, run)


async def end_now(container: Container) -> None:
    """Kills and waits until the end is settled: the first half of a forced removal."""
    await container.until(lambda state: state.phase is not Phase.STARTING)
    run = container.state.run
    if container.state.active:
        await _kill_and_wait(container, run)
    await _settled(container, run)


async def kill(container: Container, text: str, signal_name: str) -> None:
    """Sends a signal; text is how the caller named the container. Raises Conflict, InvalidArgument."""
    number = parse_signal(signal_name or "KILL")
    try:
        supported(number)
        step(container.state, KillAsked(number, final=False))
    except (Conflict, InvalidArgument) as error:
        raise type(error)(f"Cannot kill container: {text}: {error}") from None
    # Docker: the stop signal, or any when none was configured, ends the restarts.
    ends = number == signal.SIGKILL or not container.spec.stop_signal or parse_signal(container.spec.stop_signal) == number
    await _send(container, number, final=ends)


async def pause(container: Container) -> None:
    """Freezes all processes. Raises Conflict, Failed."""
    async with container.operation:
        step(container.state, PauseAsked())
        await container.runtime.pause(container.id)
        await container.apply(PauseAsked())


async def unpause(container: Container) -> None:
    """Thaws them. Raises Failed when they are not frozen."""
    async with container.operation:
        step(container.state, UnpauseAsked())
        await container.runtime.resume(container.id)
        await container.apply(UnpauseAsked())


def _lives(state: State, run: int) -> bool:
    return state.run == run and state.active


async def _send(container: Container, number: int, *, final: bool) -> None:
    frozen = container.state.phase is Phase.PAUSED
    # Before the signal: its effect must not overtake the word that no restart shall follow.
    await container.apply(KillAsked(number, final))
    if container.state.phase not in (Phase.RUNNING, Phase.PAUSED):
        return  # it waited for its next run, which now does not come, or has just ended
    await container.signal(number)
    if frozen and final:
        await _thaw(container)


async def _thaw(container: Container) -> None:
    """Lets a frozen process take the signal that is to end it."""
    async with container.operation:
        if container.state.phase is not Phase.PAUSED:
            return
        try:
            await container.runtime.resume(container.id)
            await container.apply(UnpauseAsked())
        except Failed:
            if container.state.phase is Phase.PAUSED:
                raise  # else it has just ended


async def _kill_and_wait(container: Container, run: int) -> None:
    await _send(container, signal.SIGKILL, final=True)
    if not await container.until(lambda state: not _lives(state, run), _KILL_SECONDS):
        raise Failed(f"Could not kill running container {container.id}: it did not end within {_KILL_SECONDS} s")


async def _settled(container: Container, run: int) -> None:
    if not await container.until(lambda state: state.settled_run >= run or state.run != run, _SETTLE_SECONDS):
        raise Failed(f"the end of container {container.id} was not settled in time")
