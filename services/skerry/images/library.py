"""Finding, naming and removing images: Docker's rules over catalog and blobs."""

import fnmatch
import re

import msgspec

from skerry.api.events.v1 import events_pb2
from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Conflict, InvalidArgument, NotFound
from skerry.core.ids import short
from skerry.images import config as configs
from skerry.images.catalog import Catalog, Entry
from skerry.images.reference import DEFAULT_TAG, Reference, could_be_id, parse


def event(action: str, actor: str, entry: Entry | None = None, name: str = "") -> events_pb2.Event:
    """Returns an image event with Docker's attributes: the labels and the name."""
    attributes: dict[str, str] = {}
    if entry is not None:
        attributes.update(configs.to_config(configs.decode(entry.image.config)).labels)
    if name:
        attributes["name"] = name
    return events_pb2.Event(type="image", action=action, actor_id=actor, attributes=attributes)


def familiar(stored: str) -> str:
    """Returns the familiar form of a stored full name."""
    return parse(stored).familiar


def to_proto(entry: Entry) -> pb.Image:
    """Returns the wire form."""
    document = configs.decode(entry.image.config)
    diff_ids = [layer.diff_id for layer in entry.image.layers]
    layers = [
        pb.Layer(diff_id=layer.diff_id, chain_id=chain, size=layer.size)
        for layer, chain in zip(entry.image.layers, configs.chain_ids(diff_ids), strict=True)
    ]
    return pb.Image(
        id=entry.image.id,
        repo_tags=[familiar(name) for name in entry.names.tags],
        repo_digests=[familiar(name) for name in entry.names.digests],
        parent=entry.image.parent,
        created_ns=entry.image.created_ns,
        architecture=document.architecture,
        variant=document.variant,
        os=document.os,
        size=sum(layer.size for layer in entry.image.layers),
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
            raise NotFound(f"No such image: {text}") from None
    try:
        reference = parse(text)
    except InvalidArgument:
        if text.startswith("sha256:") and could_be_id(text):
            return await _by_prefix(catalog, text), ""
        raise
    named = reference.with_default_tag()
    for name in _full_names(named):
        try:
            return await catalog.by_name(name), name
        except NotFound:
            continue
    if could_be_id(text) and not reference.digest:
        try:
            return await catalog.by_prefix(whole), ""
        except NotFound:
            pass
    raise NotFound(f"No such image: {named.familiar}")


async def _by_prefix(catalog: Catalog, text: str) -> Entry:
    try:
        return await catalog.by_prefix(text.removeprefix("sha256:"))
    except NotFound:
        raise NotFound(f"No such image: {text}") from None


def _full_names(reference: Reference) -> list[str]:
    if reference.digest:
        return [f"{reference.repository}@{reference.digest}"]
    return [f"{reference.repository}:{reference.tag}"]


class Filter(msgspec.Struct, frozen=True):
    """What ListRequest asks for, understood."""

    references: tuple[str, ...] = ()
    dangling: bool | None = None
    labels: tuple[str, ...] = ()
    before_ns: int = 0
    since_ns: int = 0
    until_ns: int = 0

    def admits(self, entry: Entry) -> Entry | None:
        """Returns the entry with the names that match, or None."""
        image = entry.image
        if self.dangling is not None and self.dangling == bool(entry.names.tags):
            return None
        if (self.before_ns and image.created_ns >= self.before_ns) or (self.since_ns and image.created_ns <= self.since_ns):
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
    expression = _path_match(pattern)
    return any(expression.match(text) for text in (reference.familiar, reference.familiar_name))


def _path_match(pattern: str) -> re.Pattern[str]:
    # Go's path.Match: * and ? do not cross a slash.
    translated = fnmatch.translate(pattern).replace(".*", "[^/]*").replace("(?>[^/]*?", "(?>[^/]*?")
    try:
        return re.compile(translated)
    except re.error:
        raise InvalidArgument("syntax error in pattern") from None


async def understand(catalog: Catalog, request: pb.ListRequest) -> Filter:
    """Resolves the names in a ListRequest. Raises NotFound in Docker's words."""
    before = (await find(catalog, request.before))[0].image.created_ns if request.before else 0
    since = (await find(catalog, request.since))[0].image.created_ns if request.since else 0
    dangling = request.dangling if request.HasField("dangling") else None
    return Filter(tuple(request.references), dangling, tuple(request.labels), before, since, request.until_ns)


async def tag(catalog: Catalog, image: str, target: str) -> None:
    """Gives an image one more name. Raises NotFound, InvalidArgument."""
    reference = parse(target)
    if reference.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    entry, _ = await find(catalog, image)
    named = reference.with_default_tag()
    said = event("tag", entry.image.id, entry, named.familiar)
    await catalog.tag(entry.image.id, f"{named.repository}:{named.tag}", said)


async def remove(catalog: Catalog, request: pb.RemoveRequest) -> list[pb.Removal]:
    """Does `docker rmi` (moby's ImageDelete). Raises NotFound, Conflict in Docker's words."""
    entry, name = await find(catalog, request.image)
    image_id = entry.image.id
    running = set(request.running_holders) & set(entry.holders)
    if name:
        others = [one for one in entry.names.tags if one != name]
        if not others and entry.holders and not request.force:
            raise Conflict(
                f'conflict: unable to remove repository reference "{request.image}" (must force) - container '
                f"{_container(entry.holders[0])} is using its referenced image {short(image_id)}"
            )
        if others or (entry.holders and not running):
            return await _untag(catalog, entry, [name], keep=bool(others) or bool(entry.holders))
        if running:
            _refuse_running(request.image, running)
    else:
        _refuse_by_id(entry, request, running)
    removals = await _untag(catalog, entry, list(entry.names.tags), keep=bool(entry.holders))
    return removals


def _refuse_by_id(entry: Entry, request: pb.RemoveRequest, running: set[str]) -> None:
    image_id = short(entry.image.id)
    if running:
        _refuse_running(image_id, running)
    repositories = {name.rpartition(":")[0] for name in entry.names.tags}
    if len(repositories) > 1 and not request.force:
        raise Conflict(f"conflict: unable to delete {image_id} (must be forced) - image is referenced in multiple repositories")
    if entry.holders and not request.force:
        holder = _container(entry.holders[0])
        raise Conflict(f"conflict: unable to delete {image_id} (must be forced) - image is being used by stopped container {holder}")


def _refuse_running(what: str, running: set[str]) -> None:
    holder = _container(min(running))
    raise Conflict(f"conflict: unable to delete {what} (cannot be forced) - image is being used by running container {holder}")


def _container(holder: str) -> str:
    return short(holder.rpartition("/")[2])


async def _untag(catalog: Catalog, entry: Entry, names: list[str], *, keep: bool) -> list[pb.Removal]:
    gone = [*names, *([] if keep and len(entry.names.tags) > len(names) else entry.names.digests)]
    said = event("untag", entry.image.id, entry, entry.image.id)
    removals = [pb.Removal(untagged=familiar(name)) for name in gone if await catalog.untag(name, said)]
    if not keep:
        await catalog.remove(entry.image.id, event("delete", entry.image.id, entry, entry.image.id))
        removals.append(pb.Removal(deleted=entry.image.id))
        chain = configs.chain_ids([layer.diff_id for layer in entry.image.layers])
        still = {one for other in await catalog.all() for one in configs.chain_ids([layer.diff_id for layer in other.image.layers])}
        removals += [pb.Removal(deleted=one) for one in reversed(chain) if one not in still]
    return removals


def full_name(reference: Reference) -> str:
    """Returns the stored form of a name with a tag."""
    return f"{reference.repository}:{reference.tag or DEFAULT_TAG}"
