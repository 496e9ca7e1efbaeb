"""The node's layer store: what is fetched, prepared, mounted, shared and given back."""

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest

from integration.layer_store import serve_layers
from integration.mntns import private_mounts
from integration.tars import Member, archive, directory
from skerry.api.images.v1 import images_pb2
from skerry.containers.layers import mounts
from skerry.containers.layers.store import open_layers
from skerry.core.errors import Failed, InvalidArgument, NotFound, Unavailable

FORMS = ("erofs", "directories")


def container(root: Path, name: str) -> str:
    path = root / "runtime" / name
    path.mkdir(parents=True)
    return str(path)


def later() -> float:
    return time.time() + 1


def points(where: Path) -> list[str]:
    return [point.path for point in mounts.mounted(str(where))]


@pytest.mark.root
@pytest.mark.parametrize("form", FORMS)
@private_mounts
async def test_containers_share_layers_and_keep_their_changes_apart(tmp_path: Path, form: str) -> None:
    async with serve_layers(str(tmp_path)) as (address, images), open_layers(f"{tmp_path}/root", f"{tmp_path}/run", form=form) as layers:
        lower = images.add(archive(directory(b"d"), Member(b"d/lower", data=b"1" * 1000), Member(b"both", data=b"low")))
        upper = images.add(archive(Member(b"both", data=b"up"), Member(b"d/upper", data=b"2")))
        # The same layer twice is common: empty ones.
        stack = [lower, upper, lower, upper]
        await asyncio.gather(*(layers.ensure(stack, address) for _ in range(5)))
        assert len(images.requests) == 2
        one, two = container(tmp_path / "root", "one"), container(tmp_path / "root", "two")
        first = Path(await layers.mount_rootfs(one, stack))
        second = Path(await layers.mount_rootfs(two, stack))
        assert await layers.mount_rootfs(one, stack) == f"{one}/rootfs"
        assert (first / "both").read_bytes() == b"up"
        assert sorted(os.listdir(first / "d")) == ["lower", "upper"]
        (first / "d/lower").write_bytes(b"changed")
        assert (second / "d/lower").read_bytes() == b"1" * 1000
        assert await layers.sizes(one, stack) == (7, 7 + 2 * (1003 + 3))
        data = layers.graph_driver(one, stack)
        assert data["UpperDir"] == f"{one}/upper"
        assert [sorted(os.listdir(each)) for each in data["LowerDir"].split(":")] == [["both", "d"], ["both", "d"]]
        assert len(points(tmp_path / "run")) == (2 if form == "erofs" else 0)
        # The image store may delete its blobs now.
        for layer in (lower, upper):
            os.unlink(images.path(layer))
        await layers.unmount_rootfs(one)
        await layers.unmount_rootfs(one)
        assert (second / "both").read_bytes() == b"up"
        await layers.mount_rootfs(one, stack)
        assert (first / "d/lower").read_bytes() == b"changed"


@pytest.mark.root
@pytest.mark.parametrize("form", FORMS)
@private_mounts
async def test_a_restarted_service_takes_mounts_over_and_removes_leftovers(tmp_path: Path, form: str) -> None:
    root, run = f"{tmp_path}/root", f"{tmp_path}/run"
    async with serve_layers(str(tmp_path)) as (address, images):
        kept, left, unused = (images.add(archive(Member(name, data=name))) for name in (b"kept", b"left", b"unused"))
        live, dead = container(tmp_path / "root", "live"), container(tmp_path / "root", "dead")
        async with open_layers(root, run, form=form) as layers:
            await layers.ensure([kept, left, unused], address)
            await layers.mount_rootfs(live, [kept])
            await layers.mount_rootfs(dead, [kept, left])
        os.mkdir(f"{root}/layers/.new-broken")
        os.makedirs(f"{root}/layers/{'0' * 64}")
        async with open_layers(root, run, form=form) as layers:
            await layers.reconcile({live})
            assert points(tmp_path / "root") == [f"{live}/rootfs"]
            assert len(points(tmp_path / "run")) == (1 if form == "erofs" else 0)
            assert not os.path.exists(f"{root}/layers/.new-broken")
            await layers.ensure([kept], address)
            assert len(images.requests) == 3
            # One that a root uses is kept whatever the caller says.
            assert [await layers.drop(one.diff_id, before=later()) for one in (left, kept)] == [left.size, 0]
            assert Path(live, "rootfs/kept").read_bytes() == b"kept"
            await layers.unmount_rootfs(live)
            assert await layers.drop(kept.diff_id, before=later()) == kept.size
            assert points(tmp_path / "root") == []
            with pytest.raises(NotFound, match="is not on this node"):
                await layers.mount_rootfs(live, [kept])
            await layers.ensure([kept], address)
            await layers.mount_rootfs(live, [kept])


@pytest.mark.root
@private_mounts
async def test_bytes_are_resumed_and_verified(tmp_path: Path) -> None:
    big = archive(*[Member(b"%d" % number, data=os.urandom(300_000)) for number in range(20)])
    async with serve_layers(str(tmp_path)) as (address, images), open_layers(f"{tmp_path}/root", f"{tmp_path}/run") as layers:
        layer = images.add(big)
        images.by_path = False
        images.corrupt = True
        with pytest.raises(Failed, match="invalid diffID for layer"):
            await layers.ensure([layer], address)
        assert os.listdir(f"{tmp_path}/root/layers") == []
        images.corrupt = False
        images.break_after = [1 << 20, 3 << 20]
        images.requests.clear()
        await layers.ensure([layer], address)
        assert images.requests[0].offset == 0
        assert len(images.requests) == 3
        assert images.requests[-1].offset > 0
        where = Path(await layers.mount_rootfs(container(tmp_path / "root", "c"), [layer]))
        assert len(os.listdir(where)) == 20


@pytest.mark.root
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [10, 5 << 20])
@private_mounts
async def test_a_bad_layer_is_refused_and_leaves_nothing(tmp_path: Path, form: str, size: int) -> None:
    async with serve_layers(str(tmp_path)) as (address, images), open_layers(f"{tmp_path}/root", f"{tmp_path}/run", form=form) as layers:
        layer = images.add(archive(Member(b"file", data=bytes(size)), Member(b"file/below")))
        with pytest.raises(InvalidArgument, match="failed to register layer"):
            await layers.ensure([layer], address)
        assert os.listdir(f"{tmp_path}/root/layers") == []
        with pytest.raises(InvalidArgument, match="invalid layer digest"):
            await layers.ensure([images_pb2.Layer(diff_id="sha256:../../etc")], address)
        os.unlink(images.path(layer))
        with pytest.raises(Unavailable):
            await layers.ensure([layer], address)


@pytest.mark.root
@pytest.mark.parametrize("form", FORMS)
@private_mounts
async def test_as_many_layers_as_docker_allows_fit_in_one_mount(tmp_path: Path, form: str) -> None:
    async with serve_layers(str(tmp_path)) as (address, images), open_layers(f"{tmp_path}/root", f"{tmp_path}/run", form=form) as layers:
        stack = [images.add(archive(Member(b"f%d" % number, data=b"x"))) for number in range(127)]
        await layers.ensure(stack, address)
        where = await layers.mount_rootfs(container(tmp_path / "root", "a" * 64), stack)
        assert len(os.listdir(where)) == 127
        many = stack + [images.add(archive(Member(b"g%d" % number))) for number in range(60)]
        await layers.ensure(many, address)
        with pytest.raises(Failed, match="max depth exceeded"):
            await layers.mount_rootfs(container(tmp_path / "root", "b" * 64), many)


@pytest.mark.root
@private_mounts
async def test_an_image_without_layers_has_an_empty_root(tmp_path: Path) -> None:
    async with open_layers(f"{tmp_path}/root", f"{tmp_path}/run") as layers:
        place = container(tmp_path / "root", "c")
        assert os.listdir(await layers.mount_rootfs(place, [])) == []
        assert "LowerDir" not in layers.graph_driver(place, [])


@pytest.mark.root
@private_mounts
async def test_a_change_of_form_prepares_again_without_the_image_store(tmp_path: Path) -> None:
    root, run = f"{tmp_path}/root", f"{tmp_path}/run"
    async with serve_layers(str(tmp_path)) as (address, images):
        layer = images.add(archive(Member(b"f", data=b"x")))
        async with open_layers(root, run, form="erofs") as layers:
            await layers.ensure([layer], address)
            await layers.mount_rootfs(container(tmp_path / "root", "before"), [layer])
    async with open_layers(root, run, form="directories") as layers:
        await layers.ensure([layer], "unix:/nowhere")
        where = await layers.mount_rootfs(container(tmp_path / "root", "c"), [layer])
        assert os.listdir(where) == ["f"]
        assert layers.form == "directories"
        assert layers.graph_driver("/c", [layer])["LowerDir"].endswith("/diff")
        assert Path(root, "runtime/before/rootfs/f").read_bytes() == b"x"


@pytest.mark.root
@private_mounts
async def test_a_store_on_another_file_system_is_copied_and_verified(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "other", str(tmp_path / "other")], check=True)
    async with serve_layers(f"{tmp_path}/other") as (address, images), open_layers(f"{tmp_path}/root", f"{tmp_path}/run") as layers:
        layer = images.add(archive(Member(b"f", data=b"x")))
        await layers.ensure([layer], address)
        assert os.listdir(await layers.mount_rootfs(container(tmp_path / "root", "c"), [layer])) == ["f"]
        damaged = images.add(archive(Member(b"g", data=b"y")))
        with open(images.path(damaged), "r+b") as file:
            file.write(b"z")
        with pytest.raises(Failed, match="invalid diffID"):
            await layers.ensure([damaged], address)
