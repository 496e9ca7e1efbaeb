"""The list of containers: sent again only when it changed; its lines are the same whether kept or made anew."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.gateway.container_list import ContainerLists
from skerry.gateway.docker.ps import Lines, summary
from skerry.gateway.versions import CURRENT, OLDEST


class Node:
    """A node as the wire shows it: containers, and a revision unless it counts none."""

    def __init__(self, *ids: str, counts: bool = True) -> None:
        self.ids = list(ids)
        self.sent = 0
        self._counts = counts

    async def List(self, request: pb.ListRequest) -> AsyncIterator[pb.ListResponse]:
        if not self._counts:
            for one in self.ids:
                yield pb.ListResponse(container=pb.Container(id=one))
            return
        revision = ",".join(self.ids) or "none"
        if request.known_revision == revision:
            yield pb.ListResponse(revision=revision, unchanged=True)
            return
        self.sent += 1
        yield pb.ListResponse(revision=revision, containers=[pb.Container(id=one) for one in self.ids[:1]])
        yield pb.ListResponse(containers=[pb.Container(id=one) for one in self.ids[1:]])


async def ids(lists: ContainerLists, node: Node) -> list[str]:
    return [container.id for container in (await lists.ask(node)).containers]


async def test_an_unchanged_list_is_sent_once() -> None:
    lists, node = ContainerLists(), Node("a", "b")
    assert [await ids(lists, node) for _ in range(3)] == [["a", "b"]] * 3
    assert node.sent == 1
    node.ids.append("c")
    assert await ids(lists, node) == ["a", "b", "c"]
    node.ids.clear()
    assert await ids(lists, node) == [] == await ids(lists, node)
    assert node.sent == 3


async def test_a_node_that_counts_nothing_is_always_asked() -> None:
    lists, node = ContainerLists(), Node("a", counts=False)
    assert await ids(lists, node) == ["a"]
    node.ids[0] = "b"
    assert await ids(lists, node) == ["b"]


def containers() -> list[pb.Container]:
    spec = pb.ContainerSpec(labels={"Status": '","Status":"'}, network_mode="bridge")
    return [
        pb.Container(id="1", name="never", spec=spec, path="sh", args=["-c", "a b"]),
        pb.Container(id="2", spec=spec, state=pb.State(status=pb.STATUS_EXITED, exit_code=3, started_ns=1, finished_ns=2)),
        pb.Container(id="3", spec=spec, state=pb.State(status=pb.STATUS_RUNNING, started_ns=1)),
        pb.Container(id="4", spec=spec, state=pb.State(status=pb.STATUS_EXITED, started_ns=1, finished_ns=2), size_root_fs=5),
        pb.Container(id="5", spec=spec, mount_points=[pb.MountPoint(type="volume", name="v", destination="/v")]),
    ]


def _named(image: str, _container: pb.Container) -> str:
    return image


def test_kept_lines_are_what_is_made_anew() -> None:
    kept: dict[Any, tuple[bytes, bytes]] = {}
    for version in (CURRENT, OLDEST, CURRENT):
        for image in ("one", "other", "one"):
            named = partial(_named, image)
            line = Lines(kept, named, version)
            for container in containers():
                made = summary(container, None, named, version)
                assert msgspec.json.decode(line(container, None)) == made
                assert list(msgspec.json.decode(line(container, None))) == list(made)
    assert {key[0] for key in kept} == {"1", "2", "5"}
