"""Start: network manager makes the sandbox -> node runs the process in it. A failed start is undone in reverse."""

import logging

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.networks.v1 import networks_pb2
from skerry.core.errors import Conflict, NotModified, SkerryError, Unavailable
from skerry.core.rpc.channel import call_again
from skerry.gateway.call import find
from skerry.gateway.coordinator.leftover import soon
from skerry.gateway.coordinator.remove import remove
from skerry.gateway.docker.sandbox import sandbox_request
from skerry.gateway.peers import Peers

_log = logging.getLogger(__name__)
_RUNS = frozenset({pb.STATUS_RUNNING, pb.STATUS_RESTARTING})


async def start(peers: Peers, container_id: str) -> pb.Container:
    """Starts a container. Raises NotModified when it runs, Conflict, and what the services raise.

    Run it as an owned task: a client that leaves must not stop it half way.
    """
    async with peers.lock(container_id):
        peers.starting.add(container_id)
        try:
            return await _start(peers, container_id)
        finally:
            peers.starting.discard(container_id)


async def _start(peers: Peers, container_id: str) -> pb.Container:
    container = await find(peers, container_id)
    status = container.state.status
    if status == pb.STATUS_PAUSED:
        raise Conflict("cannot start a paused container, try unpause instead")
    if status in _RUNS and not container.state.needs_sandbox:
        raise NotModified("container is already running")
    if status in {pb.STATUS_REMOVING, pb.STATUS_DEAD}:
        raise Conflict("container is marked for removal and cannot be started")
    run = container.state.run + 1
    wanted = sandbox_request(container, run)
    try:
        sandbox = (await call_again(lambda: peers.networks.CreateSandbox(wanted), what="the network service")).sandbox
        request = pb.StartRequest(
            id=container.id,
            run=run,
            sandbox=sandbox,
            pid_container_id=_other(container.spec.pid_mode),
            ipc_container_id=_other(container.spec.ipc_mode),
        )
        return (await call_again(lambda: peers.containers.Start(request), what="the container service")).container
    except NotModified:
        raise
    except Unavailable:
        # Nobody knows whether it started; reconcile finds out.
        raise
    except SkerryError:
        await give_back(peers, container.id, run)
        if container.spec.auto_remove:
            await remove(peers, container.id, volumes=True, force=True)
        raise


async def give_back(peers: Peers, container_id: str, run: int) -> None:
    """Releases the sandbox of a run. Never raises."""
    request = networks_pb2.ReleaseSandboxRequest(container_id=container_id, run=run)
    await soon(peers, f"sandbox of {container_id[:12]}", lambda: peers.networks.ReleaseSandbox(request), patience=10)


def _other(mode: str) -> str:
    return mode.removeprefix("container:") if mode.startswith("container:") else ""
