"""Reading the spool the way `docker logs` reads a log: for the time when the router is away."""

import time
from collections import deque
from collections.abc import AsyncIterator, Iterator

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers.container import Container
from skerry.containers.monitor import frames
from skerry.containers.spool import Batch, SpoolReader

# As Docker's log drivers do, lines longer than this are passed on in pieces.
_LONGEST_LINE = 16 << 10
_RESPONSE = 256 << 10


async def read_spool(container: Container, request: pb.ReadSpoolRequest) -> AsyncIterator[bytes]:
    """Yields framed records of at most 256 KiB together: what the spool has, then, with follow, what comes until the run's end."""
    lines = _Lines(request)
    tail = request.tail if request.HasField("tail") else None
    kept: deque[bytes] = deque(maxlen=tail)
    async with SpoolReader(container.spool, 0) as reader:
        async for batch in reader.batches(follow=False):
            records = list(lines.take(batch))
            if tail is not None:
                kept.extend(records)
                continue
            for data in _packed(records):
                yield data
        follows = request.follow and container.state.active
        kept.extend(lines.rest() if not follows else ())
        for data in _packed(list(kept)):
            yield data
        if not follows:
            return
        async for batch in reader.batches(follow=True, until_run=container.state.run):
            for data in _packed(list(lines.take(batch))):
                yield data
        for data in _packed(list(lines.rest())):
            yield data


class _Lines:
    """Cuts frames into lines, each stream for itself, and filters them."""

    def __init__(self, request: pb.ReadSpoolRequest) -> None:
        self._request = request
        self._wanted = {frames.STDOUT: request.stdout, frames.STDERR: request.stderr}
        self._pending: dict[int, tuple[int, bytearray]] = {}

    def take(self, batch: Batch) -> Iterator[bytes]:
        for frame in batch.frames():
            if not self._wanted.get(frame.stream, False):
                continue
            time_ns, pending = self._pending.pop(frame.stream, (frame.time_ns, bytearray()))
            pending += frame.payload
            *whole, rest = bytes(pending).split(b"\n")
            for line in whole:
                yield from self._record(frame.stream, time_ns, line + b"\n")
                time_ns = frame.time_ns
            while len(rest) >= _LONGEST_LINE:
                yield from self._record(frame.stream, time_ns, rest[:_LONGEST_LINE])
                rest = rest[_LONGEST_LINE:]
            if rest:
                self._pending[frame.stream] = (time_ns, bytearray(rest))

    def rest(self) -> Iterator[bytes]:
        for stream, (time_ns, line) in self._pending.items():
            yield from self._record(stream, time_ns, bytes(line))
        self._pending.clear()

    def _record(self, stream: int, time_ns: int, line: bytes) -> Iterator[bytes]:
        request = self._request
        if time_ns < request.since_ns or (request.until_ns and time_ns > request.until_ns):
            return
        if request.timestamps:
            line = stamp(time_ns) + b" " + line
        yield (bytes((stream, 0, 0, 0)) + len(line).to_bytes(4, "big") + line) if request.multiplexed else line


def stamp(time_ns: int) -> bytes:
    """Returns RFC 3339 in UTC with nine digits."""
    seconds, nanoseconds = divmod(time_ns, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z".encode()


def _packed(records: list[bytes]) -> Iterator[bytes]:
    size = 0
    part: list[bytes] = []
    for record in records:
        if part and size + len(record) > _RESPONSE:
            yield b"".join(part)
            size, part = 0, []
        part.append(record)
        size += len(record)
    if part:
        yield b"".join(part)
