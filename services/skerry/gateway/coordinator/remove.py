"""Remove: node -> log router -> network manager -> lease, in that order, so that a wait for "removed" means all is free."""

import asyncio

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.api.logs.v1 import logs_pb2
from skerry.api.networks.v1 import networks_pb2
from skerry.core.errors import NotFound
from skerry.core.rpc.channel import call_again
from skerry.gateway.coordinator.leftover import Step, attempt, later, soon
from skerry.gateway.peers import Peers


async def remove(peers: Peers, container_id: str, *, volumes: bool, force: bool) -> None:
    """Removes a container and all that belongs to it. One removal of a container at a time; the second joins the first.

    Raises what the node raises (Conflict when it runs and not force, NotFound). Steps of services that are away are made up for.
    """
    running = peers.removals.get(container_id)
    if running is None:
        running = peers.tasks.spawn(_remove(peers, container_id, volumes, force), name=f"remove {container_id[:12]}")
        peers.removals[container_id] = running
        running.add_done_callback(lambda _: peers.removals.pop(container_id, None))
    await asyncio.shield(running)


async def _remove(peers: Peers, container_id: str, volumes: bool, force: bool) -> None:
    request = pb.RemoveRequest(id=container_id, force=force, volumes=volumes)
    await call_again(lambda: peers.containers.Remove(request), what="the container service")
    await forget(peers, container_id)


async def forget(peers: Peers, container_id: str) -> None:
    """Gives back what other services keep for a container that the node no longer has. Idempotent, never raises."""
    log = logs_pb2.RemoveRequest(container_id=container_id)
    sandbox = networks_pb2.RemoveSandboxRequest(container_id=container_id)
    lease = images_pb2.ReleaseLeaseRequest(holder=peers.holder(container_id))
    short = container_id[:12]
    steps: list[Step] = [lambda: peers.logs.Remove(log), lambda: peers.networks.RemoveSandbox(sandbox)]
    done = await asyncio.gather(attempt(f"log of {short}", steps[0]), attempt(f"sandbox of {short}", steps[1]))
    left = [step for step, is_done in zip(steps, done, strict=True) if not is_done]
    # Last: by a lease without a container the next gateway sees what this one, if it dies now, has left.
    if left:
        later(peers, f"rest of {short}", *left, lambda: peers.images.ReleaseLease(lease))
    else:
        await soon(peers, f"lease of {short}", lambda: peers.images.ReleaseLease(lease))


async def remove_quietly(peers: Peers, container_id: str) -> None:
    """Removes a container that may be gone already: for --rm, where several gateways do the same."""
    try:
        await remove(peers, container_id, volumes=True, force=True)
    except NotFound:
        await forget(peers, container_id)
