"""OCI runtimes that containers may choose between by --runtime: the default, found by trying, and the other known one if installed."""

import asyncio
import os
import shutil

from skerry.containers.runtime import KNOWN, Runtime, probe
from skerry.core.errors import Failed, InvalidArgument

# How containerd names the shim whose runtime is runc; Docker takes it since 23.0.
_SHIMS = {"io.containerd.runc.v2": "runc"}


class Runtimes:
    """Runtimes by name. One that is not the default is tried when a container first asks for it."""

    def __init__(self, directory: str, default: Runtime) -> None:
        # RUN: each runtime's records are below its name.
        self._directory = directory
        self.default = default
        self._tried: dict[str, Runtime] = {default.name: default}
        self._trying = asyncio.Lock()

    def of(self, name: str) -> Runtime:
        """Returns the runtime that an existing container was made with, whether or not it is (still) installed."""
        known = self._tried.get(name)
        if known is not None or name not in KNOWN:
            return known or self.default
        return Runtime(name, shutil.which(name) or name, "unknown", os.path.join(self._directory, name), self.default.systemd)

    async def usable(self, asked: str) -> Runtime:
        """Returns the runtime for a new container; empty: the default. Raises InvalidArgument for an unknown or absent one, Failed."""
        name = _SHIMS.get(asked, asked)
        if name in ("", "default"):
            return self.default
        async with self._trying:
            if name not in self._tried:
                if name not in KNOWN or shutil.which(name) is None:
                    raise InvalidArgument(f"unknown or invalid runtime name: {asked}")
                try:
                    driver = "systemd" if self.default.systemd else "cgroupfs"
                    self._tried[name] = await probe(self._directory, name, cgroup_driver=driver)
                except Failed as error:
                    raise Failed(f"runtime {asked} cannot be used: {error}") from None
            return self._tried[name]

    def installed(self) -> dict[str, str]:
        """Returns paths by name, of the default and of what else could be asked for."""
        found = {name: path for name in KNOWN if (path := shutil.which(name)) is not None}
        return {self.default.name: self.default.path, **{name: path for name, path in found.items() if name != self.default.name}}

    def used(self) -> list[Runtime]:
        """Returns each runtime that may have records here."""
        every = [self.default, *(self.of(name) for name in KNOWN if name != self.default.name)]
        return [runtime for runtime in every if os.path.isdir(runtime.directory)]
