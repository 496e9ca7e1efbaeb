"""The logs of all containers of this router: opened on demand, one writer each, readers woken when something came."""

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from skerry.core.errors import InvalidArgument
from skerry.core.files import write_atomic
from skerry.core.ids import is_id
from skerry.core.metrics import Counter
from skerry.logs import drivers, lines
from skerry.logs.attributes import extra_attributes
from skerry.logs.stores import Store
from skerry.logs.stores.json_file import JsonFile

T = TypeVar("T")
_bytes = Counter("skerry_logs_accepted_bytes", "Bytes of frames accepted.")
_batches = Counter("skerry_logs_accepted_batches", "Batches accepted.")


class About(msgspec.Struct, frozen=True):
    """What was said of a container when its log was opened; kept beside the log."""

    driver: str
    options: dict[str, str]
    attributes: dict[str, str] = {}


class ContainerLog:
    """One container's store with its order and its readers' bell."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.removed = False
        # Held by whoever writes: two streams may carry the same container for a moment while the node reconnects.
        self.writing = asyncio.Lock()
        self._bell = asyncio.Event()
        # Accepted since the last sync.
        self.dirty = False

    def ring(self) -> None:
        """Wakes the readers."""
        self._bell.set()
        self._bell = asyncio.Event()

    async def rung(self, seconds: float) -> None:
        """Waits until something changed, seconds at most. Look at the store again in any case."""
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            pass


class Containers:
    """All logs below ROOT/containers."""

    def __init__(self, root: str, sync: str, thread: ThreadPoolExecutor) -> None:
        self._root = os.path.join(root, "containers")
        self._sync = sync
        self._pool = thread
        self._logs: dict[str, ContainerLog] = {}
        self._opening: dict[str, asyncio.Lock] = {}

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
                store = await self.run(_open, folder, container_id, about)
                log = self._logs[container_id] = ContainerLog(store)
            return log

    async def find(self, container_id: str) -> ContainerLog | None:
        """Returns a container's log, or None when nothing was ever accepted for it."""
        folder = self._folder(container_id)
        if (log := self._logs.get(container_id)) is not None:
            return log
        about = await self.run(_about, folder)
        return None if about is None else await self.open(container_id, about)

    async def accept(self, log: ContainerLog, batches: list[tuple[int, bytes]]) -> int:
        """Writes batches of one container; returns the offset that is now accepted. Raises InvalidArgument, OSError."""
        async with log.writing:
            if log.removed:
                raise InvalidArgument("the log was removed")

            def work() -> int:
                for offset, frames in batches:
                    log.store.accept(offset, frames)
                if self._sync == "batch":
                    log.store.sync()
                return log.store.offset

            offset = await self.run(work)
        log.dirty = self._sync == "interval"
        _bytes.inc(sum(len(frames) for _, frames in batches))
        _batches.inc(len(batches))
        log.ring()
        return offset

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
        """Makes everything accepted durable. For the policy `interval`, and the end."""
        for log in list(self._logs.values()):
            if log.dirty and not log.removed:
                async with log.writing:
                    if not log.removed:
                        log.dirty = False
                        await self.run(log.store.sync)

    async def close(self) -> None:
        """Closes all files."""
        await self.sync_all()
        for log in self._logs.values():
            await self.run(log.store.close)

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Runs blocking work on the router's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


def _open(folder: str, container_id: str, about: About) -> Store:
    # One store so far: every driver that is stored writes Docker's json-file.
    os.makedirs(folder, mode=0o710, exist_ok=True)
    body = msgspec.json.encode(about)
    path = os.path.join(folder, "router.json")
    if _about(folder) != about:
        write_atomic(path, body, sync=False)
    options = drivers.json_file_options(about.options)
    return JsonFile(folder, container_id, options, lines.attributes(about.attributes))


def _about(folder: str) -> About | None:
    try:
        with open(os.path.join(folder, "router.json"), "rb") as file:
            return msgspec.json.decode(file.read(), type=About)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _delete(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def about(driver: str, options: Mapping[str, str], labels: Mapping[str, str], env: list[str]) -> About:
    """Returns what is kept of an Open message."""
    return About(driver, dict(options), extra_attributes(options, labels, env))
