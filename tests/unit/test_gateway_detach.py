"""Detach keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import InvalidArgument
from skerry.gateway.detach import DEFAULT, Detector, parse


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", DEFAULT),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("ctrl-a", b"\x01"),
        ("x,y", b"xy"),
        ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x00\x1b\x1c\x1d\x1e\x1f"),
        ("del", b"\x7f"),
    ],
)
def test_notation(text: str, keys: bytes) -> None:
    assert parse(text) == keys


@pytest.mark.parametrize("text", ["zz", "ctrl-", "ctrl-1", "a,", "é"])
def test_wrong_notation_is_refused_in_dockers_words(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    assert str(caught.value) == f"Invalid detach keys ({text}) provided"


def test_keys_are_found_across_pieces_and_not_passed_on() -> None:
    detector = Detector(b"\x10\x11")
    assert detector.feed(b"ab\x10") == (b"ab", False)
    assert detector.feed(b"\x11rest") == (b"", True)


def test_a_begun_sequence_that_does_not_go_on_is_input() -> None:
    detector = Detector(b"\x10\x11")
    assert detector.feed(b"\x10") == (b"", False)
    assert detector.feed(b"x") == (b"\x10x", False)
    assert detector.feed(b"\x10\x10\x11") == (b"\x10", True)


def test_one_key_is_enough() -> None:
    assert Detector(b"\x01").feed(b"a\x01b") == (b"a", True)


@given(st.lists(st.binary(max_size=8), max_size=20))
def test_input_without_the_keys_passes_unchanged(pieces: list[bytes]) -> None:
    detector = Detector(b"\x10\x11\x12")
    whole = b"".join(pieces)
    if b"\x10" in whole:
        return
    assert b"".join(detector.feed(piece)[0] for piece in pieces) == whole
