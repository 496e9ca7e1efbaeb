"""All volumes of the node: made by name or with a container, used by containers, deleted when nobody does."""

import asyncio
import os
import re
import time
from collections.abc import Iterable, Mapping

import msgspec

from skerry.api.containers.v1 import containers_pb2, volumes_pb2
from skerry.api.events.v1 import events_pb2
from skerry.containers import volume_driver
from skerry.containers.layers.store import tree_size
from skerry.containers.plugins.volumes import Driver, Found
from skerry.containers.record import Record, Volume
from skerry.containers.volume_driver import DRIVER
from skerry.containers.volume_fill import fill
from skerry.containers.volume_mounts import VolumeMounts
from skerry.containers.volume_store import VolumeRecord
from skerry.core import failpoints
from skerry.core.errors import Conflict, InvalidArgument, NotFound, SkerryError
from skerry.core.ids import is_id, new_id

failpoints.declare("containers.volumes", "prepared", "recorded")

ANONYMOUS_LABEL = "com.docker.volume.anonymous"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_SHORTEST, _LONGEST = 2, 255


class Volumes(VolumeMounts):
    """The registry. The records in memory are the truth; the store follows each change."""

    async def load(self, records: Iterable[Record]) -> None:
        """Reads what is stored, and takes in directories that have no record: those of older versions, or restored by hand."""
        self._records = {record.name: record for record in await self._store.all()}
        anonymous = {mount.name for record in records for mount in record.mounts if mount.anonymous}
        found, removed = await asyncio.to_thread(_found, f"{self._root}/volumes", self._records)
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

    def users(self, name: str) -> list[str]:
        """Returns the ids of containers that use a volume."""
        return sorted(self._users.get(name, ()))

    def message(self, record: VolumeRecord, told: Found | None = None, scope: str = "local") -> volumes_pb2.Volume:
        """Returns the wire's view; told is what the plugin says of a volume that it has."""
        message = record.message(self.path(record.name), len(self._users.get(record.name, ())))
        message.scope = scope
        if record.driver != DRIVER:
            message.mountpoint = told.mountpoint if told else ""
            message.created_ns = told.created_ns if told else record.created_ns
            message.status_json = told.status_json if told else ""
        return message

    async def all(self) -> tuple[list[volumes_pb2.Volume], list[str]]:
        """Returns all volumes by name, those that plugins have among them, and what plugins could not be asked for."""
        records = {name: self.message(record) for name, record in self._records.items()}
        warnings = []
        active = {driver.name: driver for driver in await self._drivers.all()}
        for name in sorted({record.driver for record in self._records.values()} - {DRIVER} - active.keys()):
            try:
                active[name] = await self._drivers.find(name)
            except SkerryError as error:
                warnings.append(f"list {name}: {error}")
        for driver in active.values():
            try:
                told = {found.name: found for found in await driver.all()}
            except SkerryError as error:
                warnings.append(f"list {driver.name}: {error}")
                continue
            for name, record in self._records.items():
                # What the plugin has not, is not there.
                if record.driver == driver.name and told.get(name) is None:
                    records.pop(name, None)
            for name, found in told.items():
                own = self._records.get(name, VolumeRecord(name=name, created_ns=found.created_ns, driver=driver.name))
                if own.driver == driver.name:
                    message = self.message(own, found, driver.scope)
                    message.status_json = ""
                    records[name] = message
        return [records[name] for name in sorted(records)], warnings

    async def get(self, name: str) -> volumes_pb2.Volume:
        """Returns a volume. Raises NotFound in Docker's words."""
        record = self._records.get(name)
        if record is not None and record.driver == DRIVER:
            return self.message(record)
        drivers = [await self._driver(record.driver, f"get {name}")] if record is not None else await self._drivers.all()
        for driver in drivers:
            if (found := await _told(driver, name)) is not None:
                known = record or VolumeRecord(name=name, created_ns=found.created_ns, driver=driver.name)
                return self.message(known, found, driver.scope)
        raise NotFound(f"get {name}: no such volume")

    async def size(self, name: str) -> int:
        """Returns the bytes of a volume's files; -1 of one that a plugin has, as Docker."""
        record = self._records.get(name)
        return await asyncio.to_thread(tree_size, self.path(name)) if record is not None and record.driver == DRIVER else -1

    async def create(
        self, name: str, driver: str = "", options: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None
    ) -> volumes_pb2.Volume:
        """Makes a volume, an anonymous one without a name, unless it exists. Raises InvalidArgument, NotFound, Conflict, Failed."""
        anonymous = not name
        name = name or new_id()
        wanted = {**(labels or {}), **({ANONYMOUS_LABEL: ""} if anonymous else {})}
        await self._create(name, driver, dict(options or {}), wanted, anonymous=anonymous)
        return await self.get(name)

    async def _create(self, name: str, driver: str, options: dict[str, str], labels: dict[str, str], *, anonymous: bool) -> VolumeRecord:
        async with self._lock(name):
            known = self._records.get(name) or await self._elsewhere(name, driver)
            if known is not None and driver not in ("", known.driver):
                raise Conflict(f"create {name}: driver '{known.driver}' already has volume '{name}': volume name must be unique")
            if known is not None and known.driver == DRIVER:
                return known
            record = known or VolumeRecord(
                name=name, created_ns=time.time_ns(), driver=driver or DRIVER, options=options, labels=labels, anonymous=anonymous
            )
            try:
                if record.driver != DRIVER:
                    await self._create_there(record)
                    await self._note(record)
                else:
                    _check_name(name)
                    volume_driver.check_options(options)
                    await self._create_here(record)
            except SkerryError as error:
                raise type(error)(f"create {name}: {error}") from None
            return self._records[name]

    async def _elsewhere(self, name: str, driver: str) -> VolumeRecord | None:
        """Returns a volume that a plugin has and that we never heard of."""
        if driver == DRIVER or not _NAME.match(name):
            return None
        for each in await self._drivers.all():
            if driver in ("", each.name) and (found := await _told(each, name)) is not None:
                return VolumeRecord(name=name, created_ns=found.created_ns or time.time_ns(), driver=each.name)
        return None

    async def _create_there(self, record: VolumeRecord) -> None:
        driver = await self._drivers.find(record.driver)
        try:
            there = await driver.get(record.name) is not None
        except SkerryError as error:
            self._drivers.forget(record.driver)
            text = f'error while checking if volume "{record.name}" exists in driver "{record.driver}": {error}'
            raise type(error)(text) from None
        if not there:
            await driver.create(record.name, record.options)

    async def _create_here(self, record: VolumeRecord) -> None:
        directory = os.path.dirname(self.path(record.name))
        aside = await asyncio.to_thread(volume_driver.prepare, directory)
        try:
            await failpoints.reached("containers.volumes.prepared")
            await self._note(record)
        except BaseException:
            await asyncio.to_thread(volume_driver.delete, aside)
            raise
        await failpoints.reached("containers.volumes.recorded")
        await asyncio.to_thread(volume_driver.take_place, aside, directory)

    async def _note(self, record: VolumeRecord) -> None:
        event = _event("create", record.name, {"driver": record.driver})
        known = record.name in self._records
        await self._store.add(record, [event])
        self._records[record.name] = record
        if not known:
            self._journal.published(event)

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Deletes a volume. Raises NotFound unless force, Conflict when containers use it, Failed."""
        async with self._lock(name):
            record = self._records.get(name)
            if record is None and (record := await self._elsewhere(name, "")) is None:
                if force:
                    return
                raise NotFound(f"get {name}: no such volume")
            if users := self.users(name):
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
            aside = ""
            if record.driver != DRIVER:
                await self._remove_there(record)
            else:
                aside = await asyncio.to_thread(volume_driver.set_aside, os.path.dirname(self.path(name)))
            event = _event("destroy", name, {"driver": record.driver})
            await self._store.remove(name, [event])
            if self._records.pop(name, None) is not None:
                self._journal.published(event)
            else:
                await self._journal.publish(event)
        if aside:
            await asyncio.to_thread(volume_driver.delete, aside)

    async def _remove_there(self, record: VolumeRecord) -> None:
        name = record.name
        driver = await self._driver(record.driver, f"remove {name}")
        for key in list(record.uses):
            # The plugin was away when the use ended.
            await self.end_use(name, key)
        try:
            await driver.remove(name)
        except SkerryError as error:
            raise type(error)(f"remove {name}: {error}") from None

    async def _driver(self, name: str, operation: str) -> Driver:
        try:
            return await self._drivers.find(name)
        except SkerryError as error:
            raise type(error)(f"{operation}: {error}") from None

    async def prune(self, names: Iterable[str]) -> tuple[list[str], int]:
        """Deletes those that no container uses; returns their names and bytes."""
        gone: list[str] = []
        reclaimed = 0
        for name in names:
            record = self._records.get(name)
            if record is None or record.driver != DRIVER or self.users(name):
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

    async def claim(self, container_id: str, spec: containers_pb2.ContainerSpec, mounts: tuple[Volume, ...]) -> tuple[Volume, ...]:
        """Makes the volumes that a new container mounts and notes its use; returns the mounts with their drivers.

        Raises what create does; then nothing is claimed.
        """
        self._use(container_id, mounts)
        asked = {mount.target: mount for mount in spec.mounts}
        claimed = []
        try:
            for volume in mounts:
                if volume.type != "volume":
                    claimed.append(volume)
                    continue
                mount = asked.get(volume.target, containers_pb2.Mount())
                labels = {**mount.volume_labels, **({ANONYMOUS_LABEL: ""} if volume.anonymous else {})}
                record = await self._create(volume.name, volume.driver, dict(mount.volume_options), labels, anonymous=volume.anonymous)
                driver = "" if record.driver == DRIVER else record.driver
                mode = volume.mode if not driver or volume.mode != "z" or mount.mode else ""
                claimed.append(msgspec.structs.replace(volume, driver=driver, mode=mode, source="" if driver else volume.source))
        except BaseException as error:
            await self.release(container_id, mounts, remove_anonymous=True)
            if isinstance(error, NotFound):
                # docker takes any 404 of a create for a missing image.
                raise InvalidArgument(str(error)) from None
            raise
        return tuple(claimed)

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
        """Mounts a container's volumes as far as they need it, and tells the event of it. Raises Failed; then nothing is mounted."""
        volumes = _volumes(mounts)
        for volume in volumes:
            await self.mount_one(container_id, volume)
            if tell:
                access = "true" if not volume.read_only else "false"
                attributes = {
                    "driver": volume.driver or DRIVER,
                    "container": container_id,
                    "destination": volume.target,
                    "read/write": access,
                    "propagation": volume.propagation,
                }
                self._mounted[container_id] = (*self._mounted.get(container_id, ()), volume)
                await self._journal.publish(_event("mount", volume.name, attributes))

    async def unmount(self, container_id: str) -> None:
        """Ends a run's mounts, tells the event of it, and unmounts what no running container needs. Idempotent."""
        for volume in self._mounted.pop(container_id, ()):
            attributes = {"driver": volume.driver or DRIVER, "container": container_id}
            await self._journal.publish(_event("unmount", volume.name, attributes))
            await self.unmount_one(container_id, volume)
        for name, key in self.uses_of(container_id):
            # Of a start that failed, or was cut short.
            await self.end_use(name, key)

    async def fill(self, container_id: str, rootfs: str, mounts: tuple[Volume, ...]) -> None:
        """Copies what the image has at their targets into volumes that are empty. Raises Failed."""
        for volume in mounts:
            await self.mount_one(container_id, volume)
            try:
                async with self._lock(volume.name):
                    record = self._records.get(volume.name)
                    plain = record is not None and record.driver == DRIVER and not record.options
                    await fill(rootfs, volume, self.source(container_id, volume), plain=plain, outside=self._outside)
            finally:
                await self.unmount_one(container_id, volume)

    async def give_back(self, container_id: str, mounts: tuple[Volume, ...]) -> None:
        """Undoes a mount that told nobody. Idempotent."""
        for volume in _volumes(mounts):
            await self.unmount_one(container_id, volume)

    def _use(self, container_id: str, mounts: tuple[Volume, ...]) -> None:
        for volume in _volumes(mounts):
            self._users.setdefault(volume.name, set()).add(container_id)


async def _told(driver: Driver, name: str) -> Found | None:
    try:
        return await driver.get(name)
    except SkerryError:
        return None  # one that is away has no volumes


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


def _found(place: str, records: Mapping[str, VolumeRecord]) -> tuple[dict[str, int], set[str]]:
    """Returns the volumes' directories with their ages, and the names of those that were set aside. Finishes what was cut short."""
    found: dict[str, int] = {}
    removed: set[str] = set()
    try:
        names = os.listdir(place)
    except FileNotFoundError:
        return found, removed
    for name in sorted(names, reverse=True):
        new = name.removeprefix(volume_driver.NEW)
        if name.startswith(volume_driver.REMOVED):
            volume_driver.delete(f"{place}/{name}")
            removed.add(name.removeprefix(volume_driver.REMOVED))
        elif new != name and new in records:
            volume_driver.take_place(f"{place}/{name}", f"{place}/{new}")
        elif new != name:
            volume_driver.delete(f"{place}/{name}")
        elif _NAME.match(name) and os.path.isdir(f"{place}/{name}/_data"):
            found[name] = os.stat(f"{place}/{name}").st_mtime_ns
    return found, removed
