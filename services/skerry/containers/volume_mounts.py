"""What of volumes has to be mounted while somebody uses it: options of the local driver here, volumes of plugins by their plugins.

A plugin is told the end of each use once: the use is written down before the plugin is asked to mount, and forgotten when it
answered that the use has ended. Whatever comes between, a restart of this service among it, is caught up with.
"""

import asyncio
import logging
import os
from weakref import WeakValueDictionary

import msgspec

from skerry.containers import volume_driver
from skerry.containers.mounts import volume_path
from skerry.containers.outside import Outside
from skerry.containers.plugins.client import Away
from skerry.containers.plugins.volumes import Drivers
from skerry.containers.record import Volume
from skerry.containers.volume_driver import DRIVER
from skerry.containers.volume_fill import recover
from skerry.containers.volume_store import Use, VolumeRecord, VolumeStore
from skerry.core import failpoints
from skerry.core.errors import Failed, SkerryError
from skerry.core.ids import new_id
from skerry.core.journal import Journal

failpoints.declare("containers.volumes", "noted", "mounted")
_log = logging.getLogger(__name__)


class VolumeMounts:
    """The part of the registry that mounts. See Volumes."""

    def __init__(self, root: str, store: VolumeStore, journal: Journal, outside: Outside, drivers: Drivers) -> None:
        self._root = root
        self._store = store
        self._journal = journal
        self._outside = outside
        self._drivers = drivers
        self._records: dict[str, VolumeRecord] = {}
        # Containers by volume, from the begin of their creation to their removal.
        self._users: dict[str, set[str]] = {}
        # Mounts that running containers hold, by container.
        self._mounted: dict[str, tuple[Volume, ...]] = {}
        # One making, deleting or mounting of a volume at a time; of others meanwhile, as a server that is away may hold a mount up.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def path(self, name: str) -> str:
        """Returns where a local volume's content lies."""
        return volume_path(self._root, name)

    def source(self, container_id: str, mount: Volume) -> str:
        """Returns where a mount's content is for a container that has it mounted; of a plugin's volume that is not mounted: empty."""
        record = self._records.get(mount.name)
        if not mount.by_plugin or record is None:
            return mount.source
        use = record.uses.get(use_key(container_id, mount))
        return use.mountpoint if use is not None else ""

    async def mount_one(self, container_id: str, volume: Volume) -> None:
        """Mounts a volume for a container. Raises Failed in Docker's words."""
        async with self._lock(volume.name):
            record = self._records.get(volume.name)
            if record is None:
                return
            if record.driver != DRIVER:
                await self._begin_use(record, use_key(container_id, volume))
                return
            directory = os.path.dirname(volume.source)
            await asyncio.to_thread(volume_driver.make, directory)
            if record.options:
                await self._mount_options(volume.source, record.options)
            else:
                await asyncio.to_thread(recover, directory)

    async def _mount_options(self, path: str, options: dict[str, str]) -> None:
        bound = -1
        if self._outside.apart and volume_driver.binds(options):
            bound = await self._outside.there(volume_driver.clone, path, options)
        try:
            await asyncio.to_thread(volume_driver.mount, path, options, bound)
        finally:
            if bound >= 0:
                os.close(bound)

    async def unmount_one(self, container_id: str, volume: Volume) -> None:
        """Unmounts it, unless a running container has it (or, a plugin's, always: plugins count)."""
        record = self._records.get(volume.name)
        if record is None:
            return
        if record.driver != DRIVER:
            await self.end_use(volume.name, use_key(container_id, volume))
        elif record.options:
            async with self._lock(volume.name):
                if not any(volume.name == other.name for volumes in self._mounted.values() for other in volumes):
                    await asyncio.to_thread(volume_driver.unmount, volume.source)

    def uses_of(self, container_id: str) -> list[tuple[str, str]]:
        """Returns the uses that plugins have not been told the end of: volume and key."""
        mine = f"{container_id}:"
        return [(name, key) for name, record in self._records.items() for key in record.uses if key.startswith(mine)]

    async def end_uses(self, running: set[str]) -> None:
        """Tells plugins the end of all uses but those of these containers: what a service that was killed left."""
        for name, record in list(self._records.items()):
            for key in record.uses:
                if key.partition(":")[0] not in running:
                    await self.end_use(name, key)

    async def _begin_use(self, record: VolumeRecord, key: str) -> None:
        if (use := record.uses.get(key)) is not None and use.mountpoint:
            return
        use = use or Use(new_id())
        await self._save(record.name, key, use)
        await failpoints.reached("containers.volumes.noted")
        asked = False
        try:
            driver = await self._drivers.find(record.driver)
            asked = True
            mountpoint = await driver.mount(record.name, use.id)
        except SkerryError as error:
            if not asked or not isinstance(error, Away):
                # There is no use to end.
                await self._save(record.name, key, None)
            self._drivers.forget(record.driver)
            raise Failed(f"error while mounting volume '': {error}") from None
        await failpoints.reached("containers.volumes.mounted")
        await self._save(record.name, key, Use(use.id, mountpoint))

    async def end_use(self, name: str, key: str) -> None:
        """Tells a plugin that a use has ended. When it does not answer, it is told at the volume's next removal or our next start."""
        async with self._lock(f"use {name}"):
            record = self._records.get(name)
            use = record.uses.get(key) if record is not None else None
            if record is None or use is None:
                return
            answered = False
            try:
                driver = await self._drivers.find(record.driver)
                answered = True
                await driver.unmount(name, use.id)
            except SkerryError as error:
                _log.warning("a volume plugin did not unmount", extra={"plugin": record.driver, "volume": name, "error": str(error)})
                if not answered or isinstance(error, Away):
                    self._drivers.forget(record.driver)
                    return
            await self._save(name, key, None)

    async def _save(self, name: str, key: str, use: Use | None) -> None:
        record = self._records[name]
        uses = {other: value for other, value in record.uses.items() if other != key}
        if use is not None:
            uses[key] = use
        self._records[name] = changed = msgspec.structs.replace(record, uses=uses)
        await self._store.save(changed)

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock


def use_key(container_id: str, volume: Volume) -> str:
    """Returns what a container's mount of a volume is known by."""
    return f"{container_id}:{volume.target}"
