"""What images take: each layer's bytes once, told apart by how many images have it. Pure functions."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from skerry.images.catalog import Entry


class Share(msgspec.Struct, frozen=True):
    """Bytes of an image's layers that others have too, and of those that only it has."""

    shared: int
    unique: int


def shares(entries: Iterable[Entry]) -> dict[str, Share]:
    """Returns each image's share by id. A layer that an image has twice counts once."""
    every = list(entries)
    layers = {entry.image.id: {layer.diff_id: layer.shown for layer in entry.image.layers} for entry in every}
    users = Counter(diff_id for sizes in layers.values() for diff_id in sizes)
    result = {}
    for image_id, sizes in layers.items():
        shared = sum(size for diff_id, size in sizes.items() if users[diff_id] > 1)
        result[image_id] = Share(shared, sum(sizes.values()) - shared)
    return result


def total(entries: Iterable[Entry]) -> int:
    """Returns the bytes of all layers, each counted once."""
    return sum({layer.diff_id: layer.shown for entry in entries for layer in entry.image.layers}.values())


def intermediate(entries: Iterable[Entry]) -> set[str]:
    """Returns the ids of images without a name that others were built on: `docker images` shows them with -a only."""
    every = list(entries)
    parents = {entry.image.parent for entry in every if entry.image.parent}
    return {entry.image.id for entry in every if entry.image.id in parents and not (entry.names.tags or entry.names.digests)}


def build_cache(entries: Iterable[Entry]) -> list[Entry]:
    """Returns the images that builds made and that no name, no lease and no image with either of them needs."""
    every = {entry.image.id: entry for entry in entries}
    needed: set[str] = set()
    for entry in every.values():
        if not (entry.names.tags or entry.names.digests or entry.holders):
            continue
        one: Entry | None = entry
        while one is not None and one.image.id not in needed:
            needed.add(one.image.id)
            one = every.get(one.image.parent)
    return [entry for entry in every.values() if entry.image.parent and entry.image.id not in needed]
