"""Reads a spool line by line, for `logs` while the router is away."""

import asyncio
import struct
import time
from collections import deque
from collections.abc import AsyncIterator

import msgspec

from skerry.containers.monitor import frames
from skerry.containers.spool import BATCH_LIMIT, Batch, SpoolReader

_DOCKER = struct.Struct(">BxxxI")
# A longer line is given out in pieces, as Docker does.
_LINE_LIMIT = 16384


class LineOptions(msgspec.Struct, kw_only=True, frozen=True):
    """What to read; as ReadSpoolRequest. Times are Unix nanoseconds, 0: not used. tail None: all."""

    stdout: bool = True
    stderr: bool = True
    since_ns: int = 0
    until_ns: int = 0
    tail: int | None = None
    timestamps: bool = False
    follow: bool = False
    multiplexed: bool = True
    # With follow: ends behind this run's END frame.
    until_run: int | None = None


async def read_lines(directory: str, options: LineOptions) -> AsyncIterator[bytes]:
    """Yields pieces of whole lines of about 256 KiB, oldest first. A line's time is that of the frame in which it began.

    A last line without its newline is given out as it is.
    """
    lines = _Lines(options)
    tail = options.tail
    begin = 0 if tail is None else await asyncio.to_thread(_tail_offset, directory, tail, lines.wanted)
    async with SpoolReader(directory, begin) as reader:
        kept: deque[bytes] = deque(maxlen=tail)
        async for batch in reader.batches(follow=False):
            if tail is None:
                for piece in _pieces(lines.take(batch)):
                    yield piece
            else:
                kept.extend(lines.take(batch))
        if not options.follow:
            kept.extend(lines.rest())
        for piece in _pieces(kept):
            yield piece
        if not options.follow or lines.past_until:
            return
        async for batch in reader.batches(until_run=options.until_run):
            for piece in _pieces(lines.take(batch)):
                yield piece
            if lines.past_until:
                return
        for piece in _pieces(lines.rest()):
            yield piece


class _Lines:
    """Joins frames to lines, per stream."""

    def __init__(self, options: LineOptions) -> None:
        self._options = options
        self.wanted = {frames.STDOUT} if options.stdout else set()
        if options.stderr:
            self.wanted.add(frames.STDERR)
        self._begun: dict[int, tuple[int, bytes]] = {}
        self.past_until = False

    def take(self, batch: Batch) -> list[bytes]:
        if batch.gap:
            self._begun.clear()
        out: list[bytes] = []
        for frame in batch.frames():
            if frame.stream not in self.wanted:
                continue
            began, start = self._begun.pop(frame.stream, (frame.time_ns, b""))
            parts = (start + frame.payload).split(b"\n")
            for line in parts[:-1]:
                self._add(out, frame.stream, began, line + b"\n")
                began = frame.time_ns
            rest = parts[-1]
            while len(rest) >= _LINE_LIMIT:
                self._add(out, frame.stream, began, rest[:_LINE_LIMIT])
                rest = rest[_LINE_LIMIT:]
            if rest:
                self._begun[frame.stream] = (began, rest)
        return out

    def rest(self) -> list[bytes]:
        out: list[bytes] = []
        for stream, (began, line) in self._begun.items():
            self._add(out, stream, began, line)
        self._begun.clear()
        return out

    def _add(self, out: list[bytes], stream: int, time_ns: int, line: bytes) -> None:
        options = self._options
        if time_ns < options.since_ns:
            return
        if options.until_ns and time_ns > options.until_ns:
            self.past_until = True
            return
        if options.timestamps:
            line = stamp(time_ns) + b" " + line
        out.append(_DOCKER.pack(stream, len(line)) + line if options.multiplexed else line)


def stamp(time_ns: int) -> bytes:
    """Returns the time as Docker prints it: RFC 3339 in UTC with nine digits."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z").encode()


def _pieces(lines: "deque[bytes] | list[bytes]") -> list[bytes]:
    pieces: list[bytes] = []
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= BATCH_LIMIT:
            pieces.append(b"".join(piece))
            piece, size = [], 0
    if piece:
        pieces.append(b"".join(piece))
    return pieces


def _tail_offset(directory: str, tail: int, wanted: set[int]) -> int:
    """Returns the offset of the segment from which on there are more than `tail` newlines, or of the first."""
    try:
        bases = frames.segments(directory)
    except FileNotFoundError:
        return 0
    found = 0
    for base in reversed(bases):
        try:
            with open(f"{directory}/{frames.segment_name(base)}", "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return base
        at = 0
        while at + 32 <= len(data) and frames.sound(data, at):
            _, length, stream, _, _, _, _, _ = frames.HEADER.unpack_from(data, at)
            if stream in wanted:
                found += data.count(b"\n", at + 32, at + 32 + length)
            at += 32 + length
        if found > tail:
            return base
    return bases[0] if bases else 0
