"""The list of images as `docker images` and `docker ps` need it, asked for again only when the store's has changed."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from skerry.api.images.v1 import images_pb2 as pb
from skerry.gateway.versions import Version

# Lists by different filters that are remembered, and the most images in one of them.
_LISTS = 4
_MOST_IMAGES = 5000
_VERSIONS = 4


@dataclass(slots=True)
class Listed:
    """One list, and what was made of it; shared by requests, never changed."""

    images: list[pb.Image]
    revision: str = ""
    _encoded: dict[Version, bytes] = field(default_factory=dict)

    def encoded(self, version: Version) -> bytes | None:
        """Returns the answer that was kept for an API version."""
        return self._encoded.get(version)

    def keep(self, version: Version, answer: bytes) -> None:
        """Keeps an answer for the next client of that version."""
        if self.revision and len(self._encoded) < _VERSIONS:
            self._encoded[version] = answer


class ImageLists:
    """Brief lists by what was asked for."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Listed] = OrderedDict()

    async def ask(self, stub: Any, request: pb.ListRequest) -> Listed:
        """Returns the list of a brief request, newest first. Raises AioRpcError."""
        key = request.SerializeToString(deterministic=True)
        known = self._known.get(key)
        asked = pb.ListRequest()
        asked.CopyFrom(request)
        asked.known_revision = known.revision if known else ""
        listed = Listed([])
        async for item in stub.List(asked):
            if item.unchanged and known is not None:
                return known
            listed.revision = listed.revision or item.revision
            listed.images += item.images or ([item.image] if item.HasField("image") else [])
        if listed.revision and len(listed.images) <= _MOST_IMAGES:
            self._known[key] = listed
            self._known.move_to_end(key)
            while len(self._known) > _LISTS:
                self._known.popitem(last=False)
        return listed
