import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.logs.lines import PART, Encoder, escape, stamp

T = 1_700_000_000_120_000_000


def text(records: list[bytes]) -> list[str]:
    return [json.loads(record)["log"] for record in records]


def feed(encoder: Encoder, *payloads: bytes, stream: int = 1) -> list[bytes]:
    return [record for number, payload in enumerate(payloads) for record in encoder.records(stream, memoryview(payload), T + number)]


def test_a_record_is_what_docker_writes() -> None:
    assert feed(Encoder(), b"hi\n") == [b'{"log":"hi\\n","stream":"stdout","time":"2023-11-14T22:13:20.12Z"}\n']
    assert feed(Encoder(b'"attrs":{"a":"b"},'), b"hi\n", stream=2) == [
        b'{"log":"hi\\n","stream":"stderr","attrs":{"a":"b"},"time":"2023-11-14T22:13:20.12Z"}\n'
    ]


@pytest.mark.parametrize(
    ("raw", "escaped"),
    [
        (b"plain", b"plain"),
        (b'a"b\\c', b'a\\"b\\\\c'),
        (b"\t\r\x00\x1b\x7f", b"\\u0009\\r\\u0000\\u001b\x7f"),
        (b"<a>&", b"\\u003ca\\u003e\\u0026"),
        ("ü日本".encode(), "ü日本".encode()),
        ("\u2028\u2029".encode(), b"\\u2028\\u2029"),
        (b"\xff\xfe", b"\\ufffd\\ufffd"),
        (b"\xe2\x82", b"\\ufffd\\ufffd"),
        ("\ufffd".encode(), "\ufffd".encode()),
    ],
)
def test_escapes_are_dockers(raw: bytes, escaped: bytes) -> None:
    assert escape(raw) == escaped


def test_a_line_over_several_frames_carries_its_first_time() -> None:
    records = feed(Encoder(), b"one ", b"two", b" three\nnext\n")
    assert text(records) == ["one two three\n", "next\n"]
    assert [json.loads(record)["time"] for record in records] == [stamp(T), stamp(T + 2)]


def test_a_long_line_is_cut_as_docker_cuts_it() -> None:
    assert [len(one) for one in text(feed(Encoder(), b"a" * 40_000 + b"\n"))] == [PART, PART, 40_001 - 2 * PART]
    assert [len(one) for one in text(feed(Encoder(), b"a" * PART + b"\n"))] == [PART, 1]


def test_a_line_that_is_exactly_one_part_keeps_its_time_for_the_newline() -> None:
    records = feed(Encoder(), b"a" * PART, b"\n")
    assert {json.loads(record)["time"] for record in records} == {stamp(T)}


def test_the_end_flushes_unfinished_lines_without_a_newline() -> None:
    encoder = Encoder()
    assert feed(encoder, b"out") == []
    assert feed(encoder, b"err", stream=2) == []
    assert text(encoder.flush()) == ["out", "err"]
    assert encoder.flush() == []


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_however_frames_are_cut_the_text_is_the_same(parts: list[bytes]) -> None:
    cut, whole = Encoder(), Encoder()
    data = b"".join(parts)
    one = text([*feed(cut, *[part for part in parts if part]), *cut.flush()])
    two = text([*(feed(whole, data) if data else []), *whole.flush()])
    assert one == two


@given(st.binary(max_size=60_000))
def test_quick_and_exact_way_agree(data: bytes) -> None:
    encoder = Encoder()
    joined = "".join(text([*(feed(encoder, data) if data else []), *encoder.flush()]))
    pieces = [piece[start : start + PART] for piece in data.split(b"\n") for start in range(0, max(len(piece), 1), PART)]
    assert joined.replace("\n", "") == "".join(json.loads(b'"' + escape(piece) + b'"') for piece in pieces)


def test_stamps_are_rfc3339nano() -> None:
    assert stamp(T) == "2023-11-14T22:13:20.12Z"
    assert stamp(1_700_000_000_000_000_000) == "2023-11-14T22:13:20Z"
    assert stamp(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"
