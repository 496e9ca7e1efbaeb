"""Joining a container's streams: output from the spool, input to the monitor."""

import asyncio
import os
import re
from collections.abc import AsyncIterator

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers import stdin
from skerry.containers.container import Container
from skerry.containers.monitors import Monitor
from skerry.containers.spool import Batch, SpoolReader, frame_output
from skerry.containers.state import Phase, State
from skerry.core.errors import Conflict, InvalidArgument

# The END frame is written before the exit is told. Should it be missing (monitor and keeper were both killed), streams still end.
_END_FRAME_SECONDS = 10.0
_FRAMES_LIMIT = 192 << 10
# The part of the quota that is kept behind a client whose stream was lost: far more than gRPC has under way.
BEHIND = 4
_HOLD = re.compile("[0-9a-f]{32}")


async def attach(
    container: Container, text: str, opened: pb.AttachOpen, requests: AsyncIterator[pb.AttachRequest]
) -> AsyncIterator[pb.AttachResponse]:
    """Yields opened, then output until the run's end, the removal, a failed start, or the end of the service.

    Before a start the client holds the spool back like a durable reader. Raises Conflict for a paused or restarting container, unless it
    was joined before.
    """
    state = container.state
    joined = opened.HasField("offset")
    if state.phase is Phase.PAUSED and not joined:
        raise Conflict(f"container {text} is paused, unpause the container before attach")
    if state.phase is Phase.RESTARTING and not joined:
        raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
    running = state.phase is Phase.RUNNING
    offset, run = _place(opened, state)
    # Who joins a running container never holds it up.
    hold = hold_name(opened.hold) if (opened.hold if joined else not running) else ""
    failures = container.failed_starts
    sequence = opened.sequence if opened.HasField("sequence") else None
    async with SpoolReader(container.spool, offset, hold=hold, sequence=sequence, behind=container.environment.quota // BEHIND) as reader:
        yield pb.AttachResponse(opened=pb.AttachOpened(tty=container.spec.tty, offset=reader.offset, before_ns=reader.before_ns))
        if not joined:
            await container.publish("attach")
        helpers = [container.environment.tasks.spawn(_close_at_end(container, reader, run, failures), "attach end")]
        if opened.stream:
            pumping = stdin.pump(
                requests, lambda: _process(container, run, failures), wanted=opened.stdin, closes=_closes(container, opened, run)
            )
            helpers.append(container.environment.tasks.spawn(pumping, "attach stdin"))
        try:
            # Taken up again behind the end of what was joined: only the rest is still to be read.
            follow = opened.stream and not _ended(state, run)
            batches = reader.batches(follow=follow, until_run=run if opened.stream else None, limit=_FRAMES_LIMIT)
            async for batch in batches:
                if output := client_output(batch, tty=container.spec.tty, stdout=opened.stdout, stderr=opened.stderr):
                    yield pb.AttachResponse(output=output)
            if opened.stream:
                # The END frame is there before the exit is recorded. Who looks at the container behind the stream's end finds it ended.
                await container.until(lambda now: _ended(now, run) or container.failed_starts != failures, 30)
            if not container.environment.stopping.is_set():
                yield pb.AttachResponse(output=pb.Output(next_offset=reader.offset, ended=True))
        finally:
            if container.environment.stopping.is_set():
                reader.leave_hold()
            for helper in helpers:
                helper.cancel()


def hold_name(given: str) -> str:
    """Returns the name of a hold. Raises InvalidArgument."""
    if given and not _HOLD.fullmatch(given):
        raise InvalidArgument("a hold is named by 32 hexadecimal digits")
    return given or os.urandom(16).hex()


def client_output(batch: Batch, *, tty: bool, stdout: bool, stderr: bool) -> pb.Output | None:
    """Returns a batch as it goes to a client; None when nothing of it does."""
    data, dropped = frame_output(batch, tty=tty, stdout=stdout, stderr=stderr)
    gap = batch.missed + dropped
    return pb.Output(data=data, next_offset=batch.end, next_sequence=batch.sequence, gap=gap) if data or gap else None


def _place(opened: pb.AttachOpen, state: State) -> tuple[int | None, int]:
    """Returns the spool offset to read from (None: its end) and the run whose end ends the stream."""
    current = state.run if state.active or state.phase is Phase.STARTING else state.run + 1
    if opened.HasField("offset"):
        return opened.offset, opened.run or current
    return (0 if opened.replay else None), current


def _closes(container: Container, opened: pb.AttachOpen, run: int) -> bool:
    """Claims the process's stdin for the first client that brings one: its end is the process's, if it is to close once."""
    if not opened.stdin or container.stdin_claimed_run >= run:
        return False
    container.stdin_claimed_run = run
    return container.spec.stdin_once


async def _process(container: Container, run: int, failures: int) -> Monitor | None:
    def decided(state: State) -> bool:
        return state.run > run or _ended(state, run) or state.active or container.failed_starts != failures

    await container.until(decided)
    return container.monitor if container.state.run == run and container.state.active else None


def _ended(state: State, run: int) -> bool:
    if state.phase in (Phase.REMOVING, Phase.DEAD) or state.run > run:
        return True
    return state.run == run and state.phase in (Phase.EXITED, Phase.RESTARTING)


async def _close_at_end(container: Container, reader: SpoolReader, run: int, failures: int) -> None:
    await container.until(lambda state: _ended(state, run) or container.failed_starts != failures)
    at_once = (
        container.environment.stopping.is_set()
        or container.failed_starts != failures
        or container.state.phase in (Phase.REMOVING, Phase.DEAD)
    )
    if not at_once:
        await asyncio.sleep(_END_FRAME_SECONDS)
    reader.stop()
