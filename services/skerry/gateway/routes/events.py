"""GET /events: the events of all services as one stream."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import msgspec
from aiohttp import web

from skerry.api.containers.v1 import containers_pb2
from skerry.api.events.v1 import events_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.api.networks.v1 import networks_pb2
from skerry.core.errors import InvalidArgument
from skerry.core.lifecycle import Tasks
from skerry.gateway import filters
from skerry.gateway.call import Call, Route, streaming
from skerry.gateway.docker.events import event as event_document
from skerry.gateway.docker.events import wanted
from skerry.gateway.docker.times import timestamp
from skerry.gateway.errors import BadInput
from skerry.gateway.peers import Peers

# A service that is away does not hold the others' events back longer than this.
_REPLAY_SECONDS = 2.0
_QUEUE = 4096

Subscribe = Callable[[pb.SubscribeRequest], Any]


def _sources(peers: Peers) -> list[Subscribe]:
    return [
        lambda request: peers.containers.Subscribe(containers_pb2.SubscribeRequest(subscription=request)),
        lambda request: peers.images.Subscribe(images_pb2.SubscribeRequest(subscription=request)),
        lambda request: peers.networks.Subscribe(networks_pb2.SubscribeRequest(subscription=request)),
    ]


class _Source:
    """One service's events, taken up again after a lost connection."""

    def __init__(self, subscribe: Subscribe, since_ns: int, until_ns: int, queue: "asyncio.Queue[pb.Event]") -> None:
        self._subscribe = subscribe
        self._since = since_ns
        self._until = until_ns
        self._queue = queue
        self._begun_ns = time.time_ns()
        self._last = 0
        # Replay done, or given up for now.
        self.live = asyncio.Event()
        self.replayed: list[pb.Event] = []

    async def follow(self) -> None:
        """Puts events into `replayed` until the service says that it is live, then into the queue."""
        pause, first = 0.05, True
        while True:
            request = pb.SubscribeRequest(until_ns=self._until)
            if self._last:
                request.after_sequence = self._last
            else:
                # Nothing seen yet: what happened since the client asked must not be missed.
                request.since_ns = self._since if first or self._since else self._begun_ns
            try:
                async for response in self._subscribe(request):
                    first, pause = False, 0.05
                    await self._take(response.item)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    break
            if self._until and time.time_ns() >= self._until:
                break
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 2)
        self.live.set()

    async def _take(self, response: pb.SubscribeResponse) -> None:
        if response.WhichOneof("item") == "live":
            self.live.set()
            return
        self._last = max(self._last, response.event.sequence)
        if self.live.is_set():
            await self._queue.put(response.event)
        else:
            self.replayed.append(response.event)


async def events(call: Call) -> web.StreamResponse:
    """Replays from ?since=, ordered by time, then follows until ?until= or for ever."""
    now = time.time_ns()
    since, until = _time(call.text("since"), now), _time(call.text("until"), now)
    chosen = filters.parse(call.text("filters"), None)
    if until and since > until:
        raise InvalidArgument(f"`since` time ({call.text('since')}) cannot be after `until` time ({call.text('until')})")
    if until and not since and until <= now:
        since = 1
    queue: asyncio.Queue[pb.Event] = asyncio.Queue(_QUEUE)
    sources = [_Source(subscribe, max(0, since), until, queue) for subscribe in _sources(call.peers)]
    call.peers.event_listeners += 1
    try:
        with call.peers.stream():
            async with Tasks() as tasks:
                for source in sources:
                    _ = tasks.spawn(source.follow(), "events")
                ready = [tasks.spawn(source.live.wait(), "events") for source in sources]
                # The head goes out when nothing can be missed any more.
                await asyncio.wait(ready, timeout=_REPLAY_SECONDS)
                response = await streaming(call)
                replay: list[pb.Event] = []
                for source in sources:
                    source.live.set()
                    replay += source.replayed
                for event in sorted(replay, key=lambda event: event.time_ns):
                    await _send(response, event, call, chosen, until)
                await _follow(response, queue, call, chosen, until)
    finally:
        call.peers.event_listeners -= 1
    await response.write_eof()
    return response


def _time(text: str, now: int) -> int:
    try:
        return timestamp(text, now)
    except InvalidArgument:
        raise BadInput(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


async def _follow(
    response: web.StreamResponse,
    queue: "asyncio.Queue[pb.Event]",
    call: Call,
    chosen: filters.Filters,
    until: int,
) -> None:
    while True:
        try:
            async with asyncio.timeout(max(0.0, (until - time.time_ns()) / 1e9) if until else None):
                event = await queue.get()
        except TimeoutError:
            return
        await _send(response, event, call, chosen, until)


async def _send(response: web.StreamResponse, event: pb.Event, call: Call, chosen: filters.Filters, until: int) -> None:
    if wanted(event, chosen) and not (until and event.time_ns > until):
        await response.write(msgspec.json.encode(event_document(event, call.version)) + b"\n")


ROUTES: list[Route] = [("GET", "/events", events)]
