"""Volume drivers that are plugins: VolumeDriver's calls, each plugin activated once, found anew after it was away."""

import asyncio
import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from skerry.containers.outside import Outside
from skerry.containers.plugins import directory
from skerry.containers.plugins.client import Away, Client
from skerry.core.errors import Failed, NotFound, SkerryError

_SUBSYSTEM = "VolumeDriver"


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where plugins are found, and how long they are waited for."""

    # Directory of sockets.
    sockets: str = "/run/docker/plugins"
    # Directories of *.spec and *.json.
    specs: tuple[str, ...] = ("/etc/docker/plugins", "/usr/lib/docker/plugins")
    # Seconds for an answer; creating and mounting may take twice as long.
    timeout: float = 60.0
    # Seconds for which a plugin that does not listen is waited for.
    patience: float = 15.0


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as its plugin tells it."""

    name: str
    mountpoint: str = ""
    # 0: not told.
    created_ns: int = 0
    status_json: str = ""


class Driver:
    """One plugin's volumes. Every method raises Away, or Failed with the plugin's words."""

    def __init__(self, name: str, client: Client, places: Places) -> None:
        self.name = name
        # "local" or "global".
        self.scope = "local"
        self._client = client
        self._places = places

    async def activate(self) -> None:
        """Shakes hands. Raises Failed when it is no volume driver."""
        answer = await self._client.call("Plugin.Activate", None, timeout=self._places.timeout)
        if _SUBSYSTEM not in (answer.get("Implements") or []):
            raise Failed("Plugin does not implement the requested driver")
        try:
            told = (await self._call("Capabilities", {}))["Capabilities"]["Scope"]
        except (SkerryError, KeyError, TypeError):
            return  # older ones have no capabilities: local
        self.scope = told if told in ("local", "global") else "local"

    async def create(self, name: str, options: Mapping[str, str]) -> None:
        """Makes a volume."""
        await self._call("Create", {"Name": name, "Opts": dict(options) or None}, times=2, patient=True)

    async def remove(self, name: str) -> None:
        """Removes it."""
        await self._call("Remove", {"Name": name}, patient=True)

    async def get(self, name: str) -> Found | None:
        """Returns it; None when the plugin does not know it."""
        try:
            answer = await self._call("Get", {"Name": name})
        except Away:
            raise
        except Failed:
            # Every plugin has words of its own for that.
            return None
        return _found(answer.get("Volume"))

    async def all(self) -> list[Found]:
        """Returns all it has."""
        answer = await self._call("List", {})
        return [found for each in answer.get("Volumes") or [] if (found := _found(each)) is not None]

    async def mount(self, name: str, use: str) -> str:
        """Has it mounted for one use; returns where, on the host."""
        answer = await self._call("Mount", {"Name": name, "ID": use}, times=2, patient=True)
        mountpoint = answer.get("Mountpoint")
        if not isinstance(mountpoint, str) or not mountpoint.startswith("/") or "\0" in mountpoint:
            raise Failed(f"the plugin {self.name} tells no path where the volume {name} is mounted")
        return mountpoint

    async def unmount(self, name: str, use: str) -> None:
        """Ends that use."""
        await self._call("Unmount", {"Name": name, "ID": use})

    async def path(self, name: str) -> str:
        """Returns where it is, mounted or not; empty when the plugin does not say."""
        return str((await self._call("Path", {"Name": name})).get("Mountpoint") or "")

    async def _call(self, method: str, body: Mapping[str, Any], *, times: int = 1, patient: bool = False) -> dict[str, Any]:
        timeout, patience = self._places.timeout * times, self._places.patience if patient else 0.0
        return await self._client.call(f"{_SUBSYSTEM}.{method}", body, timeout=timeout, patience=patience)


class Drivers:
    """All volume plugins of the host."""

    def __init__(self, places: Places, outside: Outside) -> None:
        self._places = places
        self._outside = outside
        self._active: dict[str, Driver] = {}

    async def find(self, name: str) -> Driver:
        """Returns a driver, activated. Raises NotFound in Docker's words, Failed, Away."""
        if (known := self._active.get(name)) is not None:
            return known
        try:
            client = await self._outside.there(directory.find, name, self._places.sockets, self._places.specs)
            driver = Driver(name, client, self._places)
            await driver.activate()
        except NotFound as error:
            raise NotFound(f"error looking up volume plugin {name}: {error}") from None
        except Away as error:
            raise Away(f"error looking up volume plugin {name}: {error}") from None
        except Failed as error:
            raise Failed(f"error looking up volume plugin {name}: {error}") from None
        return self._active.setdefault(name, driver)

    async def all(self) -> list[Driver]:
        """Returns those that answer, and those that did once."""
        names = await self._outside.there(directory.names, self._places.sockets, self._places.specs)
        found = await asyncio.gather(*(self.find(name) for name in names), return_exceptions=True)
        active = {driver.name: driver for driver in found if isinstance(driver, Driver)}
        return [driver for _, driver in sorted({**self._active, **active}.items())]

    async def names(self) -> Sequence[str]:
        """Returns the names of those that answer."""
        return [driver.name for driver in await self.all()]

    def forget(self, name: str) -> None:
        """Has a plugin looked up and activated anew at its next use: it was away, and may come back elsewhere."""
        self._active.pop(name, None)


def _found(value: Any) -> Found | None:
    if not isinstance(value, dict) or not value.get("Name"):
        return None
    status = value.get("Status")
    return Found(
        name=str(value["Name"]),
        mountpoint=str(value.get("Mountpoint") or ""),
        created_ns=_nanoseconds(value.get("CreatedAt")),
        status_json=json.dumps(status) if status else "",
    )


def _nanoseconds(text: Any) -> int:
    if not isinstance(text, str) or not text:
        return 0
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    # Go's zero time means that it was not set.
    return max(0, int(moment.timestamp())) * 10**9
