"""Platforms by containerd's rules, which are Docker's: what people write, which manifests of a list fit, and what this machine is."""

import platform
import re

from skerry.core.errors import Failed, InvalidArgument
from skerry.images.manifest import Descriptor, Index, Platform

_COMPONENT = re.compile(r"[A-Za-z0-9_-]+\Z")
_SYSTEMS = frozenset(
    {
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "hurd",
        "illumos",
        "ios",
        "js",
        "linux",
        "nacl",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "windows",
        "zos",
        "macos",
    }
)
_KNOWN = frozenset(
    {
        "386",
        "amd64",
        "arm",
        "arm64",
        "loong64",
        "mips",
        "mipsle",
        "mips64",
        "mips64le",
        "ppc64",
        "ppc64le",
        "riscv64",
        "s390x",
        "sparc64",
        "wasm",
    }
)
_ARCHITECTURES = {
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
}


def own_platform() -> Platform:
    """Returns what images for this machine are made for."""
    return normal(Platform("linux", platform.machine()))


def normal(one: Platform) -> Platform:
    """Returns a platform in the one way that is compared: aarch64 is arm64, arm is arm/v7, arm64/v8 is arm64, amd64/v1 is amd64."""
    os, architecture, variant = one.os.lower(), one.architecture.lower(), one.variant.lower()
    os = "darwin" if os == "macos" else os
    if architecture in _ARCHITECTURES:
        architecture, told = _ARCHITECTURES[architecture]
        variant = told or variant
    if architecture == "arm" and variant in ("", "5", "6", "7", "8"):
        variant = f"v{variant or 7}"
    if (architecture, variant) in (("arm64", "8"), ("arm64", "v8"), ("amd64", "v1")):
        variant = ""
    return Platform(os, architecture, variant)


def parse_platform(text: str, own: Platform) -> Platform:
    """Reads "os/arch[/variant]", "arch" or "os"; own is for what is not said. Raises InvalidArgument in Docker's words."""
    if not text:
        return own
    parts = text.split("/")
    for part in parts:
        if not _COMPONENT.match(part):
            raise InvalidArgument(
                f'"{part}" is an invalid component of "{text}": '
                'platform specifier component must match "^[A-Za-z0-9_-]+$": invalid argument'
            )
    if len(parts) > 3:
        raise InvalidArgument(f'"{text}": cannot parse platform specifier: invalid argument')
    if len(parts) > 1:
        return normal(Platform(*parts))
    alone = parts[0].lower()
    if alone in _SYSTEMS:
        return normal(Platform(alone, own.architecture, own.variant))
    found = normal(Platform("linux", alone))
    if found.architecture not in _KNOWN:
        raise InvalidArgument(f'"{text}": unknown operating system or architecture: invalid argument')
    return found


def fitting(wanted: Platform) -> list[Platform]:
    """Returns the platforms that run on the wanted one, best first: an arm/v7 runs v6 and v5 too."""
    one = normal(wanted)
    found = [one]
    if one.architecture == "amd64" and one.variant[1:].isdigit():
        found += [normal(Platform(one.os, "amd64", f"v{level}")) for level in range(int(one.variant[1:]) - 1, 0, -1)]
    if one.architecture == "arm" and one.variant[1:].isdigit():
        found += [Platform(one.os, "arm", f"v{level}") for level in range(int(one.variant[1:]) - 1, 4, -1)]
    if one.architecture == "arm64" and not one.variant:
        found += [Platform(one.os, "arm", f"v{level}") for level in range(8, 4, -1)]
    return found


def choose(index: Index, wanted: Platform) -> Descriptor:
    """Returns the manifest for a platform. Raises Failed in Docker's words."""
    known = [(one, normal(one.platform)) for one in index.manifests if one.platform]
    for platform_ in fitting(wanted):
        for one, its in known:
            if its == platform_:
                return one
    if len(index.manifests) == 1 and index.manifests[0].platform is None:
        return index.manifests[0]
    raise Failed(f"no matching manifest for {wanted} in the manifest list entries")
