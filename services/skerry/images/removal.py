"""What `docker rmi` does to names and image: moby's ImageDelete as a pure function. No I/O."""

import msgspec

from skerry.core.errors import Conflict
from skerry.core.ids import short
from skerry.images.catalog import Entry
from skerry.images.reference import parse


class Plan(msgspec.Struct, frozen=True):
    """What is to go, decided from one state of an image; the catalog refuses it when that state has changed."""

    # Full names, in the order in which Docker tells them.
    untag: tuple[str, ...]
    delete: bool
    # How many of `untag`, from the first, are told as events.
    told: int


def plan(entry: Entry, name: str, written: str, *, force: bool, running: frozenset[str], parent: bool = False) -> Plan:
    """Decides a removal by full name, or by id when name is empty.

    written is what the user wrote, running those holders whose container runs, parent whether images were built on this one: it loses
    its names then, and stays. An image that a stopped container holds loses its
    names by force, and stays without one until its holder goes. Raises Conflict in Docker's words.
    """
    if name:
        return _by_name(entry, name, written, force=force, parent=parent)
    image_id = entry.image.id
    names = (*entry.names.tags, *entry.names.digests)
    if parent:
        raise _conflict(image_id, "cannot be forced", "image has dependent child images")
    if used := sorted(running & set(entry.holders)):
        raise _conflict(image_id, "cannot be forced", f"image is being used by running container {container(used[0])}")
    if not force and not _single(entry):
        raise _conflict(image_id, "must be forced", "image is referenced in multiple repositories")
    if not force and entry.holders:
        raise _conflict(image_id, "must be forced", f"image is being used by stopped container {container(entry.holders[0])}")
    return Plan(names, not entry.holders, len(names))


def _by_name(entry: Entry, name: str, written: str, *, force: bool, parent: bool) -> Plan:
    if not force and entry.holders and _single(entry):
        raise Conflict(
            f'conflict: unable to remove repository reference "{written}" (must force) - container {container(entry.holders[0])} '
            f"is using its referenced image {short(entry.image.id)}"
        )
    gone = [name]
    repository = _repository(name)
    if "@" not in name and not any(_repository(one) == repository for one in entry.names.tags if one != name):
        # With a repository's last tag its digests go.
        gone += [one for one in entry.names.digests if _repository(one) == repository]
    left = {*entry.names.tags, *entry.names.digests} - set(gone)
    return Plan(tuple(gone), not (left or entry.holders or parent), 1)


def _single(entry: Entry) -> bool:
    """Tells whether one repository alone names the image, with one tag at most."""
    tags, digests = entry.names.tags, entry.names.digests
    if len(tags) + len(digests) <= 1:
        return True
    if len(tags) > 1:
        return False
    repositories = {_repository(one) for one in digests}
    return repositories == {_repository((tags or digests)[0])}


def _repository(name: str) -> str:
    return parse(name).repository


def _conflict(image_id: str, how: str, why: str) -> Conflict:
    return Conflict(f"conflict: unable to delete {short(image_id)} ({how}) - {why}")


def container(holder: str) -> str:
    """Returns the short id of the container behind a holder ("node/ID")."""
    return short(holder.rpartition("/")[2])
