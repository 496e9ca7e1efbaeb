"""API versions: which are spoken, what a request's path says, and every rule that depends on one.

A rule is the first version that has it: `call.version >= STREAM_CONTENT_TYPES`. Sources: the published API definitions and moby's
api/server/router, where each rule is a `versions.LessThan`.
"""

import re
from typing import NamedTuple

from skerry.core.errors import InvalidArgument


class Version(NamedTuple):
    """An API version; compares as Docker compares."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


CURRENT = Version(1, 50)
# The oldest whose behaviour is known; older requests are answered in it.
OLDEST = Version(1, 24)
# The oldest that is not refused.
ACCEPTED = Version(1, 12)

# Streams of attach, exec and logs say multiplexed-stream or raw-stream; below: raw-stream, and logs say nothing.
STREAM_CONTENT_TYPES = Version(1, 42)
# Bodies that are not JSON, ill-typed query parameters and id prefixes that several containers have are 400; below: 500.
BAD_INPUT_IS_400 = Version(1, 42)
# An unknown wait condition is refused; below: taken as not-running.
WAIT_CONDITION_CHECKED = Version(1, 42)
# HostConfig shows KernelMemory only when set.
NO_KERNEL_MEMORY = Version(1, 42)
# `stop` and `restart` honour ?signal=.
STOP_SIGNAL = Version(1, 42)
# An image without names has empty lists; below: "<none>:<none>".
NO_NONE_NAMES = Version(1, 43)
# Images have no VirtualSize.
NO_VIRTUAL_SIZE = Version(1, 44)
# Health checks have a start interval; below: it is not looked at.
HEALTH_START_INTERVAL = Version(1, 44)
# Endpoints list DNSNames.
DNS_NAMES = Version(1, 44)
# Image inspect has no Container and ContainerConfig.
NO_CONTAINER_CONFIG = Version(1, 45)
# Events have no status, id and from beside Action and Actor.
NO_LEGACY_EVENT_FIELDS = Version(1, 52)
# Image inspect's Config has only what the image says.
SPARSE_IMAGE_CONFIG = Version(1, 50)
# attach/ws joins the streams that it is asked for; below: all.
WEBSOCKET_STREAMS = Version(1, 42)
# ConsoleSize in exec and create.
CONSOLE_SIZE = Version(1, 42)
# `volume prune` takes anonymous volumes only, unless all=true; below: all.
PRUNE_ANONYMOUS_VOLUMES = Version(1, 42)
# Binds of `Mounts` are made when missing if they say CreateMountpoint.
CREATE_MOUNTPOINT = Version(1, 42)
# Read-only mounts are so with all that is mounted below, unless told otherwise; below: `Mounts` never.
RECURSIVE_READ_ONLY = Version(1, 44)
# Volumes are mounted by a subpath.
VOLUME_SUBPATH = Version(1, 45)
# info has CDISpecDirs and Containerd, and no KernelMemory.
INFO_WITHOUT_KERNEL_MEMORY = Version(1, 42)
# Endpoint settings have GwPriority.
GATEWAY_PRIORITY = Version(1, 48)
# HostConfig has Annotations.
ANNOTATIONS = Version(1, 43)
# save, load and history take ?platform=.
PLATFORM_OF_ARCHIVES = Version(1, 48)

# The build's answer tells the ids of stages besides.
BUILD_AUX = Version(1, 30)
# commit and import take STOPSIGNAL as a change.
STOP_SIGNAL_CHANGE = Version(1, 42)
# Image inspect takes ?platform=.
PLATFORM_OF_INSPECT = Version(1, 49)
# Image inspect has Descriptor, takes ?manifests=, and so does the list.
IMAGE_ORIGIN = Version(1, 48)
# The list takes ?manifests=.
MANIFESTS_OF_LIST = Version(1, 47)
# Image removal takes ?platforms=.
PLATFORMS_OF_REMOVAL = Version(1, 50)
# push takes ?platform=.
PLATFORM_OF_PUSH = Version(1, 46)
# `system df` takes ?type=, and has no BuilderSize.
DISK_USAGE_BY_TYPE = Version(1, 42)

# A missing image is told in one sentence; below: "no such image: X: No such image: X:latest".
SHORT_IMAGE_TEXT = Version(1, 44)

_TEXT = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\Z")


def negotiate(text: str) -> Version:
    """Returns the version to answer a request in whose path says text (without "v"). Raises InvalidArgument in Docker's words."""
    match = _TEXT.match(text)
    if match is None:
        raise InvalidArgument(f"invalid version format: {text}")
    asked = Version(int(match[1]), int(match[2]))
    if asked > CURRENT:
        raise InvalidArgument(f"client version {asked} is too new. Maximum supported API version is {CURRENT}")
    if asked < ACCEPTED:
        raise InvalidArgument(
            f"client version {asked} is too old. Minimum supported API version is {ACCEPTED}, please upgrade your client to a newer version"
        )
    return max(asked, OLDEST)
