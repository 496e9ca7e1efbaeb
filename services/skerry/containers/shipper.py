"""Ships containers' spools to their log routers: one stream per router, many containers on it.

What the router acknowledged goes into the file cursor.router of the spool, by which the monitor trims. Nothing is lost or doubled
when either side dies: the router says in Opened where to go on.
"""

import asyncio
import logging
import os
import time
from typing import Any

import grpc
import grpc.aio
import msgspec

from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.api.logs.v1.logs_pb2_grpc import LogsServiceStub
from skerry.containers.monitor import frames
from skerry.containers.spool import SpoolReader, spool_range, write_cursor
from skerry.core.lifecycle import Tasks
from skerry.core.rpc.channel import open_channel
from skerry.core.rpc.tls import Tls

_log = logging.getLogger(__name__)

WINDOW = 4 << 20
_BATCH = 256 << 10
_CURSOR_STEP = 1 << 20
_OPENED_SECONDS = 10.0
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 2.0
_REFUSED_PAUSE = 1.0


class Target(msgspec.Struct, kw_only=True):
    """A container whose spool is shipped: what Open tells the router, and where the spool is."""

    container_id: str
    spool: str
    # The router's gRPC address.
    router: str
    # The run that is about to begin, or the last one: behind its END frame the container rests.
    run: int
    driver: str
    options: dict[str, str] = {}
    container_name: str = ""
    image_id: str = ""
    image_name: str = ""
    command: str = ""
    labels: dict[str, str] = {}
    env: list[str] = []
    created_ns: int = 0
    segment: int = 8 << 20


class _Container:
    def __init__(self, target: Target, acked: int) -> None:
        self.target = target
        self.acked = self.sent = acked
        self.written = -1
        self.resting = False
        self.raised = os.path.exists(f"{target.spool}/quota")
        self.refused = ""
        self.opened: asyncio.Future[int] | None = None
        self.reader: SpoolReader | None = None
        self.news = asyncio.Event()

    def changed(self) -> None:
        """Wakes everybody that waits for acks, refusals or rest."""
        self.news.set()
        self.news = asyncio.Event()

    def open_request(self) -> pb.ShipRequest:
        target = self.target
        return pb.ShipRequest(
            open=pb.Open(
                container_id=target.container_id,
                container_name=target.container_name,
                driver=target.driver,
                options=target.options,
                image_id=target.image_id,
                image_name=target.image_name,
                command=target.command,
                labels=target.labels,
                env=target.env,
                created_ns=target.created_ns,
            )
        )

    def move(self, offset: int, *, force: bool = False) -> None:
        """Notes that the router has all below offset."""
        self.acked = offset
        # A write of 28 bytes into the page cache, so not worth a thread. Often at first: a service that is killed again and again moves on.
        if force or self.written < 0 or offset >= self.sent or offset - self.written >= _CURSOR_STEP:
            write_cursor(f"{self.target.spool}/cursor.router", offset)
            self.written = offset
        self.changed()


class Shipper:
    """All shipping of one node. Use it in `async with`.

    While a router is away the quota of its containers' spools grows to `away_quota` each, and to `disk_share` of the disk for all of
    them together; it falls back when the backlog has gone.
    """

    def __init__(self, *, tls: Tls | None = None, quota: int = 64 << 20, away_quota: int = 1 << 30, disk_share: float = 0.1) -> None:
        self._tls = tls
        self._quota = quota
        self._away_quota = away_quota
        self._disk_share = disk_share
        self._containers: dict[str, _Container] = {}
        self._routes: dict[str, _Route] = {}
        self._tasks = Tasks()

    async def __aenter__(self) -> "Shipper":
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._tasks.__aexit__(*exc)

    async def add(self, target: Target) -> None:
        """Begins to ship, or goes on for a new run. Before the process is launched: from now on its output is held. Idempotent.

        With driver "none" nothing is shipped nor held: without a durable reader the monitor keeps the last two segments.
        """
        if target.driver == "none":
            return
        known = self._containers.get(target.container_id)
        if known is not None and known.target.router != target.router:
            await self.remove(target.container_id)
            known = None
        if known is None:
            known = _Container(target, await asyncio.to_thread(_ensure_cursor, target.spool))
            self._containers[target.container_id] = known
            span = await spool_range(target.spool)
            known.resting = span.ended_run >= target.run and known.acked >= span.end
        elif target.run > known.target.run:
            known.resting = False
        known.target = target
        if not known.resting:
            self._route(target.router).take(known)

    async def remove(self, container_id: str) -> None:
        """Forgets a container. Unknown ones are no error."""
        container = self._containers.pop(container_id, None)
        if container is not None:
            self._route(container.target.router).drop(container)

    async def drained(self, container_id: str, offset: int, timeout: float) -> bool:
        """Waits until the router has all below the spool offset; False after timeout seconds. True when nothing is shipped."""
        container = self._containers.get(container_id)
        if container is None:
            return True
        try:
            async with asyncio.timeout(timeout):
                while container.acked < offset:
                    await container.news.wait()
        except TimeoutError:
            return False
        return True

    def _route(self, address: str) -> "_Route":
        route = self._routes.get(address)
        if route is None:
            route = self._routes[address] = _Route(address, self._tls, self)
            _ = self._tasks.spawn(route.run(), f"ship to {address}")
        return route

    def raised_quota(self, directory: str) -> int:
        """Returns what a spool may hold while its router is away."""
        disk = os.statvfs(directory)
        active = sum(not container.resting for container in self._containers.values())
        share = int(disk.f_blocks * disk.f_frsize * self._disk_share) // max(1, active)
        return max(self._quota, min(self._away_quota, share))

    def lowered(self, container: _Container, head: int) -> bool:
        """Tells whether the backlog fits the usual quota again."""
        return head - container.acked < self._quota // 2


class _Route:
    """The stream to one router. Connects while there is something to ship."""

    def __init__(self, address: str, tls: Tls | None, shipper: Shipper) -> None:
        self._address = address
        self._tls = tls
        self._shipper = shipper
        self._containers: dict[str, _Container] = {}
        self._work = asyncio.Event()
        self._new: asyncio.Queue[_Container] = asyncio.Queue()
        self._call: grpc.aio.StreamStreamCall[Any, Any] | None = None
        self._order = asyncio.Lock()
        self._away_since: float | None = None
        self._pause = _FIRST_PAUSE

    def take(self, container: _Container) -> None:
        if self._containers.get(container.target.container_id) is not container:
            self._containers[container.target.container_id] = container
            self._new.put_nowait(container)
        container.changed()
        self._work.set()

    def drop(self, container: _Container) -> None:
        self._containers.pop(container.target.container_id, None)
        container.resting = True
        self._stop_reading(container)

    async def run(self) -> None:
        while True:
            await self._work.wait()
            if not self._containers:
                self._work.clear()
                continue
            try:
                await self._session()
            except* (grpc.aio.AioRpcError, asyncio.InvalidStateError, _Lost) as group:
                if self._away_since is None:
                    self._away_since = time.monotonic()
                    _log.warning("log router away", extra={"router": self._address, "reason": _reason(group)})
            if self._away_since is not None:
                await asyncio.to_thread(self._raise_quotas)
                await asyncio.sleep(self._pause)
                self._pause = min(self._pause * 2, _LAST_PAUSE)

    async def _session(self) -> None:
        self._new = asyncio.Queue()
        for container in self._containers.values():
            self._new.put_nowait(container)
        async with open_channel(self._address, self._tls) as channel:
            call = self._call = LogsServiceStub(channel).Ship()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._listen(call))
                    while True:
                        container = await self._new.get()
                        group.create_task(self._pump(container))
            finally:
                call.cancel()

    async def _listen(self, call: "grpc.aio.StreamStreamCall[Any, Any]") -> None:
        while True:
            response = await call.read()
            if not isinstance(response, pb.ShipResponse):
                raise _Lost("the stream ended")
            if self._away_since is not None:
                _log.info("log router is back", extra={"router": self._address, "seconds": round(time.monotonic() - self._away_since, 1)})
                self._away_since = None
            self._pause = _FIRST_PAUSE
            await self._heard(response)

    async def _heard(self, response: pb.ShipResponse) -> None:
        kind = response.WhichOneof("part")
        part = response.opened if kind == "opened" else response.ack if kind == "ack" else response.refused
        container = self._containers.get(part.container_id)
        if container is None:
            return
        if isinstance(part, pb.Refused):
            container.refused = part.reason or "refused"
            if container.opened is not None and not container.opened.done():
                container.opened.set_result(-1)
            self._stop_reading(container)
        elif isinstance(part, pb.Opened):
            if container.opened is not None and not container.opened.done():
                container.opened.set_result(part.offset)
        elif part.offset > container.acked:
            container.move(part.offset)
            if container.raised:
                await self._lower_quota(container)

    def _stop_reading(self, container: _Container) -> None:
        if container.reader is not None:
            container.reader.stop()
        container.changed()

    async def _write(self, request: pb.ShipRequest) -> None:
        assert self._call is not None
        # grpc.aio allows one writer at a time.
        async with self._order:
            await self._call.write(request)

    async def _pump(self, container: _Container) -> None:
        pause = _REFUSED_PAUSE
        while not container.resting:
            container.refused = ""
            container.opened = asyncio.get_running_loop().create_future()
            await self._write(container.open_request())
            try:
                async with asyncio.timeout(_OPENED_SECONDS):
                    offset = await container.opened
            except TimeoutError:
                raise _Lost("no answer to Open") from None
            if offset >= 0:
                container.sent = offset
                container.move(offset, force=True)
                while not container.resting and not container.refused:
                    try:
                        await self._ship(container)
                    except OSError as error:
                        container.refused = f"cannot read the spool: {error}"
                pause = _REFUSED_PAUSE
            if container.refused and not container.resting:
                _log.warning("not shipped for now", extra={"container": container.target.container_id, "reason": container.refused})
                await asyncio.sleep(pause)
                pause = min(pause * 2, 30.0)

    async def _ship(self, container: _Container) -> None:
        """Ships up to the end of the target's run; rests there when no newer run was announced meanwhile."""
        spool, run = container.target.spool, container.target.run
        span = await spool_range(spool)
        if not (span.ended_run >= run and container.sent >= span.end):
            async with SpoolReader(spool, container.sent) as reader:
                container.reader = reader
                try:
                    await self._send_batches(container, reader, run)
                finally:
                    container.reader = None
        while container.acked < container.sent and not container.refused and not container.resting:
            await container.news.wait()
        # The monitor has gone, or goes; nobody else trims.
        await asyncio.to_thread(frames.trim, spool, container.target.segment)
        # Nothing may be awaited from here to the end of _pump: `add` may announce a new run at any await.
        if not container.refused and not container.resting and container.target.run == run:
            container.resting = True
            self._containers.pop(container.target.container_id, None)
            container.changed()

    async def _send_batches(self, container: _Container, reader: SpoolReader, run: int) -> None:
        identity = container.target.container_id
        async for batch in reader.batches(until_run=run, limit=_BATCH):
            if batch.gap:
                _log.error("spool lacks bytes that were not shipped", extra={"container": identity, "bytes": batch.gap})
            while batch.end - container.acked > WINDOW and not container.refused and not container.resting:
                await container.news.wait()
            if container.refused or container.resting:
                return
            await self._write(pb.ShipRequest(batch=pb.Batch(container_id=identity, offset=batch.offset, frames=bytes(batch.data))))
            container.sent = batch.end

    def _raise_quotas(self) -> None:
        for container in list(self._containers.values()):
            spool = container.target.spool
            try:
                quota = self._shipper.raised_quota(spool)
                with open(f"{spool}/quota.tmp", "w") as file:
                    file.write(str(quota))
                os.rename(f"{spool}/quota.tmp", f"{spool}/quota")
                container.raised = True
            except OSError as error:
                _log.warning("cannot raise a spool's quota", extra={"spool": spool, "reason": str(error)})

    async def _lower_quota(self, container: _Container) -> None:
        head = await asyncio.to_thread(_head, container.target.spool)
        if self._shipper.lowered(container, head):
            container.raised = False
            await asyncio.to_thread(_remove, f"{container.target.spool}/quota")


class _Lost(Exception):
    """The stream is of no use any more."""


def _reason(group: BaseExceptionGroup[Exception]) -> str:
    first = group.exceptions[0]
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return (first.details() or "") if isinstance(first, grpc.aio.AioRpcError) else str(first)


def _ensure_cursor(spool: str) -> int:
    os.makedirs(spool, mode=0o700, exist_ok=True)
    path = f"{spool}/cursor.router"
    try:
        with open(path, "rb") as file:
            return frames.cursor_offset(file.read(frames.CURSOR.size))
    except FileNotFoundError:
        write_cursor(path, 0)
        return 0


def _head(spool: str) -> int:
    bases = frames.segments(spool)
    return bases[-1] + os.stat(f"{spool}/{frames.segment_name(bases[-1])}").st_size if bases else 0


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
