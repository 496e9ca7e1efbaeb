"""Events of one service, in memory."""

import asyncio
import time
from collections.abc import AsyncIterator

from skerry.api.events.v1 import events_pb2 as pb


class Events:
    """Numbered events with followers."""

    def __init__(self) -> None:
        self.all: list[pb.Event] = []
        self._changed = asyncio.Event()

    def add(self, kind: str, action: str, actor: str, **attributes: str) -> None:
        event = pb.Event(sequence=len(self.all) + 1, time_ns=time.time_ns(), type=kind, action=action, actor_id=actor)
        event.attributes.update(attributes)
        self.all.append(event)
        self._changed.set()
        self._changed = asyncio.Event()

    async def subscribe(self, request: pb.SubscribeRequest) -> AsyncIterator[pb.SubscribeResponse]:
        position = len(self.all)
        if request.after_sequence:
            position = request.after_sequence
        elif request.since_ns:
            position = next((i for i, event in enumerate(self.all) if event.time_ns >= request.since_ns), len(self.all))
        live = False
        while True:
            changed = self._changed
            while position < len(self.all):
                event = self.all[position]
                position += 1
                if request.until_ns and event.time_ns > request.until_ns:
                    return
                yield pb.SubscribeResponse(event=event)
            if not live:
                live = True
                yield pb.SubscribeResponse(live=pb.Live())
            try:
                async with asyncio.timeout(max(0.0, request.until_ns / 1e9 - time.time()) if request.until_ns else None):
                    await changed.wait()
            except TimeoutError:
                return
