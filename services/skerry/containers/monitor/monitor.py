"""The monitor of one process: owns its stdio and its exit, writes the spool, answers its clients. docs/spool.md describes all of it.

Standard library only, and little of it: one such process runs beside every container. The keeper forks it from a warm template.
"""

import fcntl
import json
import os
import socket
import struct
import termios
import time
from typing import Any

from skerry.containers.monitor import frames, protocol, runtime
from skerry.containers.monitor.clients import Clients
from skerry.containers.monitor.loop import Loop
from skerry.containers.monitor.output import Output, output_pipe
from skerry.containers.monitor.stdin import Stdin
from skerry.containers.monitor.writer import SpoolWriter

# A monitor that nobody gives work leaves.
_IDLE_SECONDS = 10.0
_DISK_SECONDS = 0.1
# So long after the outputs' time a full disk may hold back the END frame; then the exit is told without it.
_OVERDUE_SECONDS = 5.0

# Exit code of a process whose status nobody could tell.
_UNKNOWN = 255

Job = dict[str, Any]

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "create": list,
    "start": list,
    "pid_file": str,
    "tty": bool,
    "stdin": bool,
    "spool": str,
    "run": int,
    "quota": int,
    "blocking": bool,
    "segment": int,
    "rows": int,
    "columns": int,
    "end_frame": bool,
    "drain_seconds": (int, float),
}


def read_job(directory: str) -> Job:
    """Reads directory/monitor.json. Raises OSError, ValueError."""
    with open(f"{directory}/monitor.json", "rb") as file:
        job = json.load(file)
    for name, kind in _FIELDS.items():
        if not isinstance(job, dict) or not isinstance(job.get(name), kind):
            raise ValueError(f"monitor.json: bad or missing {name}")  # noqa: TRY004 - one class for whatever is wrong with a job
    return dict(job, directory=directory)


class Monitor:
    """One run of one process. `run` returns when there is nothing left to own."""

    def __init__(self, job: Job, listener: socket.socket) -> None:
        """listener is bound to directory/monitor.sock. Raises OSError when the spool cannot be opened."""
        self._job = job
        self._phase = protocol.NEW
        self._pid = 0
        self._started = False
        self._error: str | None = None
        self._status = 0
        self._ended: int | None = None
        self._exit: dict[str, int] | None = None
        self._time_ns = 0
        self._complete = False
        self.loop = Loop()
        self._writer = SpoolWriter(job["spool"], job["segment"], job["quota"])
        self._output = Output(self.loop, self._writer, job["blocking"], self._finish, self._tell)
        self._clients = Clients(self.loop, listener, self._do, self._state, self._alone)
        self._stdin = Stdin(self.loop, self._clients.taken)
        self._clients.stdin = self._stdin
        self._runtime = runtime.Runtime(self.loop, job)
        self._children = runtime.Children(self.loop, self._reaped)
        self.loop.after("idle", _IDLE_SECONDS, self._alone)

    def run(self) -> None:
        """Serves until the process has ended and nobody is connected."""
        try:
            self.loop.run()
        finally:
            # While it still listens: a later monitor's socket of this name is not ours to remove.
            try:
                os.unlink(f"{self._job['directory']}/{protocol.SOCKET}")
            except OSError:
                pass  # with its directory
            self._clients.close()
            self._children.close()
            self._writer.close()
            self.loop.close()

    # What clients ask for.

    def _do(self, request: dict[str, Any]) -> None:
        op = request["op"]
        if op == "create" and self._phase == protocol.NEW:
            self._create()
        elif op == "start" and self._phase == protocol.CREATED and not self._started and self._ended is None:
            self._phase, self._error = protocol.STARTING, None
            self._runtime.start()
        elif op == "close_stdin" and not self._job["tty"]:
            self._stdin.end()
        elif op == "resize":
            self._resize(int(request["rows"]), int(request["columns"]))
        elif op == "leave" and (self._complete or self._phase in (protocol.NEW, protocol.FAILED)):
            self.loop.stop()

    def _create(self) -> None:
        self.loop.cancel("idle")
        self._phase = protocol.CREATING
        job = self._job
        if job["tty"]:
            self._runtime.create_on_terminal()
            return
        reader, stdin = os.pipe() if job["stdin"] else (os.open("/dev/null", os.O_RDONLY), -1)
        (out, out_write), (err, err_write) = output_pipe(), output_pipe()
        try:
            self._runtime.create(reader, out_write, err_write)
        finally:
            for fd in (reader, out_write, err_write):
                os.close(fd)
        self._pipes = (stdin, out, err)

    def _resize(self, rows: int, columns: int) -> None:
        if self._runtime.terminal >= 0:
            fcntl.ioctl(self._runtime.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    # What children do.

    def _reaped(self, pid: int, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        code = 128 - code if code < 0 else code
        if pid == self._runtime.pid:
            self.loop.cancel("runtime")
            self._runtime.pid = 0
            if self._phase == protocol.CREATING:
                self._created(code)
            else:
                self._after_start(code)
        elif pid == self._pid or self._phase == protocol.CREATING:
            # A process may end before the runtime that made it, and before its id is known.
            self._runtime.strays[pid] = code
            self._time_ns = time.time_ns()
        self._look_for_end()

    def _created(self, code: int) -> None:
        problem = "" if code == 0 else "failed"
        if not problem:
            try:
                self._pid = self._runtime.read_pid()
                self._take_streams()
                if self._pid not in self._runtime.strays and not runtime.is_child(self._pid):
                    # It ended and the runtime itself buried it: its status is lost, its end must not be.
                    self._runtime.strays[self._pid] = _UNKNOWN
                    self._time_ns = time.time_ns()
            except (OSError, ValueError) as error:
                problem = str(error)
        if problem:
            self._refused(code, problem)
            return
        self._phase = protocol.CREATED
        self._started = not self._job["start"]
        self._tell()

    def _take_streams(self) -> None:
        if self._job["tty"]:
            terminal = self._runtime.take_terminal()
            if self._job["rows"] or self._job["columns"]:
                self._resize(self._job["rows"], self._job["columns"])
            self._stdin.open(os.dup(terminal))
            self._output.add(os.dup(terminal), frames.STDOUT, True)
            return
        stdin, out, err = self._pipes
        if stdin >= 0:
            self._stdin.open(stdin)
        else:
            self._stdin.close()
        self._output.add(out, frames.STDOUT, False)
        self._output.add(err, frames.STDERR, False)

    def _refused(self, code: int, problem: str) -> None:
        if self._job["tty"]:
            text = self._runtime.said_on_terminal()
        else:
            stdin, out, err = self._pipes
            text = runtime.read_text(err)
            for fd in (stdin, out, err):
                if fd >= 0:
                    os.close(fd)
        self._runtime.close()
        self._stdin.close()
        self._phase = protocol.FAILED
        self._error = text or f"{self._job['create'][0]}: {problem}"
        self._status = code
        self._tell()
        if not self._clients.any:
            self.loop.stop()

    def _after_start(self, code: int) -> None:
        text = self._runtime.said()
        self._phase = protocol.CREATED
        if code == 0:
            self._phase, self._started = protocol.STARTED, True
        else:
            self._error, self._status = text or f"{self._job['start'][0]}: failed", code
        self._tell()

    # The end.

    def _look_for_end(self) -> None:
        """The process's exit counts once no runtime command is under way: its answer comes first."""
        if self._ended is not None or not self._pid or self._phase in (protocol.CREATING, protocol.STARTING):
            return
        code = self._runtime.strays.get(self._pid)
        if code is None:
            return
        self._ended = code
        self._stdin.close()
        self._runtime.close()
        self.loop.after("drain", self._job["drain_seconds"], self._give_up)
        self.loop.after("overdue", self._job["drain_seconds"] + _OVERDUE_SECONDS, self._tell_exit)
        if self._output.open:
            self._output.drain()
        else:
            self._finish()

    def _give_up(self) -> None:
        """Others hold the outputs open: takes what is there. With a full disk it stays in the pipes, and here, until there is room."""
        if not self._output.give_up():
            self.loop.after("drain", _DISK_SECONDS, self._give_up)

    def _finish(self) -> None:
        """Called when no output is open: after the process's exit this ends the run."""
        if self._ended is None or self._complete:
            return
        self.loop.cancel("drain")
        if self._writer.busy and not self._writer.resume():
            self.loop.after("finish", _DISK_SECONDS, self._finish)
            return
        self._complete = True
        if self._job["end_frame"]:
            ended = {"code": self._ended, "run": self._job["run"]}
            self._writer.frame(frames.MONITOR, frames.END, json.dumps(ended).encode())
        self._tell_exit()
        self._alone()

    def _tell_exit(self) -> None:
        """Writes the exit file and tells the exit: behind the END frame, or without it when a full disk holds that back too long."""
        self.loop.cancel("overdue")
        if self._exit is not None or self._ended is None:
            return
        exit_ = {"code": self._ended, "time_ns": self._time_ns, "run": self._job["run"]}
        try:
            runtime.write_exit(self._job["directory"], exit_)
        except OSError:
            pass  # a full disk; those who are connected are told all the same
        self._exit = exit_
        self._phase = protocol.EXITED
        self._tell()

    def _alone(self) -> None:
        """Leaves when there is nothing to own and nobody to tell."""
        if not self._clients.any and self._phase in (protocol.NEW, protocol.EXITED, protocol.FAILED):
            if self._phase == protocol.NEW:
                self.loop.after("idle", _IDLE_SECONDS, self._leave_unused)
            elif self._phase == protocol.EXITED and not self._complete:
                return  # _finish comes back here
            elif self._writer.busy and not self._writer.resume():
                self.loop.after("leave", _DISK_SECONDS * 10, self._alone)
            else:
                self.loop.stop()

    def _leave_unused(self) -> None:
        if self._phase == protocol.NEW and not self._clients.any:
            self.loop.stop()

    def _tell(self) -> None:
        self._clients.tell(self._state())

    def _state(self) -> bytes:
        return json.dumps(
            {
                "phase": self._phase,
                "pid": self._pid,
                "started": self._started,
                "waiting": self._output.waiting,
                "error": self._error,
                "status": self._status,
                "exit": self._exit,
            }
        ).encode()
