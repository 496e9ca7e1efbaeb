"""All volumes of the node: made by name or with a container, used by containers, deleted when nobody does."""

import asyncio
import os
import re
import time
from collections.abc import Iterable, Mapping
from weakref import WeakValueDictionary

from skerry.api.containers.v1 import containers_pb2, volumes_pb2
from skerry.api.events.v1 import events_pb2
from skerry.containers import volume_driver
from skerry.containers.layers.store import tree_size
from skerry.containers.mounts import volume_path
from skerry.containers.record import Record, Volume
from skerry.containers.volume_store import VolumeRecord, VolumeStore
from skerry.core.errors import Conflict, InvalidArgument, NotFound, SkerryError
from skerry.core.ids import is_id, new_id
from skerry.core.journal import Journal

ANONYMOUS_LABEL = "com.docker.volume.anonymous"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_SHORTEST, _LONGEST = 2, 255


class Volumes:
    """The registry. The records in memory are the truth; the store follows each change."""

    def __init__(self, root: str, store: VolumeStore, journal: Journal) -> None:
        self._root = root
        self._store = store
        self._journal = journal
        self._records: dict[str, VolumeRecord] = {}
        # Containers by volume, from the begin of their creation to their removal.
        self._users: dict[str, set[str]] = {}
        # Mounts that running containers hold, by container.
        self._mounted: dict[str, tuple[Volume, ...]] = {}
        # One making, deleting or mounting of a volume at a time; of others meanwhile, as a server that is away may hold a mount up.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def load(self, records: Iterable[Record]) -> None:
        """Reads what is stored, and takes in directories that have no record: those of older versions, or restored by hand."""
        self._records = {record.name: record for record in await self._store.all()}
        anonymous = {mount.name for record in records for mount in record.mounts if mount.anonymous}
        found, removed = await asyncio.to_thread(_found, f"{self._root}/volumes")
        for name in removed - found.keys():
            # Its removal was cut short.
            await self._store.remove(name)
            self._records.pop(name, None)
        for name, made_ns in found.items():
            if name not in self._records:
                nobodys = name in anonymous or is_id(name)
                record = VolumeRecord(name=name, created_ns=made_ns, anonymous=nobodys, labels={ANONYMOUS_LABEL: ""} if nobodys else {})
                await self._store.add(record)
                self._records[name] = record

    def adopt(self, record: Record, *, running: bool) -> None:
        """Takes a stored container's use of its volumes in."""
        self._use(record.id, record.mounts)
        if running:
            self._mounted[record.id] = _volumes(record.mounts)

    def path(self, name: str) -> str:
        """Returns where a volume's content lies."""
        return volume_path(self._root, name)

    def users(self, name: str) -> list[str]:
        """Returns the ids of containers that use a volume."""
        return sorted(self._users.get(name, ()))

    def message(self, record: VolumeRecord) -> volumes_pb2.Volume:
        """Returns the wire's view."""
        return record.message(self.path(record.name), len(self._users.get(record.name, ())))

    def all(self) -> list[VolumeRecord]:
        """Returns all volumes by name."""
        return sorted(self._records.values(), key=lambda record: record.name)

    def get(self, name: str) -> VolumeRecord:
        """Returns a volume. Raises NotFound in Docker's words."""
        if (record := self._records.get(name)) is None:
            raise NotFound(f"get {name}: no such volume")
        return record

    async def size(self, name: str) -> int:
        """Returns the bytes of a volume's files."""
        return await asyncio.to_thread(tree_size, self.path(name))

    async def create(
        self, name: str, driver: str = "", options: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None
    ) -> VolumeRecord:
        """Makes a volume, an anonymous one without a name, unless it exists. Raises InvalidArgument, NotFound (driver), Failed."""
        anonymous = not name
        name = name or new_id()
        if driver not in ("", volume_driver.DRIVER):
            raise NotFound(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')
        wanted = {**(labels or {}), **({ANONYMOUS_LABEL: ""} if anonymous else {})}
        return await self._create(name, dict(options or {}), wanted, anonymous=anonymous)

    async def _create(self, name: str, options: dict[str, str], labels: dict[str, str], *, anonymous: bool) -> VolumeRecord:
        try:
            _check_name(name)
            volume_driver.check_options(options)
        except InvalidArgument as error:
            raise InvalidArgument(f"create {name}: {error}") from None
        async with self._lock(name):
            if (known := self._records.get(name)) is not None:
                return known
            record = VolumeRecord(name=name, created_ns=time.time_ns(), options=options, labels=labels, anonymous=anonymous)
            directory = os.path.dirname(self.path(name))
            fresh = await asyncio.to_thread(volume_driver.make, directory)
            event = _event("create", name, {"driver": record.driver})
            try:
                await self._store.add(record, [event])
            except BaseException:
                if fresh:
                    await asyncio.to_thread(volume_driver.delete, directory)
                raise
            self._records[name] = record
            self._journal.published(event)
            return record

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Deletes a volume. Raises NotFound unless force, Conflict when containers use it, Failed."""
        async with self._lock(name):
            if name not in self._records:
                if force:
                    return
                self.get(name)
            if users := self.users(name):
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
            record = self._records[name]
            aside = await asyncio.to_thread(volume_driver.set_aside, os.path.dirname(self.path(name)))
            event = _event("destroy", name, {"driver": record.driver})
            await self._store.remove(name, [event])
            del self._records[name]
            self._journal.published(event)
        if aside:
            await asyncio.to_thread(volume_driver.delete, aside)

    async def prune(self, names: Iterable[str]) -> tuple[list[str], int]:
        """Deletes those that no container uses; returns their names and bytes."""
        gone: list[str] = []
        reclaimed = 0
        for name in names:
            if name not in self._records or self.users(name):
                continue
            size = await self.size(name)
            try:
                await self.remove(name)
            except SkerryError:
                continue  # used, or removed, meanwhile
            gone.append(name)
            reclaimed += size
        await self._journal.publish(_event("prune", "", {"reclaimed": str(reclaimed)}))
        return gone, reclaimed

    async def claim(self, container_id: str, spec: containers_pb2.ContainerSpec, mounts: tuple[Volume, ...]) -> None:
        """Makes the volumes that a new container mounts and notes its use. Raises what create does; then nothing is claimed."""
        self._use(container_id, mounts)
        asked = {mount.target: mount for mount in spec.mounts}
        try:
            for volume in _volumes(mounts):
                mount = asked.get(volume.target, containers_pb2.Mount())
                if mount.volume_driver not in ("", volume_driver.DRIVER):
                    raise InvalidArgument(f'error looking up volume plugin {mount.volume_driver}: plugin "{mount.volume_driver}" not found')
                labels = {**mount.volume_labels, **({ANONYMOUS_LABEL: ""} if volume.anonymous else {})}
                _ = await self._create(volume.name, dict(mount.volume_options), labels, anonymous=volume.anonymous)
        except BaseException:
            await self.release(container_id, mounts, remove_anonymous=True)
            raise

    async def release(self, container_id: str, mounts: tuple[Volume, ...], *, remove_anonymous: bool) -> None:
        """Ends a container's use of its volumes; anonymous ones that nobody else uses are deleted when asked for. Idempotent."""
        await self.unmount(container_id)
        for volume in _volumes(mounts):
            users = self._users.get(volume.name, set())
            users.discard(container_id)
            if not users:
                self._users.pop(volume.name, None)
            if remove_anonymous and volume.anonymous:
                try:
                    await self.remove(volume.name, force=True)
                except Conflict:
                    pass  # another container took it over by --volumes-from

    async def mount(self, container_id: str, mounts: tuple[Volume, ...], *, tell: bool) -> None:
        """Sees to it that a container's volumes can be mounted, and tells the event of it. Raises Failed."""
        volumes = _volumes(mounts)
        for volume in volumes:
            if (record := self._records.get(volume.name)) is not None:
                async with self._lock(volume.name):
                    await asyncio.to_thread(volume_driver.make, os.path.dirname(volume.source))
                    if record.options:
                        await asyncio.to_thread(volume_driver.mount, volume.source, record.options)
            if tell:
                access = "true" if not volume.read_only else "false"
                attributes = {
                    "driver": volume_driver.DRIVER,
                    "container": container_id,
                    "destination": volume.target,
                    "read/write": access,
                    "propagation": volume.propagation,
                }
                await self._journal.publish(_event("mount", volume.name, attributes))
        if tell and volumes:
            self._mounted[container_id] = volumes

    async def unmount(self, container_id: str) -> None:
        """Ends a run's mounts, tells the event of it, and unmounts what no running container needs. Idempotent."""
        for volume in self._mounted.pop(container_id, ()):
            await self._journal.publish(_event("unmount", volume.name, {"driver": volume_driver.DRIVER, "container": container_id}))
            await self.unmount_unused(volume)

    async def unmount_unused(self, volume: Volume) -> None:
        """Unmounts what a volume's options mounted, unless a running container has it."""
        record = self._records.get(volume.name)
        if record is None or not record.options:
            return
        async with self._lock(volume.name):
            if not any(volume.name == other.name for volumes in self._mounted.values() for other in volumes):
                await asyncio.to_thread(volume_driver.unmount, volume.source)

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock

    def _use(self, container_id: str, mounts: tuple[Volume, ...]) -> None:
        for volume in _volumes(mounts):
            self._users.setdefault(volume.name, set()).add(container_id)


def _check_name(name: str) -> None:
    if len(name) < _SHORTEST:
        raise InvalidArgument("volume name is too short, names should be at least two alphanumeric characters")
    if not _NAME.match(name) or len(name) > _LONGEST:
        raise InvalidArgument(
            f'"{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )


def _volumes(mounts: tuple[Volume, ...]) -> tuple[Volume, ...]:
    return tuple(mount for mount in mounts if mount.type == "volume")


def _event(action: str, name: str, attributes: Mapping[str, str]) -> events_pb2.Event:
    return events_pb2.Event(time_ns=time.time_ns(), type="volume", action=action, actor_id=name, scope="local", attributes=attributes)


def _found(place: str) -> tuple[dict[str, int], set[str]]:
    """Returns the volumes' directories with their ages, and the names of those that were set aside, which are deleted."""
    found: dict[str, int] = {}
    removed: set[str] = set()
    try:
        names = os.listdir(place)
    except FileNotFoundError:
        return found, removed
    for name in names:
        if name.startswith(volume_driver.REMOVED):
            volume_driver.delete(f"{place}/{name}")
            removed.add(name.removeprefix(volume_driver.REMOVED))
        elif _NAME.match(name) and os.path.isdir(f"{place}/{name}/_data"):
            found[name] = os.stat(f"{place}/{name}").st_mtime_ns
    return found, removed
