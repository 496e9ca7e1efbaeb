import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.logs.lines import PART, Encoder, attributes, escape, escape_chunk, stamp

T = 1_700_000_000_120_000_000


def text(records: list[bytes]) -> list[str]:
    return [json.loads(record)["log"] for record in records]


def feed(encoder: Encoder, *payloads: bytes, stream: int = 1) -> list[bytes]:
    out = b"".join(encoder.records(stream, memoryview(payload), T + number) for number, payload in enumerate(payloads))
    return split(out)


def split(records: bytes) -> list[bytes]:
    assert not records or records.endswith(b"\n")
    return [record + b"\n" for record in records.split(b"\n")[:-1]]


def end(encoder: Encoder, time_ns: int = T + 99) -> list[bytes]:
    return split(encoder.flush(time_ns))


def times(records: list[bytes]) -> list[str]:
    return [json.loads(record)["time"] for record in records]


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


def test_a_line_over_several_frames_carries_the_time_of_its_newline() -> None:
    records = feed(Encoder(), b"one ", b"two", b" three\nnext\n")
    assert text(records) == ["one two three\n", "next\n"]
    assert times(records) == [stamp(T + 2), stamp(T + 2)]


def test_parts_of_a_long_line_carry_the_time_at_which_the_first_was_full() -> None:
    encoder = Encoder()
    records = feed(encoder, b"a" * 10_000, b"a" * 10_000, b"a" * 20_000, b"end\nnext\n")
    assert [len(one) for one in text(records)] == [PART, PART, 40_000 + 4 - 2 * PART, 5]
    assert times(records) == [stamp(T + 1)] * 3 + [stamp(T + 3)]


def test_pending_lines_of_the_two_streams_are_kept_apart() -> None:
    encoder = Encoder()
    out = b"".join(encoder.records(stream, part, T) for stream, part in [(1, b"o1 "), (2, b"e1 "), (1, b"o2\n"), (2, b"e2\n")])
    assert [(json.loads(one)["stream"], json.loads(one)["log"]) for one in split(out)] == [("stdout", "o1 o2\n"), ("stderr", "e1 e2\n")]


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
    records = end(encoder)
    assert text(records) == ["out", "err"]
    assert times(records) == [stamp(T + 99)] * 2
    assert end(encoder) == []


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_however_frames_are_cut_the_text_is_the_same(parts: list[bytes]) -> None:
    cut, whole = Encoder(), Encoder()
    data = b"".join(parts)
    one = text([*feed(cut, *[part for part in parts if part]), *end(cut)])
    two = text([*(feed(whole, data) if data else []), *end(whole)])
    assert one == two


@given(st.binary(max_size=60_000))
def test_quick_and_exact_way_agree(data: bytes) -> None:
    encoder = Encoder()
    joined = "".join(text([*(feed(encoder, data) if data else []), *end(encoder)]))
    pieces = [piece[start : start + PART] for piece in data.split(b"\n") for start in range(0, max(len(piece), 1), PART)]
    assert joined.replace("\n", "") == "".join(json.loads(b'"' + escape(piece) + b'"') for piece in pieces)


def test_stamps_are_rfc3339nano() -> None:
    assert stamp(T) == "2023-11-14T22:13:20.12Z"
    assert stamp(1_700_000_000_000_000_000) == "2023-11-14T22:13:20Z"
    assert stamp(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"


@given(st.lists(st.one_of(st.binary(max_size=40), st.text(max_size=20).map(str.encode)), max_size=20))
def test_chunks_are_escaped_as_lines_are(pieces: list[bytes]) -> None:
    data = b"\n".join(pieces)
    assert escape_chunk(data) == b"\n".join(escape(line) for line in data.split(b"\n"))


def test_attributes_are_escaped_as_go_escapes_a_map() -> None:
    assert attributes({"x": '<ü & "q">\t', "E": "1\n2"}) == '"attrs":{"E":"1\\n2","x":"\\u003cü \\u0026 \\"q\\"\\u003e\\t"},'.encode()
    assert attributes({}) == b""
