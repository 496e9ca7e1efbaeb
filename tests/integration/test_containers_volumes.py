"""Volumes of a real node: what a failed create, a restart and a removal that was cut short leave."""

import os
import signal

import pytest

from integration.containers_node import NodeUnderTest, containers_node
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.containers.v1 import volumes_pb2
from skerry.core.errors import Conflict, InvalidArgument
from skerry.core.ids import new_id
from skerry.core.rpc.channel import call

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="function")]


async def _all(node: NodeUnderTest) -> dict[str, volumes_pb2.Volume]:
    found = node.volumes.ListVolumes(volumes_pb2.ListVolumesRequest(size=True))
    return {response.volume.name: response.volume async for response in found}


def _places(node: NodeUnderTest) -> list[str]:
    return sorted(os.listdir(f"{node.root}/volumes"))


async def test_volumes_outlive_failures_restarts_and_removals() -> None:
    async with containers_node() as node:
        # A create that fails half way takes the volumes along that nobody named.
        with pytest.raises(InvalidArgument, match="includes invalid characters"):
            await node.create("true", mounts=[pb.Mount(type="volume", target="/a"), pb.Mount(type="volume", source="../up", target="/b")])
        assert await _all(node) == {} and not os.path.exists(f"{node.root}/up")

        mounts = [pb.Mount(type="volume", target="/data"), pb.Mount(type="volume", source="named", target="/n")]
        container = await node.create("sleep", "1000", mounts=mounts)
        await node.start_container(container)
        before = await _all(node)
        assert [(one.anonymous, one.ref_count, one.size) for one in before.values()].count((True, 1, 5)) == 1
        assert (before["named"].anonymous, before["named"].ref_count) == (False, 1)
        # What an older version left has a directory only; a removal that was cut short has been set aside.
        _ = await call(lambda: node.volumes.CreateVolume(volumes_pb2.CreateVolumeRequest(name="half")))
        old = new_id()
        await node.end(signal.SIGKILL)
        os.rename(f"{node.root}/volumes/half", f"{node.root}/volumes/.removed-half")
        for name in ("found", old):
            os.makedirs(f"{node.root}/volumes/{name}/_data")
        await node.start()

        after = await _all(node)
        assert set(after) == {*before, "found", old} and (after["found"].anonymous, after[old].anonymous) == (False, True)
        assert all(after[name] == before[name] for name in before)
        assert ".removed-half" not in _places(node)
        with pytest.raises(Conflict, match=f"volume is in use - .{container}."):
            await call(lambda: node.volumes.RemoveVolume(volumes_pb2.RemoveVolumeRequest(name="named", force=True)))
        await node.remove(container)
        assert set(await _all(node)) == {"named", "found", old}
        request = volumes_pb2.PruneVolumesRequest(names=["named", "found", old, "nosuch"])
        assert sorted((await call(lambda: node.volumes.PruneVolumes(request))).names) == sorted(["named", "found", old])
        assert _places(node) == []
        events = [(event.action, event.actor_id) for event in await node.events() if event.type == "volume"]
        assert [one for one in events if one[1] == "named"] == [(one, "named") for one in ("create", "mount", "unmount", "destroy")]
