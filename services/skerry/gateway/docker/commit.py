"""POST /commit: the Config in its body; and which changes it and `import` take in each version."""

from typing import Any

from skerry.core.errors import InvalidArgument
from skerry.gateway.docker import golang
from skerry.gateway.docker.shapes import CONFIG
from skerry.gateway.versions import STOP_SIGNAL_CHANGE, Version

_CHANGES = frozenset({"CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "USER", "VOLUME", "WORKDIR"})


def parse_config(body: bytes) -> dict[str, Any]:
    """Reads the Config in a request's body; {} when there is none. Raises BadInput."""
    return golang.parse(body, CONFIG, "ContainerConfigWrapper") if body.strip() else {}


def check_changes(changes: list[str], version: Version) -> None:
    """Raises InvalidArgument for an instruction that engines of this version do not take as a change. The rest is the image store's."""
    known = _CHANGES | {"STOPSIGNAL"} if version >= STOP_SIGNAL_CHANGE else _CHANGES
    for change in changes:
        # Lines continue as in a Dockerfile.
        for line in change.replace("\\\r\n", " ").replace("\\\n", " ").splitlines():
            word = line.split(maxsplit=1)[0] if line.strip() else "#"
            if not word.startswith("#") and word.upper() not in known:
                raise InvalidArgument(f"{word.lower()[:100]} is not a valid change command")
