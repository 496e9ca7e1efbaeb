"""The node's layers: prepared once in ROOT/layers, mounted once in RUN/layers, put together to root file systems by overlayfs."""

import asyncio
import contextlib
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar
from weakref import WeakValueDictionary

import msgspec

from skerry.api.images.v1 import images_pb2
from skerry.containers.layers import mounts, worker
from skerry.containers.layers.erofs import Summary
from skerry.containers.layers.fetch import fetch
from skerry.containers.layers.stacks import DIRECTORIES, EMPTY, EROFS, NOTHING, LayerInfo, Stacks, stacked
from skerry.containers.layers.tar import DEFAULT, Limits
from skerry.core import linux, process
from skerry.core.errors import Failed, InvalidArgument, SkerryError
from skerry.core.files import sync_directory, write_atomic
from skerry.core.ids import new_id
from skerry.core.rpc.tls import Tls

_log = logging.getLogger(__name__)
T = TypeVar("T")
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_DIFF_ID = re.compile(r"sha256:([0-9a-f]{64})\Z")
_PARALLEL = 2
# A tar up to this size is parsed in a thread: quicker than a process starts (0.09 s), and done in a few milliseconds.
_THREAD_LIMIT = 4 << 20
_WORKER_TIMEOUT = 1800.0
_CLONE_FS = 0x200


class Copy(msgspec.Struct, frozen=True):
    """A prepared layer: bytes of its tar, and when it was last asked for (Unix seconds)."""

    diff_id: str
    size: int
    asked: float


class Layers:
    """See `open_layers`. All methods may be called at once and are idempotent."""

    def __init__(self, root: str, run: str, form: str, thread: ThreadPoolExecutor, tls: Tls | None, limits: Limits) -> None:
        # erofs or directories: how layers are prepared from now on. Those prepared in directories before stay usable.
        self.form = form
        self._root = os.path.abspath(root)
        self._run = os.path.abspath(run)
        self._thread = thread
        self.tls = tls
        self._limits = limits
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._infos: dict[str, LayerInfo] = {}
        # Unix seconds at which each was last asked for; over a restart the time of layer.json.
        self._asked: dict[str, float] = {}
        # Image stores that layers came from.
        self.stores: set[str] = set()
        # Only used on the mounting thread.
        self._stacks = Stacks(self._root, self._run, self._infos)

    async def ensure(self, layers: Sequence[images_pb2.Layer], image_store: str) -> None:
        """Makes the layers mountable, fetching from the store only what is not here. Each is prepared once however many ask.

        Raises Unavailable (the store is away), NotFound, InvalidArgument (a layer is no valid tar), Failed.
        """
        self.stores.add(image_store)
        try:
            async with asyncio.TaskGroup() as group:
                for layer in layers:
                    group.create_task(self._ensure(layer, image_store))
        except BaseExceptionGroup as group_error:
            # One reason is enough; the others were cancelled or failed alike.
            raise group_error.exceptions[0] from None

    async def mount_rootfs(self, directory: str, layers: Sequence[images_pb2.Layer]) -> str:
        """Mounts the container's root at DIRECTORY/rootfs, with `upper` and `work` beside it, and returns that path.

        Raises NotFound for a layer that was not ensured, Failed when the kernel refuses or there are too many.
        """
        return await self._mounting(lambda: self._stacks.mount(directory, [_hex(layer.diff_id) for layer in layers]))

    async def unmount_rootfs(self, directory: str) -> None:
        """Unmounts it, unless somebody is still within `rooted`; files in `upper` stay. Layers without users are unmounted in time."""
        await self._mounting(lambda: self._stacks.unmount(directory))

    @asynccontextmanager
    async def rooted(self, directory: str, layers: Sequence[images_pb2.Layer]) -> AsyncIterator[str]:
        """Keeps the container's root mounted while the body runs, whether or not the container does; yields DIRECTORY/rootfs.

        Raises NotFound, Failed as mount_rootfs.
        """
        names = [_hex(layer.diff_id) for layer in layers]
        path = await self._mounting(lambda: self._stacks.hold(directory, names))
        try:
            yield path
        finally:
            await asyncio.shield(self._mounting(lambda: self._stacks.let_go(directory)))

    @asynccontextmanager
    async def below(self, directory: str, layers: Sequence[images_pb2.Layer]) -> AsyncIterator[str]:
        """Mounts what lies under the container's own changes, read-only, while the body runs; yields where. Raises NotFound, Failed."""
        names = [_hex(layer.diff_id) for layer in layers]
        target = os.path.abspath(f"{directory}/below-{new_id()[:8]}")
        await self._mounting(lambda: self._stacks.mount_below(target, names))
        try:
            yield target
        finally:
            await asyncio.shield(self._mounting(lambda: self._stacks.unmount_below(target)))

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[str]:
        """Yields a new directory for a layer that is made here; `keep` takes what it then holds, the rest is removed."""
        path = f"{self._root}/.new-own-{new_id()[:8]}"
        os.mkdir(path, 0o700)
        try:
            yield path
        finally:
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)

    async def index(self, fresh: str, *, few: bool) -> Summary:
        """Makes the tar in a fresh directory mountable. few: it has so few entries that no process is worth it.

        Raises InvalidArgument, Failed.
        """
        async with self._slots:
            return await self._parse("of a container", fresh, 0 if few else os.stat(f"{fresh}/tar").st_size, sync=not few)

    async def keep(self, fresh: str, layer: images_pb2.Layer, summary: Summary) -> None:
        """Makes what lies in a fresh directory, tar and index, the node's copy of layer; nothing when it has one.

        It is mountable at once; `confirm` makes it last over a crash of the host. Until then a restarted service makes its index anew.
        """
        name = _hex(layer.diff_id)
        info = LayerInfo(layer.diff_id, self.form, layer.size, summary.entries, summary.bytes)
        async with self._lock(name):
            self._note(name)
            if name not in self._infos:
                # A directory is durable already, and has no tar to be made anew from.
                await asyncio.to_thread(self._publish if self.form == DIRECTORIES else self._place, name, fresh, info)
                self._infos[name] = info

    async def confirm(self, layer: images_pb2.Layer) -> None:
        """Makes a layer that was kept durable. Idempotent."""
        name = _hex(layer.diff_id)
        async with self._lock(name):
            if (info := self._infos.get(name)) is not None:
                await asyncio.to_thread(self._confirm, name, info)

    def graph_driver(self, directory: str, layers: Sequence[images_pb2.Layer]) -> dict[str, str]:
        """Returns what Docker's overlay2 shows in inspect."""
        data = {"MergedDir": f"{directory}/rootfs", "UpperDir": f"{directory}/upper", "WorkDir": f"{directory}/work"}
        lower = [self._stacks.shown(name) for name in stacked([_hex(layer.diff_id) for layer in layers])]
        return {"LowerDir": ":".join(lower), **data} if lower else data

    async def sizes(self, directory: str, layers: Sequence[images_pb2.Layer]) -> tuple[int, int]:
        """Returns bytes written by the container, and those plus its image's, as `ps -s` shows them."""
        written = await asyncio.to_thread(tree_size, f"{directory}/upper")
        infos = [self._infos.get(_hex(layer.diff_id)) for layer in layers]
        return written, written + sum(info.bytes if info else layer.size for info, layer in zip(infos, layers, strict=True))

    async def reconcile(self, live_directories: set[str]) -> None:
        """Takes over the mounts of an earlier process of this service: roots of other containers and unused layers are unmounted."""
        await self._mounting(lambda: self._stacks.reconcile({os.path.abspath(each) for each in live_directories}))

    def copies(self) -> list[Copy]:
        """Returns what is here, that which was not asked for the longest first."""
        return sorted(
            (Copy(info.diff_id, info.size, self._asked.get(name, 0.0)) for name, info in self._infos.items()), key=lambda copy: copy.asked
        )

    async def drop(self, diff_id: str, *, before: float) -> int:
        """Deletes a prepared layer that no root uses and nobody asked for since then; returns the bytes of its tar, 0 when it stays."""
        name = _hex(diff_id)
        async with self._lock(name):
            info = self._infos.get(name)
            if info is None or self._asked.get(name, 0.0) > before or not await self._mounting(lambda: self._stacks.forget(name)):
                return 0
            self._asked.pop(name, None)
            return info.size

    # -- preparing

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock

    async def _ensure(self, layer: images_pb2.Layer, image_store: str) -> None:
        name = _hex(layer.diff_id)
        async with self._lock(name):
            info = self._infos.get(name)
            self._note(name)
            if info is not None and (info.form == DIRECTORIES or self.form == EROFS):
                return
            async with self._slots:
                await self._prepare(name, layer, image_store)

    def _note(self, name: str) -> None:
        self._asked[name] = time.time()
        with contextlib.suppress(FileNotFoundError):
            os.utime(f"{self._root}/{name}/layer.json")

    async def _prepare(self, name: str, layer: images_pb2.Layer, image_store: str) -> None:
        fresh = f"{self._root}/.new-{name}-{new_id()[:8]}"
        os.mkdir(fresh, 0o700)
        try:
            try:
                # Prepared once in the form that this kernel, or a setting, does not take any more: its tar is still here.
                os.link(f"{self._root}/{name}/tar", f"{fresh}/tar")
            except FileNotFoundError:
                await fetch(image_store, self.tls, layer, f"{fresh}/tar")
            size = os.stat(f"{fresh}/tar").st_size
            summary = await self._parse(layer.diff_id, fresh, size)
            info = LayerInfo(layer.diff_id, self.form, size, summary.entries, summary.bytes)
            await asyncio.to_thread(self._publish, name, fresh, info)
            self._infos[name] = info
        finally:
            await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)

    async def _parse(self, diff_id: str, fresh: str, size: int, *, sync: bool = True) -> Summary:
        target = f"{fresh}/index.erofs" if self.form == EROFS else f"{fresh}/diff"
        if self.form == DIRECTORIES:
            os.mkdir(target, 0o755)
        lament = f"failed to register layer {diff_id}"
        if size <= _THREAD_LIMIT:
            try:
                return await asyncio.to_thread(worker.prepare, self.form, f"{fresh}/tar", target, self._limits, sync=sync)
            except InvalidArgument as error:
                raise InvalidArgument(f"{lament}: {error}") from None
            except OSError as error:
                raise Failed(f"{lament}: {error}") from error
        limits = [str(self._limits.entries), str(self._limits.depth)]
        argv = [sys.executable, "-m", worker.__name__, self.form, f"{fresh}/tar", target, *limits]
        result = await process.run(argv, timeout=_WORKER_TIMEOUT, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        if result.status != 0:
            kind = InvalidArgument if result.status == worker.BAD_TAR else Failed
            raise kind(f"{lament}: {result.last_line()}")
        entries, size = (int(word) for word in result.stdout.split())
        return Summary(entries, size)

    def _publish(self, name: str, fresh: str, info: LayerInfo) -> None:
        if info.form == DIRECTORIES:
            os.unlink(f"{fresh}/tar")
        write_atomic(f"{fresh}/layer.json", msgspec.json.encode(info))
        self._place(name, fresh, info)
        sync_directory(self._root)

    def _place(self, name: str, fresh: str, _info: LayerInfo) -> None:
        place = f"{self._root}/{name}"
        if os.path.exists(place):
            os.rename(place, f"{self._root}/.old-{name}-{new_id()[:8]}")
        os.rename(fresh, place)

    def _confirm(self, name: str, info: LayerInfo) -> None:
        place = f"{self._root}/{name}"
        if os.path.exists(f"{place}/layer.json"):
            return
        if info.form == EROFS:
            with open(f"{place}/index.erofs", "rb") as file:
                os.fdatasync(file.fileno())
        write_atomic(f"{place}/layer.json", msgspec.json.encode(info))
        sync_directory(self._root)

    # -- on the mounting thread, whose current directory is RUN/layers

    async def _mounting(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def load(self) -> list[str]:
        """Reads what was prepared before; returns the layers that were not confirmed. Called once by open_layers."""
        unconfirmed = []
        for name in os.listdir(self._root):
            try:
                with open(f"{self._root}/{name}/layer.json", "rb") as file:
                    info = msgspec.json.decode(file.read(), type=LayerInfo)
                    asked = os.fstat(file.fileno()).st_mtime
            except (OSError, msgspec.MsgspecError):
                # Not a layer, or not a whole one: prepared anew when it is asked for, or by `complete`.
                if _HEX.match(name) and os.path.exists(f"{self._root}/{name}/tar"):
                    unconfirmed.append(name)
                continue
            if info.diff_id == f"sha256:{name}":
                self._infos[name] = info
                self._asked[name] = asked
        return unconfirmed

    async def complete(self, name: str) -> None:
        """Makes the index of a layer anew whose tar is here: containers may have it. Called by open_layers."""
        try:
            await self._prepare(name, images_pb2.Layer(diff_id=f"sha256:{name}"), "")
        except SkerryError as error:
            _log.warning("a layer cannot be used", extra={"layer": name, "error": str(error)})


@asynccontextmanager
async def open_layers(root: str, run: str, *, form: str = "", tls: Tls | None = None, limits: Limits = DEFAULT) -> AsyncIterator[Layers]:
    """Opens the layers in ROOT/layers with their mount points in RUN/layers. Mounts are left in place at the end.

    form "" finds out whether this kernel mounts EROFS from files by doing so; "erofs" and "directories" force one. To be called in the
    mount namespace that the containers' mounts shall be in. Raises InvalidArgument for another form.
    """
    if form not in ("", EROFS, DIRECTORIES):
        raise InvalidArgument(f"bad layer form {form!r}: known are {EROFS}, {DIRECTORIES}")
    store, points = os.path.join(root, "layers"), os.path.join(run, "layers")
    os.makedirs(store, mode=0o700, exist_ok=True)
    for name in (EMPTY, NOTHING):
        os.makedirs(os.path.join(points, name), mode=0o700, exist_ok=True)

    def enter() -> None:
        # A current directory of its own keeps lower directories' names short: all options of mount(2) must fit in one page.
        linux.unshare(_CLONE_FS)
        os.chdir(points)

    thread = ThreadPoolExecutor(1, thread_name_prefix="mounts", initializer=enter)
    try:
        loop = asyncio.get_running_loop()
        if not form:
            form = EROFS if await loop.run_in_executor(thread, mounts.erofs_works, store) else DIRECTORIES
        layers = Layers(store, points, form, thread, tls, limits)
        for name in await loop.run_in_executor(thread, layers.load):
            await layers.complete(name)
        yield layers
    finally:
        thread.shutdown()


def _hex(diff_id: str) -> str:
    match = _DIFF_ID.match(diff_id)
    if match is None:
        raise InvalidArgument(f"invalid layer digest: {diff_id!r}")
    return match.group(1)


def tree_size(directory: str) -> int:
    """Sums the sizes of all files, each inode once."""
    total = 0
    seen: set[int] = set()
    pending = [directory]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                        continue
                    status = entry.stat(follow_symlinks=False)
                    if status.st_ino not in seen:
                        seen.add(status.st_ino)
                        total += status.st_size
        except FileNotFoundError:
            continue  # removed by the container meanwhile
    return total
