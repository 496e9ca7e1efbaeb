"""`docker rmi` and `docker image prune`: plans of `removal` carried out, and the unnamed parents that nobody needs any more."""

from collections import Counter

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.images import config as configs
from skerry.images import library, removal
from skerry.images.catalog import Catalog, Entry, Names
from skerry.images.reference import parse


async def remove(catalog: Catalog, request: pb.RemoveRequest) -> list[pb.Removal]:
    """Does `docker rmi`. Raises NotFound, Conflict in Docker's words."""
    running = frozenset(request.running_holders)
    while True:
        entry, name = await library.find(catalog, request.image)
        family = await _Family.of(catalog)
        parent = family.has_children(entry.image.id)
        plan = removal.plan(entry, name, request.image, force=request.force, running=running, parent=parent)
        if await _carry_out(catalog, entry, plan):
            return await family.removed(entry, plan, parents=not request.no_prune)
        # Somebody took a lease, or moved a name, since we looked: decide anew.


async def prune(catalog: Catalog, request: pb.PruneRequest) -> tuple[list[pb.Removal], int]:
    """Does `docker image prune`; returns what went and the bytes of layers that no image has any more."""
    family = await _Family.of(catalog)
    before = family.entries()
    removals: list[pb.Removal] = []
    for entry in before:
        if not family.has(entry.image.id) or entry.holders or (request.dangling and entry.names.tags) or not _prunable(entry, request):
            continue
        parent = family.has_children(entry.image.id)
        if parent and (request.dangling or not (entry.names.tags or entry.names.digests)):
            continue  # goes with the last image that was built on it
        # Docker goes through the names in order: a repository's digests go with its last tag.
        names = sorted([*entry.names.tags, *entry.names.digests], key=lambda name: (parse(name).repository, "@" in name))
        tagged = {parse(name).repository for name in entry.names.tags}
        alone = [name for name in entry.names.digests if parse(name).repository not in tagged]
        plan = removal.Plan(tuple(names), not parent, len(entry.names.tags) + len(alone))
        if await _carry_out(catalog, entry, plan):
            removals += await family.removed(entry, plan, parents=True)
    left = {layer.diff_id for entry in await catalog.all() for layer in entry.image.layers}
    freed = {layer.diff_id: layer.size for entry in before for layer in entry.image.layers if layer.diff_id not in left}
    return removals, sum(freed.values())


def _prunable(entry: Entry, request: pb.PruneRequest) -> bool:
    if request.until_ns and entry.image.created_ns >= request.until_ns:
        return False
    if request.labels and not library.has_labels(entry, tuple(request.labels)):
        return False
    return not any(library.has_labels(entry, (label,)) for label in request.not_labels)


async def _carry_out(catalog: Catalog, entry: Entry, plan: removal.Plan) -> bool:
    """Removes what the plan says, at once; False when the image has changed since the plan was made: nothing is done then."""
    image_id = entry.image.id
    events = [library.event("untag", image_id, entry.image.config, image_id) for _ in range(plan.told)]
    if plan.delete:
        events.append(library.event("delete", image_id, b"", image_id))
    return await catalog.remove(entry, plan.untag, delete=plan.delete, events=events)


class _Family:
    """The images of one moment: who was built on whom, and which layers are still used."""

    def __init__(self, catalog: Catalog, entries: list[Entry]) -> None:
        self._catalog = catalog
        self._entries = {entry.image.id: entry for entry in entries}
        self._children = Counter(entry.image.parent for entry in entries)
        self._chains = Counter(one for entry in entries for one in set(_chain(entry)))

    @classmethod
    async def of(cls, catalog: Catalog) -> "_Family":
        return cls(catalog, await catalog.all())

    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def has(self, image_id: str) -> bool:
        return image_id in self._entries

    def has_children(self, image_id: str) -> bool:
        return self._children[image_id] > 0

    async def removed(self, entry: Entry, plan: removal.Plan, *, parents: bool) -> list[pb.Removal]:
        """Returns Docker's lines for a plan that was carried out, and removes parents that this leaves to nobody, when wanted."""
        removals = [pb.Removal(untagged=library.familiar(name)) for name in plan.untag]
        if not plan.delete:
            names = entry.names
            tags, digests = (tuple(one for one in all_ if one not in plan.untag) for all_ in (names.tags, names.digests))
            self._entries[entry.image.id] = msgspec.structs.replace(entry, names=Names(tags, digests, names.last_tagged_ns))
            return removals
        one: Entry | None = entry
        while one is not None:
            removals += self._deleted(one)
            one = await self._parent(one) if parents else None
        return removals

    def _deleted(self, entry: Entry) -> list[pb.Removal]:
        self._entries.pop(entry.image.id, None)
        self._children[entry.image.parent] -= 1
        chain = _chain(entry)
        self._chains.subtract(set(chain))
        gone = [one for one in reversed(chain) if not self._chains[one]]
        return [pb.Removal(deleted=one) for one in (entry.image.id, *gone)]

    async def _parent(self, child: Entry) -> Entry | None:
        """Removes the parent when it has no name, no lease and no other child; None when it stays."""
        parent = self._entries.get(child.image.parent)
        if parent is None or parent.names.tags or parent.names.digests or parent.holders or self.has_children(parent.image.id):
            return None
        return parent if await _carry_out(self._catalog, parent, removal.Plan((), True, 0)) else None


def _chain(entry: Entry) -> list[str]:
    return configs.chain_ids([layer.diff_id for layer in entry.image.layers])
