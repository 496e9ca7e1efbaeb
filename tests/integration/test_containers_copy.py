"""Archives into and out of containers: what is copied, and what never leads out of the container."""

import io
import os
import tarfile
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import pytest_asyncio

from integration.containers_node import NodeUnderTest, containers_node, run_exec, streams
from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import InvalidArgument, NotFound
from skerry.core.rpc.channel import call

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
        assert (hard.uid, hard.gid, hard.mode, hard.size) == (5, 6, 0o4711, 5)
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
