"""The log router as a process: shipping, reading, dying."""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.api.logs.v1.logs_pb2_grpc import LogsServiceStub
from skerry.core.errors import InvalidArgument, NotSupported
from skerry.core.rpc.channel import call, open_channel
from skerry.logs.__main__ import Settings, service
from spool_frames import end, frame

ID = "ab" * 32
MUX = pb.FRAMING_RAW


def opening(**more: Any) -> pb.ShipRequest:
    return pb.ShipRequest(open=pb.Open(container_id=ID, driver="json-file", **more))


def batch(offset: int, data: bytes) -> pb.ShipRequest:
    return pb.ShipRequest(batch=pb.Batch(container_id=ID, offset=offset, frames=data))


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[Any]:
    settings = Settings(root=str(tmp_path / "root"), run=str(tmp_path), drain=0.5)
    async with service(settings) as address, open_channel(address) as channel:
        yield LogsServiceStub(channel)


async def read(stub: Any, **want: Any) -> bytes:
    request = pb.ReadRequest(container_id=ID, stdout=True, stderr=True, framing=MUX, **want)
    return b"".join([response.data async for response in stub.Read(request)])


async def ship(stub: Any, data: bytes, offset: int = 0) -> int:
    stream = stub.Ship()
    await stream.write(opening())
    offset = (await stream.read()).opened.offset
    await stream.write(batch(offset, data))
    while (ack := (await stream.read()).ack.offset) < offset + len(data):
        pass
    await stream.done_writing()
    return ack


async def test_what_is_shipped_is_read(tmp_path: Path) -> None:
    async with running(tmp_path) as stub:
        await ship(stub, frame(1, b"one\ntwo\n") + frame(2, b"three\n"))
        assert await read(stub) == b"one\ntwo\nthree\n"
        body = (tmp_path / "root/containers" / ID / f"{ID}-json.log").read_text()
        assert [json.loads(line)["log"] for line in body.splitlines()] == ["one\n", "two\n", "three\n"]


async def test_validate_tells_path_and_defaults(tmp_path: Path) -> None:
    async with running(tmp_path) as stub:
        answer = await call(lambda: stub.Validate(pb.ValidateRequest(container_id=ID)))
        assert (answer.driver, answer.path) == ("json-file", f"{tmp_path}/root/containers/{ID}/{ID}-json.log")
        with pytest.raises(InvalidArgument, match="unknown log opt 'x' for json-file log driver"):
            await call(lambda: stub.Validate(pb.ValidateRequest(container_id=ID, driver="json-file", options={"x": "1"})))
        with pytest.raises(InvalidArgument, match="invalid container id"):
            await call(lambda: stub.Validate(pb.ValidateRequest(container_id="../../etc")))


async def test_follow_ends_with_the_container(tmp_path: Path) -> None:
    async with running(tmp_path) as stub:
        await ship(stub, frame(1, b"one\n"))
        following = asyncio.ensure_future(read(stub, follow=True))
        await asyncio.sleep(0.1)
        await ship(stub, frame(1, b"two\n"))
        await asyncio.sleep(0.1)
        assert not following.done()
        await ship(stub, frame(1, b"last") + end())
        assert await asyncio.wait_for(following, 5) == b"one\ntwo\nlast"


async def test_follow_waits_for_a_container_that_said_nothing_yet(tmp_path: Path) -> None:
    async with running(tmp_path) as stub:
        following = asyncio.ensure_future(read(stub, follow=True))
        await asyncio.sleep(0.2)
        await ship(stub, frame(1, b"late\n") + end())
        assert await asyncio.wait_for(following, 5) == b"late\n"


async def test_read_waits_for_the_offset_it_was_told(tmp_path: Path) -> None:
    data = frame(1, b"soon\n")
    async with running(tmp_path) as stub:
        reading = asyncio.ensure_future(read(stub, min_offset=len(data), wait_ms=5000))
        await asyncio.sleep(0.2)
        await ship(stub, data)
        assert await reading == b"soon\n"
        request = pb.ReadRequest(container_id=ID, stdout=True, framing=MUX, min_offset=10**9, wait_ms=100)
        answers = [answer async for answer in stub.Read(request)]
        assert "within 100 ms" in answers[0].warning
        assert answers[1].data == b"soon\n"


async def test_a_removed_log_is_gone_and_its_followers_end(tmp_path: Path) -> None:
    async with running(tmp_path) as stub:
        await ship(stub, frame(1, b"one\n"))
        following = asyncio.ensure_future(read(stub, follow=True))
        await asyncio.sleep(0.1)
        await stub.Remove(pb.RemoveRequest(container_id=ID))
        assert await asyncio.wait_for(following, 5) == b"one\n"
        assert not (tmp_path / "root/containers" / ID).exists()
        assert await read(stub) == b""
        await stub.Remove(pb.RemoveRequest(container_id=ID))


async def test_a_bad_batch_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    async with running(tmp_path) as stub:
        stream = stub.Ship()
        await stream.write(opening())
        assert (await stream.read()).opened.offset == 0
        await stream.write(batch(0, frame(1, b"good\n") + b"garbage"))
        assert (await stream.read()).refused.container_id == ID
        await stream.write(opening())
        assert (await stream.read()).opened.offset == 0
        await stream.write(batch(0, frame(1, b"good\n")))
        assert (await stream.read()).ack.offset == len(frame(1, b"good\n"))
        await stream.done_writing()
        assert await read(stub) == b"good\n"


async def test_a_batch_that_is_too_large_ends_the_stream_with_the_reason(tmp_path: Path) -> None:
    async with running(tmp_path) as stub:
        with pytest.raises(InvalidArgument, match="batch of 1638900 bytes"):
            await call(lambda: ship(stub, frame(1, b"y" * 65_524) * 25))
        assert await ship(stub, frame(1, b"good\n")) == 37


async def test_many_containers_share_a_stream(tmp_path: Path) -> None:
    ids = [f"{number:064x}" for number in range(0xA0, 0xA0 + 30)]
    async with running(tmp_path) as stub:
        stream = stub.Ship()
        for one in ids:
            await stream.write(pb.ShipRequest(open=pb.Open(container_id=one, driver="json-file")))
        assert {(await stream.read()).opened.container_id for _ in ids} == set(ids)
        for one in ids:
            await stream.write(pb.ShipRequest(batch=pb.Batch(container_id=one, offset=0, frames=frame(1, one.encode() + b"\n"))))
        assert {(await stream.read()).ack.container_id for _ in ids} == set(ids)
        for one in ids:
            request = pb.ReadRequest(container_id=one, stdout=True, framing=MUX)
            assert [answer.data async for answer in stub.Read(request)] == [one.encode() + b"\n"]


async def test_follow_sees_everything_through_rotations(tmp_path: Path) -> None:
    total = 20_000
    options = {"max-size": "50k", "max-file": "1000", "compress": "true"}
    parts = [frame(1, b"".join(b"%06d a line of some length\n" % one for one in range(at, at + 50))) for at in range(0, total, 50)]
    async with running(tmp_path) as stub:
        following = asyncio.ensure_future(read(stub, follow=True))
        stream = stub.Ship()
        await stream.write(opening(options=options))
        assert (await stream.read()).opened.offset == 0
        offset = 0
        for part in [*parts, end()]:
            await stream.write(batch(offset, part))
            offset += len(part)
            if offset % 7 == 0:
                await stream.read()
        got = await asyncio.wait_for(following, 30)
        await stream.done_writing()
    assert [int(line[:6]) for line in got.splitlines()] == list(range(total))


async def test_a_follower_is_woken_by_each_line(tmp_path: Path) -> None:
    async with running(tmp_path) as stub:
        request = pb.ReadRequest(container_id=ID, stdout=True, framing=MUX, follow=True)
        stream, follow = stub.Ship(), stub.Read(request)
        await stream.write(opening())
        offset = (await stream.read()).opened.offset
        for number in range(200):
            one = frame(1, b"%d\n" % number)
            await stream.write(batch(offset, one))
            offset += len(one)
            # A missed wake-up would take seconds.
            assert (await asyncio.wait_for(follow.read(), 2)).data == b"%d\n" % number
        await stream.done_writing()
        follow.cancel()


async def test_a_reader_that_goes_away_harms_nobody(tmp_path: Path) -> None:
    line = b"y" * 99 + b"\n"
    async with running(tmp_path) as stub:
        for _ in range(6):
            await ship(stub, frame(1, line * 600) * 10)
        for pause in (0, 0.001, 0.01):
            call_ = stub.Read(pb.ReadRequest(container_id=ID, stdout=True, framing=MUX))
            await call_.read()
            await asyncio.sleep(pause)
            call_.cancel()
        assert await read(stub) == line * 36_000


async def test_driver_none_takes_everything_and_reads_nothing(tmp_path: Path) -> None:
    data = frame(1, b"secret\n") + end()
    for expected in (0, len(data)):
        async with running(tmp_path) as stub:
            stream = stub.Ship()
            await stream.write(pb.ShipRequest(open=pb.Open(container_id=ID, driver="none")))
            assert (await stream.read()).opened.offset == expected
            if not expected:
                await stream.write(batch(0, data))
                assert (await stream.read()).ack.offset == len(data)
            await stream.done_writing()
            with pytest.raises(NotSupported, match="configured logging driver does not support reading"):
                await call(lambda stub=stub: read(stub))
    assert not any(b"secret" in file.read_bytes() for file in (tmp_path / "root").rglob("*") if file.is_file())


async def test_an_ended_container_holds_no_descriptors_and_stays_readable(tmp_path: Path) -> None:
    async with running(tmp_path) as stub:
        await ship(stub, frame(1, b"one\n") + end())
        for _ in range(100):
            held = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
            if not any(ID in path for path in held):
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError(held)
        assert await read(stub, follow=True) == b"one\n"
        await ship(stub, frame(1, b"next run\n") + end())
        assert await read(stub, follow=True) == b"one\nnext run\n"


@asynccontextmanager
async def process(tmp_path: Path, sync: str = "interval") -> AsyncIterator[asyncio.subprocess.Process]:
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "SKERRY_ROOT": str(tmp_path / "root"),
        "SKERRY_RUN": str(tmp_path),
        "SKERRY_LOGS_SYNC": sync,
    }
    one = await asyncio.create_subprocess_exec(sys.executable, "-m", "skerry.logs", env=environ)
    try:
        yield one
    finally:
        if one.returncode is None:
            one.send_signal(signal.SIGKILL)
        await one.wait()


def _two_streams(rng: random.Random, total: int) -> list[bytes]:
    """Frames of numbered lines of both streams, cut anywhere and mixed; the stream's number is the line's first digit."""
    cut: dict[int, list[bytes]] = {}
    for stream in (1, 2):
        body = b"".join(b"%d%09d some text that makes the line longer\n" % (stream, number) for number in range(total // 2))
        cut[stream], position = [], 0
        while position < len(body):
            size = rng.choice([rng.randint(1, 50), rng.randint(1, 3000), rng.randint(1, 65536)])
            cut[stream].append(body[position : position + size])
            position += size
    mixed, clock = [], 1_700_000_000_000_000_000
    while cut[1] or cut[2]:
        stream = rng.choice([stream for stream in (1, 2) if cut[stream]])
        clock += rng.randint(1, 10**6)
        mixed.append(frame(stream, cut[stream].pop(0), clock))
    return mixed


ROTATED = {"max-size": "3m", "max-file": "1000"}


@pytest.mark.parametrize(
    ("options", "sync", "total"),
    [
        ({}, "interval", 1_000_000),
        ({}, "batch", 300_000),
        (ROTATED, "off", 1_000_000),
        ({**ROTATED, "compress": "true"}, "interval", 300_000),
    ],
    ids=["one file", "one file, synced", "rotated", "compressed"],
)
async def test_a_killed_router_loses_and_doubles_nothing(tmp_path: Path, options: dict[str, str], sync: str, total: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    mixed = _two_streams(rng, total)
    spool = b"".join(mixed) + end()
    starts, position = [0], 0
    for one in mixed:
        position += len(one)
        starts.append(position)
    kills, accepted = 0, 0
    while accepted < len(spool):
        async with process(tmp_path, sync) as router, open_channel(f"unix:{tmp_path}/logs.sock") as channel:
            # The first three come early, so that a fast router is killed three times too.
            seconds = rng.uniform(0.0, 0.02) if kills < 3 else rng.uniform(0.03, 0.1)
            killer = asyncio.ensure_future(_kill_later(router, seconds, tmp_path))
            try:
                accepted = await _feed(LogsServiceStub(channel), spool, starts, options)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                kills += 1
            killer.cancel()
    async with process(tmp_path, sync), open_channel(f"unix:{tmp_path}/logs.sock") as channel:
        stub: Any = LogsServiceStub(channel)
        request = pb.ReadRequest(container_id=ID, stdout=True, stderr=True, framing=MUX)
        got = b"".join([answer.data async for answer in stub.Read(request, wait_for_ready=True)])
    numbers: dict[str, list[int]] = {"1": [], "2": []}
    for line in got.decode().splitlines():
        numbers[line[0]].append(int(line[1:10]))
    assert numbers["1"] == list(range(total // 2))
    assert numbers["2"] == list(range(total // 2))
    for name in os.listdir(tmp_path / "root/containers" / ID):
        if name.endswith("-json.log"):
            for line in (tmp_path / "root/containers" / ID / name).read_bytes().splitlines():
                json.loads(line)
    assert kills >= 3


async def _kill_later(router: asyncio.subprocess.Process, seconds: float, tmp_path: Path) -> None:
    state = tmp_path / "root/containers" / ID / "router-state"
    begun = state.stat().st_mtime_ns if state.exists() else 0
    while not state.exists() or state.stat().st_mtime_ns == begun:
        await asyncio.sleep(0.005)
    await asyncio.sleep(seconds)
    router.send_signal(signal.SIGKILL)


async def _feed(stub: Any, spool: bytes, starts: list[int], options: dict[str, str]) -> int:
    """Sends from where the router is, in batches of whole frames, until all is acknowledged."""
    stream = stub.Ship(wait_for_ready=True)
    await stream.write(opening(options=options))
    answer = await stream.read()
    position = accepted = answer.opened.offset
    index = starts.index(position) if position in starts else len(starts) - 1
    while accepted < len(spool):
        while position < len(spool) and position - accepted < 512 << 10:
            last = index
            while last + 1 < len(starts) and starts[last + 1] - position <= 256 << 10:
                last += 1
            end_ = starts[last] if last > index else len(spool)
            await stream.write(batch(position, spool[position:end_]))
            position, index = end_, last
        accepted = (await stream.read()).ack.offset
    await stream.done_writing()
    return accepted


@pytest.mark.root
async def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    from skerry.core import linux

    root = tmp_path / "root"
    root.mkdir()
    linux.mount("tmpfs", str(root), "tmpfs", data="size=1m")
    try:
        async with running(tmp_path) as stub:
            filler = root / "filler"
            stream = stub.Ship()
            await stream.write(opening())
            await stream.read()
            first = frame(1, b"first\n")
            await stream.write(batch(0, first))
            assert (await stream.read()).ack.offset == len(first)
            filler.write_bytes(b"x" * 700_000)
            big = frame(1, (b"y" * 99 + b"\n") * 600) * 8
            await stream.write(batch(len(first), big))
            assert "No space left" in (await stream.read()).refused.reason
            filler.unlink()
            await stream.write(opening())
            assert (await stream.read()).opened.offset == len(first)
            await stream.write(batch(len(first), big))
            assert (await stream.read()).ack.offset == len(first) + len(big)
            await stream.done_writing()
            got = await read(stub)
            assert got == b"first\n" + (b"y" * 99 + b"\n") * 4800
    finally:
        linux.unmount(str(root))
