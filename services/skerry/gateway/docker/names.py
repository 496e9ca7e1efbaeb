"""Image names as Docker shows them."""

import re

_HEX = re.compile(r"[0-9a-f]{64}\Z")
_DEFAULT_DOMAINS = ("docker.io/library/", "index.docker.io/library/", "docker.io/", "index.docker.io/")


def familiar(name: str) -> str:
    """Returns name without Docker Hub's prefix and with ":latest" when it has neither tag nor digest. Ids stay as they are."""
    if _HEX.match(name) or name.startswith("sha256:"):
        return name
    for prefix in _DEFAULT_DOMAINS:
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            break
    if "@" in name or ":" in name.rpartition("/")[2]:
        return name
    return f"{name}:latest"
