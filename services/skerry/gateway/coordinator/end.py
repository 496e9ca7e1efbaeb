"""End of a run: network manager gives the sandbox back -> node settles (waits, stops, die event) -> with --rm all is removed."""

import asyncio

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import NotFound
from skerry.core.rpc.channel import call_again
from skerry.gateway.coordinator.remove import remove_quietly
from skerry.gateway.coordinator.start import give_back
from skerry.gateway.peers import Peers

# A client of `run --rm` that reads slowly gets the rest of the output before the container goes; one that reads no more does not keep it.
_JOINED_SECONDS = 30.0


async def end(peers: Peers, ended: pb.Ended) -> None:
    """Settles one end. Idempotent; several gateways may do it at once. Raises Unavailable when the node went away."""
    await give_back(peers, ended.id, ended.run)
    request = pb.SettleRequest(id=ended.id, run=ended.run)
    try:
        await call_again(lambda: peers.containers.Settle(request), what="the container service")
    except NotFound:
        pass  # removed meanwhile
    if ended.auto_remove:
        if joined := peers.joined.get(ended.id):
            await asyncio.wait(set(joined), timeout=_JOINED_SECONDS)
        await remove_quietly(peers, ended.id)
