"""Spool frames for tests, written from their definition in docs/spool.md."""

import struct
import zlib


def frame(stream: int, payload: bytes, time_ns: int = 1_700_000_000_123_456_789, flags: int = 0, sequence: int = 0) -> bytes:
    """Returns one frame."""
    rest = struct.pack("<IBBHIQQ", len(payload), stream, flags, 0, 0, time_ns, sequence)
    return struct.pack("<I", zlib.crc32(rest)) + rest + payload


def end(code: int = 0, run: int = 1, time_ns: int = 1_700_000_001_000_000_000) -> bytes:
    """Returns the frame that ends a run."""
    return frame(0, b'{"code":%d,"run":%d}' % (code, run), time_ns, flags=2)
