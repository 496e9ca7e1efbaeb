"""`skerry up`: every service of this machine as a process of its own, started again when it dies.

It owns docker.sock and gives the descriptor to the gateway, so that the socket's inode outlives gateways. Killed and started again, it
takes over the services that still run. Containers belong to none of these processes and go on whatever happens here.
"""

import asyncio
import contextlib
import fcntl
import grp
import logging
import os
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

import msgspec

from skerry.cli.parts import GATEWAY_SOCKET_FD, SERVICES, Places, command, environment, keeper_command
from skerry.cli.processes import Process, answering, spawn, take_listener
from skerry.core.errors import Conflict, Failed
from skerry.core.files import write_atomic
from skerry.core.lifecycle import background
from skerry.core.linux import make_shared

_log = logging.getLogger(__name__)
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
# A service that lived this long was healthy: its next death is answered at once again.
_HEALTHY_SECONDS = 10.0
_STOP_SECONDS = 10.0


class Entry(msgspec.Struct):
    """One started part, as noted in supervisor.json."""

    pid: int
    started: int
    # Unix time in seconds.
    since: float
    restarts: int
    # What it was started with: a part with other settings is not taken over.
    fingerprint: str


class State(msgspec.Struct):
    """supervisor.json."""

    supervisor: int
    parts: dict[str, Entry]


def read_state(where: Places) -> State:
    """Returns what the last supervisor noted; an empty state when there is none."""
    try:
        with open(where.state, "rb") as file:
            return msgspec.json.decode(file.read(), type=State)
    except (FileNotFoundError, msgspec.DecodeError):
        return State(0, {})


class Supervisor:
    """Keeps the parts running. Made by `supervisor`."""

    def __init__(self, where: Places, listener: socket.socket, old: State) -> None:
        self._where = where
        self._listener = listener
        self._old = old
        self._state = State(os.getpid(), {})
        self._stopping = False

    async def keep(self, service: str) -> None:
        """Starts, or takes over, one service and starts it again whenever it ends."""
        pause, restarts = 0.0, 0
        while not self._stopping:
            process = self._taken_over(service) if restarts == 0 else None
            if process is None:
                process = self._start(service, restarts)
            born = time.monotonic()
            await process.ended()
            if self._stopping:
                return
            lived = time.monotonic() - born
            pause = 0.0 if lived > _HEALTHY_SECONDS else min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
            restarts += 1
            _log.warning("service ended, starting it again", extra={"part": service, "lived": round(lived, 2), "pause": pause})
            await asyncio.sleep(pause)

    async def stop(self) -> None:
        """Ends the services one after the other, callers before those they call, then the keeper. Containers go on."""
        self._stopping = True
        for part in (*reversed(SERVICES), "keeper"):
            entry = self._state.parts.get(part)
            if entry is None:
                continue
            process = Process(entry.pid, entry.started)
            process.signal(signal.SIGTERM)
            if not await process.ended(_STOP_SECONDS):
                _log.warning("service does not stop, killing it", extra={"part": part})
                process.signal(signal.SIGKILL)
                await process.ended(_STOP_SECONDS)
        os.unlink(self._where.state)
        # The next start is a start of the engine: containers that are to run whenever it does are started then.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._where.run}/engine")

    def start_keeper(self) -> None:
        """Starts the keeper of containers' monitors unless one runs. It detaches itself; monitors are its children, never ours."""
        argv = keeper_command(self._where)
        if argv is None:
            return
        # The container runtime starts one too when it finds none: whoever answers is the keeper.
        process = answering(f"{self._where.run}/keeper.sock")
        if process is None:
            process = spawn(argv, environment("containers", self._where))
            _leave_our_cgroup(process.pid)
        self._note("keeper", process, 0)

    async def keep_keeper(self) -> None:
        """Starts the keeper again when it dies; monitors outlive it."""
        while entry := self._state.parts.get("keeper"):
            await Process(entry.pid, entry.started).ended()
            if self._stopping:
                return
            await asyncio.sleep(_FIRST_PAUSE)
            self.start_keeper()

    def _taken_over(self, part: str) -> Process | None:
        entry = self._old.parts.get(part)
        if entry is None or entry.fingerprint != self._fingerprint(part):
            return None
        process = Process(entry.pid, entry.started)
        if not process.alive():
            return None
        self._state.parts[part] = entry
        self._write()
        _log.info("took over", extra={"part": part, "pid": entry.pid})
        return process

    def _start(self, service: str, restarts: int) -> Process:
        descriptors = [self._listener.fileno()] if service == "gateway" else []
        process = spawn(command(service), environment(service, self._where), descriptors)
        self._note(service, process, restarts)
        return process

    def _note(self, part: str, process: Process, restarts: int) -> None:
        self._state.parts[part] = Entry(process.pid, process.started, time.time(), restarts, self._fingerprint(part))
        self._write()

    def _write(self) -> None:
        write_atomic(self._where.state, msgspec.json.encode(self._state), 0o644, sync=False)

    def _fingerprint(self, part: str) -> str:
        return fingerprint(part, self._where)

    def stop_changed(self) -> list[Process]:
        """Ends old parts that run with other settings than ours; returns them, to be waited for."""
        ended = []
        for part, entry in self._old.parts.items():
            process = Process(entry.pid, entry.started)
            if process.alive() and entry.fingerprint != self._fingerprint(part):
                process.signal(signal.SIGTERM)
                ended.append(process)
        return ended


def fingerprint(part: str, where: Places) -> str:
    """Returns what makes a running part ours: program and settings."""
    if part == "keeper":
        return " ".join(keeper_command(where) or [])
    settings = sorted(f"{key}={value}" for key, value in environment(part, where).items() if key.startswith("SKERRY_"))
    return " ".join([*command(part), *settings])


@asynccontextmanager
async def supervisor(where: Places) -> AsyncIterator[None]:
    """Runs the engine of this machine while the body runs. Raises Conflict when another supervisor holds the same place."""
    os.makedirs(where.run, mode=0o755, exist_ok=True)
    os.makedirs(where.root, mode=0o711, exist_ok=True)
    with _lock_file(where) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"an engine already runs in {where.run}; `skerry status` shows it, `make down` stops it") from None
        if shutil.which("mount") is None:
            raise Failed("PATH lacks the system's programs (mount)")
        make_shared(f"{where.run}/netns")
        old = read_state(where)
        with _docker_socket(where, old) as listener:
            one = Supervisor(where, listener, old)
            for process in one.stop_changed():
                await process.ended(_STOP_SECONDS)
            one.start_keeper()
            try:
                async with background(one.keep_keeper(), *(one.keep(service) for service in SERVICES)):
                    yield
            finally:
                await one.stop()
            os.unlink(where.docker_socket)


def _lock_file(where: Places) -> TextIO:
    return open(where.lock, "w", encoding="ascii")


def _docker_socket(where: Places, old: State) -> socket.socket:
    gateway = old.parts.get("gateway")
    if gateway is not None:
        process = Process(gateway.pid, gateway.started)
        if process.alive() and (listener := take_listener(process, GATEWAY_SOCKET_FD, where.docker_socket)):
            return listener
    if os.path.exists(where.docker_socket):
        os.unlink(where.docker_socket)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(where.docker_socket)
    os.chmod(where.docker_socket, 0o660)
    try:
        os.chown(where.docker_socket, 0, grp.getgrnam("docker").gr_gid)
    except (KeyError, PermissionError):
        pass  # no such group: root alone, as dockerd does it
    listener.listen(1024)
    return listener


def _leave_our_cgroup(pid: int) -> None:
    """Moves the keeper beside the services: who stops their unit must not stop the containers' monitors."""
    for base in ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd"):
        if not os.path.exists(f"{base}/cgroup.procs"):
            continue  # not a hierarchy itself (cgroup v1 below it)
        try:
            os.makedirs(f"{base}/skerry-keeper", exist_ok=True)
            with open(f"{base}/skerry-keeper/cgroup.procs", "w", encoding="ascii") as file:
                file.write(str(pid))
        except OSError as error:
            _log.warning("the keeper stays in our cgroup", extra={"cgroup": base, "reason": str(error)})
