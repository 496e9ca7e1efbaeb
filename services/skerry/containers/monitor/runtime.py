"""Running the OCI runtime's commands, taking the terminal it sends, reaping children."""

import array
import json
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from skerry.containers.monitor import protocol
from skerry.containers.monitor.link import Link
from skerry.containers.monitor.loop import IN, Loop

# The second: see containers/runtime.py.
_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "_LIBCONTAINER_CLONED_BINARY": "1"}
# Python ignores SIGPIPE, the monitor ignores the others; ignored signals stay ignored over exec.
_DEFAULT_SIGNALS = [signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
_CONSOLE = "console.sock"
_CONSOLE_SECONDS = 5.0
_EXIT_SIZE = 128


class Children:
    """Reaps every child, also those it inherits as a subreaper, and calls reaped(pid, status)."""

    def __init__(self, loop: Loop, reaped: Callable[[int, int], None]) -> None:
        self._loop = loop
        self._reaped = reaped
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self._before = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        loop.watch(self._wake, IN, self._look)

    def close(self) -> None:
        """Gives SIGCHLD back."""
        self._loop.forget(self._wake)
        signal.signal(signal.SIGCHLD, self._before)
        signal.set_wakeup_fd(-1)
        os.close(self._wake)
        os.close(self._waker)

    def _look(self, fd: int, _events: int) -> None:
        try:
            os.read(fd, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            # Written down before it is buried: should we be killed in between, the keeper buries it.
            self._reaped(ended.si_pid, _wait_status(ended))
            os.waitpid(ended.si_pid, 0)


def _wait_status(ended: os.waitid_result) -> int:
    if ended.si_code == os.CLD_EXITED:
        return int(ended.si_status) << 8
    return int(ended.si_status)


class Runtime:
    """The runtime command under way, one at a time. strays are exit codes of processes whose id was not known yet.

    What a successor needs to go on with a command is held by the link: `console`, where the terminal arrives, and `said`, its stderr.
    """

    def __init__(self, loop: Loop, job: dict[str, Any], link: Link) -> None:
        self._loop = loop
        self._job = job
        self._link = link
        self.pid = 0
        self.strays: dict[int, int] = {}

    def create(self, stdin: int, stdout: int, stderr: int) -> None:
        """Runs create with the process's own stdio."""
        self._forget_pid()
        self._spawn(self._job["create"], stdin, stdout, stderr)

    def create_on_terminal(self) -> None:
        """Runs create, which sends the terminal to D/console.sock."""
        self._forget_pid()
        directory = os.open(self._job["directory"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._link.hold(console=listen(directory, _CONSOLE, socket.SOCK_STREAM).detach())
        finally:
            os.close(directory)
        self._with_own_stderr(self._job["create"])

    def start(self) -> None:
        """Runs start."""
        self._with_own_stderr(self._job["start"])

    def follow(self, pid: int) -> None:
        """Goes on with a command that a killed monitor had begun."""
        self.pid = pid
        self._loop.after("runtime", protocol.RUNTIME_SECONDS, self._too_slow)

    def _forget_pid(self) -> None:
        try:
            os.unlink(self._job["pid_file"])
        except FileNotFoundError:
            pass

    def read_pid(self) -> int:
        """Reads the id of the process that create made. Raises OSError, ValueError."""
        with open(self._job["pid_file"]) as file:
            return int(file.read())

    def take_terminal(self, seconds: float = _CONSOLE_SECONDS) -> int:
        """Receives the terminal that the runtime sent. Raises OSError when it did not."""
        console = socket.socket(fileno=os.dup(self._link.fds["console"]))
        with console:
            console.settimeout(seconds)
            connection, _ = console.accept()
        with connection:
            connection.settimeout(seconds)
            _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        fds = array.array("i")
        for _, kind, data in ancillary:
            if kind == socket.SCM_RIGHTS:
                fds.frombytes(data[:4])
        if not fds:
            raise OSError("the runtime sent no terminal")
        os.set_inheritable(fds[0], False)
        return fds[0]

    def said(self) -> str:
        """Returns the stderr of the command that has just ended."""
        fd = self._link.fds.get("said")
        if fd is None:
            return ""
        text = read_text(fd)
        self._link.drop("said")
        return text

    def said_on_terminal(self) -> str:
        """Returns what a create that failed wrote to the terminal that it had made: crun's exec reports there."""
        if text := self.said():
            return text
        try:
            terminal = self._link.fds.get("terminal", -1)
            if terminal < 0:
                terminal = self._link.fds["terminal"] = self.take_terminal(0)
            return read_text(terminal)
        except OSError:
            return ""  # it sent none

    def close_console(self) -> None:
        """No terminal is to come any more."""
        if "console" in self._link.fds:
            self._link.drop("console")
            try:
                os.unlink(f"{self._job['directory']}/{_CONSOLE}")
            except FileNotFoundError:
                pass

    def _with_own_stderr(self, argv: list[str]) -> None:
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        said, stderr = os.pipe()
        self._link.hold(said=said)
        try:
            self._spawn(argv, null, null, stderr)
        finally:
            os.close(null)
            os.close(stderr)

    def _spawn(self, argv: list[str], stdin: int, stdout: int, stderr: int) -> None:
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((stdin, stdout, stderr))]
        try:
            pid = os.posix_spawnp(argv[0], argv, _ENV, file_actions=actions, setsigdef=_DEFAULT_SIGNALS)
        except OSError as error:
            os.write(stderr, f"cannot run {argv[0]}: {error.strerror}".encode())
            # Goes the way of a command that failed, by a child that can always be run.
            pid = os.posix_spawn("/bin/false", ["false"], _ENV)
        self.follow(pid)

    def _too_slow(self) -> None:
        if self.pid:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # not our child: its end is told soon


def is_child(pid: int) -> bool:
    """Tells whether this process will be told pid's exit."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def listen_in(directory: str) -> socket.socket:
    """Binds directory/monitor.sock. Raises OSError, also when a monitor answers there already."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path = f"/proc/self/fd/{fd}/{protocol.SOCKET}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                return listen(fd, protocol.SOCKET, socket.SOCK_SEQPACKET)
        raise OSError("a monitor lives there already")
    finally:
        os.close(fd)


def listen(directory: int, name: str, kind: int, backlog: int = 16) -> socket.socket:
    """Listens at name in an open directory, whose path may be longer than a socket's address. Replaces what is there. Raises OSError."""
    path = f"/proc/self/fd/{directory}/{name}"
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, kind)
    try:
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def read_text(fd: int) -> str:
    """Returns what lies ready in a pipe, without waiting for its end."""
    os.set_blocking(fd, False)
    parts = []
    size = 0
    while size < protocol.ERROR_LIMIT:
        try:
            part = os.read(fd, protocol.ERROR_LIMIT)
        except OSError:  # nothing is there, or the terminal's other end is closed
            break
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts).decode("utf-8", "replace").strip()


def write_exit(directory: str, exit_: dict[str, Any]) -> None:
    """Writes directory/exit, whole or not at all. Raises OSError."""
    temporary = f"{directory}/exit.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps(exit_).encode())
    finally:
        os.close(fd)
    os.rename(temporary, f"{directory}/exit")
