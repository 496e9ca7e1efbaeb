"""Spool frames as the node ships them (docs/spool.md): a 32-byte header, then the bytes as they came out of the container."""

import struct
import zlib
from collections.abc import Iterator

import msgspec

from skerry.core.errors import InvalidArgument

HEADER = struct.Struct("<IIBBHIQQ")
MAX_PAYLOAD = 64 << 10
DROPPED, END = 1, 2


class Frame(msgspec.Struct, frozen=True):
    """One frame. stream: 0 the monitor's own words, 1 stdout or terminal, 2 stderr."""

    stream: int
    flags: int
    time_ns: int
    payload: memoryview


class _Dropped(msgspec.Struct):
    lines: int = 0


def decode(data: bytes) -> Iterator[Frame]:
    """Yields whole frames. Raises InvalidArgument for a torn frame or a header whose check sum is wrong."""
    view = memoryview(data)
    position, end = 0, len(view)
    while position < end:
        if end - position < HEADER.size:
            raise InvalidArgument("batch ends within a frame's header")
        check, length, stream, flags, _, _, time_ns, _ = HEADER.unpack_from(view, position)
        if zlib.crc32(view[position + 4 : position + HEADER.size]) != check:
            raise InvalidArgument("frame header has a wrong check sum")
        start = position + HEADER.size
        if length > MAX_PAYLOAD or start + length > end:
            raise InvalidArgument("batch ends within a frame")
        yield Frame(stream, flags, time_ns, view[start : start + length])
        position = start + length


def dropped_lines(frame: Frame) -> int:
    """Returns how many lines the monitor says it dropped here (log mode non-blocking); 0 for other frames."""
    if frame.stream != 0 or frame.flags != DROPPED:
        return 0
    try:
        return max(0, msgspec.json.decode(frame.payload, type=_Dropped).lines)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"frame of dropped lines is not as it should be: {error}") from None
