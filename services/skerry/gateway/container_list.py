"""The node's containers as `docker ps` and others need them, asked for again only when they have changed."""

from dataclasses import dataclass, field
from typing import Any

from skerry.api.containers.v1 import containers_pb2 as pb


@dataclass(slots=True)
class Listed:
    """One list, newest first; shared by requests, never changed. `lines` keeps what `docker ps` shows of containers in it, see ps.Lines."""

    containers: list[pb.Container] = field(default_factory=list)
    revision: str = ""
    lines: dict[Any, tuple[bytes, bytes]] = field(default_factory=dict)


class ContainerLists:
    """The last list."""

    def __init__(self) -> None:
        self._known = Listed()

    async def ask(self, stub: Any) -> Listed:
        """Returns the list as it is now. Raises AioRpcError."""
        known = self._known
        listed = Listed()
        async for item in stub.List(pb.ListRequest(batched=True, known_revision=known.revision)):
            if item.unchanged and known.revision:
                return known
            listed.revision = listed.revision or item.revision
            listed.containers += item.containers or ([item.container] if item.HasField("container") else [])
        self._known = listed
        return listed
