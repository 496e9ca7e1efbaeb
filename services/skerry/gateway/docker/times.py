"""Times and durations as Go and Docker write them."""

import calendar
import re
import time

from skerry.core.errors import InvalidArgument

ZERO = "0001-01-01T00:00:00Z"
# Docker takes shortened forms too: a date, or a time without seconds or minutes.
_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?(Z|[+-]\d\d:\d\d)?\Z")
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def rfc3339(ns: int) -> str:
    """Returns a time in Go's RFC3339Nano (no trailing zeros); 0 is Go's zero time."""
    if ns == 0:
        return ZERO
    seconds, rest = divmod(ns, 10**9)
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"


def timestamp(text: str, now_ns: int) -> int:
    """Returns nanoseconds of "SECONDS[.FRACTION]", RFC 3339 or a Go duration before now; 0 for an empty text or "0".

    Raises InvalidArgument.
    """
    if not text:
        return 0
    whole, dot, fraction = text.partition(".")
    if whole.removeprefix("-").isdigit() and whole.isascii() and (not dot or (fraction.isdigit() and fraction.isascii())):
        return int(whole) * 10**9 + int((fraction + "0" * 9)[:9])
    if (match := _RFC3339.match(text)) is not None:
        year, month, day, hour, minute, second, nanos, zone = match.groups()
        moment = (int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
        # Without a zone: the engine's own, as Docker takes it.
        seconds = calendar.timegm(moment) if zone else int(time.mktime((*moment, 0, 0, -1)))
        if zone and zone != "Z":
            offset = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
            seconds -= offset if zone[0] == "+" else -offset
        return seconds * 10**9 + int(((nanos or "") + "0" * 9)[:9])
    return now_ns - duration(text)


def duration(text: str) -> int:
    """Returns nanoseconds of a Go duration ("1h30m"). Raises InvalidArgument."""
    total, position = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != position:
            break
        total += float(match[1]) * _UNITS[match[2]]
        position = match.end()
    if not text or position != len(text):
        raise InvalidArgument(f'failed to parse value as time or duration: "{text}"')
    return int(total)


def human_duration(seconds: float) -> str:
    """Returns "5 seconds", "About a minute", "3 weeks": go-units' HumanDuration."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = int(seconds / 60)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"
