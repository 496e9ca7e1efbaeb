"""What happens at the quota, at trimming, on a full disk."""

import asyncio
import contextlib
import json
import os

import pytest

from monitor_kit import living_node, output, until
from skerry.containers.monitor import frames
from skerry.containers.spool import SpoolReader, spool_range, write_cursor
from skerry.core import linux

LINE = "x" * 99
LINES = 60_000


@pytest.fixture
async def node():
    async with living_node() as node:
        yield node


def size_of(spool: str) -> int:
    total = 0
    for name in os.listdir(spool):
        if name.startswith("seg."):
            with contextlib.suppress(FileNotFoundError):  # trimmed between the listing and now
                total += os.stat(f"{spool}/{name}").st_size
    return total


async def launch(node, *command, **changes):
    job = node.job("c", *command, **{"segment": 1 << 18, "quota": 1 << 20, **changes})
    os.makedirs(job.spool, exist_ok=True)
    write_cursor(f"{job.spool}/cursor.router", 0)
    monitor = await node.monitors.launch(job)
    await monitor.create()
    await monitor.start()
    return job.spool, monitor


def lines_command(count: int = LINES) -> list[str]:
    return ["sh", "-c", f"yes {LINE} | head -n {count}"]


async def test_blocking_process_waits_at_the_quota_and_goes_on_when_the_cursor_moves(node):
    spool, monitor = await launch(node, *lines_command())
    await until(lambda: monitor.waiting)
    assert size_of(spool) <= 1 << 20
    # Control is served meanwhile.
    await monitor.resize(1, 1)
    again = await node.monitors.adopt(node.directory("c"))
    assert again.waiting
    await again.close()
    lines = 0
    async with SpoolReader(spool, 0) as reader:
        async for batch in reader.batches(until_run=1):
            assert batch.gap == 0
            lines += sum(bytes(frame.payload).count(b"\n") for frame in batch.frames() if frame.stream == frames.STDOUT)
            # At the exit two pipes' worth is let in beyond the quota (docs/spool.md).
            assert size_of(spool) <= (1 << 20) + (2 << 18)
            write_cursor(f"{spool}/cursor.router", batch.end)
    assert lines == LINES
    assert (await monitor.wait()).code == 0
    assert not monitor.waiting
    await monitor.close()


async def test_file_quota_raises_the_limit_of_a_waiting_process(node):
    spool, monitor = await launch(node, *lines_command())
    await until(lambda: monitor.waiting)
    with open(f"{spool}/quota", "w") as file:
        file.write(str(64 << 20))
    assert (await monitor.wait()).code == 0
    await monitor.close()
    assert (await output(spool)).count(b"\n") == LINES


async def test_non_blocking_process_never_waits_and_what_is_dropped_is_counted_exactly_in_whole_lines(node):
    # Numbered lines, of stdout and stderr both, with pauses in which the cursor moves.
    script = "for part in 1 2 3 4; do seq -f '%060.0f' 1 20000; seq -f '%050.0f' 1 10000 >&2; sleep 0.3; done"
    spool, monitor = await launch(node, "sh", "-c", script, blocking=False)
    kept = {1: bytearray(), 2: bytearray()}
    dropped = {1: [0, 0], 2: [0, 0]}
    markers = 0
    async with SpoolReader(spool, 0) as reader:
        async for batch in reader.batches(until_run=1):
            for frame in batch.frames():
                if frame.flags == frames.DROPPED:
                    marker = json.loads(bytes(frame.payload))
                    dropped[marker["stream"]][0] += marker["bytes"]
                    dropped[marker["stream"]][1] += marker["lines"]
                    markers += 1
                elif frame.stream in kept:
                    kept[frame.stream] += frame.payload
            await asyncio.sleep(0.05)
            write_cursor(f"{spool}/cursor.router", batch.end)
    assert (await monitor.wait()).code == 0
    await monitor.close()
    assert markers > 0
    for stream, width, count in ((1, 60, 80_000), (2, 50, 40_000)):
        lines = bytes(kept[stream]).splitlines(keepends=True)
        assert all(len(line) == width + 1 for line in lines)
        assert len(lines) + dropped[stream][1] == count
        assert len(kept[stream]) + dropped[stream][0] == count * (width + 1)


async def test_segments_go_when_every_durable_reader_has_passed_them(node):
    spool, monitor = await launch(node, *lines_command(), quota=64 << 20)
    await monitor.wait()
    assert frames.segments(spool)[0] == 0
    middle = frames.segments(spool)[5]
    write_cursor(f"{spool}/cursor.router", (await spool_range(spool)).end)
    write_cursor(f"{spool}/cursor.attach.x", middle)
    assert frames.trim(spool, 0) == middle
    os.unlink(f"{spool}/cursor.attach.x")
    assert frames.trim(spool, 0) == frames.segments(spool)[-1]
    assert len(frames.segments(spool)) == 1
    await monitor.close()


async def test_without_a_durable_reader_four_spare_segments_stay(node):
    job = node.job("c", *lines_command(), segment=1 << 18, quota=1 << 20)
    monitor = await node.monitors.launch(job)
    await monitor.create()
    await monitor.start()
    assert (await monitor.wait()).code == 0
    await monitor.close()
    # And the one that is written.
    assert len(frames.segments(job.spool)) <= 5
    assert size_of(job.spool) <= 5 * ((1 << 18) + 65536)


async def test_client_attached_before_the_start_holds_and_misses_nothing(node):
    job = node.job("c", *lines_command(), segment=1 << 18, quota=1 << 20)
    lines = 0
    async with SpoolReader(job.spool, None, hold="one") as reader:
        monitor = await node.monitors.launch(job)
        await monitor.create()
        await monitor.start()
        await until(lambda: monitor.waiting)
        async for batch in reader.batches(until_run=1):
            assert batch.gap == 0
            lines += sum(bytes(frame.payload).count(b"\n") for frame in batch.frames() if frame.stream == frames.STDOUT)
    assert lines == LINES
    assert not os.path.exists(f"{job.spool}/cursor.attach.one")
    await monitor.wait()
    await monitor.close()


async def test_reader_that_holds_nothing_counts_what_it_missed(node):
    job = node.job("c", *lines_command(), segment=1 << 18, quota=1 << 20)
    async with SpoolReader(job.spool, 0) as reader:
        monitor = await node.monitors.launch(job)
        await monitor.create()
        await monitor.start()
        await monitor.wait()
        position = gap = 0
        async for batch in reader.batches(until_run=1):
            assert batch.offset == position + batch.gap
            position, gap = batch.end, gap + batch.gap
    assert gap > 0
    assert position == (await spool_range(job.spool)).end
    await monitor.close()


@pytest.mark.root
async def test_full_disk_stops_the_process_and_loses_nothing(node):
    disk = node.directory("disk")
    linux.mount("tmpfs", disk, "tmpfs", data="size=2m")
    try:
        ballast = f"{disk}/ballast"
        with open(ballast, "wb") as file:
            file.write(bytes(1 << 20))
        job = node.job("c", *lines_command(14_000), spool=f"{disk}/spool", segment=1 << 18, quota=64 << 20)
        async with SpoolReader(job.spool, 0, hold="x"):
            monitor = await node.monitors.launch(job)
            await monitor.create()
            await monitor.start()
            await until(lambda: monitor.waiting)
            await asyncio.sleep(0.3)
            os.unlink(ballast)
            assert (await monitor.wait()).code == 0
            await monitor.close()
            assert await output(job.spool) == (LINE + "\n").encode() * 14_000
    finally:
        linux.unmount(disk)
