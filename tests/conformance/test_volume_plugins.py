"""Volume plugins by Docker's plugin protocol: the same small plugin serves both engines."""

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines import Engine
from volume_plugin import RunningPlugin, volume_plugin

covers = pytest.mark.covers
# Where every engine looks, as Docker's documentation says.
_SOCKETS = "/run/docker/plugins"


@pytest.fixture(scope="session")
def running(engine: Engine) -> Iterator[RunningPlugin]:
    # One for all, to the engine's end: dockerd waits 15 s for each it ever knew, whenever volumes are listed.
    with tempfile.TemporaryDirectory(prefix="sk-", dir="/var/tmp") as folder, volume_plugin(folder, _SOCKETS) as one:
        yield one


@pytest.fixture
def plugin(engine: Engine, running: RunningPlugin) -> Iterator[RunningPlugin]:
    running.forget()
    yield running
    running.behave()
    for row in engine.request("GET", f"/{engine.api}/containers/json?all=1")[1]:
        engine.request("DELETE", f"/{engine.api}/containers/{row['Id']}?force=1&v=1")
    for row in engine.request("GET", f"/{engine.api}/volumes")[1]["Volumes"] or []:
        if row["Driver"] == running.name:
            engine.request("DELETE", f"/{engine.api}/volumes/{row['Name']}?force=1")


def _uses(plugin: RunningPlugin) -> tuple[list[str], list[str]]:
    mounted = [request["ID"] for _, request in plugin.calls("Mount")]
    return mounted, [request["ID"] for _, request in plugin.calls("Unmount")]


@covers("volume create -d", "volume create -o")
def test_a_plugins_volume_lives_with_the_plugin(engine: Engine, name: str, plugin: RunningPlugin) -> None:
    assert engine.out("volume", "create", "-d", plugin.name, "-o", "a=b", "--label", "x=y", name) == name
    assert ("Create", {"Name": name, "Opts": {"a": "b"}}) in plugin.calls()
    (shown,) = json.loads(engine.out("volume", "inspect", name))
    assert shown == {
        "CreatedAt": "2026-01-02T03:04:05Z",
        "Driver": plugin.name,
        "Labels": {"x": "y"},
        "Mountpoint": "",
        "Name": name,
        "Options": {"a": "b"},
        "Scope": "local",
        "Status": {"users": 0},
    }
    assert engine.out("volume", "ls", "-f", f"driver={plugin.name}", "--format", "{{.Driver}} {{.Name}}") == f"{plugin.name} {name}"
    assert plugin.name in json.loads(engine.out("info", "-f", "{{json .Plugins.Volume}}"))
    told = engine.docker("volume", "create", "-d", "local", name, check=False).stderr
    assert f"create {name}: driver '{plugin.name}' already has volume '{name}': volume name must be unique" in told
    assert name not in engine.request("POST", f"/{engine.api}/volumes/prune")[1].get("VolumesDeleted", [])
    assert engine.out("volume", "rm", name) == name
    assert plugin.calls("Remove") == [("Remove", {"Name": name})]
    assert engine.docker("volume", "inspect", name, check=False).returncode == 1


def test_it_is_mounted_and_unmounted_once_for_each_use(engine: Engine, name: str, plugin: RunningPlugin) -> None:
    engine.docker("volume", "create", "-d", plugin.name, name)
    engine.docker("run", "-d", "--name", name, "-v", f"{name}:/x:nocopy", "busybox", "sh", "-c", "echo 1 > /x/f; sleep 1000")
    # Many share it.
    assert engine.out("run", "--rm", "--volumes-from", name, "busybox", "sh", "-c", "until cat /x/f; do sleep 0.05; done") == "1"
    assert engine.out("exec", name, "grep", "-c", "plugin /x tmpfs", "/proc/mounts") == "1"
    mounted, unmounted = _uses(plugin)
    assert len(mounted) == 2 and unmounted == mounted[1:]
    assert all(re.fullmatch("[0-9a-f]{64}", use) for use in mounted)
    (point,) = json.loads(engine.out("inspect", name))[0]["Mounts"]
    assert (point["Type"], point["Name"], point["Driver"], point["Mode"]) == ("volume", name, plugin.name, "nocopy")
    used = engine.docker("volume", "rm", name, check=False).stderr
    assert f"remove {name}: volume is in use - [" in used
    engine.docker("restart", "-t", "0", name)
    engine.docker("rm", "-f", name)
    mounted, unmounted = _uses(plugin)
    assert len(mounted) == 3 and sorted(unmounted) == sorted(mounted)
    assert not os.path.ismount(f"{plugin.directory}/volumes/{name}")


@covers("run --volume-driver")
def test_the_driver_of_a_containers_volumes(engine: Engine, name: str, plugin: RunningPlugin, tmp_path: Path) -> None:
    binds = [word for bind in (f"{name}:/named", "/anonymous", f"{tmp_path}:/b") for word in ("-v", bind)]
    local = f"type=volume,source={name}2,target=/local"
    engine.docker("create", "--name", name, "--volume-driver", plugin.name, *binds, "--mount", local, "busybox", "true")
    mounts = {mount["Destination"]: mount for mount in json.loads(engine.out("inspect", name))[0]["Mounts"]}
    assert {at: one.get("Driver", "") for at, one in mounts.items()} == {
        "/named": plugin.name,
        "/anonymous": plugin.name,
        "/b": "",
        "/local": "local",
    }
    assert re.fullmatch("[0-9a-f]{64}", mounts["/anonymous"]["Name"])
    engine.docker("start", "-a", name)
    engine.docker("rm", "-v", name)
    assert [request["Name"] for _, request in plugin.calls("Remove")] == [mounts["/anonymous"]["Name"]]
    words = f"type=volume,source={name}3,target=/m,volume-driver={plugin.name},volume-opt=k=v,volume-nocopy"
    engine.docker("run", "--rm", "--mount", words, "busybox", "true")
    assert ("Create", {"Name": f"{name}3", "Opts": {"k": "v"}}) in plugin.calls("Create")
    engine.docker("volume", "rm", f"{name}2")


def test_first_use_fills_it_like_any_other(engine: Engine, name: str, plugin: RunningPlugin) -> None:
    keeper = f"{name}k"
    # This plugin's volumes last as long as somebody has them mounted.
    engine.docker("volume", "create", "-d", plugin.name, name)
    engine.docker("run", "-d", "--name", keeper, "-v", f"{name}:/keep:nocopy", "busybox", "sleep", "1000")
    assert "passwd" in engine.out("run", "--rm", "-v", f"{name}:/etc", "busybox", "ls", "/etc").split()
    assert engine.out("exec", keeper, "cat", "/keep/passwd").startswith("root:")
    engine.docker("rm", "-f", keeper)


@pytest.mark.parametrize(
    ("behaviour", "words", "text"),
    [
        ({"Create": {"err": "no room"}}, ("volume", "create", "-d", "PLUGIN", "NEW"), "create NEW: no room"),
        (
            {"Create": {"status": 500, "body": "broken"}},
            ("volume", "create", "-d", "PLUGIN", "NEW"),
            "create NEW: VolumeDriver.Create: broken",
        ),
        (
            {"Create": {"status": 500, "body": '{"Err": "in JSON"}'}},
            ("volume", "create", "-d", "PLUGIN", "NEW"),
            "create NEW: VolumeDriver.Create: in JSON",
        ),
        (
            {"Mount": {"err": "no mount today"}},
            ("run", "--rm", "-v", "NAME:/x:nocopy", "busybox", "true"),
            "error while mounting volume '': no mount today",
        ),
        ({"Remove": {"err": "no removal"}}, ("volume", "rm", "NAME"), "remove NAME: no removal"),
        ({"Remove": {"err": "no removal"}}, ("volume", "rm", "-f", "NAME"), "remove NAME: no removal"),
        ({"Get": {"err": "cannot get"}}, ("volume", "inspect", "NAME"), "get NAME: no such volume"),
    ],
)
def test_what_a_plugin_refuses(
    engine: Engine, name: str, plugin: RunningPlugin, behaviour: dict[str, dict[str, object]], words: tuple[str, ...], text: str
) -> None:
    engine.docker("volume", "create", "-d", plugin.name, name)

    def filled(word: str) -> str:
        return word.replace("PLUGIN", plugin.name).replace("NEW", f"{name}new").replace("NAME", name)

    plugin.behave(**behaviour)
    result = engine.docker(*map(filled, words), check=False)
    assert result.returncode and filled(text) in result.stderr, result
    plugin.behave()
    mounted, unmounted = _uses(plugin)
    # What was refused was no use.
    assert unmounted == [] and len(mounted) == ("Mount" in behaviour)


def test_one_that_cannot_list_is_a_warning(engine: Engine, name: str, plugin: RunningPlugin) -> None:
    engine.docker("volume", "create", "-d", plugin.name, name)
    engine.docker("volume", "create", f"{name}l")
    plugin.behave(List={"err": "cannot list"})
    status, listed = engine.request("GET", f"/{engine.api}/volumes")
    assert status == 200 and listed["Warnings"] == [f"list {plugin.name}: cannot list"]
    assert {f"{name}l", name} <= {row["Name"] for row in listed["Volumes"]}
    plugin.behave()
    assert engine.request("GET", f"/{engine.api}/volumes")[1]["Warnings"] in (None, [])
    engine.docker("volume", "rm", f"{name}l")


def test_volumes_that_only_the_plugin_knows_are_known(engine: Engine, name: str, plugin: RunningPlugin) -> None:
    os.mkdir(f"{plugin.directory}/volumes/{name}")
    assert name in engine.out("volume", "ls", "-q").split()
    assert engine.out("volume", "inspect", "-f", "{{.Driver}}", name) == plugin.name
    # As the API's default, unlike the command's, it takes any driver's.
    status, made = engine.request("POST", f"/{engine.api}/volumes/create", {"Name": name})
    assert (status, made["Driver"]) == (201, plugin.name)
    engine.docker("run", "--rm", "-v", f"{name}:/x:nocopy", "busybox", "touch", "/x/f")
    mounted, unmounted = _uses(plugin)
    assert len(mounted) == 1 and unmounted == mounted
    engine.docker("volume", "rm", name)
    assert not os.path.exists(f"{plugin.directory}/volumes/{name}")


def test_events_name_the_driver(engine: Engine, name: str, plugin: RunningPlugin) -> None:
    since = time.time()
    engine.docker("volume", "create", "-d", plugin.name, name)
    engine.docker("run", "--rm", "-v", f"{name}:/x:ro,nocopy", "busybox", "true")
    engine.docker("volume", "rm", name)
    words = ("events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "-f", f"volume={name}")
    rows = [json.loads(line) for line in engine.out(*words, "--format", "{{json .}}").splitlines()]
    # dockerd tells the create again with each container that names the volume.
    kinds = [row["Action"] for row in rows if row["Action"] != "create"]
    assert kinds == ["mount", "unmount", "destroy"] and rows[0]["Action"] == "create"
    assert all(row["Actor"]["Attributes"]["driver"] == plugin.name for row in rows)
    (mount,) = [row["Actor"]["Attributes"] for row in rows if row["Action"] == "mount"]
    assert (mount["destination"], mount["read/write"], mount["propagation"]) == ("/x", "false", "")


@pytest.mark.parametrize("form", ["spec", "json", "directory"])
def test_plugins_with_addresses_in_files(engine: Engine, name: str, plugin: RunningPlugin, form: str) -> None:
    place, address = Path("/etc/docker/plugins"), f"unix://{_SOCKETS}/{plugin.name}.sock"
    path = place / name / f"{name}.spec" if form == "directory" else place / f"{name}.{form}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"Name": name, "Addr": address}) if form == "json" else address)
    try:
        engine.docker("volume", "create", "-d", name, name)
        assert engine.out("volume", "inspect", "-f", "{{.Driver}}", name) == name
        engine.docker("run", "--rm", "-v", f"{name}:/x:nocopy", "busybox", "true")
        assert len(plugin.calls("Mount")) == len(plugin.calls("Unmount")) == 1
        engine.docker("volume", "rm", name)
    finally:
        path.unlink()
        if form == "directory":
            path.parent.rmdir()


@pytest.fixture(scope="session")
def everywhere(engine: Engine) -> Iterator[RunningPlugin]:
    with tempfile.TemporaryDirectory(prefix="sk-", dir="/var/tmp") as folder, volume_plugin(folder, _SOCKETS, "--scope", "global") as one:
        yield one


def test_a_global_plugin_says_so(engine: Engine, name: str, everywhere: RunningPlugin) -> None:
    engine.docker("volume", "create", "-d", everywhere.name, name)
    assert engine.out("volume", "inspect", "-f", "{{.Scope}}", name) == "global"
    engine.docker("volume", "rm", name)
