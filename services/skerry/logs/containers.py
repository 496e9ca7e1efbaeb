"""The logs of all containers of this router: opened on demand, one writer each, readers woken when something came."""

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.core.files import write_atomic
from skerry.core.ids import is_id
from skerry.core.metrics import Counter
from skerry.logs import attributes, drivers, lines
from skerry.logs.stores import Store, Sync
from skerry.logs.stores.discard import Discard
from skerry.logs.stores.json_file import JsonFile

T = TypeVar("T")
_log = logging.getLogger(__name__)
_bytes = Counter("skerry_logs_accepted_bytes", "Bytes of frames accepted.")
_records = Counter("skerry_logs_accepted_records", "Records (lines, and parts of long ones) accepted.")
_dropped = Counter("skerry_logs_dropped_lines", "Lines that nodes dropped before they were shipped (log mode non-blocking).")
# What is written, and counted, at once at most.
_GROUP = 1 << 20


class About(msgspec.Struct, frozen=True):
    """What was said of a container when its log was opened; kept beside the log."""

    driver: str
    options: dict[str, str]
    attributes: dict[str, str] = {}


def _json_file(folder: str, container_id: str, about: About, sync: Sync) -> Store:
    return JsonFile(folder, container_id, drivers.json_file_options(about.options), lines.attributes(about.attributes), sync)


def _discard(folder: str, container_id: str, about: About, sync: Sync) -> Store:
    return Discard(folder)


# Driver -> its store. Drivers that are not here keep Docker's json-file.
STORES = {"json-file": _json_file, "none": _discard}


class ContainerLog:
    """One container's store with its order and its readers' bell."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.removed = False
        # Held by whoever writes: two streams may carry the same container for a moment while the node reconnects.
        self.writing = asyncio.Lock()
        # Set when something changed. Take it before you look at the store, and wait for that one: no change is missed.
        self.bell = asyncio.Event()
        # Accepted since the last sync.
        self.dirty = False

    def ring(self) -> None:
        """Wakes the readers."""
        self.bell.set()
        self.bell = asyncio.Event()


class Containers:
    """All logs below ROOT/containers."""

    def __init__(self, root: str, sync: Sync, thread: ThreadPoolExecutor) -> None:
        self._root = os.path.join(root, "containers")
        self._sync = sync
        self._pool = thread
        self._logs: dict[str, ContainerLog] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        # Set when a log was opened, for readers of containers that said nothing yet.
        self.opened = asyncio.Event()

    def path(self, container_id: str) -> str:
        """Returns where the json-file lies."""
        return os.path.join(self._folder(container_id), f"{container_id}-json.log")

    def _folder(self, container_id: str) -> str:
        if not is_id(container_id):
            raise InvalidArgument(f"invalid container id {container_id[:100]!r}")
        return os.path.join(self._root, container_id)

    async def open(self, container_id: str, about: About) -> ContainerLog:
        """Opens, or makes, a container's log. Raises InvalidArgument, OSError."""
        folder = self._folder(container_id)
        async with self._opening.setdefault(container_id, asyncio.Lock()):
            if (log := self._logs.get(container_id)) is None:
                store = await self.run(_open, folder, container_id, about, self._sync)
                log = self._logs[container_id] = ContainerLog(store)
                self.opened.set()
                self.opened = asyncio.Event()
            return log

    async def find(self, container_id: str) -> ContainerLog | None:
        """Returns a container's log, or None when nothing was ever accepted for it."""
        folder = self._folder(container_id)
        if (log := self._logs.get(container_id)) is not None:
            return log
        about = await self.run(_about, folder)
        return None if about is None else await self.open(container_id, about)

    async def accept(self, log: ContainerLog, batches: Sequence[tuple[int, bytes]]) -> int:
        """Writes batches of one container; returns the offset that is now accepted. Raises InvalidArgument, OSError."""
        async with log.writing:
            for offset, frames in _joined(batches):
                if log.removed:
                    raise InvalidArgument("the log was removed")
                accepted = await self.run(log.store.accept, offset, frames)
                log.dirty = True
                _bytes.inc(len(frames))
                _records.inc(accepted.records)
                _dropped.inc(accepted.dropped)
                log.ring()
            return log.store.offset

    async def remove(self, container_id: str) -> None:
        """Deletes a container's log. Idempotent."""
        folder = self._folder(container_id)
        async with self._opening.setdefault(container_id, asyncio.Lock()):
            log = self._logs.pop(container_id, None)
            if log is not None:
                async with log.writing:
                    log.removed = True
                    await self.run(log.store.close)
                log.ring()
            await self.run(_delete, folder)
        self._opening.pop(container_id, None)

    async def sync_all(self) -> None:
        """Makes what was accepted durable, by the policy `interval`, and lets the descriptors of ended containers go."""
        for log in list(self._logs.values()):
            if not log.dirty:
                continue
            async with log.writing:
                if log.removed:
                    continue
                log.dirty = False
                try:
                    if self._sync == "interval":
                        await self.run(log.store.sync)
                    if log.store.ended:
                        await self.run(log.store.rest)
                except OSError as error:
                    log.dirty = True
                    _log.error("log cannot be made durable", extra={"reason": str(error)})

    async def close(self) -> None:
        """Makes everything durable and closes all files."""
        await self.sync_all()
        for log in self._logs.values():
            await self.run(log.store.close)

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Runs blocking work on the router's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


def _joined(batches: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Joins batches that follow each other: one write and one commit for many small ones."""
    group: list[bytes] = []
    begin = size = 0
    for offset, frames in batches:
        if group and (offset != begin + size or size + len(frames) > _GROUP):
            yield begin, b"".join(group)
            group = []
        if not group:
            begin, size = offset, 0
        group.append(frames)
        size += len(frames)
    if group:
        yield begin, b"".join(group)


def _open(folder: str, container_id: str, about: About, sync: Sync) -> Store:
    os.makedirs(folder, mode=0o710, exist_ok=True)
    body = msgspec.json.encode(about)
    path = os.path.join(folder, "router.json")
    if _about(folder) != about:
        write_atomic(path, body, sync=sync != "off")
    return STORES.get(about.driver, _json_file)(folder, container_id, about, sync)


def _about(folder: str) -> About | None:
    try:
        with open(os.path.join(folder, "router.json"), "rb") as file:
            return msgspec.json.decode(file.read(), type=About)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _delete(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def about(request: pb.Open) -> About:
    """Returns what is kept of an Open message. Raises InvalidArgument."""
    return About(request.driver, dict(request.options), attributes.of(request))
