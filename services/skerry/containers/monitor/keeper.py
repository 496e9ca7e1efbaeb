"""The keeper: a small process from which monitors are forked, so that no service need fork nor be their parent.

Start it with

    python3 -I -S -E -c 'import sys; sys.path.insert(0, SERVICES); from skerry.containers.monitor.keeper import main; main()' --run RUN

where SERVICES is the directory that contains the package skerry; `python3 -m skerry.containers.monitor.keeper --run RUN` execs itself
into that. Options: `--mounts auto|host` (host: leave mounts and namespaces alone), `--files N` (the soft limit of open files that
containers get), `--detach` (return when it answers; it goes on in the background). It answers on RUN/keeper.sock and wants a cgroup that
outlives the services'.

A request is a packet {"directory": D}; the answer {"pid": N} means that a monitor listens on D/monitor.sock; {"error": TEXT} that none
was started. With "again": true the monitor goes on with a run whose monitor and keeper were killed; a pidfd of its process may come along.
The keeper holds duplicates of its monitors' descriptors and replaces one that is killed. When the keeper itself is killed, monitors give
the next one theirs. SIGTERM ends the keeper; monitors stay. A second keeper for the same RUN exits with status 3.
"""

import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
from typing import Any

from skerry.containers.monitor import monitor, mounts, runtime
from skerry.containers.monitor.holds import Hold, Holds, receive
from skerry.containers.monitor.successor import Successor
from skerry.containers.monitor.warm import warm

_BUSY = 3


def main() -> None:
    """Runs a keeper as the command line says."""
    if not sys.flags.isolated:
        _exec_isolated()
    # What a careless starter left open would live as long as the containers.
    os.closerange(3, 1 << 16)
    options = _options(sys.argv[1:])
    run = options["--run"]
    os.makedirs(run, mode=0o711, exist_ok=True)
    ready = _detach() if "--detach" in options else -1
    lock = os.open(f"{run}/keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # A lock of the process, not of the descriptor: monitors do not inherit it.
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        _fail("another keeper answers here", _BUSY)
    try:
        if options.get("--mounts", "auto") == "auto":
            mounts.prepare(run)
        keeper = Keeper(run, lock, int(options.get("--files", "0")))
    except OSError as error:
        _fail(f"keeper: {error}", 1)
    else:
        if ready >= 0:
            os.write(ready, b"1")
            _silence(1, 2)
            os.close(ready)
        try:
            keeper.serve()
        except BaseException:  # noqa: BLE001 - a bug; the next keeper is given all that this one held
            log = os.open(f"{run}/keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 2)
            sys.excepthook(*sys.exc_info())
            os._exit(1)


class Keeper:
    """Answers requests for monitors, and replaces those that are killed. Raises OSError when it cannot listen."""

    def __init__(self, run: str, lock: int, files: int) -> None:
        """files: the soft limit of open files for containers; 0: ours."""
        self._run = run
        self._lock = lock
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._limits = (min(files or soft, hard), hard)
        # Six descriptors per container.
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._limits[1], self._limits[1]))
        mounts.become_subreaper()
        self._wake, self._waker = os.pipe()
        for fd in (self._wake, self._waker):
            os.set_blocking(fd, False)
        self._poll = select.poll()
        self._clients: dict[int, socket.socket] = {}
        self._holds = Holds(self._poll, self._fork)
        # Not yet the loop that hears of it.
        signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
        directory = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Before it is warm: monitors that lost their keeper give their descriptors back into the queue at once.
            self._listener = runtime.listen(directory, "keeper.sock", socket.SOCK_SEQPACKET, 4096)
        finally:
            os.close(directory)
        try:
            warm(run)
        except OSError as error:  # larger monitors, no worse ones
            sys.stderr.write(f"keeper: not warmed: {error}\n")
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._listener.setblocking(False)
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(self._listener.fileno(), select.POLLIN)

    def serve(self) -> None:
        """Answers until SIGTERM."""
        while True:
            for fd, _ in self._poll.poll(self._holds.timeout_ms()):
                if fd == self._wake:
                    if signal.SIGTERM in os.read(fd, 4096):
                        return
                    self._holds.reap()
                elif fd == self._listener.fileno():
                    self._accept()
                elif fd in self._clients:
                    self._answer(self._clients[fd])
                else:
                    self._holds.ready(fd)
            self._holds.replace_due()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        client.setblocking(False)
        self._clients[client.fileno()] = client
        self._poll.register(client.fileno(), select.POLLIN)

    def _answer(self, client: socket.socket) -> None:
        try:
            packet = receive(client)
            if packet is None:
                return
            request, fds = packet
            if request.get("op") == "hold":
                # A monitor that an earlier keeper forked.
                del self._clients[client.fileno()]
                self._holds.adopt(client, request, fds)
                return
            if request.get("op") != "end":
                client.send(json.dumps(self._launch(request, fds)).encode())
                return
        except OSError:
            pass  # it went away
        self._poll.unregister(client.fileno())
        del self._clients[client.fileno()]
        client.close()

    def _launch(self, request: dict[str, Any], fds: list[int]) -> dict[str, object]:
        """Forks a monitor for a new run, or, asked `again`, one for a run that has none any more."""
        again = bool(request.get("again"))
        try:
            directory = request["directory"]
            if not isinstance(directory, str) or not directory.startswith("/"):
                raise ValueError("directory: want an absolute path")
            living = self._holds.living(directory)
            if living and again:
                return {"pid": living}
            if living:
                raise OSError("a monitor lives there already")
            monitor.read_job(directory)
            hold = Hold(directory, {"listener": runtime.listen_in(directory).detach()})
            hold.bare = again
            if again and fds:
                hold.fds["process"] = fds.pop()
            return {"pid": self._holds.begin(hold)}
        except (ValueError, KeyError, TypeError, OSError) as error:
            return {"error": str(error) or type(error).__name__}
        finally:
            for fd in fds:
                os.close(fd)

    def _fork(self, hold: Hold) -> tuple[int, socket.socket]:
        """Forks a monitor that has what is held; returns its id and our end of the connection. Raises OSError, ValueError."""
        job = monitor.read_job(hold.directory)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = os.fork()
            if pid == 0:
                self._become_monitor(job, hold, theirs)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return pid, ours

    def _become_monitor(self, job: monitor.Job, hold: Hold, connection: socket.socket) -> None:
        """In the forked process: gives back what is the keeper's and the others', runs the monitor, never returns."""
        status = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # Whoever stops the machine signals everybody; the exits of containers still want to be written down.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            # The pipes of other containers are among these. Nothing that owns them is ever freed in this process.
            _close_all_but({*hold.fds.values(), connection.fileno()})
            resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)
            _silence(0, 1, 2)
            mounts.become_subreaper()
            fds = dict(hold.fds)
            listener = socket.socket(fileno=os.dup(fds["listener"]))
            keeper = f"{self._run}/keeper.sock"
            if hold.deaths or hold.bare:
                one: monitor.Monitor = Successor(job, listener, connection, keeper, fds, self._holds.statuses, bare=hold.bare)
            else:
                one = monitor.Monitor(job, listener, connection, keeper, fds)
            one.run()
            status = 0
        except BaseException:  # noqa: BLE001 - the process's last words; it ends below
            # The interpreter's own report is all there is to say; it needs a place.
            log = os.open(f"{job['directory']}/monitor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 2)
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)


def _close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                pass  # the listing's own


def _options(arguments: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name = rest.pop(0)
        if name == "--detach":
            options[name] = ""
        elif name in ("--run", "--mounts", "--files") and rest:
            options[name] = rest.pop(0)
        else:
            _fail(f"keeper: bad argument {name}", 2)
    if (
        not options.get("--run", "").startswith("/")
        or options.get("--mounts", "auto") not in ("auto", "host")
        or not options.get("--files", "1").isdigit()
    ):
        _fail("keeper: want --run DIRECTORY (absolute) and, if wanted, --mounts auto|host, --files N, --detach", 2)
    return options


def _exec_isolated() -> None:
    services = os.path.abspath(__file__).removesuffix("/skerry/containers/monitor/keeper.py")
    code = f"import sys; sys.path.insert(0, {services!r}); from skerry.containers.monitor.keeper import main; main()"
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-E", "-c", code, *sys.argv[1:]])  # noqa: S606 - no shell is wanted


def _detach() -> int:
    """Goes on in a process of nobody's; returns the descriptor that tells the one who waits."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        if os.read(reader, 1):
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        os._exit(os.waitstatus_to_exitcode(status) or 1)
    os.close(reader)
    os.setsid()
    _silence(0)
    return writer


def _silence(*fds: int) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for fd in fds:
        if fd != null:
            os.dup2(null, fd)
    if null > 2:
        os.close(null)


def _fail(text: str, status: int) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
