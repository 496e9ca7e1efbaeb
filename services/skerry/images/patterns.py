"""Go's path.Match, by which Docker filters references."""

import functools
import re

from skerry.core.errors import InvalidArgument

_BAD = "syntax error in pattern"
_MAX = 1000


@functools.lru_cache(256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Returns an expression whose fullmatch is path.Match. Raises InvalidArgument in Go's words.

    `*` and `?` stop at a slash; a class is `[a-z]` or `[^a-z]`; a backslash makes the next character plain.
    """
    if len(pattern) > _MAX:
        raise InvalidArgument(_BAD)
    parts, at = [""], 0
    while at < len(pattern):
        one = pattern[at]
        at += 1
        if one == "*":
            parts.append("")
        elif one == "?":
            parts[-1] += "[^/]"
        elif one == "[":
            text, at = _class(pattern, at)
            parts[-1] += text
        elif one == "\\":
            if at == len(pattern):
                raise InvalidArgument(_BAD)
            parts[-1] += re.escape(pattern[at])
            at += 1
        else:
            parts[-1] += re.escape(one)
    first, *rest = parts
    # Where a star ends is final once what follows it has matched: the next star takes the rest. So many stars stay fast.
    middle = "".join(f"(?>[^/]*?{part})" for part in rest[:-1] if part)
    last = f"[^/]*{rest[-1]}" if rest else ""
    return re.compile(first + middle + last, re.DOTALL)


def matches(pattern: str, text: str) -> bool:
    """Tells whether pattern matches the whole text. Raises InvalidArgument for a bad pattern."""
    return compiled(pattern).fullmatch(text) is not None


def _class(pattern: str, at: int) -> tuple[str, int]:
    negated = pattern[at : at + 1] == "^"
    at += negated
    parts: list[str] = []
    while True:
        if pattern[at : at + 1] == "]" and parts:
            ranges = "".join(parts)
            if not ranges:
                return "." if negated else "(?!)", at + 1
            return f"[{'^' if negated else ''}{ranges}]", at + 1
        low, at = _character(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _character(pattern, at + 1)
        # An empty range matches nothing in Go and is an error in Python.
        parts.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")


def _character(pattern: str, at: int) -> tuple[str, int]:
    one = pattern[at : at + 1]
    if one in ("", "-", "]"):
        raise InvalidArgument(_BAD)
    if one == "\\":
        at += 1
        one = pattern[at : at + 1]
        if not one:
            raise InvalidArgument(_BAD)
    if at + 1 >= len(pattern):
        raise InvalidArgument(_BAD)
    return one, at + 1
