"""Go's path.Match; the table is the one of Go's own tests for it, as far as it concerns what a name may hold."""

import time

import pytest

from skerry.core.errors import InvalidArgument
from skerry.images.patterns import matches


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("abc", "abc", True), ("*", "abc", True), ("*c", "abc", True), ("a*", "a", True), ("a*", "abc", True), ("a*", "ab/c", False),
        ("a*/b", "abc/b", True), ("a*/b", "a/c/b", False), ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True), ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False), ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", False),
        ("a*b?c*x", "abxbbxdbxebxczzx", True), ("a*b?c*x", "abxbbxdbxebxczzy", False), ("ab[c]", "abc", True), ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False), ("ab[^c]", "abc", False), ("ab[^b-d]", "abc", False), ("ab[^e-g]", "abc", True), ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False), ("a?b", "a☺b", True), ("a[^a]b", "a☺b", True), ("a???b", "a☺b", False), ("[a-ζ]*", "α", True),
        ("*[a-ζ]", "A", False), ("a?b", "a/b", False), ("a*b", "a/b", False), ("[\\]a]", "]", True), ("[\\-]", "-", True),
        ("[x\\-]", "x", True), ("[\\-x]", "a", False), ("*x", "xxx", True), ("[d-b]", "c", False), ("a.c", "abc", False),
        ("*/*", "user/image", True), ("busybox:1.*", "busybox:1.36", True), ("b*x*:*", "busybox:1", True), ("**", "abc", True),
    ],
)  # fmt: skip
def test_match(pattern: str, text: str, expected: bool) -> None:
    assert matches(pattern, text) is expected


@pytest.mark.parametrize("pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a\\", "[a", "x" * 2000])
def test_bad_patterns_are_refused_in_gos_words(pattern: str) -> None:
    with pytest.raises(InvalidArgument, match="syntax error in pattern"):
        matches(pattern, "a")


def test_many_stars_stay_fast() -> None:
    begin = time.monotonic()
    assert not matches("*a" * 200 + "b", "a" * 250)
    assert time.monotonic() - begin < 1
