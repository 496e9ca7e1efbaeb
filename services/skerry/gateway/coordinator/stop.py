"""Stop, restart, kill: the node ends the process and answers when the end is settled, which reconcile.py sees to."""

import asyncio

import grpc.aio

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import NotModified
from skerry.core.rpc.channel import call, call_again
from skerry.gateway.coordinator.start import start
from skerry.gateway.peers import Peers

_KILL = frozenset({"", "KILL", "SIGKILL", "9"})


async def stop(peers: Peers, container_id: str, timeout: int | None, signal: str, *, restarting: bool = False) -> None:
    """Ends a container. When it returns, addresses and ports are free again. Raises NotModified when it does not run."""
    request = pb.StopRequest(id=container_id, signal=signal, restarting=restarting)
    if timeout is not None:
        request.timeout_seconds = timeout
    await call_again(lambda: peers.containers.Stop(request), what="the container service")


async def restart(peers: Peers, container_id: str, timeout: int | None, signal: str) -> None:
    """Ends a container if it runs, and starts it."""
    try:
        await stop(peers, container_id, timeout, signal, restarting=True)
    except NotModified:
        pass
    try:
        await start(peers, container_id)
    except NotModified:
        pass  # somebody else was quicker


async def kill(peers: Peers, container_id: str, name: str, signal: str) -> None:
    """Sends a signal. After SIGKILL it waits (10 s at most) until the end is settled, as dockerd does.

    name is what the client wrote: Docker's refusal repeats it.
    """
    await call(lambda: peers.containers.Kill(pb.KillRequest(id=name, signal=signal)))
    if signal.upper() not in _KILL:
        return
    request = pb.WaitRequest(id=container_id, condition=pb.WAIT_CONDITION_NOT_RUNNING)
    try:
        async with asyncio.timeout(10):
            async for _ in peers.containers.Wait(request):
                pass
    except (TimeoutError, grpc.aio.AioRpcError):
        pass  # the signal was sent; that it takes long is no error
