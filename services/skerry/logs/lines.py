"""From frames to json-file records: Docker's copier and jsonlog, byte for byte.

Lines are split at newlines only; one longer than 16 KiB becomes parts that carry the first part's time; what has no newline at the
end of the stream is a part too.
"""

import codecs
import json
import re
import time

import msgspec

PART = 16384
_STREAMS = {1: "stdout", 2: "stderr"}
# What the quick way may not contain: everything that needs an escape, but the newlines it replaces itself.
_ODD = re.compile(rb'[\x00-\x09\x0b-\x1f"\\<>&\x80-\xff]')
_BAD_BYTE = 0xDCFF
_ESCAPES = {
    **{number: f"\\u{number:04x}" for number in range(0x20)},
    0x0A: "\\n",
    0x0D: "\\r",
    0x22: '\\"',
    0x5C: "\\\\",
    0x3C: "\\u003c",
    0x3E: "\\u003e",
    0x26: "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
    _BAD_BYTE: "\\ufffd",
}


def _each_byte(error: UnicodeError) -> tuple[str, int]:
    # Go replaces every bad byte by one replacement character; Python would replace a run by one.
    assert isinstance(error, UnicodeDecodeError)
    return chr(_BAD_BYTE) * (error.end - error.start), error.end


codecs.register_error("skerry-each-byte", _each_byte)


class Pending(msgspec.Struct):
    """What one stream has of an unfinished line: kept over a restart, so that no byte and no time is lost."""

    data: bytes = b""
    time_ns: int = 0
    # Parts of this line may have been written already; the rest carries the same time.
    begun: bool = False


def stamp(time_ns: int) -> str:
    """Returns RFC3339Nano: trailing zeros of the fraction cut."""
    seconds, nanoseconds = divmod(time_ns, 10**9)
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}{fraction}Z"


def escape(data: bytes) -> bytes:
    """Returns the inside of a JSON string as moby's jsonlog writes it."""
    return data.decode("utf-8", "skerry-each-byte").translate(_ESCAPES).encode("utf-8")


def attributes(extra: dict[str, str]) -> bytes:
    """Returns the fixed middle part of records; empty when there are none."""
    return b'"attrs":' + json.dumps(dict(sorted(extra.items())), separators=(",", ":")).encode() + b"," if extra else b""


class Encoder:
    """Turns frames' payloads into records of one container. Its state is `pending`, by stream."""

    def __init__(self, attrs: bytes = b"") -> None:
        self._attrs = attrs
        self.pending: dict[int, Pending] = {1: Pending(), 2: Pending()}

    def _tail(self, stream: int, time_ns: int) -> bytes:
        return b'","stream":"' + _STREAMS[stream].encode() + b'",' + self._attrs + b'"time":"' + stamp(time_ns).encode() + b'"}\n'

    def records(self, stream: int, payload: memoryview, time_ns: int) -> list[bytes]:
        """Returns records, each ending with a newline, in order."""
        waiting = self.pending[stream]
        data = bytes(payload)
        last = data.rfind(b"\n")
        if last < 0 and len(waiting.data) + len(data) < PART:
            if not waiting.begun:
                waiting.time_ns, waiting.begun = time_ns, True
            waiting.data += data
            return []
        out: list[bytes] = []
        if waiting.begun:
            first, newline, data = data.partition(b"\n")
            out += self._line(stream, waiting.data + first, waiting.time_ns, ended=bool(newline))
            if not newline:
                return out
            last = data.rfind(b"\n")
        whole, rest = data[: last + 1], data[last + 1 :]
        self.pending[stream] = Pending()
        if whole:
            out += self._whole(stream, whole, time_ns)
        if rest:
            out += self._line(stream, rest, time_ns, ended=False)
        return out

    def _whole(self, stream: int, data: bytes, time_ns: int) -> list[bytes]:
        tail = self._tail(stream, time_ns)
        parts = data[:-1].split(b"\n")
        if len(data) > PART and max(map(len, parts)) >= PART:
            return [record for line in parts for record in self._line(stream, line, time_ns, ended=True)]
        ending = b"\\n" + tail
        if _ODD.search(data) is None:
            return [b'{"log":"' + line + ending for line in parts]
        return [b'{"log":"' + (line if _ODD.search(line) is None else escape(line)) + ending for line in parts]

    def _line(self, stream: int, line: bytes, time_ns: int, *, ended: bool) -> list[bytes]:
        """Cuts one line into parts; what is left without a newline stays pending."""
        tail = self._tail(stream, time_ns)
        cut = len(line) - len(line) % PART
        out = [b'{"log":"' + escape(line[start : start + PART]) + tail for start in range(0, cut, PART)]
        rest = line[cut:]
        if ended:
            out.append(b'{"log":"' + escape(rest) + b"\\n" + tail)
            self.pending[stream] = Pending()
        else:
            self.pending[stream] = Pending(rest, time_ns, begun=True)
        return out

    def flush(self) -> list[bytes]:
        """Returns what the end of the streams leaves: parts without a newline."""
        out = []
        for stream, waiting in self.pending.items():
            if waiting.data:
                out.append(b'{"log":"' + escape(waiting.data) + self._tail(stream, waiting.time_ns))
            self.pending[stream] = Pending()
        return out
