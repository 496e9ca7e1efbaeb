"""Finding places in files of lines: the last N, and the first of a time."""

from collections.abc import Callable
from typing import BinaryIO

_BLOCK = 256 << 10
_PROBE = 64 << 10
# How far a probe looks for the begin of a line among the parts of longer ones, before it gives up on that place.
PATIENCE = 1 << 20
_MAX_RECORD = 1 << 20

Keys = Callable[[bytes], list[tuple[str, bool, str]]]


def last_lines(file: BinaryIO, end: int, wanted: int) -> tuple[int, int]:
    """Returns where the last `wanted` lines before end begin, and how many there were (fewer: all, from 0)."""
    if wanted <= 0:
        return end, 0
    found, position = 0, end
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        block = file.read(position - start)
        if position == end and block.endswith(b"\n"):
            block = block[:-1]  # the newline that ends the last line
        newlines = block.count(b"\n")
        if found + newlines >= wanted:
            for _ in range(wanted - found):
                block = block[: block.rfind(b"\n")]
            return start + len(block) + 1, wanted
        found += newlines
        position = start
    return 0, found + (1 if end else 0)


def search(file: BinaryIO, size: int, since: str, keys: Keys) -> int:
    """Returns the begin of a record with none of time >= since before it, and at most a few probes' worth of older ones behind.

    The times of lines ascend. Parts of a long line all carry the first one's, so only records that begin a line are compared; where
    none is near, the search goes on below that place, which costs time and never a record.
    """
    low, high = 0, size
    while high - low > _PROBE:
        middle = (low + high) // 2
        place, time = line_after(file, middle, min(size, middle + PATIENCE), keys)
        if time and time < since:
            low = place
        else:
            high = middle
    return low


def line_after(file: BinaryIO, position: int, end: int, keys: Keys) -> tuple[int, str]:
    """Returns place and time of a record in (position, end) that begins a line; the place is that of the record or before it.

    The time is empty when there is none that surely begins one.
    """
    file.seek(position)
    # A file begins with a record; elsewhere the first whole one is behind a newline.
    rest, known, place = b"", set[str](), -1 if position else 0
    while position < end:
        data = file.read(min(_PROBE, end - position))
        if not data:
            break
        position += len(data)
        rest += data
        if place < 0:
            cut = rest.find(b"\n") + 1
            if not cut:
                if len(rest) > _MAX_RECORD:
                    break
                continue
            place = position - len(rest) + cut
            rest = rest[cut:]
        whole = rest.rfind(b"\n") + 1
        for stream, complete, time in keys(rest[:whole]):
            if stream in known:
                return place, time
            if complete:
                known.add(stream)
        rest = rest[whole:]
    return place, ""
