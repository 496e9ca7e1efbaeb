"""docker volume, and what containers do with volumes."""

import io
import json
import os
import re
import stat
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

from engines import Engine

covers = pytest.mark.covers


@pytest.fixture(autouse=True)
def _no_volumes_left(engine: Engine) -> Iterator[None]:
    before = set(_names(engine))
    yield
    for row in engine.request("GET", f"/{engine.api}/containers/json?all=1")[1]:
        engine.request("DELETE", f"/{engine.api}/containers/{row['Id']}?force=1&v=1")
    for one in set(_names(engine)) - before:
        engine.request("DELETE", f"/{engine.api}/volumes/{one}?force=1")


def _names(engine: Engine, **filters: str) -> list[str]:
    query = json.dumps({key: [value] for key, value in filters.items()}).replace(" ", "")
    return [row["Name"] for row in engine.request("GET", f"/{engine.api}/volumes?filters={query}")[1]["Volumes"] or []]


def _mounts(engine: Engine, name: str) -> dict[str, dict[str, Any]]:
    return {mount["Destination"]: mount for mount in json.loads(engine.out("inspect", name))[0]["Mounts"]}


def _mountpoint(engine: Engine, name: str) -> str:
    return engine.out("volume", "inspect", "-f", "{{.Mountpoint}}", name)


@covers("volume create", "volume inspect", "volume inspect -f", "volume rm", "volume create --label", "volume create -d")
def test_a_volume_is_made_shown_and_removed(engine: Engine, name: str) -> None:
    assert engine.out("volume", "create", "-d", "local", "--label", "a=b", name) == name
    (shown,) = json.loads(engine.out("volume", "inspect", name))
    assert (shown["Name"], shown["Driver"], shown["Scope"], shown["Labels"]) == (name, "local", "local", {"a": "b"})
    assert shown["Mountpoint"].endswith(f"/volumes/{name}/_data") and os.path.isdir(shown["Mountpoint"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown["CreatedAt"])
    # Once more is the same one.
    assert engine.out("volume", "create", "--label", "c=d", name) == name
    assert engine.out("volume", "inspect", "-f", "{{.Labels.a}}", name) == "b"
    assert engine.out("volume", "rm", name) == name
    assert not os.path.exists(shown["Mountpoint"])
    missing = engine.docker("volume", "inspect", name, check=False)
    assert missing.returncode == 1 and f"get {name}: no such volume" in missing.stderr


def test_without_a_name_it_gets_64_digits(engine: Engine) -> None:
    assert re.fullmatch("[0-9a-f]{64}", engine.out("volume", "create"))


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"Name": "a/b"}, 400, 'create a/b: "a/b" includes invalid characters for a local volume name'),
        ({"Name": "../up"}, 400, "includes invalid characters for a local volume name"),
        ({"Name": "a"}, 400, "create a: volume name is too short, names should be at least two alphanumeric characters"),
        ({"Name": "vx", "Driver": "nosuch"}, 404, 'error looking up volume plugin nosuch: plugin "nosuch" not found'),
        ({"Name": "vx", "DriverOpts": {"foo": "x"}}, 400, 'create vx: invalid option: "foo"'),
        ({"Name": "vx", "DriverOpts": {"type": "tmpfs"}}, 400, 'create vx: missing required option: "device"'),
        ({"Name": "vx", "DriverOpts": {"size": "1G"}}, 400, "create vx: quota size requested but no quota support"),
    ],
)
def test_what_cannot_be_made(engine: Engine, body: dict[str, Any], status: int, text: str) -> None:
    told, answer = engine.request("POST", f"/{engine.api}/volumes/create", body)
    assert told == status and text in answer["message"]
    assert "vx" not in _names(engine)


def test_missing_ones(engine: Engine) -> None:
    assert engine.request("GET", f"/{engine.api}/volumes/nosuch") == (404, {"message": "get nosuch: no such volume"})
    assert engine.request("DELETE", f"/{engine.api}/volumes/nosuch") == (404, {"message": "get nosuch: no such volume"})
    assert engine.request("DELETE", f"/{engine.api}/volumes/nosuch?force=1")[0] == 204


@covers("volume ls", "volume ls -q", "volume ls -f", "volume ls --format")
def test_the_list_and_its_filters(engine: Engine, name: str) -> None:
    engine.docker("volume", "create", "--label", "kind=x", f"{name}a")
    engine.docker("volume", "create", f"{name}b")
    engine.docker("create", "-v", f"{name}b:/b", "busybox")
    for filters, wanted in [
        ((f"name={name}",), ["a", "b"]),
        ((f"name=^{name}b$",), ["b"]),
        ((f"name={name}", "label=kind"), ["a"]),
        ((f"name={name}", "label=kind=y"), []),
        ((f"name={name}", "dangling=true"), ["a"]),
        ((f"name={name}", "dangling=false"), ["b"]),
        ((f"name={name}", "driver=local"), ["a", "b"]),
        ((f"name={name}", "driver=nfs"), []),
    ]:
        words = [word for one in filters for word in ("-f", one)]
        assert engine.out("volume", "ls", "-q", *words).split() == [name + one for one in wanted], filters
    assert engine.out("volume", "ls", "-f", f"name={name}a", "--format", "{{.Driver}} {{.Labels}} {{.Name}}") == f"local kind=x {name}a"
    assert engine.out("volume", "ls").splitlines()[0].split() == ["DRIVER", "VOLUME", "NAME"]
    refused = engine.docker("volume", "ls", "-f", "foo=bar", check=False)
    assert refused.returncode == 1 and "invalid filter 'foo'" in refused.stderr.lower()


@covers("volume rm -f")
def test_one_in_use_stays(engine: Engine, name: str) -> None:
    used = engine.out("create", "--name", name, "-v", f"{name}:/x", "busybox")
    for force in ((), ("-f",)):
        refused = engine.docker("volume", "rm", *force, name, check=False)
        assert refused.returncode == 1 and f"remove {name}: volume is in use - [{used}]" in refused.stderr
    engine.docker("rm", name)
    engine.docker("volume", "rm", name)


@covers("run --mount")
def test_mounts_are_shown(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "-v", f"{name}:/named", "-v", "/anonymous", "-v", f"{name}2:/ro:ro,nocopy",
                  "--mount", f"type=volume,source={name}3,target=/mount,volume-label=x=y", "--mount", "type=volume,target=/empty",
                  "busybox", "true")  # fmt: skip
    mounts = _mounts(engine, name)
    shown = {at: (one["Type"], one["Driver"], one["Mode"], one["RW"], one["Propagation"]) for at, one in mounts.items()}
    assert shown == {
        "/named": ("volume", "local", "z", True, ""),
        "/anonymous": ("volume", "local", "", True, ""),
        "/ro": ("volume", "local", "ro,nocopy", False, ""),
        "/mount": ("volume", "local", "z", True, ""),
        "/empty": ("volume", "local", "z", True, ""),
    }
    assert (mounts["/named"]["Name"], mounts["/mount"]["Name"]) == (name, f"{name}3")
    for at in ("/anonymous", "/empty"):
        assert re.fullmatch("[0-9a-f]{64}", mounts[at]["Name"])
    assert all(one["Source"] == _mountpoint(engine, one["Name"]) for one in mounts.values())
    assert engine.out("volume", "inspect", "-f", "{{.Labels.x}}", f"{name}3") == "y"


@pytest.fixture
def full(engine: Engine, name: str) -> Iterator[str]:
    """An image with a directory /full of other owners and modes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, kind, mode, uid, link in [
            ("full", tarfile.DIRTYPE, 0o750, 3, ""),
            ("full/sub", tarfile.DIRTYPE, 0o1777, 0, ""),
            ("full/f", tarfile.REGTYPE, 0o4711, 5, ""),
            ("full/l", tarfile.SYMTYPE, 0o777, 0, "/etc"),
            ("full/sub/h", tarfile.LNKTYPE, 0o4711, 5, "full/f"),
        ]:
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode, entry.uid, entry.linkname = kind, mode, uid, link
            tar.addfile(entry)
    engine.docker("import", "-c", "VOLUME /full", "-c", "CMD /none", "-", f"{name}:full", stdin=out.getvalue())
    yield f"{name}:full"
    engine.docker("rmi", "-f", f"{name}:full")


def test_first_use_copies_the_images_content_with_owners_and_modes(engine: Engine, name: str, full: str) -> None:
    engine.docker("create", "--name", name, full)
    engine.docker("create", "--name", f"{name}2", "-v", f"{name}:/full", full)
    for place in (_mounts(engine, name)["/full"]["Source"], _mountpoint(engine, name)):
        seen = {path: os.lstat(os.path.join(place, path)) for path in (".", "sub", "f", "l", "sub/h")}
        assert {path: (stat.S_IMODE(one.st_mode), one.st_uid) for path, one in seen.items()} == {
            ".": (0o750, 3),
            "sub": (0o1777, 0),
            "f": (0o4711, 5),
            "l": (0o777, 0),
            "sub/h": (0o4711, 5),
        }
        assert os.readlink(f"{place}/l") == "/etc"
    # Not into one that has something, and not when told so.
    engine.docker("create", "--name", f"{name}3", "-v", f"{name}:/bin", "busybox")
    assert "sh" not in os.listdir(_mountpoint(engine, name))
    engine.docker("create", "--name", f"{name}4", "-v", f"{name}4:/full:nocopy", full)
    assert os.listdir(_mountpoint(engine, f"{name}4")) == []
    for one in ("", "2", "4"):
        engine.docker("rm", "-v", f"{name}{one}")


def test_a_volume_emptied_by_hand_stays_empty(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "-v", f"{name}:/root", "-v", f"{name}e:/etc", "busybox", "sh", "-c", "rm -rf /etc/* || true")
    engine.docker("start", "-a", name)
    assert "passwd" not in os.listdir(_mountpoint(engine, f"{name}e"))


def test_content_is_there_before_the_first_start(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "-v", "/etc", "busybox", "true")
    assert "passwd" in os.listdir(_mounts(engine, name)["/etc"]["Source"])


@covers("rm -v", "run --rm")
def test_anonymous_ones_go_with_rm_v_and_run_rm_only(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "-v", "/a", "-v", f"{name}:/b", "busybox", "true")
    anonymous = _mounts(engine, name)["/a"]["Name"]
    engine.docker("rm", name)
    assert {anonymous, name} <= set(_names(engine))
    engine.docker("run", "--name", name, "-v", "/a", "-v", f"{name}:/b", "busybox", "true")
    other = _mounts(engine, name)["/a"]["Name"]
    engine.docker("rm", "-v", name)
    assert other not in _names(engine) and name in _names(engine)
    before = set(_names(engine))
    engine.docker("run", "--rm", "-v", "/a", "-v", f"{name}:/b", "busybox", "true")
    deadline = time.monotonic() + 10
    while set(_names(engine)) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set(_names(engine)) == before


@covers("run --volumes-from")
def test_volumes_of_another_container(engine: Engine, name: str, tmp_path) -> None:
    engine.docker("create", "--name", name, "-v", "/data", "-v", f"{name}:/named", "-v", f"{tmp_path}:/bound:ro", "busybox")
    assert (
        engine.out("run", "--rm", "--volumes-from", name, "busybox", "sh", "-c", "echo 1 > /data/x; echo 2 > /named/x; cat /data/x") == "1"
    )
    assert engine.out("run", "--rm", "--volumes-from", f"{name}:ro", "busybox", "cat", "/data/x", "/named/x") == "1\n2"
    for target in ("/data", "/named", "/bound"):
        refused = engine.docker("run", "--rm", "--volumes-from", f"{name}:ro", "busybox", "touch", f"{target}/y", check=False)
        assert refused.returncode == 1 and "Read-only file system" in refused.stderr
    engine.docker("create", "--name", f"{name}2", "--volumes-from", name, "-v", f"{name}3:/data", "busybox")
    mounts = _mounts(engine, f"{name}2")
    assert (mounts["/data"]["Name"], mounts["/named"]["Name"], mounts["/bound"]["RW"]) == (f"{name}3", name, False)
    assert json.loads(engine.out("inspect", f"{name}2"))[0]["HostConfig"]["VolumesFrom"] == [name]
    for words, text in ((("nosuch",), "No such container: nosuch"), ((f"{name}:xx",), "invalid mode: xx")):
        refused = engine.docker("create", "--pull", "never", "--volumes-from", *words, "busybox", check=False)
        assert refused.returncode and text in refused.stderr


@covers("volume create -o")
def test_options_mount_something(engine: Engine, name: str, tmp_path) -> None:
    engine.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=3", name)
    shown = engine.out("run", "--rm", "-v", f"{name}:/t", "busybox", "sh", "-c", "stat -c %u /t; grep ' /t ' /proc/mounts")
    assert shown.splitlines()[0] == "3" and re.search(r" /t tmpfs .*size=1024k", shown)
    assert not os.path.ismount(_mountpoint(engine, name))
    (tmp_path / "here").write_text("x")
    engine.docker("volume", "create", "-o", "type=none", "-o", f"device={tmp_path}", "-o", "o=bind", f"{name}b")
    assert engine.out("run", "--rm", "-v", f"{name}b:/t", "busybox", "ls", "/t") == "here"
    engine.docker("volume", "rm", f"{name}b")
    assert (tmp_path / "here").read_text() == "x"
    engine.docker("volume", "create", "-o", "type=nosuchfs", "-o", "device=x", f"{name}c")
    refused = engine.docker("run", "--rm", "-v", f"{name}c:/t", "busybox", "true", check=False)
    assert refused.returncode == 125 and "error while mounting volume" in refused.stderr and "no such device" in refused.stderr


@covers("volume prune", "volume prune -f", "volume prune --filter", "volume prune -a")
def test_prune_takes_what_nobody_uses(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "-v", f"{name}u:/u", "busybox")
    for one, label in (("a", "keep=1"), ("b", "keep=2"), ("c", "other=1")):
        engine.docker("volume", "create", "--label", label, name + one)
    anonymous = engine.out("volume", "create")
    old = engine.api if engine.name == "dockerd" else "v1.41"
    query = json.dumps({"label": ["keep"], "label!": ["keep=2"]}).replace(" ", "")
    status, answer = engine.request("POST", f"/{old}/volumes/prune?filters={query}")
    assert (status, answer["VolumesDeleted"]) == (200, [f"{name}a"])
    if engine.name == "skerry":
        # dockerd 20.10 does not know this one.
        assert engine.request("POST", "/v1.42/volumes/prune")[1]["VolumesDeleted"] == [anonymous]
        query = json.dumps({"all": ["true"]}).replace(" ", "")
        assert sorted(engine.request("POST", f"/v1.42/volumes/prune?filters={query}")[1]["VolumesDeleted"]) == [f"{name}b", f"{name}c"]
    else:
        deleted = engine.request("POST", f"/{old}/volumes/prune")[1]["VolumesDeleted"]
        assert sorted(deleted) == sorted([anonymous, f"{name}b", f"{name}c"])
    assert f"{name}u" in _names(engine)
    assert engine.out("volume", "prune", "-f") == "Total reclaimed space: 0B"


def test_events(engine: Engine, name: str) -> None:
    since = time.time()
    engine.docker("run", "-v", f"{name}:/x", "--name", name, "busybox", "true")
    engine.docker("rm", name)
    engine.docker("volume", "rm", name)
    said = engine.out("events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "-f", "type=volume", "--format", "{{json .}}")
    rows = [json.loads(line) for line in said.splitlines()]
    assert [(row["Action"], row["Actor"]["ID"]) for row in rows] == [(one, name) for one in ("create", "mount", "unmount", "destroy")]
    assert set(rows[1]["Actor"]["Attributes"]) == {"container", "destination", "driver", "propagation", "read/write"}
    assert set(rows[2]["Actor"]["Attributes"]) == {"container", "driver"} and rows[0]["Actor"]["Attributes"] == {"driver": "local"}


def test_disk_usage(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "-v", f"{name}:/x", "busybox", "sh", "-c", "head -c 1000 /dev/zero > /x/f")
    (row,) = [row for row in engine.request("GET", f"/{engine.api}/system/df")[1]["Volumes"] if row["Name"] == name]
    assert row["UsageData"] == {"RefCount": 1, "Size": 1000}
