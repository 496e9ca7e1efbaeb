import asyncio
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.containers.lines import LineOptions, read_lines, stamp
from skerry.containers.monitor import frames
from skerry.containers.monitor.writer import SpoolWriter
from skerry.containers.spool import Batch, SpoolReader, frame_output, holds, release_holds, spool_range, write_cursor

U64 = st.integers(0, 2**64 - 1)
FRAMES = st.lists(st.tuples(st.integers(0, 2), st.sampled_from((0, frames.END)), U64, U64, st.binary(max_size=300)), max_size=8)


@settings(deadline=None)
@given(FRAMES)
def test_frames_are_read_as_they_were_encoded(items):
    data = bytearray(b"".join(map(frames.encode, *zip(*items, strict=True)))) if items else bytearray()
    batch = Batch(1000, 1000 + len(data), data, 0)
    seen = [(frame.stream, frame.flags, frame.time_ns, frame.sequence, bytes(frame.payload)) for frame in batch.frames()]
    assert seen == items
    expected = b"".join(item[4] for item in items if item[0] == 1)
    assert frame_output(batch, tty=True, stderr=False) == (expected, 0)


@settings(deadline=None)
@given(st.binary(max_size=50), st.integers(0, 31), st.integers(1, 255))
def test_a_damaged_header_is_noticed(payload, place, change):
    frame = bytearray(frames.encode(1, 0, 5, 6, payload))
    assert frames.sound(frame, 0)
    frame[place] ^= change
    assert not frames.sound(frame, 0)


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.binary(max_size=28))
def test_cursor_is_read_back_and_anything_else_holds_everything(offset, nonsense):
    assert frames.cursor_offset(frames.cursor(offset)) == offset
    assert frames.cursor_offset(nonsense) == 0 or frames.cursor(frames.cursor_offset(nonsense)) == nonsense


def test_payload_above_the_limit_is_refused():
    with pytest.raises(ValueError, match="at most 65536"):
        frames.encode(1, 0, 0, 0, bytes(65537))


def payloads(directory: str) -> list[bytes]:
    async def read() -> list[bytes]:
        async with SpoolReader(directory, 0) as reader:
            return [bytes(frame.payload) async for batch in reader.batches(follow=False) for frame in batch.frames()]

    return asyncio.run(read())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=6), st.data())
def test_spool_cut_at_any_byte_stays_readable_and_goes_on(tmp_path_factory, pieces, data):
    spool = str(tmp_path_factory.mktemp("spool"))
    writer = SpoolWriter(spool, 1 << 20, 1 << 30)
    for piece in pieces:
        assert writer.frame(frames.STDOUT, 0, piece)
    writer.close()
    size = writer.head
    cut = data.draw(st.integers(0, size))
    os.truncate(f"{spool}/{frames.segment_name(0)}", cut)
    whole = b"".join(pieces)
    headers = 0
    left = cut
    for piece in pieces:
        if left < 32:
            break
        headers += 1
        left -= 32 + min(len(piece), left - 32)
    kept = whole[: cut - 32 * headers - left]
    writer = SpoolWriter(spool, 1 << 20, 1 << 30)
    assert writer.frame(frames.STDOUT, 0, b"next")
    writer.close()
    assert b"".join(payloads(spool)) == kept + b"next"


async def test_damaged_segment_is_skipped_with_a_counted_gap(tmp_path):
    spool = str(tmp_path)
    writer = SpoolWriter(spool, 1 << 20, 1 << 30)
    writer.frame(1, 0, b"one")
    damage = writer.head
    writer.frame(1, 0, b"two")
    writer.close()
    with open(f"{spool}/{frames.segment_name(0)}", "r+b") as file:
        file.seek(damage)
        file.write(bytes(20))
    writer = SpoolWriter(spool, 1 << 20, 1 << 30)
    writer.frame(1, 0, b"three")
    writer.close()
    async with SpoolReader(spool, 0) as reader:
        batches = [batch async for batch in reader.batches(follow=False)]
    seen = [(batch.gap, [bytes(frame.payload) for frame in batch.frames()]) for batch in batches]
    assert seen == [(0, [b"one"]), (35, [b"three"])]


def test_offsets_a_reader_has_passed_are_not_given_twice(tmp_path):
    spool = str(tmp_path)
    writer = SpoolWriter(spool, 1 << 20, 1 << 30)
    writer.frame(1, 0, b"one")
    writer.close()
    write_cursor(f"{spool}/cursor.router", 5000)
    writer = SpoolWriter(spool, 1 << 20, 1 << 30)
    assert writer.head == 5000
    writer.close()


async def test_reader_at_the_present_end_sees_only_what_comes(tmp_path):
    spool = str(tmp_path)
    writer = SpoolWriter(spool, 64, 1 << 30)
    writer.frame(1, 0, b"old")
    async with SpoolReader(spool, None) as reader:
        assert reader.offset == (await spool_range(spool)).end == writer.head
        writer.frame(1, 0, b"new" * 20)
        async for batch in reader.batches():
            assert [bytes(frame.payload) for frame in batch.frames()] == [b"new" * 20]
            reader.stop()
    writer.close()


async def test_follower_wakes_for_a_spool_that_begins_later_and_rolls(tmp_path):
    spool = f"{tmp_path}/later"
    seen = []

    async def follow() -> None:
        async with SpoolReader(spool, 0) as reader:
            async for batch in reader.batches(until_run=1):
                seen.extend(bytes(frame.payload) for frame in batch.frames())

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(follow())
        await asyncio.sleep(0.02)
        writer = SpoolWriter(spool, 100, 1 << 30)
        for number in range(20):
            writer.frame(1, 0, b"%d" % number)
            await asyncio.sleep(0.001)
        writer.frame(0, frames.END, b'{"code":0,"run":1}')
        writer.close()
    assert seen[:-1] == [b"%d" % number for number in range(20)]


async def test_batches_keep_their_limit_and_cut_behind_the_end_of_a_run(tmp_path):
    spool = str(tmp_path)
    writer = SpoolWriter(spool, 1 << 20, 1 << 30)
    for _ in range(10):
        writer.frame(1, 0, bytes(1000))
    writer.frame(0, frames.END, b'{"code":0,"run":1}')
    writer.frame(1, 0, b"second")
    writer.close()
    # Frames of 1,032 bytes, and an END of 50.
    async with SpoolReader(spool, 0) as reader:
        sizes = [len(batch.data) async for batch in reader.batches(until_run=1, limit=3000)]
    assert sizes == [2064] * 4 + [2114]


async def test_holds_of_a_dead_service_are_released_but_not_the_routers(tmp_path):
    spool = str(tmp_path)
    write_cursor(f"{spool}/cursor.router", 7)
    write_cursor(f"{spool}/cursor.attach.a", 3)
    write_cursor(f"{spool}/cursor.attach.b", 5)
    earlier = holds(spool)
    os.utime(f"{spool}/cursor.attach.b", ns=(1, 1))  # a reader took it over
    release_holds(spool, earlier)
    release_holds(f"{spool}/missing", earlier)
    assert list(holds(spool)) == ["cursor.attach.b"]
    release_holds(spool, holds(spool))
    assert frames.cursors(spool) == [7]


def test_what_was_dropped_of_the_wanted_streams_is_counted():
    markers = [b'{"stream": 1, "bytes": 5, "lines": 1}', b'{"stream": 2, "bytes": 70, "lines": 0}']
    data = bytearray(b"".join(frames.encode(0, frames.DROPPED, 0, number, marker) for number, marker in enumerate(markers)))
    batch = Batch(0, len(data), data, 0)
    assert frame_output(batch, tty=False) == (b"", 75)
    assert frame_output(batch, tty=False, stdout=False) == (b"", 70)


@pytest.mark.parametrize("given", [True, False])
async def test_bytes_that_were_trimmed_are_counted_without_headers(tmp_path, given):
    spool = str(tmp_path)
    writer = SpoolWriter(spool, 200, 1 << 20)
    sizes = [1, 50, 100, 7, 120, 30, 3]
    for size in sizes[:2]:
        writer.frame(frames.STDOUT, 0, bytes(size))
    place, sequence = writer.head, 2
    for size in sizes[2:]:
        writer.frame(frames.STDERR, 0, bytes(size))
    first = frames.trim(spool, 0)
    assert first > place
    kept = [size for batch in [b async for b in _batches(spool, first, None)] for size in (len(f.payload) for f in batch.frames())]
    lost = sum(sizes[2:]) - sum(kept)
    # Without the sequence of the frame it wants, a reader can only tell what the spool lacks.
    batch = await anext(_batches(spool, place, sequence if given else None))
    assert batch.gap == first - place
    assert (batch.missed == lost) if given else (batch.missed == batch.gap > lost)
    from_the_start = await anext(_batches(spool, 0, None))
    assert from_the_start.missed == sum(sizes) - sum(kept)


async def _batches(spool, offset, sequence):
    async with SpoolReader(spool, offset, sequence=sequence) as reader:
        async for batch in reader.batches(follow=False):
            yield batch


def test_output_has_dockers_headers_or_none_on_a_terminal(tmp_path):
    data = bytearray(frames.encode(1, 0, 0, 0, b"out") + frames.encode(2, 0, 0, 1, b"err") + frames.encode(0, frames.END, 0, 2, b"{}"))
    batch = Batch(0, len(data), data, 0)
    assert frame_output(batch, tty=False) == (b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err", 0)
    assert frame_output(batch, tty=False, stdout=False) == (b"\x02\0\0\0\0\0\0\x03err", 0)
    assert frame_output(batch, tty=True) == (b"outerr", 0)


SECOND = 1_000_000_000


@pytest.fixture
def lines_spool(tmp_path):
    """Lines 1 to 6 at seconds 1 to 6, over two frames each, on both streams in turn; an unfinished one at second 7."""
    spool = str(tmp_path)
    data = b""
    for number in range(1, 7):
        stream = 1 + number % 2
        data += frames.encode(stream, 0, number * SECOND, 0, b"line ")
        data += frames.encode(stream, 0, number * SECOND + 1, 0, b"%d\n" % number)
    data += frames.encode(1, 0, 7 * SECOND, 0, b"rest")
    with open(f"{spool}/{frames.segment_name(0)}", "wb") as file:
        file.write(data)
    return spool


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["line 1\n", "line 2\n", "line 3\n", "line 4\n", "line 5\n", "line 6\n", "rest"]),
        ({"stderr": False}, ["line 2\n", "line 4\n", "line 6\n", "rest"]),
        ({"tail": 2}, ["line 6\n", "rest"]),
        ({"tail": 0}, []),
        ({"tail": 100, "stdout": False}, ["line 1\n", "line 3\n", "line 5\n"]),
        ({"since_ns": 4 * SECOND, "until_ns": 5 * SECOND}, ["line 4\n", "line 5\n"]),
        ({"tail": 1, "timestamps": True}, ["1970-01-01T00:00:07.000000000Z rest"]),
    ],
)
async def test_lines_are_chosen_by_stream_time_and_number(lines_spool, options, expected):
    pieces = [piece async for piece in read_lines(lines_spool, LineOptions(multiplexed=False, **options))]
    assert b"".join(pieces) == "".join(expected).encode()


async def test_lines_have_dockers_headers_when_multiplexed(lines_spool):
    pieces = [piece async for piece in read_lines(lines_spool, LineOptions(tail=2))]
    assert b"".join(pieces) == b"\x01\0\0\0\0\0\0\x07line 6\n\x01\0\0\0\0\0\0\x04rest"


def test_stamp_has_always_nine_digits():
    assert stamp(1_700_000_000_000_000_010) == b"2023-11-14T22:13:20.000000010Z"
