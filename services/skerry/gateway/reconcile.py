"""Follows the node's ends and makes the services' records agree again after an absence.

Several gateways may do this for one node at the same time: each step is idempotent.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any

import grpc.aio

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.api.networks.v1 import networks_pb2
from skerry.core.errors import NotModified, SkerryError
from skerry.core.ids import is_id
from skerry.core.rpc.channel import call_again
from skerry.gateway.build.registry import build_of, is_build
from skerry.gateway.coordinator.end import end
from skerry.gateway.coordinator.leftover import soon
from skerry.gateway.coordinator.remove import forget, remove_quietly
from skerry.gateway.coordinator.start import start
from skerry.gateway.peers import Peers

_log = logging.getLogger(__name__)
# A start or create under way in another gateway looks like a leftover for this long.
GRACE = 30.0
_EVERY = 600.0
_LIVE = frozenset({pb.STATUS_RUNNING, pb.STATUS_PAUSED, pb.STATUS_RESTARTING})
_OVER = frozenset({pb.STATUS_EXITED, pb.STATUS_DEAD})


class Reconciler:
    """Two loops, run side by side for the gateway's life: `watch` and `sweep`."""

    def __init__(self, peers: Peers, grace: float = GRACE) -> None:
        self._peers = peers
        self._grace = grace
        self._under_way: set[tuple[str, str, int]] = set()

    async def watch(self) -> None:
        """Follows Watch for ever; takes it up again when the node was away."""
        pause = 0.05
        while True:
            try:
                async for item in self._peers.containers.Watch(pb.WatchRequest()):
                    pause = 0.05
                    self._take(item)
            except grpc.aio.AioRpcError as error:
                _log.debug("watch ended", extra={"error": error.details()})
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    def _take(self, item: pb.WatchResponse) -> None:
        which = item.WhichOneof("item")
        if which == "ended":
            self._once(("end", item.ended.id, item.ended.run), end(self._peers, item.ended))
        elif which == "needs_sandbox":
            wanted = item.needs_sandbox
            if wanted.id not in self._peers.starting:
                self._once(("start", wanted.id, wanted.run), self._start(wanted.id))

    def _once(self, key: tuple[str, str, int], work: Coroutine[Any, Any, None]) -> None:
        if key in self._under_way:
            work.close()
            return
        self._under_way.add(key)

        async def guarded() -> None:
            try:
                await work
            except (SkerryError, grpc.aio.AioRpcError) as error:
                # The node sends it again with its next Watch, or settles by itself.
                _log.warning("not settled", extra={"what": key[0], "container": key[1], "run": key[2], "error": str(error)})
            finally:
                self._under_way.discard(key)

        _ = self._peers.tasks.spawn(guarded(), name=f"{key[0]} {key[1][:12]}")

    async def _start(self, container_id: str) -> None:
        try:
            await start(self._peers, container_id)
        except NotModified:
            pass  # another gateway was quicker

    async def sweep(self) -> None:
        """Looks for leftovers at start, once more when what was too young then has aged, and seldom after that."""
        orphans: set[str] = set()
        pause = self._grace
        while True:
            try:
                orphans = await self.sweep_once(orphans)
                await asyncio.sleep(pause)
                pause = self._grace if orphans and pause != self._grace else _EVERY
            except (SkerryError, grpc.aio.AioRpcError) as error:
                _log.info("sweep put off", extra={"error": str(error)})
                await asyncio.sleep(min(5.0, self._grace))

    async def sweep_once(self, suspects: set[str]) -> set[str]:
        """Removes what is left over and returns the lease holders that had no container now: those in suspects had none before either."""
        sandboxes = await call_again(self._sandboxes, what="the network service")
        holders = await call_again(self._holders, what="the image store")
        # Containers last: what was made meanwhile is then seen as alive.
        containers = await call_again(self._containers, what="the container service")
        await self._sandboxes_left(sandboxes, containers)
        dead = await self._dead_builds(holders, containers)
        orphans = {holder for holder in holders if holder.rpartition("/")[2] not in containers and not is_build(holder.rpartition("/")[2])}
        for holder in (orphans & suspects) | dead:
            if is_id(container_id := holder.rpartition("/")[2]):
                _log.info("rest of a removed container taken away", extra={"container": container_id})
                await forget(self._peers, container_id)
                continue
            request = images_pb2.ReleaseLeaseRequest(holder=holder)
            _log.info("lease of a dead build or commit given back", extra={"holder": holder})
            await soon(self._peers, f"lease of {holder}", lambda request=request: self._peers.images.ReleaseLease(request))  # type: ignore[misc]
        for container in containers.values():
            state = container.state
            if ("end", container.id, state.run) in self._under_way:
                continue
            if container.spec.auto_remove and state.status in _OVER and state.run and state.settled_run >= state.run:
                _log.info("container of --rm removed late", extra={"container": container.id})
                await remove_quietly(self._peers, container.id)
        return orphans - suspects

    async def _dead_builds(self, holders: set[str], containers: dict[str, pb.Container]) -> set[str]:
        """Removes the containers of builds whose gateway was killed; returns the builds' lease holders."""
        for container_id, container in list(containers.items()):
            # One that was to stay (--rm=false, a RUN that failed) has a lease of its own.
            kept = self._peers.holder(container_id) in holders
            if not kept and self._peers.builds.abandoned(build_of(container.docker_networking_config_json)):
                _log.info("container of an abandoned build removed", extra={"container": container_id})
                await remove_quietly(self._peers, container_id)
                del containers[container_id]
        return {holder for holder in holders if self._peers.builds.abandoned(holder.rpartition("/")[2])}

    async def _sandboxes_left(self, sandboxes: list[networks_pb2.Sandbox], containers: dict[str, pb.Container]) -> None:
        now = time.time_ns()
        for sandbox in sandboxes:
            if now - sandbox.created_ns < self._grace * 1e9 or sandbox.container_id in self._peers.starting:
                continue
            container = containers.get(sandbox.container_id)
            if container is None:
                remove = networks_pb2.RemoveSandboxRequest(container_id=sandbox.container_id)
                await soon(self._peers, "sandbox without a container", lambda r=remove: self._peers.networks.RemoveSandbox(r))  # type: ignore[misc]
            elif container.state.status not in _LIVE and container.state.settled_run >= container.state.run:
                release = networks_pb2.ReleaseSandboxRequest(container_id=sandbox.container_id, run=sandbox.run)
                await soon(self._peers, "sandbox of an ended run", lambda r=release: self._peers.networks.ReleaseSandbox(r))  # type: ignore[misc]

    async def _sandboxes(self) -> list[networks_pb2.Sandbox]:
        return [item.sandbox async for item in self._peers.networks.ListSandboxes(networks_pb2.ListSandboxesRequest())]

    async def _holders(self) -> set[str]:
        request = images_pb2.ListLeasesRequest(holder_prefix=f"{self._peers.node}/")
        return {item.holder async for item in self._peers.images.ListLeases(request)}

    async def _containers(self) -> dict[str, pb.Container]:
        return {item.container.id: item.container async for item in self._peers.containers.List(pb.ListRequest())}
