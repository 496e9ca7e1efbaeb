"""The spool's bytes: frames, cursors and names of segments (docs/spool.md). Shared by the monitor and by the readers.

Standard library only: this module is loaded into every monitor.
"""

import itertools
import os
import struct
import zlib

HEADER = struct.Struct("<IIBBHIQQ")
HEADER_SIZE = HEADER.size
PAYLOAD_LIMIT = 65536
CURSOR = struct.Struct("<QQQI")

# Streams.
MONITOR = 0
STDOUT = 1  # also a terminal's output
STDERR = 2

# Flags, on stream 0 only.
DROPPED = 1
END = 2

# What the names of durable readers' cursors begin with; the second is an attached client's.
_ANY_CURSOR = "cursor."
CLIENT_CURSOR = "cursor.attach."

_CHUNK = 1 << 20


def header(length: int, stream: int, flags: int, time_ns: int, sequence: int) -> bytes:
    """Returns the 32 bytes before a payload of that length."""
    body = HEADER.pack(0, length, stream, flags, 0, 0, time_ns, sequence)[4:]
    return zlib.crc32(body).to_bytes(4, "little") + body


def encode(stream: int, flags: int, time_ns: int, sequence: int, payload: bytes) -> bytes:
    """Returns a whole frame. Raises ValueError when the payload is too large."""
    if len(payload) > PAYLOAD_LIMIT:
        raise ValueError(f"payload of {len(payload)} bytes: at most {PAYLOAD_LIMIT}")
    return header(len(payload), stream, flags, time_ns, sequence) + payload


def sound(buffer: "bytes | bytearray | memoryview", at: int) -> bool:
    """Tells whether a header that nobody damaged begins at this place; 32 bytes must be there."""
    crc, length = struct.unpack_from("<II", buffer, at)
    return bool(length <= PAYLOAD_LIMIT and crc == zlib.crc32(buffer[at + 4 : at + HEADER_SIZE]))


def cursor(offset: int) -> bytes:
    """Returns the content of a cursor file."""
    body = struct.pack("<QQQ", offset, 0, 0)
    return body + zlib.crc32(body).to_bytes(4, "little")


def cursor_offset(data: bytes) -> int:
    """Reads a cursor file's content; 0, which holds everything, when it is short or damaged."""
    if len(data) < CURSOR.size:
        return 0
    offset, _, _, crc = CURSOR.unpack_from(data)
    return int(offset) if crc == zlib.crc32(data[:24]) else 0


def segment_name(offset: int) -> str:
    """Names the segment whose first frame has this stream offset."""
    return f"seg.{offset:016x}"


def segments(directory: str) -> list[int]:
    """Returns the offsets at which the spool's segments begin, ascending. Raises FileNotFoundError without the directory."""
    return sorted(int(name[4:], 16) for name in os.listdir(directory) if name.startswith("seg.") and len(name) == 20)


def cursors(directory: str, prefix: str = _ANY_CURSOR) -> list[int]:
    """Returns the offsets of all durable readers, or of those with cursors of such names."""
    offsets = []
    for name in os.listdir(directory):
        if name.startswith(prefix):
            try:
                fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                offsets.append(cursor_offset(os.read(fd, CURSOR.size)))
            finally:
                os.close(fd)
    return offsets


def trim(directory: str, spare: int) -> int:
    """Unlinks the segments that every durable reader has passed; returns the first offset that is left.

    The last segment and `spare` bytes before it stay in any case, for readers that hold nothing: an attach client that lags, or
    that takes its stream up again after a service was killed.
    """
    bases = segments(directory)
    if not bases:
        return 0
    held = cursors(directory)
    floor = min([*held, bases[-1] - spare])
    for base, following in itertools.pairwise(bases):
        if following > floor:
            return base
        try:
            os.unlink(f"{directory}/{segment_name(base)}")
        except FileNotFoundError:
            pass  # the service and a new run's monitor may trim at once
    return bases[-1]


class Scan:
    """What a walk over a segment's headers found."""

    __slots__ = ("broken", "end", "flags", "last", "sequence", "size", "torn")

    def __init__(self, size: int) -> None:
        self.size = size
        self.end = 0  # behind the last whole frame
        self.last = -1  # where that frame begins; -1: none
        self.flags = 0  # of that frame
        self.sequence = 0  # of the next frame
        # Payload present, payload wanted, stream, flags, time, sequence.
        self.torn: tuple[int, int, int, int, int, int] | None = None
        self.broken = False  # a damaged header stands at `end`


def scan(fd: int) -> Scan:
    """Walks over the headers of a segment. Reads it whole when frames are small: not for an event loop."""
    found = Scan(os.fstat(fd).st_size)
    while found.end + HEADER_SIZE <= found.size:
        chunk = os.pread(fd, _CHUNK, found.end)
        at = 0
        while at + HEADER_SIZE <= len(chunk):
            if not sound(chunk, at):
                found.broken = True
                return found
            _, length, stream, flags, _, _, time_ns, sequence = HEADER.unpack_from(chunk, at)
            if found.end + HEADER_SIZE + length > found.size:
                found.torn = (found.size - found.end - HEADER_SIZE, length, stream, flags, time_ns, sequence)
                return found
            found.last, found.flags, found.sequence = found.end, flags, sequence + 1
            found.end += HEADER_SIZE + length
            at += HEADER_SIZE + length
        if len(chunk) < HEADER_SIZE:
            break
    return found
