"""Finding, naming and removing images: Docker's rules over catalog and blobs."""

import functools

import msgspec

from skerry.api.events.v1 import events_pb2
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument, NotFound
from skerry.images import config as configs
from skerry.images import patterns
from skerry.images.catalog import Catalog, Entry
from skerry.images.reference import DEFAULT_TAG, Reference, could_be_id, parse


def event(action: str, actor: str, config: bytes, name: str) -> events_pb2.Event:
    """Returns an image event with Docker's attributes: the labels of the image behind config (empty: it is gone), and the name."""
    labels = dict(configs.to_config(configs.decode(config)).labels) if config else {}
    return events_pb2.Event(type="image", action=action, actor_id=actor, attributes={**labels, "name": name})


@functools.lru_cache(maxsize=8192)
def familiar(stored: str) -> str:
    """Returns the familiar form of a stored full name."""
    return parse(stored).familiar


def to_proto(entry: Entry) -> pb.Image:
    """Returns the wire form."""
    document = configs.decode(entry.image.config)
    diff_ids = [layer.diff_id for layer in entry.image.layers]
    layers = [
        pb.Layer(diff_id=layer.diff_id, chain_id=chain, size=layer.size, files_size=layer.shown)
        for layer, chain in zip(entry.image.layers, configs.chain_ids(diff_ids), strict=True)
    ]
    return pb.Image(
        id=entry.image.id,
        repo_tags=[familiar(name) for name in entry.names.tags],
        repo_digests=[familiar(name) for name in entry.names.digests],
        parent=entry.image.parent,
        created_ns=entry.image.created_ns,
        architecture=document.architecture or "",
        variant=document.variant or "",
        os=document.os or "",
        size=sum(layer.shown for layer in entry.image.layers),
        layers=layers,
        config=configs.to_config(document),
        config_json=entry.image.config.decode("utf-8", "replace"),
        last_tagged_ns=entry.names.last_tagged_ns,
        leases=len(entry.holders),
    )


async def find(catalog: Catalog, text: str) -> tuple[Entry, str]:
    """Finds an image by id, id prefix or name, as Docker resolves what people write.

    Returns it with the full name it was found by ("" when by id). Raises NotFound "No such image: NAME:TAG", InvalidArgument.
    """
    if not text:
        raise InvalidArgument("image name cannot be blank")
    whole = text.removeprefix("sha256:")
    if len(whole) == 64 and could_be_id(text):
        try:
            return await catalog.get(f"sha256:{whole}"), ""
        except NotFound:
            raise NotFound(f"No such image: sha256:{whole}") from None
    try:
        reference = parse(text)
    except InvalidArgument:
        if text.startswith("sha256:") and could_be_id(text):
            return await _by_prefix(catalog, text, text), ""
        raise
    named = reference.with_default_tag()
    name = f"{named.repository}@{named.digest}" if named.digest else full_name(named)
    try:
        return await catalog.by_name(name), name
    except NotFound:
        pass
    if could_be_id(text) and not reference.digest:
        return await _by_prefix(catalog, text, named.familiar), ""
    raise NotFound(f"No such image: {named.familiar}")


async def _by_prefix(catalog: Catalog, text: str, shown: str) -> Entry:
    try:
        return await catalog.by_prefix(text.removeprefix("sha256:"))
    except (NotFound, InvalidArgument):
        # As Docker: several images are none, so that `inspect` goes on to containers and networks of that name.
        raise NotFound(f"No such image: {shown}") from None


class Filter(msgspec.Struct, frozen=True):
    """What ListRequest asks for, understood."""

    references: tuple[str, ...] = ()
    dangling: bool | None = None
    labels: tuple[str, ...] = ()
    before_ns: int | None = None
    since_ns: int | None = None
    until_ns: int = 0

    def admits(self, entry: Entry) -> Entry | None:
        """Returns the entry with the names that match, or None."""
        image = entry.image
        # As Docker: an image that has digests only is listed either way.
        if self.dangling is True and entry.names.tags:
            return None
        if self.dangling is False and not (entry.names.tags or entry.names.digests):
            return None
        if self.before_ns is not None and image.created_ns >= self.before_ns:
            return None
        if self.since_ns is not None and image.created_ns <= self.since_ns:
            return None
        if self.until_ns and image.created_ns >= self.until_ns:
            return None
        if self.labels and not has_labels(entry, self.labels):
            return None
        if not self.references:
            return entry
        tags = tuple(name for name in entry.names.tags if any(_matches(name, pattern) for pattern in self.references))
        digests = tuple(name for name in entry.names.digests if any(_matches(name, pattern) for pattern in self.references))
        if not (tags or digests):
            return None
        return msgspec.structs.replace(entry, names=msgspec.structs.replace(entry.names, tags=tags, digests=digests))


def has_labels(entry: Entry, wanted: tuple[str, ...]) -> bool:
    """Tells whether all "key" or "key=value" hold."""
    labels = configs.to_config(configs.decode(entry.image.config)).labels
    pairs = (one.partition("=") for one in wanted)
    return all(key in labels and (not equals or labels[key] == value) for key, equals, value in pairs)


def _matches(stored: str, pattern: str) -> bool:
    """path.Match on the familiar name, with and without the tag, as reference.FamiliarMatch does."""
    reference = parse(stored)
    return patterns.matches(pattern, reference.familiar) or patterns.matches(pattern, reference.familiar_name)


async def understand(catalog: Catalog, request: pb.ListRequest) -> Filter:
    """Resolves the names in a ListRequest. Raises NotFound in Docker's words."""
    before = (await find(catalog, request.before))[0].image.created_ns if request.before else None
    since = (await find(catalog, request.since))[0].image.created_ns if request.since else None
    for pattern in request.references:
        patterns.compiled(pattern)
    dangling = request.dangling if request.HasField("dangling") else None
    return Filter(tuple(request.references), dangling, tuple(request.labels), before, since, request.until_ns)


async def tag(catalog: Catalog, image: str, target: str) -> None:
    """Gives an image one more name. Raises NotFound, InvalidArgument."""
    reference = parse(target)
    if reference.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    entry, _ = await find(catalog, image)
    named = reference.with_default_tag()
    said = event("tag", entry.image.id, entry.image.config, named.familiar)
    await catalog.tag(entry.image.id, full_name(named), said)


async def acquire(catalog: Catalog, image: str, holder: str) -> Entry:
    """Finds an image and takes a lease on it. Raises NotFound, InvalidArgument."""
    while True:
        entry, _ = await find(catalog, image)
        try:
            return await catalog.acquire(entry.image.id, holder)
        except NotFound:
            continue  # removed since it was found: the name may be another's by now


def full_name(reference: Reference) -> str:
    """Returns the stored form of a name with a tag."""
    return f"{reference.repository}:{reference.tag or DEFAULT_TAG}"
