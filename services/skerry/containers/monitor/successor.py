"""A monitor that takes a killed one's place: from its notes, and from the descriptors that the keeper held.

Without these (the keeper was killed with it) the pipes are opened anew through the processes that write to them; a terminal is lost then.
"""

import os
import socket
import time

from skerry.containers.monitor import protocol
from skerry.containers.monitor.exits import command_lives, exit_code, find_command, open_process, reopen_pipe
from skerry.containers.monitor.monitor import Job, Monitor

_LOOKS, _LOOK_SECONDS = 10, 0.003


class Successor(Monitor):
    """Goes on where the notes end."""

    def __init__(
        self,
        job: Job,
        listener: socket.socket,
        connection: socket.socket,
        keeper: str,
        fds: dict[str, int],
        statuses: dict[int, int],
        *,
        bare: bool = False,
    ) -> None:
        """statuses: of processes that the keeper reaped. bare: the keeper held nothing, but for the process, perhaps."""
        self._bare = bare
        super().__init__(job, listener, connection, keeper, fds)
        if bare:
            self._link.hold(**fds)
        self._runtime.strays.update((pid, exit_code(status)) for pid, status in statuses.items())
        self._runtime.strays.update((int(pid), code) for pid, code in self._notes.strays.items())
        self._go_on()

    def _recall(self, fds: dict[str, int]) -> bool:
        notes = self._notes
        if not notes.load():
            return False
        if self._bare and notes.phase not in (protocol.NEW, protocol.FAILED, protocol.EXITED):
            self._reopen(fds)
        return True

    def _reopen(self, fds: dict[str, int]) -> None:
        notes = self._notes
        for name in ("out", "err", "stdin"):
            flags = os.O_WRONLY if name == "stdin" else os.O_RDONLY
            if name in notes.inodes and not (name == "stdin" and notes.stdin_ended):
                fd = reopen_pipe(notes.inodes[name], flags, notes.pid or notes.command)
                if fd >= 0:
                    fds[name] = fd
        if "stdin" in fds:
            fds["feed_out"], fds["feed_in"] = os.pipe()
        if "process" not in fds and notes.pid and (pidfd := open_process(notes.pid, notes.ticks)) >= 0:
            fds["process"] = pidfd

    def _go_on(self) -> None:
        notes = self._notes
        if notes.phase == protocol.NEW:
            self._link.drop(*self._link.fds.keys() - {"listener"})
            return
        if notes.phase == protocol.FAILED:
            return
        if notes.phase == protocol.CREATING:
            self.loop.cancel("idle")
            self._go_on_creating()
            return
        if notes.phase != protocol.EXITED:
            self.loop.cancel("idle")
        self._take_streams_again()
        if notes.ended is None:
            self._follow_process()
        if notes.phase == protocol.STARTING:
            self._go_on_starting()
        if notes.ended is not None:
            self._drain()
        else:
            self._look_for_end()

    def _take_streams_again(self) -> None:
        fds = self._link.fds
        if self._job["tty"] and "terminal" not in fds:
            self._stdin.close()
            return
        self._take_streams()
        self._output.take_up({stream: self._notes.dropped(stream) for stream in (1, 2)})

    def _go_on_creating(self) -> None:
        if self._follow_command(self._job["create"]):
            return
        if os.path.exists(self._job["pid_file"]):
            self._created(0)
            self._look_for_end()
            return
        # It was killed before it did anything. The client asks again.
        self._runtime.close_console()
        self._link.drop(*self._link.fds.keys() - {"listener"})
        self._notes.phase = protocol.NEW
        self._notes.save()

    def _go_on_starting(self) -> None:
        if not self._follow_command(self._job["start"]):
            self._runtime.said()
            self._notes.phase = protocol.CREATED
            self._notes.save()

    def _follow_command(self, argv: list[str]) -> bool:
        """Goes on with the runtime's command that was under way, or has ended meanwhile; False: none was begun, as far as can be seen."""
        notes = self._notes
        pid, looks = notes.command, 0
        # It may be about to execute the command: what was killed is a process that had just been told to start one.
        while not pid and looks < _LOOKS and not (pid := find_command(argv, self._made())):
            looks += 1
            time.sleep(_LOOK_SECONDS)
        if not pid:
            return False
        notes.command = pid
        notes.save()
        self._runtime.follow(pid)
        lives = not self._bare or command_lives(pid, argv)
        if pid in self._runtime.strays:
            self._process_ended(pid, self._runtime.strays[pid])
        elif lives and (pidfd := open_process(pid, 0)) >= 0:
            self._strangers.watch(pid, pidfd)
            os.close(pidfd)
        else:
            self._expect_word(pid)
        return True

    def _made(self) -> int:
        try:
            return self._runtime.read_pid()
        except (OSError, ValueError):
            return 0
