"""This machine's platform in Docker's words."""

import platform

from skerry.images.manifest import Platform

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def own_platform() -> Platform:
    """Returns what images for this machine are made for."""
    machine = platform.machine()
    return Platform("linux", _ARCHITECTURES.get(machine, machine))
