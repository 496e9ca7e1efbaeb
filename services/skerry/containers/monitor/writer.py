"""Writes a spool: appends frames, rolls and trims segments, takes an old spool up again."""

import json
import os
import time
from collections.abc import Mapping

from skerry.containers.monitor import frames

# Room that is asked for before a read: the largest frame.
_FRAME = frames.HEADER_SIZE + frames.PAYLOAD_LIMIT

# Kept behind the last segment although nobody holds them; at the quota one is.
_SPARE_SEGMENTS = 4
_NOTHING: Mapping[int, int] = {}


class SpoolWriter:
    """The only writer of a spool directory.

    A frame that the disk has no room for stays unfinished: `busy` is true, and `resume` goes on with it later. Nothing else may be
    appended until then. What a splice could not move is still in the pipe.
    """

    def __init__(self, directory: str, segment: int, quota: int, sources: Mapping[int, int] = _NOTHING) -> None:
        """Opens the spool; repairs what a killed writer left. Raises OSError.

        sources: the pipes, by stream, from which a killed writer spliced. A frame that it left unfinished is finished from there.
        """
        self.directory = directory
        # Bytes, by stream, that a killed writer had read and not yet written.
        self.lost: dict[int, int] = {}
        self.ended_run = 0
        self._sources = sources
        self._segment = segment
        self._default_quota = self._quota = quota
        self._fd = -1
        self._rest = b""
        self._source = -1
        self._need = 0
        self._ends: dict[int, int] = {}
        self.error = ""
        self.head = self.base = self.first = self._sequence = 0
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._recover()

    @property
    def busy(self) -> bool:
        """A frame is unfinished, or the next segment could not be made."""
        return bool(self._rest or self._need or self._fd < 0)

    def frame(self, stream: int, flags: int, payload: bytes) -> bool:
        """Appends a frame. False: the disk is full, see `busy`; the payload is kept."""
        assert not self.busy
        self._rest = frames.encode(stream, flags, time.time_ns(), self._sequence, payload)
        return self._append(stream)

    def splice(self, source: int, length: int, stream: int) -> bool:
        """Appends a frame of the next `length` bytes of a pipe, which must be there. False: the disk is full, see `busy`."""
        assert not self.busy
        self._rest = frames.header(length, stream, 0, time.time_ns(), self._sequence)
        self._source, self._need = source, length
        return self._append(stream)

    def resume(self) -> bool:
        """Goes on with an unfinished frame. Returns True when nothing is unfinished any more."""
        try:
            if self._fd < 0:
                self._open(os.O_EXCL)
            while self._rest:
                written = os.write(self._fd, self._rest)
                self.head += written
                self._rest = self._rest[written:]
            while self._need:
                moved = os.splice(self._source, self._fd, self._need)
                if not moved:
                    self._cut_short()
                    break
                self.head += moved
                self._need -= moved
            if self.head - self.base >= self._segment:
                self._roll()
        except OSError as error:
            self.error = error.strerror or str(error)
            return False
        return True

    def room(self, slack: int = 0) -> bool:
        """Tells whether one more frame fits into the quota. At the quota it trims, and reads the file `quota` anew."""
        if self.head - self.first + _FRAME <= self._quota + slack:
            return True
        self._quota = self._read_quota()
        self.first = frames.trim(self.directory, self._segment)
        return self.head - self.first + _FRAME <= self._quota + slack

    def awaits_client(self) -> bool:
        """Tells whether an attached client is among those who hold the oldest segment."""
        bases = frames.segments(self.directory)
        return any(offset < following for following in bases[1:2] for offset in frames.cursors(self.directory, frames.CLIENT_CURSOR))

    def in_line(self, stream: int) -> bool:
        """Tells whether the stream's last byte in the spool was another than a newline."""
        end = self._ends.get(stream, 0)
        if end == 0:
            return False
        base = max(base for base in frames.segments(self.directory) if base < end)
        fd = os.open(f"{self.directory}/{frames.segment_name(base)}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, 1, end - 1 - base) != b"\n"
        finally:
            os.close(fd)

    def close(self) -> None:
        """Closes the segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, stream: int) -> bool:
        self._sequence += 1
        self._ends[stream] = self.head + len(self._rest) + self._need
        return self.resume()

    def _open(self, extra: int) -> None:
        path = f"{self.directory}/{frames.segment_name(self.base)}"
        # Not O_APPEND, which splice refuses.
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | extra, 0o600)

    def _roll(self) -> None:
        os.close(self._fd)
        self._fd = -1
        self.base = self.head
        self._open(os.O_EXCL)
        self.first = frames.trim(self.directory, _SPARE_SEGMENTS * self._segment)

    def _read_quota(self) -> int:
        try:
            fd = os.open(f"{self.directory}/quota", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return self._default_quota
        try:
            text = os.read(fd, 32).strip()
        finally:
            os.close(fd)
        return int(text) if text.isdigit() else self._default_quota

    def _recover(self) -> None:
        bases = frames.segments(self.directory)
        # The host may have lost the end of a spool that a reader already had: offsets must not be given twice.
        passed = max(frames.cursors(self.directory), default=0)
        if not bases:
            self.first = self.base = self.head = passed
            self._open(os.O_EXCL)
            return
        self.first, self.base = bases[0], bases[-1]
        self._open(0)
        found = frames.scan(self._fd)
        before = self._scan_before(bases) if found.last < 0 else None
        self._sequence = before.sequence if before is not None else found.sequence
        self.head = self.base + found.end
        fresh = found.broken
        if found.torn is not None:
            fresh = self._take_up(found)
        elif not found.broken and found.end < found.size:
            os.ftruncate(self._fd, found.end)
        self.ended_run = _ended_run(self._fd, found) if found.last >= 0 else self.ended_run
        if fresh:
            self.head = self.base + found.size
        if passed > self.head:
            self.head, fresh = passed, True
        if fresh or (self.head - self.base >= self._segment and not self._need):
            self._need = 0
            self._roll()
        else:
            os.lseek(self._fd, self.head - self.base, os.SEEK_SET)

    def _take_up(self, found: frames.Scan) -> bool:
        """Deals with an unfinished frame. Returns whether a new segment must follow it."""
        assert found.torn is not None
        present, length, stream, flags, time_ns, sequence = found.torn
        self._sequence = sequence + 1
        if stream in self._sources and not flags:
            # The missing bytes are still in the pipe: splice takes them out only as they arrive in the file.
            self._source, self._need = self._sources[stream], length - present
            self.head = self.base + found.size
            self._ends[stream] = self.head + self._need
            return False
        # They went with the process that wrote them: the frame becomes as long as it is. One of the monitor's own means nothing now.
        self._write_header(found.end, present, stream, 0, time_ns, sequence)
        if stream != frames.MONITOR:
            self.lost[stream] = length - present
        # A reader may hold the old header: behind it, in this file, must never be enough bytes for it.
        return True

    def _cut_short(self) -> None:
        """The pipe has less than the header says: somebody else read from it."""
        found = frames.scan(self._fd)
        if found.torn is not None:
            present, length, stream, _, time_ns, sequence = found.torn
            self._write_header(found.end, present, stream, 0, time_ns, sequence)
            self.lost[stream] = self.lost.get(stream, 0) + length - present
        self._need = 0
        self._roll()

    def _write_header(self, at: int, length: int, stream: int, flags: int, time_ns: int, sequence: int) -> None:
        os.pwrite(self._fd, frames.header(length, stream, flags, time_ns, sequence), at)

    def _scan_before(self, bases: list[int]) -> frames.Scan | None:
        """Looks at the last segment but one: the last is empty when its writer was killed while it made it."""
        if len(bases) < 2:
            return None
        fd = os.open(f"{self.directory}/{frames.segment_name(bases[-2])}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = frames.scan(fd)
            self.ended_run = _ended_run(fd, found)
            return found
        finally:
            os.close(fd)


def _ended_run(fd: int, found: frames.Scan) -> int:
    """Returns the run whose END frame is the segment's last one; 0: another frame is."""
    if found.flags != frames.END or found.torn is not None or found.broken:
        return 0
    payload = os.pread(fd, found.end - found.last - frames.HEADER_SIZE, found.last + frames.HEADER_SIZE)
    return int(json.loads(payload)["run"])
