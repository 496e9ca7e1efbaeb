"""What `docker rmi` refuses and removes; each row was seen on dockerd 20.10."""

import pytest

from skerry.core.errors import Conflict
from skerry.images.catalog import Entry, ImageRecord, Names
from skerry.images.removal import Plan, plan

ID = "sha256:" + "a" * 64
D = "@sha256:" + "d" * 64
C = "node/" + "c" * 64
X1, X2, Y1, XD, YD = "docker.io/library/x:1", "docker.io/library/x:2", "docker.io/library/y:1", f"r.io/x{D}", f"r.io/y{D}"
RX = "r.io/x:1"


def entry(*names: str, held: bool = False) -> Entry:
    tags = tuple(name for name in names if "@" not in name)
    digests = tuple(name for name in names if "@" in name)
    return Entry(ImageRecord(ID, b"{}", (), 0), Names(tags, digests), (C,) if held else ())


MUST_REPOSITORY = (
    'conflict: unable to remove repository reference "W" (must force) - container cccccccccccc is using its referenced image aaaaaaaaaaaa'
)
REPOSITORIES = "conflict: unable to delete aaaaaaaaaaaa (must be forced) - image is referenced in multiple repositories"
STOPPED = "conflict: unable to delete aaaaaaaaaaaa (must be forced) - image is being used by stopped container cccccccccccc"
RUNNING = "conflict: unable to delete aaaaaaaaaaaa (cannot be forced) - image is being used by running container cccccccccccc"


@pytest.mark.parametrize(
    ("names", "held", "runs", "name", "force", "expected"),
    [
        # by name
        ([X1], False, False, X1, False, Plan((X1,), True, 1)),
        ([X1, X2], False, False, X1, False, Plan((X1,), False, 1)),
        ([X1, Y1], True, True, X1, False, Plan((X1,), False, 1)),
        ([X1], True, False, X1, False, MUST_REPOSITORY),
        ([X1], True, True, X1, False, MUST_REPOSITORY),
        ([X1], True, True, X1, True, Plan((X1,), False, 1)),
        ([X1], True, False, X1, True, Plan((X1,), False, 1)),
        # a repository's digests go with its last tag, and only its own
        ([RX, XD], False, False, RX, False, Plan((RX, XD), True, 1)),
        ([RX, XD, Y1], False, False, RX, False, Plan((RX, XD), False, 1)),
        ([RX, XD, YD], False, False, RX, False, Plan((RX, XD), False, 1)),
        ([RX, "r.io/x:2", XD], False, False, RX, False, Plan((RX,), False, 1)),
        ([RX, XD], True, False, RX, False, MUST_REPOSITORY),
        # by digest
        ([RX, XD], False, False, XD, False, Plan((XD,), False, 1)),
        ([XD], False, False, XD, False, Plan((XD,), True, 1)),
        ([RX, XD], True, False, XD, False, MUST_REPOSITORY),
        # by id
        ([], False, False, "", False, Plan((), True, 0)),
        ([X1], False, False, "", False, Plan((X1,), True, 1)),
        ([RX, XD], False, False, "", False, Plan((RX, XD), True, 2)),
        ([X1, X2], False, False, "", False, REPOSITORIES),
        ([X1, Y1], False, False, "", False, REPOSITORIES),
        ([RX, YD], False, False, "", False, REPOSITORIES),
        ([XD, YD], False, False, "", False, REPOSITORIES),
        ([X1, Y1], False, False, "", True, Plan((X1, Y1), True, 2)),
        ([X1], True, False, "", False, STOPPED),
        ([X1, Y1], True, False, "", False, REPOSITORIES),
        ([X1, Y1], True, True, "", False, RUNNING),
        ([X1], True, True, "", True, RUNNING),
        ([], True, True, "", True, RUNNING),
        ([], True, False, "", False, STOPPED),
        # A stopped container keeps its image here: docker deletes it under the container's feet.
        ([X1, Y1], True, False, "", True, Plan((X1, Y1), False, 2)),
    ],
)
def test_removal(names: list[str], held: bool, runs: bool, name: str, force: bool, expected: Plan | str) -> None:
    running = frozenset([C] if runs else [])
    if isinstance(expected, str):
        with pytest.raises(Conflict) as caught:
            plan(entry(*names, held=held), name, "W", force=force, running=running)
        assert str(caught.value) == expected
    else:
        assert plan(entry(*names, held=held), name, "W", force=force, running=running) == expected


def test_a_running_container_of_another_image_does_not_matter() -> None:
    assert plan(entry(X1), "", "W", force=False, running=frozenset([C])) == Plan((X1,), True, 1)


CHILDREN = "conflict: unable to delete aaaaaaaaaaaa (cannot be forced) - image has dependent child images"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("held", [False, True])
def test_what_others_were_built_on_stays_and_loses_names_only(force: bool, held: bool) -> None:
    running = frozenset({C}) if held else frozenset()
    with pytest.raises(Conflict) as caught:
        plan(entry(X1, held=held), "", "W", force=force, running=running, parent=True)
    assert str(caught.value) == CHILDREN
    if force or not held:
        assert plan(entry(X1, held=held), X1, "W", force=force, running=running, parent=True) == Plan((X1,), False, 1)
