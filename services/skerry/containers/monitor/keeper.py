"""The keeper: a small process from which monitors are forked, so that no service need fork nor be their parent.

Start it with

    python3 -I -S -E -c 'import sys; sys.path.insert(0, SERVICES); from skerry.containers.monitor.keeper import main; main()' --run RUN

where SERVICES is the directory that contains the package skerry; `python3 -m skerry.containers.monitor.keeper --run RUN` execs itself
into that. Options: `--mounts auto|host` (host: leave mounts and namespaces alone), `--detach` (return when it answers; it goes on in
the background). It answers on RUN/keeper.sock and wants a cgroup that outlives the services'.

A request is a packet {"directory": D}; the answer {"pid": N} means that a monitor listens on D/monitor.sock; {"error": TEXT} that none
was started. SIGTERM ends the keeper; monitors stay. A second keeper for the same RUN exits with status 3.
"""

import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys

from skerry.containers.monitor import monitor, mounts, protocol, runtime

_LIMIT = 4096
_WARM_RUNS = 30
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
        keeper = Keeper(run, lock)
    except OSError as error:
        _fail(f"keeper: {error}", 1)
    else:
        if ready >= 0:
            os.write(ready, b"1")
            _silence(1, 2)
            os.close(ready)
        keeper.serve()


class Keeper:
    """Answers requests for monitors. Raises OSError when it cannot listen."""

    def __init__(self, run: str, lock: int) -> None:
        self._lock = lock
        mounts.become_subreaper()
        try:
            warm(run)
        except OSError as error:  # larger monitors, no worse ones
            sys.stderr.write(f"keeper: not warmed: {error}\n")
        self._wake, self._waker = os.pipe()
        for fd in (self._wake, self._waker):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._poll = select.poll()
        self._clients: dict[int, socket.socket] = {}
        directory = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._listener = runtime.listen(directory, "keeper.sock", socket.SOCK_SEQPACKET)
        finally:
            os.close(directory)
        self._listener.setblocking(False)
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(self._listener.fileno(), select.POLLIN)

    def serve(self) -> None:
        """Answers until SIGTERM."""
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._wake:
                    if signal.SIGTERM in os.read(fd, 4096):
                        return
                    self._reap()
                elif fd == self._listener.fileno():
                    self._accept()
                elif fd in self._clients:
                    self._answer(self._clients[fd])

    def _reap(self) -> None:
        """Buries monitors, and the orphans of monitors that were killed."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return

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
            message = client.recv(_LIMIT)
            if message:
                client.send(json.dumps(self._launch(message)).encode())
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # it went away
        self._poll.unregister(client.fileno())
        del self._clients[client.fileno()]
        client.close()

    def _launch(self, message: bytes) -> dict[str, object]:
        try:
            request = json.loads(message)
            directory = request["directory"]
            if not isinstance(directory, str) or not directory.startswith("/"):
                raise ValueError("directory: want an absolute path")
            job = monitor.read_job(directory)
            listener = _listen(directory)
        except (ValueError, KeyError, TypeError, OSError) as error:
            return {"error": str(error) or type(error).__name__}
        try:
            pid = os.fork()
        except OSError as error:
            listener.close()
            return {"error": str(error)}
        if pid == 0:
            self._become_monitor(job, listener)
        listener.close()
        return {"pid": pid}

    def _become_monitor(self, job: monitor.Job, listener: socket.socket) -> None:
        """In the forked process: gives back what is the keeper's, runs the monitor, never returns."""
        status = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # Whoever stops the machine signals everybody; the exits of containers still want to be written down.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            self._listener.close()
            for client in self._clients.values():
                client.close()
            for fd in (self._lock, self._wake, self._waker):
                os.close(fd)
            _silence(0, 1, 2)
            mounts.become_subreaper()
            monitor.Monitor(job, listener).run()
            status = 0
        except BaseException:  # noqa: BLE001 - the process's last words; it ends below
            # The interpreter's own report is all there is to say; it needs a place.
            log = os.open(f"{job['directory']}/monitor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 2)
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)


def warm(run: str) -> None:
    """Runs the monitor's code in this process: what the interpreter writes at first runs is then shared by all forked monitors."""
    directory = f"{run}/keeper.warm"
    _remove_tree(directory)
    os.mkdir(directory, 0o700)
    script = f"sleep 0.001 & echo $! > {directory}/pid; echo warm; echo cold >&2"
    job = {
        "create": ["sh", "-c", script],
        "start": ["true"],
        "pid_file": f"{directory}/pid",
        "tty": False,
        "stdin": True,
        "spool": f"{directory}/spool",
        "quota": 1 << 20,
        "blocking": True,
        "segment": 4096,
        "rows": 0,
        "columns": 0,
        "end_frame": True,
        "drain_seconds": 1.0,
    }
    for number in range(_WARM_RUNS):
        with open(f"{directory}/monitor.json", "w") as file:
            json.dump(dict(job, run=number), file)
        _run_once(directory)
    _remove_tree(directory)
    gc.collect()
    gc.freeze()


def _run_once(directory: str) -> None:
    one = monitor.Monitor(monitor.read_job(directory), _listen(directory))
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(f"{directory}/{protocol.SOCKET}")

    def drive(fd: int, _events: int) -> None:
        message = client.recv(protocol.MESSAGE_LIMIT)
        phase = "" if message[:1] == protocol.TAKEN else json.loads(message)["phase"]
        if phase == protocol.CREATED:
            client.send(protocol.request("start"))
        elif phase in (protocol.EXITED, protocol.FAILED):
            one.loop.forget(fd)
            client.close()

    for packet in (protocol.request("create"), protocol.STDIN + b"x", protocol.request("close_stdin")):
        client.send(packet)
    one.loop.watch(client.fileno(), select.EPOLLIN, drive)
    one.run()


def _listen(directory: str) -> socket.socket:
    """Binds directory/monitor.sock. Raises OSError, also when a monitor answers there already."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path = f"/proc/self/fd/{fd}/{protocol.SOCKET}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                return runtime.listen(fd, protocol.SOCKET, socket.SOCK_SEQPACKET)
        raise OSError("a monitor lives there already")
    finally:
        os.close(fd)


def _remove_tree(directory: str) -> None:
    for path, _, names in os.walk(directory, topdown=False):
        for name in names:
            os.unlink(f"{path}/{name}")
        os.rmdir(path)


def _options(arguments: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name = rest.pop(0)
        if name == "--detach":
            options[name] = ""
        elif name in ("--run", "--mounts") and rest:
            options[name] = rest.pop(0)
        else:
            _fail(f"keeper: bad argument {name}", 2)
    if not options.get("--run", "").startswith("/") or options.get("--mounts", "auto") not in ("auto", "host"):
        _fail("keeper: want --run DIRECTORY (absolute) and, if wanted, --mounts auto|host, --detach", 2)
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
