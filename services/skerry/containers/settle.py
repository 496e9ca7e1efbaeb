"""Ends that want their sandbox given back: told to control planes, settled by the node itself when none listens."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.lifecycle import Tasks

_log = logging.getLogger(__name__)

# How long the node waits for a control plane to come (back), and for one that is there to answer.
_ABSENT_SECONDS = 2.0
_SILENT_SECONDS = 20.0
# A watcher that falls so far behind is ended; it asks again and gets the snapshot.
_QUEUE = 10_000

Settle = Callable[[str, int], Awaitable[None]]


class Settlement:
    """Keeps watchers, and a timer for each unsettled end."""

    def __init__(self, tasks: Tasks, settle: Settle) -> None:
        self._tasks = tasks
        self._settle = settle
        self._watchers: set[asyncio.Queue[pb.WatchResponse | None]] = set()
        self._timers: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._alone_since = asyncio.get_running_loop().time()

    def needs_sandbox(self, container_id: str, run: int) -> None:
        """Tells that a container wants to be started as that run."""
        self._tell(pb.WatchResponse(needs_sandbox=pb.NeedsSandbox(id=container_id, run=run)))

    def ended(self, ended: pb.Ended) -> None:
        """Tells an end and sees to it that it gets settled."""
        self._tell(pb.WatchResponse(ended=ended))
        self._timers[ended.id, ended.run] = self._tasks.spawn(self._see_to(ended.id, ended.run), f"settle {ended.id[:12]}")

    def settled(self, container_id: str, run: int) -> None:
        """Stops the timer of an end."""
        timer = self._timers.pop((container_id, run), None)
        if timer is not None and timer is not asyncio.current_task():
            timer.cancel()

    async def watch(self, snapshot: Iterable[pb.WatchResponse], stopping: asyncio.Event) -> AsyncIterator[pb.WatchResponse]:
        """Yields the snapshot, live, then what comes; ends at stopping, or when the watcher is too slow."""
        queue: asyncio.Queue[pb.WatchResponse | None] = asyncio.Queue(_QUEUE)
        first = list(snapshot)
        self._watchers.add(queue)
        stop = asyncio.ensure_future(stopping.wait())
        try:
            for response in first:
                yield response
            yield pb.WatchResponse(live=pb.WatchLive())
            while True:
                get = asyncio.ensure_future(queue.get())
                try:
                    await asyncio.wait({get, stop}, return_when=asyncio.FIRST_COMPLETED)
                    if not get.done() or (response_or_end := get.result()) is None:
                        return
                finally:
                    get.cancel()
                yield response_or_end
        finally:
            stop.cancel()
            self._watchers.discard(queue)
            self._alone_since = asyncio.get_running_loop().time()

    def _tell(self, response: pb.WatchResponse) -> None:
        for queue in list(self._watchers):
            try:
                queue.put_nowait(response)
            except asyncio.QueueFull:
                self._watchers.discard(queue)
                queue.get_nowait()
                queue.put_nowait(None)

    async def _see_to(self, container_id: str, run: int) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SILENT_SECONDS
        while True:
            until = deadline if self._watchers else self._alone_since + _ABSENT_SECONDS
            if (left := until - loop.time()) <= 0:
                break
            # A watcher may come or go meanwhile.
            await asyncio.sleep(min(left, 0.5))
        if self._watchers:
            _log.warning("no control plane settled an end in time", extra={"container": container_id, "run": run})
        await self._settle(container_id, run)
        self._timers.pop((container_id, run), None)
