"""What a node keeps of layers, and what it drops."""

import os
import time
from pathlib import Path

import grpc.aio
import pytest

from integration.layer_store import serve_layers
from integration.mntns import private_mounts
from integration.tars import Member, archive
from skerry.containers.layers.eviction import Evictor
from skerry.containers.layers.store import Layers, open_layers

pytestmark = pytest.mark.root


def on_disk(root: Path) -> set[str]:
    return {f"sha256:{name}" for name in os.listdir(root / "layers") if not name.startswith(".")}


def evictor(layers: Layers, address: str, containers: set[str], limit: int = 0, young: float = 0.0) -> Evictor:
    return Evictor(layers, lambda: containers, address, limit=limit, young=young)


@private_mounts
async def test_copies_go_that_no_container_and_no_image_needs_oldest_first(tmp_path: Path) -> None:
    root, run = tmp_path / "root", f"{tmp_path}/run"
    async with serve_layers(str(tmp_path)) as (address, images):
        made = [images.add(archive(Member(b"%d" % number, data=os.urandom(4096)))) for number in range(6)]
        names = [layer.diff_id for layer in made]
        size = made[0].size
        async with open_layers(str(root), run) as layers:
            for layer in made:
                await layers.ensure([layer], address)
            await layers.ensure([made[1]], address)  # asked for again: the youngest now
            containers, images.used = {names[2]}, {names[3]}
            mounted = root / "runtime" / "c"
            mounted.mkdir(parents=True)
            await layers.mount_rootfs(str(mounted), [made[5]])
            assert await evictor(layers, address, containers, young=60).evict() == 0
            assert await evictor(layers, address, containers, limit=6 * size).evict() == 0
            assert await evictor(layers, address, containers, limit=5 * size).evict() == size
            assert on_disk(root) == set(names[1:])
        # A restarted service knows what was asked for last.
        os.utime(root / "layers" / names[4][7:] / "layer.json", (time.time() - 3600,) * 2)
        async with open_layers(str(root), run) as layers:
            await layers.reconcile({str(mounted)})
            assert await evictor(layers, address, containers, limit=4 * size).evict() == size
            assert on_disk(root) == {names[1], names[2], names[3], names[5]}
            # What is needed stays, however much it is.
            assert await evictor(layers, address, containers).evict() == size
            assert on_disk(root) == {names[2], names[3], names[5]}
            await layers.unmount_rootfs(str(mounted))


@private_mounts
async def test_while_the_store_is_away_nothing_is_dropped(tmp_path: Path) -> None:
    async with open_layers(f"{tmp_path}/root", f"{tmp_path}/run") as layers:
        async with serve_layers(str(tmp_path)) as (address, images):
            layer = images.add(archive(Member(b"x", data=b"x")))
            await layers.ensure([layer], address)
        with pytest.raises(grpc.aio.AioRpcError):
            await evictor(layers, address, set()).evict()
        assert on_disk(tmp_path / "root") == {layer.diff_id}
