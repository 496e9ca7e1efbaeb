"""From a client's requests to a process's stdin."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from skerry.containers.monitors import Monitor
from skerry.core.errors import Failed, InvalidArgument

# As the proto says; more is a client's mistake.
_LARGEST_PIECE = 64 << 10


async def pump(requests: AsyncIterator[Any], process: Callable[[], Awaitable[Monitor | None]], *, wanted: bool, closes: bool) -> None:
    """Hands stdin of Attach or StartExec requests to the process as it takes them, until the client has no more.

    process answers when the process runs; None: it never will. wanted False: input is read and dropped. closes: StdinEnd closes the
    process's stdin; the mere end of requests never does.
    """
    async for request in requests:
        part = request.WhichOneof("part")
        if part == "open":
            raise InvalidArgument("the stream was opened already")
        if not wanted or part is None:
            continue
        if part == "stdin" and len(request.stdin) > _LARGEST_PIECE:
            raise InvalidArgument(f"{len(request.stdin)} bytes of stdin in one message, at most {_LARGEST_PIECE}")
        monitor = await process()
        if monitor is None:
            continue
        try:
            if part == "stdin":
                await monitor.write_stdin(request.stdin)
            elif closes:
                await monitor.close_stdin()
        except Failed:
            continue  # the process has ended; its output may still be on the way to the client
