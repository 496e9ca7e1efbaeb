"""Builds as the gateway knows them: their limits, which are under way here, and whose leftovers a sweep may take away."""

import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from skerry.gateway.build.spool import Place
from skerry.gateway.build.tree import Limits

_NAME = re.compile(r"build-([0-9a-f]{8})-([0-9]{1,12})-[0-9a-f]{12}\Z")
# A build of another gateway for the same node may be under way for so long; nobody there can be asked.
_FOREIGN_SECONDS = 24 * 3600
_REMEMBERED = 10_000


class Builds:
    """Shared by all requests of one gateway."""

    def __init__(self, place: Place, limits: Limits, gateway: str) -> None:
        """gateway: 8 hex digits that a restarted gateway has again, and no other one for the same node."""
        self.place = place
        self.limits = limits
        self._gateway = gateway
        self._live: set[str] = set()
        # Hashes of what COPY --from read from images, which never change: image id and words to one hash per file.
        self._hashes: OrderedDict[tuple[str, tuple[str, ...]], tuple[str, ...]] = OrderedDict()

    @contextmanager
    def build(self) -> Iterator[str]:
        """Yields the name of a new build: the last part of its lease holder."""
        name = f"build-{self._gateway}-{int(time.time())}-{secrets.token_hex(6)}"
        self._live.add(name)
        try:
            yield name
        finally:
            self._live.discard(name)

    def abandoned(self, name: str) -> bool:
        """Tells whether a name is that of a build that nobody runs any more."""
        match = _NAME.match(name)
        if match is None or name in self._live:
            return False
        return match[1] == self._gateway or time.time() - int(match[2]) > _FOREIGN_SECONDS

    def hashes(self, image_id: str, words: tuple[str, ...]) -> tuple[str, ...]:
        """Returns what `remember` was told; empty when it was not."""
        return self._hashes.get((image_id, words), ())

    def remember(self, image_id: str, words: tuple[str, ...], hashes: tuple[str, ...]) -> None:
        """Remembers the hashes of files of an image, the latest 10,000."""
        self._hashes[image_id, words] = hashes
        if len(self._hashes) > _REMEMBERED:
            self._hashes.popitem(last=False)


def is_build(name: str) -> bool:
    """Tells whether a lease holder's last part is a build's name."""
    return _NAME.match(name) is not None


def marked(name: str) -> dict[str, str]:
    """Returns what stands in the NetworkingConfig of a build's containers, which the node keeps as it is."""
    return {"Build": name}


def build_of(networking_config_json: str) -> str:
    """Returns the name of the build that a container was made by; empty: none."""
    if '"Build"' not in networking_config_json:
        return ""
    try:
        return str(msgspec.json.decode(networking_config_json).get("Build") or "")
    except (msgspec.DecodeError, AttributeError):
        return ""
