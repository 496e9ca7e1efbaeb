"""Moves what a process writes into its spool by splice: from pipes, and from a terminal by way of a pipe.

Nothing is ever in this process's own memory, so a kill loses nothing: what has not arrived in the file is still in a pipe, and the keeper
holds the pipes as well. Only kernels that cannot splice from a terminal (5.10 to 6.4, about) make us read and write.
"""

import errno
import fcntl
import json
import os
import select
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
    __slots__ = ("aligned", "dropped_bytes", "dropped_lines", "dropping", "number", "relay", "source", "terminal")

    def __init__(self, number: int, source: int, terminal: int, relay: int) -> None:
        self.number = number
        # The pipe from which frames are spliced. A terminal's output comes into it, by its other end, `relay`.
        self.source = source
        self.terminal = terminal
        self.relay = relay
        self.dropping = False
        self.aligned = True  # what was dropped ended with a line
        self.dropped_bytes = self.dropped_lines = 0


def output_pipe(lasting: bool) -> tuple[int, int]:
    """Returns (read end, write end), as large as the limits allow. lasting: whoever has the write end can read from it, too."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, _SET_PIPE_SIZE, PIPE_SIZE)
    except OSError:
        pass  # an unprivileged user's pipes may be at their limit: slower, not wrong
    if lasting:
        both = os.open(f"/proc/self/fd/{writer}", os.O_RDWR | os.O_CLOEXEC)
        os.close(writer)
        writer = both
    return reader, writer


class Output:
    """The outputs of one process. ended() is called when the last one is closed, changed() when `waiting` changed.

    close(fd) gives an output back that has come to its end; counted(stream, bytes, lines) is told what was dropped and not yet marked.
    """

    def __init__(
        self,
        loop: Loop,
        writer: SpoolWriter,
        blocking: bool,
        ended: Callable[[], None],
        changed: Callable[[], None],
        close: Callable[[int], None],
        counted: Callable[[int, int, int], None],
    ) -> None:
        self._loop = loop
        self._writer = writer
        self._blocking = blocking
        self._ended = ended
        self._changed = changed
        self._close = close
        self._counted = counted
        self._streams: dict[int, _Stream] = {}
        self._stopped = False
        self._slack = 0
        self._look = _FIRST_LOOK
        self.waiting = False

    @property
    def open(self) -> bool:
        """Whether somebody may still write."""
        return bool(self._streams)

    def add(self, fd: int, number: int) -> None:
        """Follows a pipe: what comes becomes frames of stream `number`."""
        self._add(fd, _Stream(number, fd, -1, -1))

    def add_terminal(self, fd: int, number: int, relay: tuple[int, int]) -> None:
        """Follows a terminal, whose output comes by way of the pipe `relay`."""
        for end in relay:
            os.set_blocking(end, False)
        self._add(fd, _Stream(number, relay[0], fd, relay[1]))

    def _add(self, fd: int, stream: _Stream) -> None:
        os.set_blocking(fd, False)
        self._streams[fd] = stream
        if not self._stopped:
            self._loop.watch(fd, IN, self._readable)

    def take_up(self, dropped: dict[int, tuple[int, int]]) -> None:
        """Goes on for a killed monitor: with what it had counted as dropped, and with what lies in a terminal's relay."""
        for fd, stream in list(self._streams.items()):
            stream.dropped_bytes, stream.dropped_lines = dropped.get(stream.number, (0, 0))
            stream.dropped_bytes += self._writer.lost.pop(stream.number, 0)
            if stream.dropped_bytes:
                stream.dropping = True
                stream.aligned = False
            self._readable(fd, 0)

    def forget(self) -> None:
        """Follows no output any more; closes none."""
        for fd in self._streams:
            self._loop.forget(fd)
        self._streams.clear()

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
            if moved < _SMALL and stream.terminal < 0:
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
        size = self._ready(stream)
        if size > 0:
            self._writer.splice(stream.source, size, stream.number)
        return size

    def _ready(self, stream: _Stream) -> int:
        """Returns how much can be spliced now, at most a frame; 0 at the end, -1 when nothing is there."""
        while True:
            ready = _waiting(stream.source)
            if ready:
                return min(ready, frames.PAYLOAD_LIMIT)
            if stream.terminal < 0:
                if _at_end(stream.source):
                    return 0
                if not _waiting(stream.source):
                    return -1
            elif (moved := _relay(stream.terminal, stream.relay)) <= 0:
                return moved

    def _drop(self, fd: int, stream: _Stream) -> int:
        size = self._ready(stream)
        if size <= 0:
            return size
        data = os.read(stream.source, size)
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
        size = self._ready(stream)
        if size <= 0:
            return size
        data = os.read(stream.source, size)
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
            self._counted(stream.number, stream.dropped_bytes, stream.dropped_lines)

    def _mark(self, stream: _Stream) -> bool:
        marker = {"stream": stream.number, "bytes": stream.dropped_bytes, "lines": stream.dropped_lines}
        stream.dropping = False
        stream.aligned = True
        stream.dropped_bytes = stream.dropped_lines = 0
        written = self._writer.frame(frames.MONITOR, frames.DROPPED, json.dumps(marker).encode())
        self._counted(stream.number, 0, 0)
        return written

    def _end(self, fd: int, stream: _Stream) -> None:
        self._loop.forget(fd)
        self._close(fd)
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


def _waiting(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"), "little")


def _at_end(pipe: int) -> bool:
    """Tells whether a pipe has neither bytes nor writers. Reading it to know would take bytes that came meanwhile."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return any(events & select.POLLHUP and not events & select.POLLIN for _, events in poll.poll(0))


def _relay(terminal: int, relay: int) -> int:
    """Moves what a terminal has into its empty relay; returns its size, 0 at the end, -1 when nothing is there."""
    try:
        return os.splice(terminal, relay, frames.PAYLOAD_LIMIT)
    except BlockingIOError:
        return -1
    except OSError as error:
        if error.errno == errno.EIO:  # the last process closed the terminal
            return 0
        if error.errno != errno.EINVAL:
            raise
    try:
        return os.write(relay, os.read(terminal, _SMALL))
    except BlockingIOError:
        return -1
    except OSError as error:
        if error.errno == errno.EIO:
            return 0
        raise
