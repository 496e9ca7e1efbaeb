"""Volumes whatever ends the service or a plugin: nothing half copied is used, and a plugin is told the end of each use once."""

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import certificates
from integration.containers_node import NodeUnderTest, containers_node, eventually
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.containers.v1 import volumes_pb2
from skerry.containers import volume_fill, volumes
from skerry.core import failpoints
from skerry.core.errors import Failed, InvalidArgument, NotFound
from skerry.core.ids import new_id
from skerry.core.rpc.channel import call
from volume_plugin import RunningPlugin, volume_plugin

pytestmark = pytest.mark.root
# Importing them declares theirs.
assert volume_fill and volumes
POINTS = {name.rpartition(".")[2] for name in failpoints.declared if name.startswith("containers.volumes.")}
FILL = ["prepared", "recorded", "copying", "copied", "moved"]
USE = ["noted", "mounted"]


def test_every_point_has_a_case() -> None:
    assert set(FILL) | set(USE) == POINTS


def _mount(source: str = "vol", target: str = "/etc", **more: str) -> list[pb.Mount]:
    return [pb.Mount(type="volume", source=source, target=target, **more)]


def _fill_cases() -> list[object]:
    cases = [(point, bound) for point in FILL for bound in (False, True) if not bound or point in ("copying", "copied", "moved")]
    short = [("copying", False), ("copied", False), ("copying", True)]
    return [pytest.param(*case, marks=[] if case in short else [pytest.mark.long]) for case in cases]


@pytest.mark.parametrize(("point", "bound"), _fill_cases())
async def test_a_volume_is_empty_or_whole_wherever_the_service_is_killed(point: str, bound: bool, tmp_path: Path) -> None:
    async with containers_node(SKERRY_FAILPOINTS=f"containers.volumes.{point}=kill:1") as node:
        content = tmp_path if bound else Path(f"{node.root}/volumes/vol/_data")
        if bound:
            request = volumes_pb2.CreateVolumeRequest(name="vol", options={"type": "none", "device": str(tmp_path), "o": "bind"})
            _ = await call(lambda: node.volumes.CreateVolume(request))
        with pytest.raises(Exception, match=r"UNAVAILABLE|closed|Unavailable|reset"):
            await node.create("true", mounts=_mount())
        assert await node.end() == -signal.SIGKILL
        await node.start()
        # What a container that copies nothing sees: nothing, or all.
        _, code, _ = await node.run_to_end("true", mounts=[pb.Mount(type="volume", source="vol", target="/v", no_copy=True)])
        assert code == 0 and {*os.listdir(content)} - {".skerry-fill", ".skerry-fill-whole"} in (set(), {"passwd", "group", "plain"})
        # The repeated create fills it, or finds it full.
        _, code, _ = await node.run_to_end("cat", "/etc/passwd", "/etc/group", "/etc/plain", mounts=_mount())
        assert code == 0 and {*os.listdir(content)} == {"passwd", "group", "plain", "hosts", "hostname", "resolv.conf"}
        assert os.listdir(f"{node.root}/volumes") == ["vol"] and os.listdir(f"{node.root}/volumes/vol") == ["_data"]


async def test_a_copy_that_fails_leaves_the_volume_empty() -> None:
    async with containers_node() as node:
        request = volumes_pb2.CreateVolumeRequest(name="vol", options={"type": "tmpfs", "device": "tmpfs", "o": "size=4k"})
        _ = await call(lambda: node.volumes.CreateVolume(request))
        with pytest.raises(Failed, match="No space left on device"):
            await node.create("true", mounts=_mount(target="/bin"))
        _, code, output = await node.run_to_end("ls", "-A", "/v", mounts=_mount(target="/v"))
        assert (code, output) == (0, b"")


@pytest.fixture
async def served() -> AsyncIterator[tuple[NodeUnderTest, RunningPlugin, dict[str, str]]]:
    """A node with a plugin of its own, and the settings that say so."""
    with tempfile.TemporaryDirectory(prefix="sk-", dir="/var/tmp") as folder:
        settings = {
            "SKERRY_CONTAINERS_PLUGIN_SOCKETS": f"{folder}/sockets",
            "SKERRY_CONTAINERS_PLUGIN_SPECS": f"{folder}/specs",
            "SKERRY_CONTAINERS_PLUGIN_TIMEOUT": "1.5",
            "SKERRY_CONTAINERS_PLUGIN_PATIENCE": "0",
        }
        async with containers_node(**settings) as node:
            with volume_plugin(f"{folder}/plugin", f"{folder}/sockets", name="plug") as plugin:
                yield node, plugin, settings
                plugin.behave()
                if node.process is not None and node.process.returncode is not None:
                    await node.start(**settings)
                async for response in node.containers.List(pb.ListRequest()):
                    await node.remove(response.container.id)


def _uses(plugin: RunningPlugin) -> tuple[list[str], list[str]]:
    return [request["ID"] for _, request in plugin.calls("Mount")], [request["ID"] for _, request in plugin.calls("Unmount")]


def _ended(plugin: RunningPlugin) -> bool:
    mounted, unmounted = _uses(plugin)
    return sorted(mounted) == sorted(unmounted)


def _plugged(**more: bool) -> list[pb.Mount]:
    return [pb.Mount(type="volume", source="vol", target="/x", volume_driver="plug", no_copy=True, **more)]


async def test_uses_survive_the_service(served: tuple[NodeUnderTest, RunningPlugin, dict[str, str]]) -> None:
    node, plugin, settings = served
    stays = await node.create("sleep", "1000", mounts=_plugged())
    ends = await node.create("sleep", "1", mounts=_plugged())
    for each in (stays, ends):
        await node.start_container(each)
    assert len(_uses(plugin)[0]) == 2 and _uses(plugin)[1] == []
    await node.end(signal.SIGKILL)
    await asyncio.sleep(1.2)
    await node.start(**settings)
    await node.wait(ends)
    await eventually(lambda: len(_uses(plugin)[1]) == 1)
    await node.remove(stays)
    await node.remove(ends)
    mounted, unmounted = _uses(plugin)
    assert len(mounted) == 2 and sorted(mounted) == sorted(unmounted)


@pytest.mark.parametrize("point", USE)
async def test_a_use_that_was_begun_is_ended_after_a_kill(point: str, served: tuple[NodeUnderTest, RunningPlugin, dict[str, str]]) -> None:
    node, plugin, settings = served
    container = await node.create("true", mounts=_plugged())
    assert await node.end() == 0
    await node.start(**settings, SKERRY_FAILPOINTS=f"containers.volumes.{point}=kill")
    with pytest.raises(Exception, match=r"UNAVAILABLE|closed|Unavailable|reset"):
        await node.start_container(container)
    assert await node.end() == -signal.SIGKILL
    await node.start(**settings)
    await eventually(lambda: len(_uses(plugin)[1]) == 1)
    # One that was noted only may never have reached the plugin: it is told the end of it all the same.
    assert len(_uses(plugin)[0]) == (point == "mounted")
    await node.start_container(container)
    await node.wait(container)
    await node.remove(container)
    mounted, unmounted = _uses(plugin)
    assert set(mounted) <= set(unmounted) and len(set(unmounted)) == len(unmounted) == 2


async def test_a_plugin_that_was_away_is_told_later(served: tuple[NodeUnderTest, RunningPlugin, dict[str, str]]) -> None:
    node, plugin, settings = served
    container = await node.create("sleep", "1000", mounts=_plugged())
    await node.start_container(container)
    os.rename(f"{settings['SKERRY_CONTAINERS_PLUGIN_SOCKETS']}/plug.sock", f"{plugin.directory}/hidden.sock")
    await node.remove(container)
    assert _uses(plugin)[1] == []
    with pytest.raises(NotFound, match='error looking up volume plugin plug: plugin "plug" not found'):
        await call(lambda: node.volumes.GetVolume(volumes_pb2.GetVolumeRequest(name="vol")))
    again = await node.create("true")
    with pytest.raises(InvalidArgument, match='error looking up volume plugin plug: plugin "plug" not found'):
        await node.create("true", mounts=_plugged())
    await node.remove(again)
    os.rename(f"{plugin.directory}/hidden.sock", f"{settings['SKERRY_CONTAINERS_PLUGIN_SOCKETS']}/plug.sock")
    await node.end(signal.SIGKILL)
    await node.start(**settings)
    await eventually(lambda: _ended(plugin))
    assert len(_uses(plugin)[0]) == 1


async def test_a_plugin_that_does_not_answer_holds_up_nobody_else(served: tuple[NodeUnderTest, RunningPlugin, dict[str, str]]) -> None:
    node, plugin, _ = served
    container = await node.create("true", mounts=_plugged())
    plugin.behave(Mount={"sleep": 60})
    starting = asyncio.ensure_future(node.start_container(container))
    await asyncio.sleep(0.3)
    assert (await node.run_to_end("true"))[1] == 0 and not starting.done()
    with pytest.raises(Failed, match=r'Post "http://.*plug\.sock/VolumeDriver.Mount": context deadline exceeded'):
        await starting
    plugin.behave(Mount={"drop": True})
    with pytest.raises(Failed, match=r'VolumeDriver\.Mount": EOF'):
        await node.start_container(container)
    plugin.behave(Mount={"status": 200, "body": "no JSON"})
    with pytest.raises(Failed, match="error while mounting volume"):
        await node.start_container(container)
    plugin.behave(Mount={"status": 200, "body": '{"Mountpoint": "relative"}'})
    with pytest.raises(Failed, match="tells no path"):
        await node.start_container(container)
    plugin.behave()
    await node.start_container(container)
    assert (await node.wait(container)).exit_code == 0


async def test_plugins_by_tls(served: tuple[NodeUnderTest, RunningPlugin, dict[str, str]], tmp_path: Path) -> None:
    node, _, settings = served
    good, other = certificates.make(tmp_path, "good"), certificates.make(tmp_path, "other")
    port = 20000 + os.getpid() % 10000
    words = ("--port", str(port), "--certificate", good.cert, "--key", good.key, "--authority", good.ca)
    os.makedirs(settings["SKERRY_CONTAINERS_PLUGIN_SPECS"])
    for name, ca, pair in (("secure", good, good), ("wrongca", other, good), ("wrongkey", good, other)):
        tls = {"InsecureSkipVerify": False, "CAFile": ca.ca, "CertFile": pair.cert, "KeyFile": pair.key}
        document = {"Name": name, "Addr": f"https://127.0.0.1:{port}", "TLSConfig": tls}
        Path(f"{settings['SKERRY_CONTAINERS_PLUGIN_SPECS']}/{name}.json").write_text(json.dumps(document))

    async def made(driver: str) -> volumes_pb2.Volume:
        request = volumes_pb2.CreateVolumeRequest(name=f"v{new_id()[:8]}", driver=driver)
        return (await call(lambda: node.volumes.CreateVolume(request))).volume

    with volume_plugin(str(tmp_path / "plugin"), str(tmp_path), *words, name="secure") as plugin:
        assert (await made("secure")).driver == "secure" and plugin.calls("Create")
        for wrong in ("wrongca", "wrongkey"):
            with pytest.raises(Failed, match=f"error looking up volume plugin {wrong}"):
                await made(wrong)
    Path(f"{settings['SKERRY_CONTAINERS_PLUGIN_SPECS']}/broken.json").write_text("{")
    Path(f"{settings['SKERRY_CONTAINERS_PLUGIN_SPECS']}/odd.spec").write_text("gopher://x")
    for name, text in (("broken", "broken.json"), ("odd", "unknown protocol")):
        with pytest.raises(Failed, match=text):
            await made(name)
