"""The gateway asks for a list of images again only when the store's has changed, and never takes one list for another."""

from collections.abc import AsyncIterator

from skerry.api.images.v1 import images_pb2 as pb
from skerry.gateway.image_list import ImageLists
from skerry.gateway.versions import CURRENT


class Store:
    """An image store as the wire shows it: names, and a revision unless it counts none."""

    def __init__(self, *names: str, counts: bool = True) -> None:
        self.names = list(names)
        self.sent = 0
        self._counts = counts

    async def List(self, request: pb.ListRequest) -> AsyncIterator[pb.ListResponse]:
        revision = ",".join(self.names) or "none" if self._counts else ""
        if revision and request.known_revision == revision:
            yield pb.ListResponse(revision=revision, unchanged=True)
            return
        self.sent += 1
        shown = [name for name in self.names if not request.references or name in request.references]
        yield pb.ListResponse(revision=revision, images=[pb.Image(id=name) for name in shown[:1]])
        yield pb.ListResponse(images=[pb.Image(id=name) for name in shown[1:]])


async def ids(lists: ImageLists, store: Store, *references: str) -> list[str]:
    return [image.id for image in (await lists.ask(store, pb.ListRequest(brief=True, references=references))).images]


async def test_an_unchanged_list_is_sent_once() -> None:
    lists, store = ImageLists(), Store("a", "b")
    assert [await ids(lists, store) for _ in range(3)] == [["a", "b"]] * 3
    assert store.sent == 1
    store.names.append("c")
    assert await ids(lists, store) == ["a", "b", "c"]
    store.names.clear()
    assert await ids(lists, store) == [] == await ids(lists, store)
    assert store.sent == 3


async def test_a_store_that_counts_nothing_is_always_asked() -> None:
    lists, store = ImageLists(), Store("a", counts=False)
    assert await ids(lists, store) == ["a"]
    store.names[0] = "b"
    assert await ids(lists, store) == ["b"]


async def test_lists_by_other_filters_are_others() -> None:
    lists, store = ImageLists(), Store("a", "b")
    assert [await ids(lists, store), await ids(lists, store, "b"), await ids(lists, store), await ids(lists, store, "b")] == [
        ["a", "b"],
        ["b"],
        ["a", "b"],
        ["b"],
    ]
    assert store.sent == 2


async def test_an_answer_is_kept_with_the_list_it_was_made_of() -> None:
    lists, store = ImageLists(), Store("a")
    request = pb.ListRequest(brief=True)
    (await lists.ask(store, request)).keep(CURRENT, b"[a]")
    assert (await lists.ask(store, request)).encoded(CURRENT) == b"[a]"
    store.names[0] = "b"
    assert (await lists.ask(store, request)).encoded(CURRENT) is None
