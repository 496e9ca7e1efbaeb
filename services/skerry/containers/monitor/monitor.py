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
from skerry.containers.monitor.exits import Strangers, exit_code, open_process, start_ticks
from skerry.containers.monitor.link import Link
from skerry.containers.monitor.loop import Loop
from skerry.containers.monitor.notes import Notes
from skerry.containers.monitor.output import Output, output_pipe
from skerry.containers.monitor.stdin import Stdin
from skerry.containers.monitor.writer import SpoolWriter

# A monitor that nobody gives work leaves.
_IDLE_SECONDS = 10.0
_DISK_SECONDS = 0.1
# So long after the outputs' time a full disk may hold back the END frame; then the exit is told without it.
_OVERDUE_SECONDS = 5.0
_WORD_SECONDS = 0.5

# Exit code of a process whose status nobody could tell.
UNKNOWN = 255
_UNSURE = "its exit code is not known: the processes that would have been told it had ended"

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
    """One run of one process. `run` returns when there is nothing left to own.

    `notes` and the descriptors of `link` are all that a successor has, should this process be killed: they are saved before anybody is
    told, and before a step that cannot be taken twice.
    """

    def __init__(
        self, job: Job, listener: socket.socket, connection: socket.socket, keeper: str, fds: dict[str, int] | None = None
    ) -> None:
        """listener is bound to directory/monitor.sock, connection leads to the keeper that forked us, `keeper` to a later one.

        Raises OSError when the spool cannot be opened.
        """
        self._job = job
        fds = {} if fds is None else fds
        self._notes = Notes(job["directory"], job["run"])
        if not self._recall(fds):
            self._notes.begin()
        self._complete = False
        self.loop = Loop()
        self._link = Link(self.loop, keeper, job["directory"], connection, self._reaped, fds)
        sources = {frames.STDOUT: fds.get("relay_out", fds.get("out", -1)), frames.STDERR: fds.get("err", -1)}
        sources = {stream: fd for stream, fd in sources.items() if fd >= 0}
        self._writer = SpoolWriter(job["spool"], job["segment"], job["quota"], sources)
        self._output = Output(self.loop, self._writer, job["blocking"], self._finish, self._tell, self._output_ended, self._notes.drop)
        self._clients = Clients(self.loop, listener, self._do, self._state, self._alone)
        self._stdin = Stdin(self.loop, self._notes, self._clients.taken, lambda: self._link.drop("stdin", "feed_out", "feed_in"))
        self._clients.stdin = self._stdin
        self._runtime = runtime.Runtime(self.loop, job, self._link)
        self._children = runtime.Children(self.loop, self._reaped)
        self._strangers = Strangers(self.loop, self._stranger_ended)
        self.loop.after("idle", _IDLE_SECONDS, self._alone)

    def _recall(self, fds: dict[str, int]) -> bool:
        """Takes over what a killed monitor left; False: this is a new run."""
        return False

    def run(self) -> None:
        """Serves until the process has ended and nobody is connected. What is raised is a bug: a successor is to try again."""
        self.loop.run()
        self._link.leave()
        # While it still listens: a later monitor's socket of this name is not ours to remove.
        try:
            os.unlink(f"{self._job['directory']}/{protocol.SOCKET}")
        except OSError:
            pass  # with its directory
        self._clients.close()
        self._children.close()
        self._writer.close()
        self._link.close()
        self._notes.close()
        self.loop.close()

    # What clients ask for.

    def _do(self, request: dict[str, Any]) -> None:
        op, notes = request["op"], self._notes
        if op == "create" and notes.phase == protocol.NEW:
            self._create()
        elif op == "start" and notes.phase == protocol.CREATED and not notes.started and notes.ended is None:
            notes.phase, notes.error, notes.command = protocol.STARTING, None, 0
            notes.save()
            self._runtime.start()
            notes.command = self._runtime.pid
            notes.save()
        elif op == "close_stdin" and not self._job["tty"]:
            self._stdin.end()
        elif op == "resize":
            self._resize(int(request["rows"]), int(request["columns"]))
        elif op == "leave" and (self._complete or notes.phase in (protocol.NEW, protocol.FAILED)):
            self.loop.stop()

    def _create(self) -> None:
        self.loop.cancel("idle")
        notes, job = self._notes, self._job
        notes.phase, notes.command = protocol.CREATING, 0
        if job["tty"]:
            notes.save()
            self._runtime.create_on_terminal()
        else:
            self._create_on_pipes()
        notes.command = self._runtime.pid
        notes.save()

    def _create_on_pipes(self) -> None:
        reader, stdin = os.pipe() if self._job["stdin"] else (os.open("/dev/null", os.O_RDONLY), -1)
        # A container that can itself read from its outputs is not ended by SIGPIPE when all of us are killed at once: it waits at the
        # full pipe. What an exec leaves behind shall not wait for ever, when the exec is over.
        lasting = bool(self._job["start"])
        (out, out_write), (err, err_write) = output_pipe(lasting), output_pipe(lasting)
        try:
            held = {"out": out, "err": err}
            if stdin >= 0:
                held["stdin"] = stdin
            self._notes.inodes = {name: os.fstat(fd).st_ino for name, fd in held.items()}
            self._notes.save()
            if stdin >= 0:
                held["feed_out"], held["feed_in"] = os.pipe()
            self._link.hold(**held)
            self._runtime.create(reader, out_write, err_write)
        finally:
            for fd in (reader, out_write, err_write):
                os.close(fd)

    def _resize(self, rows: int, columns: int) -> None:
        if "terminal" in self._link.fds:
            fcntl.ioctl(self._link.fds["terminal"], termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    # What children, and a killed monitor's children, do.

    def _reaped(self, pid: int, status: int) -> None:
        self._strangers.forget(pid)
        self.loop.cancel(f"word {pid}")
        self._process_ended(pid, exit_code(status))

    def _expect_word(self, pid: int) -> None:
        """A process was buried: by the keeper, whose word is on the way, or by somebody who says nothing."""
        self.loop.after(f"word {pid}", _WORD_SECONDS, lambda: self._stranger_ended(pid, None))

    def _stranger_ended(self, pid: int, status: int | None) -> None:
        if status is not None:
            self._process_ended(pid, exit_code(status))
        elif pid == self._runtime.pid:
            # A command that succeeded has left the process's id.
            made = self._notes.phase == protocol.CREATING and os.path.exists(self._job["pid_file"])
            self._process_ended(pid, 0 if made else UNKNOWN)
        else:
            self._notes.unsure = _UNSURE
            self._process_ended(pid, UNKNOWN)

    def _process_ended(self, pid: int, code: int) -> None:
        if pid == self._runtime.pid:
            self.loop.cancel("runtime")
            self._runtime.pid = 0
            if self._notes.phase == protocol.CREATING:
                self._created(code)
            else:
                self._after_start(code)
        elif pid == self._notes.pid or self._notes.phase == protocol.CREATING:
            # A process may end before the runtime that made it, and before its id is known.
            self._runtime.strays[pid] = code
            if self._notes.ended is None:
                self._notes.time_ns = time.time_ns()
                self._notes.strays[str(pid)] = code
                self._notes.save()
        self._look_for_end()

    def _created(self, code: int) -> None:
        notes, problem = self._notes, "" if code == 0 else "failed"
        if not problem:
            try:
                notes.pid = self._runtime.read_pid()
                self._take_streams()
                self._follow_process()
            except (OSError, ValueError) as error:
                problem = str(error)
        if problem:
            self._refused(code, problem)
            return
        notes.phase = protocol.CREATED
        notes.strays = {pid: ended for pid, ended in notes.strays.items() if pid == str(notes.pid)}
        notes.started = not self._job["start"]
        notes.save()
        self._tell()

    def _follow_process(self) -> None:
        """Makes sure of hearing of the process's end, and that a successor would."""
        notes, fds = self._notes, self._link.fds
        if "process" not in fds:
            notes.ticks = notes.ticks or start_ticks(notes.pid)
            pidfd = open_process(notes.pid, notes.ticks)
            if pidfd >= 0:
                self._link.hold(process=pidfd)
        if notes.pid in self._runtime.strays or runtime.is_child(notes.pid):
            return
        if "process" in fds:
            self._strangers.watch(notes.pid, fds["process"])
        else:
            self._expect_word(notes.pid)

    def _take_streams(self) -> None:
        """Begins to move the process's stdio: from descriptors that the link holds, and the terminal that the runtime sent."""
        job, fds = self._job, self._link.fds
        if job["tty"]:
            if "terminal" not in fds:
                self._take_terminal()
            # Not the terminal's own number: its output and its input are waited for apart.
            self._output.add_terminal(fds["terminal"], frames.STDOUT, (fds["relay_out"], fds["relay_in"]))
        for name, stream in (("out", frames.STDOUT), ("err", frames.STDERR)):
            if name in fds:
                self._output.add(fds[name], stream)
        if "stdin" in fds:
            self._stdin.open(fds["stdin"], (fds["feed_out"], fds["feed_in"]))
        else:
            self._stdin.close()

    def _take_terminal(self) -> None:
        terminal = self._runtime.take_terminal()
        relay_out, relay_in = os.pipe()
        feed_out, feed_in = os.pipe()
        self._link.hold(
            terminal=terminal, stdin=os.dup(terminal), relay_out=relay_out, relay_in=relay_in, feed_out=feed_out, feed_in=feed_in
        )
        self._runtime.said()
        self._runtime.close_console()
        if self._job["rows"] or self._job["columns"]:
            self._resize(self._job["rows"], self._job["columns"])

    def _output_ended(self, fd: int) -> None:
        name = next(name for name, each in self._link.fds.items() if each == fd)
        self._link.drop(*(("terminal", "relay_out", "relay_in") if name == "terminal" else (name,)))

    def _refused(self, code: int, problem: str) -> None:
        text = self._runtime.said_on_terminal() if self._job["tty"] else runtime.read_text(self._link.fds["err"])
        self._runtime.close_console()
        self._stdin.close()
        self._output.forget()
        self._link.drop(*self._link.fds.keys() - {"listener"})
        notes = self._notes
        notes.phase, notes.pid = protocol.FAILED, 0
        notes.error, notes.status = text or f"{self._job['create'][0]}: {problem}", code
        notes.save()
        self._tell()
        if not self._clients.any:
            self.loop.stop()

    def _after_start(self, code: int) -> None:
        text, notes = self._runtime.said(), self._notes
        notes.phase = protocol.CREATED
        if code == 0:
            notes.phase, notes.started = protocol.STARTED, True
        else:
            notes.error, notes.status = text or f"{self._job['start'][0]}: failed", code
        notes.save()
        self._tell()

    # The end.

    def _look_for_end(self) -> None:
        """The process's exit counts once no runtime command is under way: its answer comes first."""
        notes = self._notes
        if notes.ended is not None or not notes.pid or notes.phase in (protocol.CREATING, protocol.STARTING):
            return
        code = self._runtime.strays.get(notes.pid)
        if code is None:
            return
        notes.ended, notes.time_ns = code, notes.time_ns or time.time_ns()
        notes.save()
        self._drain()

    def _drain(self) -> None:
        """Takes what the outputs still hold; then the run is at its end."""
        self._stdin.close()
        self._runtime.close_console()
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
        if self._notes.ended is None or self._complete:
            return
        self.loop.cancel("drain")
        if self._writer.busy and not self._writer.resume():
            self.loop.after("finish", _DISK_SECONDS, self._finish)
            return
        self._complete = True
        run = self._job["run"]
        if self._job["end_frame"] and self._writer.ended_run != run:
            ended = {"code": self._notes.ended, "run": run}
            self._writer.frame(frames.MONITOR, frames.END, json.dumps(ended).encode())
        self._tell_exit()
        self._alone()

    def _tell_exit(self) -> None:
        """Writes the exit file and tells the exit: behind the END frame, or without it when a full disk holds that back too long."""
        self.loop.cancel("overdue")
        notes = self._notes
        if notes.exit is not None or notes.ended is None:
            return
        exit_ = {"code": notes.ended, "time_ns": notes.time_ns, "run": self._job["run"], "error": notes.unsure}
        try:
            runtime.write_exit(self._job["directory"], exit_)
        except OSError:
            pass  # a full disk; those who are connected are told all the same
        notes.exit = exit_
        notes.phase = protocol.EXITED
        notes.save()
        self._tell()

    def _alone(self) -> None:
        """Leaves when there is nothing to own and nobody to tell."""
        phase = self._notes.phase
        if not self._clients.any and phase in (protocol.NEW, protocol.EXITED, protocol.FAILED):
            if phase == protocol.NEW:
                self.loop.after("idle", _IDLE_SECONDS, self._leave_unused)
            elif phase == protocol.EXITED and not self._complete:
                return  # _finish comes back here
            elif self._writer.busy and not self._writer.resume():
                self.loop.after("leave", _DISK_SECONDS * 10, self._alone)
            else:
                self.loop.stop()

    def _leave_unused(self) -> None:
        if self._notes.phase == protocol.NEW and not self._clients.any:
            self.loop.stop()

    def _tell(self) -> None:
        self._clients.tell(self._state())

    def _state(self) -> bytes:
        notes = self._notes
        return json.dumps(
            {
                "phase": notes.phase,
                "pid": notes.pid,
                "ticks": notes.ticks,
                "started": notes.started,
                "waiting": self._output.waiting,
                "error": notes.error,
                "status": notes.status,
                "exit": notes.exit,
                "stdin": notes.given,
                "stdin_ended": notes.stdin_ended,
            }
        ).encode()
