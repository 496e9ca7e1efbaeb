"""--cap-add and --cap-drop as dockerd resolves them, within the host's bounding set."""

import pytest

from skerry.containers.capabilities import DEFAULT, NAMES, bounding_set, granted, validate
from skerry.core.errors import InvalidArgument


@pytest.mark.parametrize(
    ("add", "drop", "privileged", "expected"),
    [
        ([], [], False, DEFAULT),
        (["SYS_ADMIN"], [], False, [*DEFAULT, "CAP_SYS_ADMIN"]),
        (["cap_sys_admin", "SYS_ADMIN"], [], False, [*DEFAULT, "CAP_SYS_ADMIN"]),
        (["CHOWN"], [], False, DEFAULT),
        ([], ["CHOWN", "cap_kill"], False, [name for name in DEFAULT if name not in ("CAP_CHOWN", "CAP_KILL")]),
        ([], ["ALL"], False, []),
        (["NET_RAW"], ["all"], False, ["CAP_NET_RAW"]),
        (["ALL"], [], False, NAMES),
        (["ALL"], ["SYS_ADMIN"], False, [name for name in NAMES if name != "CAP_SYS_ADMIN"]),
        ([], ["ALL"], True, NAMES),
    ],
)
def test_capabilities_are_dockers(add: list[str], drop: list[str], privileged: bool, expected: list[str]) -> None:
    assert granted(add, drop, privileged=privileged, bounding=NAMES) == expected


def test_nothing_above_the_hosts_bounding_set_is_granted() -> None:
    assert granted(["ALL"], [], privileged=True, bounding={"CAP_CHOWN", "CAP_BPF"}) == ["CAP_CHOWN", "CAP_BPF"]


def test_unknown_names_are_refused_in_dockers_words() -> None:
    with pytest.raises(InvalidArgument, match=r'^invalid CapAdd: unknown capability: "CAP_FOO"$'):
        validate(["foo"], [])
    with pytest.raises(InvalidArgument, match=r'^invalid CapDrop: unknown capability: "CAP_FOO"$'):
        validate([], ["CAP_FOO"])


def test_the_bounding_set_is_read_from_the_kernels_mask() -> None:
    assert bounding_set("CapEff:\t0\nCapBnd:\t00000000a80425fb\n") == set(DEFAULT)
