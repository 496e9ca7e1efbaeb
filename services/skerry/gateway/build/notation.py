"""Go's notations where Docker's builder puts them into histories and texts: %q, %v, durations."""

import re
from collections.abc import Sequence

_SHORT = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\"}
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def _escaped(one: str, quote: str) -> str:
    if one == quote:
        return f"\\{quote}"
    if one in _SHORT:
        return _SHORT[one]
    if one.isprintable():
        return one
    code = ord(one)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as Python carries it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quoted(text: str) -> str:
    """Returns %q of a string."""
    return '"' + "".join(_escaped(one, '"') for one in text) + '"'


def quoted_list(values: Sequence[str] | None) -> str:
    """Returns %q of a list of strings."""
    return "[" + " ".join(quoted(one) for one in values or ()) + "]"


def quoted_rune(number: int) -> str:
    """Returns %q of a number: the character with that code."""
    return "'" + _escaped(chr(number if 0 <= number <= 0x10FFFF else 0xFFFD), "'") + "'"


def listed(values: Sequence[str]) -> str:
    """Returns %v of a list of strings."""
    return "[" + " ".join(values) + "]"


def duration(nanoseconds: int) -> str:
    """Returns a duration as Go prints it: 1h0m5s, 1.5s, 3ms."""
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 10**9:
        unit, size = next((name, size) for name, size in (("ms", 10**6), ("µs", 10**3), ("ns", 1)) if nanoseconds >= size)
        return f"{_decimal(nanoseconds, size)}{unit}"
    seconds, fraction = divmod(nanoseconds, 10**9)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(seconds * 10**9 + fraction, 10**9)}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def parse_duration(text: str) -> int:
    """Returns nanoseconds. Raises ValueError in Go's words."""
    body = text.removeprefix("+").removeprefix("-")
    if body == "0":
        return 0
    parts = _DURATION.findall(body)
    if not parts or "".join(number + unit for number, unit in parts) != body:
        missing = re.fullmatch(r"[0-9.]+", body) is not None and body != "."
        raise ValueError(f"time: missing unit in duration {quoted(text)}" if missing else f"time: invalid duration {quoted(text)}")
    total = 0
    for number, unit in parts:
        whole, _, fraction = number.partition(".")
        total += int(whole or "0") * _UNITS[unit]
        if fraction:
            total += int(fraction[:18]) * _UNITS[unit] // 10 ** len(fraction[:18])
    if total >= 1 << 63:
        raise ValueError(f"time: invalid duration {quoted(text)}")
    return -total if text.startswith("-") else total
