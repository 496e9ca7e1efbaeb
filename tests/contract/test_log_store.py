"""What every log store owes; the json-file is the first."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import InvalidArgument
from skerry.logs.drivers import JsonFileOptions
from skerry.logs.stores import Store, Want
from skerry.logs.stores.json_file import JsonFile
from spool_frames import end, frame

Make = Callable[[], Store]
SECOND = 10**9
START = 1_700_000_000 * SECOND


@pytest.fixture(params=["json-file", "json-file rotated", "json-file compressed"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    options = {
        "json-file": JsonFileOptions(),
        "json-file rotated": JsonFileOptions(max_size=20_000, max_file=1000),
        "json-file compressed": JsonFileOptions(max_size=20_000, max_file=1000, compress=True),
    }[request.param]
    return lambda: JsonFile(str(tmp_path), "c" * 64, options, sync="off")


def read(store: Store, want: Want) -> bytes:
    cursor = store.open_cursor(want)
    try:
        out = b""
        while data := cursor.read():
            out += data
        return out
    finally:
        cursor.close()


def raw(store: Store, **want: object) -> bytes:
    return read(store, Want(multiplexed=False, **want))  # type: ignore[arg-type]


def fill(store: Store, count: int, first: int = 0) -> None:
    """One line a second, each frame a batch of its own."""
    for number in range(first, first + count):
        data = frame(1 + number % 2, b"line %d\n" % number, START + number * SECOND)
        store.accept(store.offset, data)


def lines(numbers: range) -> bytes:
    return b"".join(b"line %d\n" % number for number in numbers)


def test_everything_accepted_is_read_in_order(make: Make) -> None:
    store = make()
    fill(store, 1000)
    assert raw(store) == lines(range(1000))
    store.close()


def test_what_was_accepted_survives_closing(make: Make) -> None:
    store = make()
    fill(store, 500)
    offset = store.offset
    store.close()
    store = make()
    assert store.offset == offset
    fill(store, 500, 500)
    assert raw(store) == lines(range(1000))
    store.close()


def test_a_batch_sent_again_is_not_doubled_and_a_gap_is_refused(make: Make) -> None:
    store = make()
    one, two = frame(1, b"one\n"), frame(1, b"two\n")
    store.accept(0, one)
    store.accept(0, one + two)
    store.accept(0, one)
    with pytest.raises(InvalidArgument, match="batch begins at"):
        store.accept(len(one + two) + 1, one)
    assert raw(store) == b"one\ntwo\n"
    store.close()


def test_a_torn_or_forged_frame_changes_nothing(make: Make) -> None:
    store = make()
    good = frame(1, b"good\n")
    for bad in (good[:-1], good[:10], b"\xff" + good[1:]):
        with pytest.raises(InvalidArgument):
            store.accept(0, good + bad)
    assert store.offset == 0
    store.accept(0, good)
    assert raw(store) == b"good\n"
    store.close()


def test_unfinished_lines_survive_closing_and_come_out_at_the_end(make: Make) -> None:
    store = make()
    store.accept(0, frame(1, b"half") + frame(2, b"other"))
    store.close()
    store = make()
    assert raw(store) == b""
    assert not store.ended
    store.accept(store.offset, frame(1, b" done\n") + end())
    assert store.ended
    assert raw(store) == b"half done\nother"
    store.close()


@pytest.mark.parametrize("tail", [0, 1, 7, 500, 999, 1000, 5000])
def test_tail_gives_the_last_lines(make: Make, tail: int) -> None:
    store = make()
    fill(store, 1000)
    assert raw(store, tail=tail) == lines(range(max(0, 1000 - tail), 1000))
    store.close()


@pytest.mark.parametrize("since", [0, 1, 500, 999, 1001])
def test_since_and_until_cut_by_time(make: Make, since: int) -> None:
    store = make()
    fill(store, 1000)
    assert raw(store, since_ns=START + since * SECOND) == lines(range(since, 1000))
    until = START + 700 * SECOND
    assert raw(store, since_ns=START + since * SECOND, until_ns=until) == lines(range(since, 701))
    store.close()


def test_streams_are_chosen_and_framed(make: Make) -> None:
    store = make()
    store.accept(0, frame(1, b"out\n") + frame(2, b"err\n"))
    assert raw(store, stderr=False) == b"out\n"
    assert raw(store, stdout=False) == b"err\n"
    assert read(store, Want()) == b"\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0\0\0\0\x04err\n"
    assert raw(store, stderr=False, timestamps=True) == b"2023-11-14T22:13:20.123456789Z out\n"
    store.close()


def test_a_reader_follows_over_rotations(make: Make) -> None:
    store = make()
    fill(store, 10)
    cursor = store.open_cursor(Want(multiplexed=False))
    seen = b""
    for number in range(10, 1000, 10):
        seen += cursor.read() or b""
        fill(store, 10, number)
    while data := cursor.read():
        seen += data
    assert seen == lines(range(1000))
    assert cursor.read() == b""
    cursor.close()
    store.close()


def test_files_are_docker_json(tmp_path: Path) -> None:
    store = JsonFile(str(tmp_path), "c" * 64, JsonFileOptions(max_size=1000, max_file=3))
    fill(store, 200)
    store.close()
    names = sorted(name for name in os.listdir(tmp_path) if "json.log" in name)
    assert names == [f"{'c' * 64}-json.log", f"{'c' * 64}-json.log.1", f"{'c' * 64}-json.log.2"]
    for name in names:
        body = (tmp_path / name).read_bytes()
        assert len(body) < 1000 + 200
        for line in body.splitlines():
            assert list(json.loads(line)) == ["log", "stream", "time"]
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o640


def test_max_file_1_begins_anew(tmp_path: Path) -> None:
    store = JsonFile(str(tmp_path), "c" * 64, JsonFileOptions(max_size=1000, max_file=1))
    fill(store, 200)
    assert raw(store).endswith(lines(range(199, 200)))
    assert [name for name in os.listdir(tmp_path) if "json.log" in name] == [f"{'c' * 64}-json.log"]
    store.close()


@settings(max_examples=40, deadline=None)
@given(
    payloads=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=400)), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=5),
    limit=st.sampled_from([0, 500]),
)
def test_reopening_anywhere_gives_the_same_records(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[tuple[int, bytes]], cuts: list[int], limit: int
) -> None:
    options = JsonFileOptions(max_size=limit, max_file=1000)
    results = []
    for reopen in (set(), set(cuts)):
        folder = str(tmp_path_factory.mktemp("log"))
        store = JsonFile(folder, "c" * 64, options, sync="off")
        for number, (stream, payload) in enumerate(payloads):
            if number in reopen:
                store.close()
                store = JsonFile(folder, "c" * 64, options, sync="off")
            store.accept(store.offset, frame(stream, payload, START + number))
        store.accept(store.offset, end())
        results.append(read(store, Want(timestamps=True)))
        store.close()
    assert results[0] == results[1]


# What a store must give back, worked out the plain way from the same frames.

Frames = list[tuple[int, bytes]]
Expected = tuple[int, int, bytes]


def plain(frames_: Frames) -> list[Expected]:
    """Returns (time, stream, text) of each record: newline by newline, 16 KiB by 16 KiB."""
    out: list[Expected] = []
    pending: dict[int, bytes] = {1: b"", 2: b""}
    first: dict[int, int] = {}
    for number, (stream, payload) in enumerate(frames_):
        now = START + number * SECOND
        for piece in payload.splitlines(keepends=True) if b"\r" not in payload else [payload]:
            line = pending[stream] + piece
            while len(line.removesuffix(b"\n")) >= 16384:
                out.append((first.setdefault(stream, now), stream, line[:16384]))
                line = line[16384:]
            if line.endswith(b"\n"):
                out.append((first.pop(stream, now), stream, line))
                line = b""
            pending[stream] = line
    for stream, waiting in pending.items():
        if waiting:
            out.append((first.pop(stream, START + len(frames_) * SECOND), stream, waiting))
    return out


def chosen(records: list[Expected], want: Want) -> bytes:
    """Picks as moby's json-file reader does: the tail first; `since` only until the first match; `until` ends at the first later one."""
    if want.tail is not None:
        records = records[max(0, len(records) - want.tail) :]
    out, since = b"", want.since_ns
    for time, stream, text in records:
        if time < since:
            continue
        since = 0
        if want.until_ns and time > want.until_ns:
            break
        if (want.stdout and stream == 1) or (want.stderr and stream == 2):
            out += bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text
    return out


_payload = st.one_of(
    st.sampled_from([b"a\n", b"no end", b"\n", b"x\ny\nz\n", b"tail\nhalf"]),
    st.integers(1, 40_000).map(lambda size: b"L" * size),
    st.integers(1, 300).map(lambda count: b"some line of a log\n" * count),
)


@settings(max_examples=60, deadline=None)
@given(
    payloads=st.lists(st.tuples(st.sampled_from([1, 2]), _payload), min_size=1, max_size=15),
    limit=st.sampled_from([0, 5_000, 30_000]),
    compress=st.booleans(),
    tail=st.none() | st.integers(0, 400),
    since=st.integers(-1, 17),
    until=st.none() | st.integers(-1, 17),
    streams=st.sampled_from([(True, True), (True, False), (False, True)]),
)
def test_reading_agrees_with_the_plain_way(
    tmp_path_factory: pytest.TempPathFactory,
    payloads: Frames,
    limit: int,
    compress: bool,
    tail: int | None,
    since: int,
    until: int | None,
    streams: tuple[bool, bool],
) -> None:
    store = JsonFile(str(tmp_path_factory.mktemp("log")), "c" * 64, JsonFileOptions(limit, 10**12, compress and limit > 0), sync="off")
    for number, (stream, payload) in enumerate(payloads):
        store.accept(store.offset, frame(stream, payload, START + number * SECOND))
    store.accept(store.offset, end(time_ns=START + len(payloads) * SECOND))
    want = Want(
        stdout=streams[0],
        stderr=streams[1],
        tail=tail,
        since_ns=START + since * SECOND if since >= 0 else 0,
        until_ns=START + until * SECOND if until is not None else 0,
    )
    assert read(store, want) == chosen(plain(payloads), want)
    store.close()


def test_since_is_found_among_the_parts_of_a_line_that_never_ends(make: Make) -> None:
    store = make()
    expected: Frames = []
    for number in range(60):
        expected += [(1, b"progress\r" * 3000), (2, b"line %d\n" % number * 300)]
    for number, (stream, payload) in enumerate(expected):
        store.accept(store.offset, frame(stream, payload, START + number * SECOND))
    for since in range(0, 120, 7):
        want = Want(since_ns=START + since * SECOND)
        known = [one for one in plain(expected) if len(one[2]) == 16384 or one[2].endswith(b"\n")]  # the rest has no end yet
        assert read(store, want) == chosen(known, want), since
    store.close()


@pytest.mark.parametrize("bad", [b"garbage", b"\xff" * 40, frame(0, b"not json", flags=1)])
def test_a_refused_batch_leaves_unfinished_lines_as_they_were(make: Make, bad: bytes) -> None:
    store = make()
    store.accept(0, frame(1, b"one "))
    with pytest.raises(InvalidArgument):
        store.accept(store.offset, frame(1, b"two ") + bad)
    store.accept(store.offset, frame(1, b"two three\n"))
    assert raw(store) == b"one two three\n"
    store.close()


def test_lines_that_the_node_dropped_are_counted(make: Make) -> None:
    store = make()
    batch = frame(1, b"a\nb\n") + frame(0, b'{"stream":1,"bytes":70,"lines":7}', flags=1)
    accepted = store.accept(0, batch)
    assert (accepted.records, accepted.dropped) == (2, 7)
    again = store.accept(0, batch)
    assert (again.records, again.dropped) == (0, 0)
    store.close()


def test_a_store_that_rests_goes_on(make: Make) -> None:
    store = make()
    store.accept(0, frame(1, b"one ") + end())
    store.rest()
    assert raw(store) == b"one "
    store.sync()
    store.accept(store.offset, frame(1, b"two\n"))
    assert raw(store) == b"one two\n"
    store.close()
