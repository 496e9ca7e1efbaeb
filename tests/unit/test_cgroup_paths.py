"""Where a container's cgroup is, by driver."""

import re

import pytest

from skerry.containers.cgroup import cgroup_path, cgroups_path
from skerry.core.errors import InvalidArgument


@pytest.mark.parametrize(
    ("parent", "driver", "path", "asked"),
    [
        ("", "cgroupfs", "/skerry/ID", "/skerry/ID"),
        ("/a/b", "cgroupfs", "/a/b/ID", "/a/b/ID"),
        ("../../etc", "cgroupfs", "/etc/ID", "/etc/ID"),
        ("x.slice", "cgroupfs", "/x.slice/ID", "/x.slice/ID"),
        ("", "systemd", "/system.slice/skerry-ID.scope", "system.slice:skerry:ID"),
        ("one-two-three.slice", "systemd", "/one.slice/one-two.slice/one-two-three.slice/skerry-ID.scope", "one-two-three.slice:skerry:ID"),
        ("-.slice", "systemd", "/skerry-ID.scope", "-.slice:skerry:ID"),
    ],
)
def test_the_place_and_what_the_runtime_is_told(parent: str, driver: str, path: str, asked: str) -> None:
    assert (cgroup_path("ID", parent, driver), cgroups_path("ID", parent, driver)) == (path, asked)


@pytest.mark.parametrize("parent", ["/x", "x", ".slice", "a--b.slice", "-a.slice", "a-.slice", "a/b.slice", "../x.slice"])
def test_systemd_takes_slices_only(parent: str) -> None:
    text = 'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"'
    with pytest.raises(InvalidArgument, match=f"^{re.escape(text)}$"):
        cgroup_path("ID", parent, "systemd")
