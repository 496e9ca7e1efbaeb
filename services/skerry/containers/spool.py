"""Reading spools: by offset, following, over segments and runs. The format is in docs/spool.md.

Readers ask nobody: they read files, and inotify wakes them. A frame that is shorter than its header says is not there yet.
"""

import asyncio
import errno
import os
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import NamedTuple

import msgspec

from skerry.containers.inotify import Watch
from skerry.containers.monitor import frames

BATCH_LIMIT = 256 << 10
# A durable reader's cursor is written again after so many bytes: trimming goes by whole segments.
_CURSOR_STEP = 1 << 20


class Frame(NamedTuple):
    """One frame. stream: frames.MONITOR, STDOUT or STDERR; flags: frames.DROPPED or END, on stream MONITOR only."""

    offset: int
    stream: int
    flags: int
    time_ns: int
    sequence: int
    payload: memoryview


class End(msgspec.Struct, frozen=True):
    """Payload of an END frame."""

    code: int
    run: int


class Dropped(msgspec.Struct, frozen=True):
    """Payload of a DROPPED frame."""

    stream: int
    bytes: int


class Batch(NamedTuple):
    """Whole frames as the spool has them: offset of the first, offset behind the last, and bytes that were gone before the first."""

    offset: int
    end: int
    data: bytearray
    gap: int
    # Of the gap, what was output: without the frames' headers. Exact when the reader knew the sequence of the frame it expected.
    missed: int = 0
    # Of the frame behind the batch.
    sequence: int = 0

    def frames(self) -> Iterator[Frame]:
        """Walks over the frames. Their headers were checked already."""
        view = memoryview(self.data)
        at = 0
        while at < len(view):
            _, length, stream, flags, _, _, time_ns, sequence = frames.HEADER.unpack_from(view, at)
            yield Frame(self.offset + at, stream, flags, time_ns, sequence, view[at + 32 : at + 32 + length])
            at += 32 + length


class SpoolReader:
    """Reads one spool from an offset on. Use it in `async with`.

    offset None begins at the spool's end as it is when entered. A directory that does not exist yet is made, so that a reader can be
    there before the process. hold makes it a durable reader of that name: what it has not passed stays in the spool until the reader
    is closed, and the process waits at the quota, also where it would drop for the router. Without hold it never stalls anybody; what
    it missed is in Batch.gap.
    """

    def __init__(self, directory: str, offset: int | None = 0, *, hold: str = "", sequence: int | None = None, behind: int = 0) -> None:
        """sequence: of the frame at offset, if that is known: it makes Batch.missed exact from the first batch on.

        behind: bytes that are held though they were given away, as they may be lost on their way with this process.
        """
        self._behind = behind
        self._directory = directory
        self._begin = offset
        self._sequence = 0 if offset == 0 else sequence
        self._hold = f"{directory}/{frames.CLIENT_CURSOR}{hold}" if hold else ""
        self._held = 0
        self.offset = offset or 0
        # Time of the last frame before an offset that was the spool's end; 0: none, or not looked up.
        self.before_ns = 0
        self._fd = -1
        self._base = 0
        self._gap = 0
        self._news = asyncio.Event()
        self._watch: Watch | None = None
        self._closed = False

    async def __aenter__(self) -> "SpoolReader":
        await asyncio.to_thread(os.makedirs, self._directory, 0o700, True)
        self._watch = Watch(self._directory, self._news.set)
        try:
            if self._hold:
                # Before the end is looked for: nothing may be trimmed in between.
                await asyncio.to_thread(write_cursor, self._hold, 0)
            if self._begin is None:
                span, self._sequence, self.before_ns = await asyncio.to_thread(_range, self._directory)
                self._begin = self.offset = span.end
            self._move_cursor(self.offset)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stop()
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._hold:
            try:
                os.unlink(self._hold)
            except FileNotFoundError:
                pass

    def leave_hold(self) -> None:
        """Makes the hold outlast the reader: the service stops, and the next one gives it to who comes back for it."""
        self._hold = ""

    def stop(self) -> None:
        """Makes `batches` end; what it yielded last is not given free."""
        self._closed = True
        self._news.set()

    async def batches(self, *, follow: bool = True, until_run: int | None = None, limit: int = BATCH_LIMIT) -> AsyncIterator[Batch]:
        """Yields what is there, as whole frames of at most limit bytes together, then, with follow, what comes.

        Ends behind the END frame of until_run or of a later run; without follow at the spool's present end; and when closed.
        A durable reader gives a batch free by asking for the next one.
        """
        buffer_size = max(limit, frames.HEADER_SIZE + frames.PAYLOAD_LIMIT)
        while not self._closed:
            # First forget old news, then read until short: no wake-up is lost.
            self._news.clear()
            batch, run = await self._read(buffer_size, limit, until_run is not None)
            if batch is None:
                if not follow:
                    return
                if self.offset > self._held:
                    # The writer may wait for just this at its quota.
                    self._move_cursor(self.offset)
                await self._news.wait()
                continue
            ended = until_run is not None and run >= until_run
            yield batch
            if self._hold and not self._closed and (self.offset - self._held >= _CURSOR_STEP or ended):
                self._move_cursor(self.offset)
            if ended:
                return

    def _move_cursor(self, offset: int) -> None:
        if self._hold:
            write_cursor(self._hold, max(self._begin or 0, offset - self._behind))
            self._held = offset

    async def _read(self, size: int, limit: int, cut_at_end: bool) -> tuple[Batch | None, int]:
        """Returns the next batch, and the run whose END frame closes it when cut_at_end is set; 0: none does."""
        while True:
            if self._fd < 0 and not await self._open():
                return None, 0
            data = await self._bytes(size)
            end, last, broken = _whole(data, limit, cut_at_end)
            if end:
                del data[end:]
                missed = self._missed(_sequence(data, 0))
                self._sequence = _sequence(data, last) + 1
                batch = Batch(self.offset, self.offset + end, data, self._gap, missed, self._sequence)
                self.offset += end
                self._gap = 0
                ended = cut_at_end and data[last + _FLAGS] == frames.END
                return batch, msgspec.json.decode(memoryview(data)[last + 32 :], type=End).run if ended else 0
            if not await self._next(broken):
                return None, 0

    async def _open(self) -> bool:
        """Opens the segment that has the offset, or the first later one; what lies between is a gap."""
        while True:
            try:
                bases = frames.segments(self._directory)
            except FileNotFoundError:
                return False
            base = max((base for base in bases if base <= self.offset), default=None)
            if base is None:
                if not bases:
                    return False
                base = bases[0]
            try:
                self._fd = os.open(f"{self._directory}/{frames.segment_name(base)}", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # trimmed just now
            self._base = base
            if base > self.offset:
                self._skip(base)
            return True

    async def _next(self, broken: bool) -> bool:
        """Moves to the next segment when this one is read out. Returns False when there is none yet."""
        following = min((base for base in self._segments() if base > self._base), default=None)
        if following is None:
            return False
        # The writer rolls only behind a whole frame, but a frame may have come between our read and this look.
        if not broken and self._base + os.fstat(self._fd).st_size > self.offset and await self._readable():
            return True
        os.close(self._fd)
        self._fd = -1
        if following > self.offset:
            self._skip(following)
        return True

    async def _readable(self) -> bool:
        data = await self._bytes(frames.HEADER_SIZE + frames.PAYLOAD_LIMIT)
        return _whole(data, len(data), False)[0] > 0

    def _segments(self) -> list[int]:
        try:
            return frames.segments(self._directory)
        except FileNotFoundError:
            return []

    def _missed(self, sequence: int) -> int:
        """Returns how much of the gap before a frame of that sequence was output."""
        if not self._gap or self._sequence is None:
            return self._gap
        return max(0, self._gap - frames.HEADER_SIZE * (sequence - self._sequence))

    def _skip(self, offset: int) -> None:
        self._gap += offset - self.offset
        self.offset = offset

    async def _bytes(self, size: int) -> bytearray:
        """Reads at the offset: from the page cache here, from the disk on a thread."""
        buffer = bytearray(size)
        at = self.offset - self._base
        try:
            count = os.preadv(self._fd, [buffer], at, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):
                raise
            count = -1
        if count < 0 or (0 < count < size and at + count < os.fstat(self._fd).st_size):
            # Held while the thread reads: closing this reader meanwhile must not hand the number to another file.
            fd = os.dup(self._fd)
            try:
                count = await asyncio.to_thread(os.preadv, fd, [buffer], at)
            finally:
                os.close(fd)
        del buffer[count:]
        return buffer


class Range(NamedTuple):
    """What a spool holds: first offset, end of the last whole frame, and the run whose END frame is the last one (0: none is)."""

    first: int
    end: int
    ended_run: int


async def spool_range(directory: str) -> Range:
    """Looks a spool up; zeros when there is none."""
    return (await asyncio.to_thread(_range, directory))[0]


def frame_output(batch: Batch, *, tty: bool, stdout: bool = True, stderr: bool = True) -> tuple[bytes, int]:
    """Turns a batch into a client's output: 8-byte headers and bytes, for a terminal the bytes alone. May be empty.

    Returns with it how many bytes of the wanted streams were dropped at the quota.
    """
    data = batch.data
    view = memoryview(data)
    parts: list[bytes | memoryview] = []
    wanted = {frames.STDOUT: stdout, frames.STDERR: stderr, frames.MONITOR: False}
    at = dropped = 0
    while at < len(data):
        length, stream = _LENGTH_STREAM.unpack_from(data, at + 4)
        if stream == frames.MONITOR and data[at + _FLAGS] == frames.DROPPED:
            marker = msgspec.json.decode(view[at + 32 : at + 32 + length], type=Dropped)
            dropped += marker.bytes if wanted.get(marker.stream) else 0
        at += 32
        if length and wanted.get(stream, False):
            if not tty:
                parts.append(_DOCKER.pack(stream, length))
            parts.append(view[at : at + length])
        at += length
    return b"".join(parts), dropped


def write_cursor(path: str, offset: int) -> None:
    """Writes a cursor file in place: 28 bytes, which a reader checks by their crc."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, frames.cursor(offset), 0)
    finally:
        os.close(fd)


def holds(directory: str) -> dict[str, int]:
    """Returns the cursors of attached clients and when each was written. At the service's start these are an earlier service's. Blocks."""
    found = {}
    try:
        for name in os.listdir(directory):
            if name.startswith(frames.CLIENT_CURSOR):
                found[name] = os.stat(f"{directory}/{name}").st_mtime_ns
    except FileNotFoundError:
        pass
    return found


def release_holds(directory: str, earlier: Mapping[str, int]) -> None:
    """Removes those of an earlier service's that no reader took over since: it would have written them. Blocks."""
    for name, written in holds(directory).items():
        if earlier.get(name) == written:
            os.unlink(f"{directory}/{name}")


_LENGTH_STREAM = struct.Struct("<IB")
_DOCKER = struct.Struct(">BxxxI")
_FLAGS = 9  # where a header has its flags


def _sequence(data: bytearray, at: int) -> int:
    """Returns the sequence in the header at a place."""
    return int.from_bytes(data[at + 24 : at + 32], "little")


def _whole(data: bytearray, limit: int, cut_at_end: bool) -> tuple[int, int, bool]:
    """Returns where the whole frames end (at limit, but behind the first at least), where the last of them begins, and whether a
    damaged header stands behind it. With cut_at_end an END frame is the last one."""
    at = last = 0
    size = len(data)
    while at + 32 <= size:
        if not frames.sound(data, at):
            return at, last, True
        following = int(at + 32 + _LENGTH_STREAM.unpack_from(data, at + 4)[0])
        if following > size or (at and following > limit):
            break
        last, at = at, following
        if cut_at_end and data[last + _FLAGS] == frames.END:
            break
    return at, last, False


def end_of(frame: Frame) -> End:
    """Decodes an END frame's payload."""
    return msgspec.json.decode(frame.payload, type=End)


def _range(directory: str) -> tuple[Range, int, int]:
    """Returns what the spool holds, the sequence of the frame that comes next, and the time of the one before."""
    try:
        bases = frames.segments(directory)
    except FileNotFoundError:
        return Range(0, 0, 0), 0, 0
    end = run = sequence = time_ns = 0
    # The last segment may be empty: it was begun when the one before was full.
    for base in reversed(bases[-2:]):
        try:
            fd = os.open(f"{directory}/{frames.segment_name(base)}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            found = frames.scan(fd)
            end = max(end, base + found.end)
            sequence = max(sequence, found.sequence)
            if found.last >= 0:
                time_ns = int.from_bytes(os.pread(fd, 8, found.last + 16), "little")
            if found.flags == frames.END:
                payload = os.pread(fd, found.end - found.last - 32, found.last + 32)
                run = msgspec.json.decode(payload, type=End).run
        finally:
            os.close(fd)
        if found.last >= 0:
            break
    return Range(bases[0] if bases else 0, end, run), sequence, time_ns
