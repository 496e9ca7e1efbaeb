"""Archives into and out of containers: what is copied, and what never leads out of the container."""

import asyncio
import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import pytest_asyncio
import zstandard

from integration.containers_node import NodeUnderTest, containers_node, run_exec, streams
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import Failed, InvalidArgument, NotFound
from skerry.core.rpc.channel import call
from skerry.core.rpc.pipe import PIPE

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[NodeUnderTest]:
    async with containers_node() as running:
        yield running


def entry(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(content), 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def archive(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


async def put(node: NodeUnderTest, container: str, path: str, data: bytes, **opened: Any) -> None:
    async def requests() -> AsyncIterator[pb.PutArchiveRequest]:
        yield pb.PutArchiveRequest(open=pb.PutArchiveOpen(container=container, path=path, **opened))
        for at in range(0, len(data), 1 << 20):
            yield pb.PutArchiveRequest(chunk=data[at : at + (1 << 20)])

    await call(lambda: node.containers.PutArchive(requests()))


async def get(node: NodeUnderTest, container: str, path: str, members: Iterable[str] = ()) -> tuple[pb.PathStat, bytes]:
    async def read() -> tuple[pb.PathStat, bytes]:
        stat, data = pb.PathStat(), b""
        async for response in node.containers.GetArchive(pb.GetArchiveRequest(container=container, path=path, members=members)):
            if response.HasField("stat"):
                stat = response.stat
            data += response.chunk
        return stat, data

    return await call(read)


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [member.name + ("/" if member.isdir() else "") for member in tar]


def content(data: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
async def test_what_is_put_is_got_back(node: NodeUnderTest, running: bool) -> None:
    container = await node.create("sleep", "1000")
    if running:
        await node.start_container(container)
    big = os.urandom(3 << 20)
    await put(
        node,
        container,
        "/tmp",
        archive(
            entry("d", tarfile.DIRTYPE, mode=0o750, uid=3, gid=4),
            entry("d/small", content=b"small", uid=5, gid=6, mode=0o4711),
            entry("d/big", content=big),
            entry("d/link", tarfile.SYMTYPE, linkname="../../etc"),
            entry("d/hard", tarfile.LNKTYPE, linkname="d/small"),
            entry("d/fifo", tarfile.FIFOTYPE),
            entry("d/" + "n" * 150, content=b"long"),
        ),
    )
    stat, data = await get(node, container, "/tmp/d")
    assert (stat.name, stat.mode) == ("d", 1 << 31 | 0o750)
    assert names(data) == ["d/", "d/big", "d/fifo", "d/hard", "d/link", "d/" + "n" * 150, "d/small"]
    assert content(data, "d/big") == big
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        hard, small, top = tar.getmember("d/hard"), tar.getmember("d/small"), tar.getmember("d")
        assert (hard.uid, hard.gid, hard.mode, hard.size) == (5, 6, 0o104711, 5)
        assert (small.type, small.linkname) == (tarfile.LNKTYPE, "d/hard")
        assert (top.uid, top.gid) == (3, 4)
        assert tar.getmember("d/link").linkname == "../../etc"
    stat, data = await get(node, container, "/tmp/d/link/passwd")
    assert stat.name == "passwd" and content(data, "passwd").startswith(b"root:")
    if running:
        code, output, _ = await run_exec(node, container, "cat", "/tmp/d/small")
        assert (code, streams(output)) == (0, (b"small", b""))
    await node.remove(container)
    assert node.leftovers(container) == []


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/nosuch", NotFound),
        ("/tmp/nosuch/", NotFound),
        ("/etc/passwd", InvalidArgument),
        ("/etc/passwd/x", Exception),
        ("", InvalidArgument),
    ],
)
async def test_an_archive_goes_only_into_a_directory(node: NodeUnderTest, path: str, error: type[Exception]) -> None:
    container = await node.create("true", name="dest")
    with pytest.raises(error):
        await put(node, "dest", path, archive(entry("x")))
    await node.remove(container)


def _outside(node: NodeUnderTest) -> str:
    """Makes a directory on the host that no archive may touch; the attempts name it by its absolute path."""
    place = f"{node.base}/outside"
    os.makedirs(place, exist_ok=True)
    with open(f"{place}/kept", "w", encoding="ascii") as file:
        file.write("kept")
    return place


def _hostile(place: str) -> dict[str, bytes]:
    up = "../" * 20
    link = entry("l", tarfile.SYMTYPE, linkname=place)
    far = entry("l", tarfile.SYMTYPE, linkname=f"{up}{place}")
    return {
        "name with ..": archive(entry(f"{up}{place}/new", content=b"x")),
        "name with .. inside": archive(entry(f"a/{up}{place}/new", content=b"x")),
        "absolute name": archive(entry(f"{place}/new", content=b"x")),
        "symlink as parent": archive(link, entry("l/new", content=b"x")),
        "relative symlink as parent": archive(far, entry("l/new", content=b"x")),
        "file through a symlink": archive(entry("f", tarfile.SYMTYPE, linkname=f"{place}/kept"), entry("f", content=b"x")),
        "directory over a symlink": archive(link, entry("l", tarfile.DIRTYPE, mode=0o777), entry("l/new", content=b"x")),
        "hard link out": archive(entry("h", tarfile.LNKTYPE, linkname=f"{up}{place}/kept"), entry("h", content=b"x")),
        "absolute hard link": archive(entry("h", tarfile.LNKTYPE, linkname=f"{place}/kept"), entry("h", content=b"x")),
        "hard link to a symlink": archive(
            entry("f", tarfile.SYMTYPE, linkname=f"{place}/kept"), entry("h", tarfile.LNKTYPE, linkname="f"), entry("h", content=b"x")
        ),
        "hard link through a symlink": archive(link, entry("h", tarfile.LNKTYPE, linkname="l/kept"), entry("h", content=b"x")),
        "magic link": archive(entry("m", tarfile.SYMTYPE, linkname="/proc/1/root"), entry(f"m{place}/new", content=b"x")),
        "own descriptor": archive(entry("m", tarfile.SYMTYPE, linkname="/proc/self/cwd"), entry("m/new", content=b"x")),
        "device node of a disk": archive(entry("disk", tarfile.BLKTYPE, devmajor=7, devminor=0), entry("disk", content=b"x")),
        "whiteout device": archive(entry("w", tarfile.CHRTYPE, devmajor=0, devminor=0)),
        "overlay attribute": archive(entry("o", tarfile.DIRTYPE, pax_headers={"SCHILY.xattr.trusted.overlay.redirect": place})),
        "NUL in a name": archive(entry("n", pax_headers={"path": "a\0b"})),
        "long name": archive(entry("n" * 300)),
        "no archive": b"no archive " * 100,
        "half an archive": archive(entry("half", content=b"x" * 4000))[:2048],
        "bomb": b"\x28\xb5\x2f\xfd\x04\x00" + b"\xff" * 4000,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def victim(node: NodeUnderTest) -> AsyncIterator[str]:
    container = await node.create("sleep", "1000")
    await node.start_container(container)
    yield container
    await node.remove(container)


@pytest.mark.parametrize("path", ["/", "/tmp", "/new"])
@pytest.mark.parametrize("attempt", _hostile("/outside"))
async def test_no_archive_reaches_the_host(node: NodeUnderTest, victim: str, attempt: str, path: str) -> None:
    place = _outside(node)
    try:
        await put(node, victim, path, _hostile(place)[attempt], create_path=path == "/new")
    except (InvalidArgument, Failed):
        pass
    assert os.listdir(place) == ["kept"]
    with open(f"{place}/kept", encoding="ascii") as file:
        assert file.read() == "kept"
    assert os.stat(f"{place}/kept").st_nlink == 1 and os.stat(place).st_mode & 0o777 == 0o755


async def test_an_absolute_name_is_the_containers(node: NodeUnderTest, victim: str) -> None:
    place = _outside(node)
    await put(node, victim, "/", _hostile(place)["absolute name"])
    assert content((await get(node, victim, f"{place}/new"))[1], "new") == b"x"


# What the container makes of the path that is copied to or from, again and again.
_SWAPS = {
    "a link to the root": "ln -s / d",
    "a link to the place": "ln -s PLACE d",
    "a link upwards": "ln -s ../../../../../../../.. d",
    "a magic link": "ln -s /proc/1/root d",
    "a file": ": > d",
    "a pipe": "mkfifo d",
}


async def _swapped(node: NodeUnderTest, swap: str, rounds: int) -> None:
    """Copies in and out while a container swaps a directory of the path; nothing of the host is read or written."""
    place = _outside(node)
    script = f"mkdir -p /w/d{place} /w/e; cd /w; while true; do mv d x; {_SWAPS[swap].replace('PLACE', place)}; mv d y; mv x d; rm y; done"
    container = await node.create("sh", "-c", script)
    await node.start_container(container)
    inner = f"d{place}"
    many = archive(
        *(entry(f"{inner}/new{number}", content=b"x") for number in range(100)),
        entry(f"{inner}/kept", content=b"x"),
        entry("d/etc", tarfile.DIRTYPE, mode=0o700),
        entry(f"{inner}/hard", tarfile.LNKTYPE, linkname=f"{inner}/kept"),
    )
    single = archive(entry("kept", content=b"x"))
    in_ways = [("/w", many), (f"/w/{inner}", single), ("/w/d", archive(entry(f"{place.lstrip('/')}/kept", content=b"x")))]
    out_ways = ["/w", f"/w/{inner}", f"/w/{inner}/kept", "/w/d/."]
    reached = set()

    async def copy_in(number: int) -> None:
        path, data = in_ways[number % len(in_ways)]
        await put(node, container, path, data)

    async def copy_out(number: int) -> None:
        _, data = await get(node, container, out_ways[number % len(out_ways)])
        # Only what copies brought is there.
        assert all(content(data, name) == b"x" for name in names(data) if name.endswith("kept"))

    for number in range(rounds):
        for result in await asyncio.gather(copy_in(number), copy_out(number), return_exceptions=True):
            if isinstance(result, (InvalidArgument, NotFound, Failed)):
                reached.add(type(result))
            elif result is not None:
                raise result
    assert os.listdir(place) == ["kept"] and os.stat("/etc").st_mode & 0o777 == 0o755
    with open(f"{place}/kept", encoding="ascii") as file:
        assert file.read() == "kept"
    assert os.stat(f"{place}/kept").st_nlink == 1
    assert reached, "nothing was swapped while a copy ran"
    await node.remove(container)


@pytest.mark.parametrize("swap", _SWAPS)
async def test_a_container_that_swaps_links_does_not_lead_a_copy_out(node: NodeUnderTest, swap: str) -> None:
    await _swapped(node, swap, 8)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("swap", _SWAPS)
async def test_a_container_that_swaps_links_does_not_lead_hundreds_of_copies_out(node: NodeUnderTest, swap: str) -> None:
    await _swapped(node, swap, 100)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
async def test_compressed_archives_are_unpacked(node: NodeUnderTest, kind: str) -> None:
    plain = archive(entry("z", content=b"z" * 100_000))
    packed = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.ZstdCompressor().compress}[kind](plain)
    container = await node.create("true")
    await put(node, container, "/tmp", packed)
    assert content((await get(node, container, "/tmp/z"))[1], "z") == b"z" * 100_000
    await node.remove(container)


async def test_builds_make_directories_and_choose_owners_and_modes(node: NodeUnderTest) -> None:
    container = await node.create("true")
    data = archive(entry("s", tarfile.DIRTYPE), entry("s/f", content=b"1", uid=9), entry("s/l", tarfile.SYMTYPE, linkname="f"))
    await put(node, container, "/new/deep", data, create_path=True, chown="daemon:root", chmod=0o640)
    with tarfile.open(fileobj=io.BytesIO((await get(node, container, "/new"))[1])) as tar:
        assert [(one.name, one.uid, one.gid, one.mode & 0o7777) for one in tar] == [
            ("new", 0, 0, 0o755),
            ("new/deep", 0, 0, 0o755),
            ("new/deep/s", 1, 0, 0o640),
            ("new/deep/s/f", 1, 0, 0o640),
            ("new/deep/s/l", 1, 0, 0o777),
        ]
    _, data = await get(node, container, "/", ["/new/*/s/[f-z]", "etc/passwd"])
    assert names(data) == ["new/deep/s/f", "new/deep/s/l", "etc/passwd"]
    with pytest.raises(NotFound, match="no\\*such"):
        await get(node, container, "/", ["etc/no*such"])
    with pytest.raises(InvalidArgument, match="unable to find user nobody"):
        await put(node, container, "/", data, chown="nobody")
    await node.remove(container)


async def test_a_start_waits_for_a_copy_and_a_client_that_leaves_frees_it(node: NodeUnderTest) -> None:
    container = await node.create("sleep", "1000")
    await put(node, container, "/tmp", archive(entry("big", content=bytes(16 << 20))))
    stream = node.containers.GetArchive(pb.GetArchiveRequest(container=container, path="/tmp/big"))
    assert (await stream.read()).stat.size == 16 << 20
    starting = asyncio.ensure_future(node.start_container(container))
    await asyncio.sleep(0.3)
    assert not starting.done()
    stream.cancel()
    assert (await asyncio.wait_for(starting, 10)).state.status == pb.STATUS_RUNNING
    await node.remove(container)
    assert node.leftovers(container) == []


async def test_limits_and_clients_that_do_nothing() -> None:
    async with containers_node(SKERRY_CONTAINERS_COPY_BYTES="100000", SKERRY_CONTAINERS_COPY_SILENCE="0.5") as node:
        container = await node.create("sleep", "1000")
        for data in (archive(entry("big", content=bytes(200_000))), gzip.compress(archive(entry("big", content=bytes(200_000))))):
            with pytest.raises(InvalidArgument, match="more than 100000 bytes"):
                await put(node, container, "/tmp", data)

        async def silent() -> AsyncIterator[pb.PutArchiveRequest]:
            yield pb.PutArchiveRequest(open=pb.PutArchiveOpen(container=container, path="/tmp"))
            yield pb.PutArchiveRequest(chunk=archive(entry("half", content=b"x" * 4000))[:1024])
            await asyncio.sleep(30)

        asking = asyncio.ensure_future(call(lambda: node.containers.PutArchive(silent())))
        await asyncio.sleep(0.3)
        assert (await asyncio.wait_for(node.start_container(container), 10)).state.status == pb.STATUS_RUNNING
        with pytest.raises(Failed, match="nothing moved for"):
            await asyncio.wait_for(asking, 10)


class PipedPut:
    """An upload under way; `path` is the FIFO that the node made, "" when it made none."""

    def __init__(self, node: NodeUnderTest, container: str, boot_id: str, path: str = "/tmp") -> None:
        self.call: Any = node.containers.PutArchive()
        self._opened = pb.PutArchiveOpen(container=container, path=path, boot_id=boot_id)
        self.path = ""

    async def begin(self) -> "PipedPut":
        await self.call.write(pb.PutArchiveRequest(open=self._opened))
        self.path = os.fsdecode(dict(await self.call.initial_metadata() or ()).get(PIPE, b""))
        return self

    async def end(self) -> None:
        await self.call.done_writing()
        await call(lambda: self.call)


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


async def test_an_archive_may_come_through_a_fifo(node: NodeUnderTest) -> None:
    container = await node.create("sleep", "1000")
    content = os.urandom(3 << 20)
    put = await PipedPut(node, container, boot_id()).begin()

    def write() -> None:
        with open(put.path, "wb", buffering=0) as pipe:
            view = memoryview(archive(entry("big", content=content)))
            while view:
                view = view[pipe.write(view) :]

    await asyncio.to_thread(write)
    await put.end()
    assert not os.path.exists(put.path)
    _, data = await get(node, container, "/tmp/big")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        member = tar.extractfile("big")
        assert member is not None and member.read() == content
    await node.remove(container)


async def test_who_cannot_reach_the_fifo_sends_chunks(node: NodeUnderTest) -> None:
    container = await node.create("sleep", "1000")
    for identity, there in ((boot_id(), True), ("another machine's", False)):
        put = await PipedPut(node, container, identity).begin()
        assert bool(put.path) is there
        await put.call.write(pb.PutArchiveRequest(chunk=archive(entry(f"small-{there}", content=b"1"))))
        await put.end()
        assert names((await get(node, container, f"/tmp/small-{there}"))[1]) == [f"small-{there}"]
    await node.remove(container)


async def test_a_fifo_goes_with_an_upload_that_fails_or_is_given_up(node: NodeUnderTest) -> None:
    container = await node.create("sleep", "1000")
    missing = await PipedPut(node, container, boot_id(), "/no/such/place").begin()
    assert missing.path == ""
    with pytest.raises(NotFound):
        await call(lambda: missing.call)
    bad = await PipedPut(node, container, boot_id()).begin()

    def write() -> None:
        with open(bad.path, "wb", buffering=0) as pipe, pytest.raises(BrokenPipeError):
            while True:
                pipe.write(b"this is no archive" * 10_000)

    await asyncio.to_thread(write)
    with pytest.raises(InvalidArgument):
        await call(lambda: bad.call)
    left = await PipedPut(node, container, boot_id()).begin()
    left.call.cancel()
    for _ in range(100):
        if not os.path.exists(left.path):
            break
        await asyncio.sleep(0.05)
    assert not any(os.path.exists(put.path) for put in (bad, left))
    await node.remove(container)
    assert node.leftovers(container) == []


async def test_a_fifo_that_nobody_writes_into_is_given_up() -> None:
    async with containers_node(SKERRY_CONTAINERS_COPY_SILENCE="1.5") as node:
        container = await node.create("sleep", "1000")
        put = await PipedPut(node, container, boot_id()).begin()
        for written in range(1, 7):  # longer than the silence, but not silent
            await asyncio.sleep(0.3)
            await put.call.write(pb.PutArchiveRequest(written=written))
        with pytest.raises(Failed, match="nothing moved for"):
            await asyncio.wait_for(call(lambda: put.call), 10)
