"""The node's events: kept, numbered and in order."""

import signal

import pytest

from integration.containers_node import containers_node
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.events.v1 import events_pb2

pytestmark = pytest.mark.root


async def test_the_last_thousand_events_are_replayed_in_order_whatever_was_restarted() -> None:
    async with containers_node() as node:
        container_id = await node.create("true", name="name-0")
        for number in range(1, 1051):
            await node.containers.Rename(pb.RenameRequest(id=container_id, name=f"name-{number}"))
        await node.end(signal.SIGKILL)
        await node.start()
        await node.containers.Rename(pb.RenameRequest(id=container_id, name="last"))
        events = await node.events()
        assert 1000 <= len(events) <= 1052
        sequences = [event.sequence for event in events]
        assert sequences == list(range(sequences[0], sequences[0] + len(events)))
        times = [event.time_ns for event in events]
        assert times == sorted(times)
        names = [event.attributes["name"] for event in events[-1000:]]
        assert names == [*(f"name-{number}" for number in range(52, 1051)), "last"]
        # A part of them, from one that was seen on.
        middle = events[-10]
        request = events_pb2.SubscribeRequest(after_sequence=middle.sequence, until_ns=events[-2].time_ns)
        stream = node.containers.Subscribe(pb.SubscribeRequest(subscription=request))
        found = [response.item.event async for response in stream if response.item.HasField("event")]
        assert found == events[-9:-1]
