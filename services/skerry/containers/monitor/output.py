"""Moves what a process writes into its spool: by splice from pipes, by read and write from a terminal."""

import errno
import fcntl
import json
import os
import termios
import time
from collections.abc import Callable

from skerry.containers.monitor import frames
from skerry.containers.monitor.loop import IN, Loop
from skerry.containers.monitor.writer import SpoolWriter

PIPE_SIZE = 262144
_SET_PIPE_SIZE = 1031
# After a read smaller than this the next one waits: a process that writes line by line gets few frames instead of many.
_SMALL = 4096
_SMALL_PAUSE = 0.0002
# Frames of one stream before others get their turn.
_TURNS = 16
_FIRST_LOOK, _LAST_LOOK = 0.005, 0.1


class _Stream:
    __slots__ = ("aligned", "dropped_bytes", "dropped_lines", "dropping", "number", "pty")

    def __init__(self, number: int, pty: bool) -> None:
        self.number = number
        self.pty = pty
        self.dropping = False
        self.aligned = True  # what was dropped ended with a line
        self.dropped_bytes = self.dropped_lines = 0


def output_pipe() -> tuple[int, int]:
    """Returns (read end, write end), as large as the limits allow."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, _SET_PIPE_SIZE, PIPE_SIZE)
    except OSError:
        pass  # an unprivileged user's pipes may be at their limit: slower, not wrong
    return reader, writer


class Output:
    """The outputs of one process. ended() is called when the last one is closed, changed() when `waiting` changed."""

    def __init__(self, loop: Loop, writer: SpoolWriter, blocking: bool, ended: Callable[[], None], changed: Callable[[], None]) -> None:
        self._loop = loop
        self._writer = writer
        self._blocking = blocking
        self._ended = ended
        self._changed = changed
        self._streams: dict[int, _Stream] = {}
        self._stopped = False
        self._slack = 0
        self._look = _FIRST_LOOK
        self.waiting = False

    @property
    def open(self) -> bool:
        """Whether somebody may still write."""
        return bool(self._streams)

    def add(self, fd: int, number: int, pty: bool) -> None:
        """Takes over fd: what comes becomes frames of stream `number`."""
        os.set_blocking(fd, False)
        self._streams[fd] = _Stream(number, pty)
        if not self._stopped:
            self._loop.watch(fd, IN, self._readable)

    def drain(self) -> None:
        """The process has ended: what its pipes hold is let in over the quota."""
        self._slack = 2 * PIPE_SIZE
        self._try_again()

    def give_up(self) -> bool:
        """Takes what lies ready, up to a pipe's size, and closes, though others may hold the outputs open.

        False: the disk is full; nothing was closed, call it again.
        """
        for fd, stream in list(self._streams.items()):
            moved = 0
            while moved < PIPE_SIZE and self._admitted() and (piece := self._move(fd, stream)) > 0:
                moved += piece
            if self._writer.busy and not self._writer.resume():
                return False
            self._end(fd, stream)
        return True

    def _readable(self, fd: int, _: int) -> None:
        stream = self._streams[fd]
        for _turn in range(_TURNS):
            if not self._admitted():
                self._stop()
                return
            moved = self._move(fd, stream)
            if moved < 0:
                return
            if moved == 0:
                self._end(fd, stream)
                return
            if moved < _SMALL and not stream.pty:
                time.sleep(_SMALL_PAUSE)
                return

    def _admitted(self) -> bool:
        """Tells whether output may be read now: to be kept, or to be dropped."""
        if self._writer.busy and not self._writer.resume():
            return False
        # What a client was attached for before the start is not dropped: the process waits for it in both modes, as in Docker.
        return self._writer.room(self._slack) or not (self._blocking or self._writer.awaits_client())

    def _move(self, fd: int, stream: _Stream) -> int:
        """Moves one piece; returns its size, 0 at the end, -1 when nothing is there."""
        if not self._blocking:
            if not self._writer.room(self._slack):
                return self._drop(fd, stream)
            if stream.dropping:
                return self._keep_again(fd, stream)
        if not stream.pty:
            ready = int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"), "little")
            if ready:
                size = min(ready, frames.PAYLOAD_LIMIT)
                self._writer.splice(fd, size, stream.number)
                return size
        data = _read(fd)
        if data:
            self._writer.frame(stream.number, 0, data)
        return -1 if data is None else len(data)

    def _drop(self, fd: int, stream: _Stream) -> int:
        data = _read(fd)
        if not data:
            return -1 if data is None else 0
        size = len(data)
        if not stream.dropping:
            stream.dropping = True
            # The line that was begun is finished, or what follows the gap would be joined to it.
            cut = data.find(b"\n") + 1 if self._writer.in_line(stream.number) else 0
            if cut:
                self._writer.frame(stream.number, 0, data[:cut])
            data = data[cut:]
        self._count(stream, data)
        return size

    def _keep_again(self, fd: int, stream: _Stream) -> int:
        """The spool has room again: goes on with the next whole line."""
        if stream.aligned:
            return self._move(fd, stream) if self._mark(stream) else -1
        data = _read(fd)
        if not data:
            return -1 if data is None else 0
        cut = data.find(b"\n") + 1
        self._count(stream, data[:cut] if cut else data)
        # A marker that meets a full disk keeps the writer busy; the rest of the piece is then counted as well.
        if cut and self._mark(stream) and data[cut:]:
            self._writer.frame(stream.number, 0, data[cut:])
        elif cut and data[cut:]:
            stream.dropping = True
            self._count(stream, data[cut:])
        return len(data)

    def _count(self, stream: _Stream, data: bytes) -> None:
        if data:
            stream.dropped_bytes += len(data)
            stream.dropped_lines += data.count(b"\n")
            stream.aligned = data.endswith(b"\n")

    def _mark(self, stream: _Stream) -> bool:
        marker = {"stream": stream.number, "bytes": stream.dropped_bytes, "lines": stream.dropped_lines}
        stream.dropping = False
        stream.aligned = True
        stream.dropped_bytes = stream.dropped_lines = 0
        return self._writer.frame(frames.MONITOR, frames.DROPPED, json.dumps(marker).encode())

    def _end(self, fd: int, stream: _Stream) -> None:
        self._loop.forget(fd)
        os.close(fd)
        del self._streams[fd]
        if stream.dropped_bytes:
            self._mark(stream)
        if not self._streams:
            self._loop.cancel("output")
            self.waiting = False
            self._ended()

    def _stop(self) -> None:
        """Stops reading, so that the process waits at its full pipe; looks again soon, then less often."""
        if not self._stopped:
            self._stopped = True
            self._look = _FIRST_LOOK
            for fd in self._streams:
                self._loop.forget(fd)
            if not self.waiting:
                self.waiting = True
                self._changed()
        self._loop.after("output", self._look, self._try_again)
        self._look = min(self._look * 2, _LAST_LOOK)

    def _try_again(self) -> None:
        if not self._streams:
            return
        if not self._admitted():
            self._stop()
            return
        if self._stopped:
            self._stopped = False
            for fd in self._streams:
                self._loop.watch(fd, IN, self._readable)
        # A process that hovers at the quota waits all the time, as its user sees it: tell the end only when it lasts.
        self._loop.after("output", 1.0, self._flows)

    def _flows(self) -> None:
        if self.waiting and not self._stopped:
            self.waiting = False
            self._changed()


def _read(fd: int) -> bytes | None:
    """Returns bytes, b"" at the end, None when nothing is there."""
    try:
        return os.read(fd, frames.PAYLOAD_LIMIT)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EIO:  # the last process closed the terminal
            return b""
        raise
