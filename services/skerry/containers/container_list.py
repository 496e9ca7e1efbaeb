"""The list of all containers in few messages, or the word that it is still the one that the caller has."""

import itertools
import os
from collections.abc import AsyncIterator

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers.node import Node
from skerry.containers.record import Record

_BATCH = 100


class ContainerList:
    """Knows what the list was when it was asked for last. A message is made of the record, which is replaced at each change, and execs."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._name = os.urandom(8).hex()
        self._count = 0
        self._seen: list[tuple[Record, tuple[str, ...]]] = []

    async def tell(self, known: str) -> AsyncIterator[pb.ListResponse]:
        """Yields the responses to a batched request."""
        revision = self._revision()
        if revision == known:
            yield pb.ListResponse(revision=revision, unchanged=True)
            return
        # What changes while this is read makes the next revision another one.
        containers = iter(list(self._node))
        yield pb.ListResponse(revision=revision, containers=[each.message() for each in itertools.islice(containers, _BATCH)])
        while batch := [each.message() for each in itertools.islice(containers, _BATCH)]:
            yield pb.ListResponse(containers=batch)

    def _revision(self) -> str:
        now = [(container.record, tuple(container.execs)) for container in self._node]
        if len(now) != len(self._seen) or any(
            record is not old or execs != before for (record, execs), (old, before) in zip(now, self._seen, strict=True)
        ):
            self._seen = now
            self._count += 1
        return f"{self._name}.{self._count}"
