"""From frames to json-file records: Docker's copier and jsonlog, byte for byte.

Lines are split at newlines only and carry the time at which their newline came; one that fills 16 KiB becomes parts that carry the
time at which the first was full; what has no newline at the end of the stream is a part of that moment.
"""

import time
from collections.abc import Iterator, Mapping

import msgspec

PART = 16384
_STREAMS = {1: "stdout", 2: "stderr"}
_BAD_BYTE = b"\\ufffd"
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
}
# For whole chunks: what to replace in bytes, the backslash first. Newlines are left: they part the chunk into records.
_SINGLE = [
    (bytes([number]), _ESCAPES[number].encode()) for number in sorted(_ESCAPES, key=lambda n: n != 0x5C) if number < 0x80 and number != 0x0A
]
# Stands for a question mark for a moment; a control character that was escaped by then.
_QUESTION = b"\x01"
_ODD = b"".join(raw for raw, _ in _SINGLE)
_SEPARATORS = [(chr(number).encode(), _ESCAPES[number].encode()) for number in (0x2028, 0x2029)]
# Attributes go through Go's encoding/json, which knows one escape more than jsonlog.
_ATTRIBUTE_ESCAPES = {**_ESCAPES, 0x09: "\\t"}


class Pending(msgspec.Struct):
    """What one stream has of an unfinished line: kept over a restart, so that no byte and no time is lost."""

    data: bytes = b""
    # When the first part of this line was full; 0 while none was written.
    time_ns: int = 0
    # Parts of this line were written; the rest carries their time.
    begun: bool = False


def pending(known: Mapping[int, Pending]) -> dict[int, Pending]:
    """Returns what an encoder begins with: what is known, nothing for the other stream."""
    return {1: Pending(), 2: Pending(), **known}


def stamp(time_ns: int) -> str:
    """Returns RFC3339Nano: trailing zeros of the fraction cut."""
    seconds, nanoseconds = divmod(time_ns, 10**9)
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}{fraction}Z"


def escape(data: bytes) -> bytes:
    """Returns the inside of a JSON string as moby's jsonlog writes it, for any bytes."""
    return escape_chunk(data).replace(b"\n", b"\\n")


def escape_chunk(data: bytes) -> bytes:
    """Returns data with each line escaped as `escape` does; the newlines between them stay."""
    if len(data.translate(None, _ODD)) != len(data):
        for raw, escaped in _SINGLE:
            if raw in data:
                data = data.replace(raw, escaped)
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            data = _without_bad(data)
        for raw, escaped in _SEPARATORS:
            data = data.replace(raw, escaped)
    return data


def _without_bad(data: bytes) -> bytes:
    """Replaces each byte that is no UTF-8, as Go does (Python would replace a run by one character). data has no control characters.

    Binary output is all of it bad, so this leaves the work to codecs: each bad byte becomes a surrogate, and that a question mark.
    """
    held = data.replace(b"?", _QUESTION)
    marked = held.decode("utf-8", "surrogateescape").encode("utf-8", "replace")
    return marked.replace(b"?", _BAD_BYTE).replace(_QUESTION, b"?")


def attributes(extra: dict[str, str]) -> bytes:
    """Returns the fixed middle part of records; empty when there are none."""
    if not extra:
        return b""
    pairs = ",".join(f"{_attribute(key)}:{_attribute(value)}" for key, value in sorted(extra.items(), key=lambda pair: pair[0].encode()))
    return b'"attrs":{' + pairs.encode() + b"},"


def _attribute(text: str) -> str:
    return f'"{text.translate(_ATTRIBUTE_ESCAPES)}"'


def _has_long(data: bytes) -> bool:
    """Tells whether a line of data, which ends with a newline, fills a part. Hops from newline to newline, a part at a time."""
    position = 0
    while len(data) - position > PART:
        newline = data.rfind(b"\n", position, position + PART)
        if newline < 0:
            return True
        position = newline + 1
    return False


class Encoder:
    """Turns frames' payloads into records of one container. Its state is `pending`, by stream."""

    def __init__(self, attrs: bytes = b"") -> None:
        self._attrs = attrs
        self.pending = pending({})

    def _tail(self, stream: int, time_ns: int) -> bytes:
        return b'","stream":"' + _STREAMS[stream].encode() + b'",' + self._attrs + b'"time":"' + stamp(time_ns).encode() + b'"}\n'

    def records(self, stream: int, payload: bytes | memoryview, time_ns: int) -> bytes:
        """Returns the records, each ending with a newline, that the payload completes. stream is 1 or 2."""
        waiting = self.pending[stream]
        data = waiting.data + payload
        begun, begun_ns = waiting.begun, waiting.time_ns
        end = data.rfind(b"\n") + 1
        out = b""
        if begun and end:
            first = data.find(b"\n") + 1
            out = self._lines(stream, data[:first], begun_ns)
            data, end, begun = data[first:], end - first, False
        if end:
            out += self._lines(stream, data[:end], time_ns)
            data = data[end:]
        if len(data) >= PART:
            begun, begun_ns = True, begun_ns if begun else time_ns
            cut = len(data) - len(data) % PART
            out += b"".join(self._parts(data[:cut], self._tail(stream, begun_ns)))
            data = data[cut:]
        self.pending[stream] = Pending(data, begun_ns if begun else 0, begun)
        return out

    def _lines(self, stream: int, data: bytes, time_ns: int) -> bytes:
        """Returns the records of data, which ends with a newline."""
        tail = self._tail(stream, time_ns)
        if not _has_long(data):
            tail = b"\\n" + tail
            return b'{"log":"' + escape_chunk(data)[:-1].replace(b"\n", tail + b'{"log":"') + tail
        out: list[bytes] = []
        for line in data[:-1].split(b"\n"):
            cut = len(line) - len(line) % PART
            out += self._parts(line[:cut], tail)
            out.append(b'{"log":"' + escape(line[cut:]) + b"\\n" + tail)
        return b"".join(out)

    def _parts(self, data: bytes, tail: bytes) -> Iterator[bytes]:
        return (b'{"log":"' + escape(data[start : start + PART]) + tail for start in range(0, len(data), PART))

    def flush(self, time_ns: int) -> bytes:
        """Returns what the end of the streams at time_ns leaves: parts without a newline."""
        out = b""
        for stream, waiting in self.pending.items():
            if waiting.data:
                out += b'{"log":"' + escape(waiting.data) + self._tail(stream, waiting.time_ns if waiting.begun else time_ns)
            self.pending[stream] = Pending()
        return out
