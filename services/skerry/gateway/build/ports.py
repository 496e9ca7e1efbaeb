"""EXPOSE's ports."""

import re
from collections.abc import Sequence

from skerry.core.errors import InvalidArgument

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?\Z")
_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})


def exposed(words: Sequence[str]) -> list[str]:
    """Returns "80/tcp" for each port of PORT[-PORT][/PROTOCOL]; of [ADDRESS:][PORT:]PORT the last part counts, as in Docker.

    Raises InvalidArgument in Docker's words.
    """
    found: dict[str, None] = {}
    for word in words:
        ports, _, protocol = word.partition("/")
        container = ports.rpartition(":")[2]
        protocol = protocol.lower() or "tcp"
        if not container:
            raise InvalidArgument(f"No port specified: {word}<empty>")
        match = _RANGE.match(container)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= 65535:
            raise InvalidArgument(f"Invalid containerPort: {container}")
        if protocol not in _PROTOCOLS:
            raise InvalidArgument(f"Invalid proto: {protocol}")
        found.update(dict.fromkeys(f"{port}/{protocol}" for port in range(first, last + 1)))
    return list(found)
