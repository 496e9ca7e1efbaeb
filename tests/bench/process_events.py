"""Starts and ends of processes with the kernel's own times, from its process connector: no tracer slows what is measured.

Source: linux/cn_proc.h and linux/connector.h. Needs root and the first network namespace.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import msgspec

_NETLINK_CONNECTOR = 11
_CN_IDX_PROC = 1
_LISTEN, _IGNORE = 1, 2
_FORK, _EXEC, _EXIT = 0x1, 0x2, 0x80000000
# nlmsghdr (16), cn_msg (20), then proc_event: what, cpu, time, data.
_EVENT, _DATA = 36, 52


class Process(msgspec.Struct):
    """One process: times in seconds of CLOCK_MONOTONIC, 0 when not seen."""

    pid: int
    parent: int
    forked: float = 0.0
    ended: float = 0.0
    # Programs that it became, with the time of each: (time, command line).
    programs: list[tuple[float, str]] = msgspec.field(default_factory=list)


class Events:
    """What was seen so far, by pid. Filled by a thread."""

    def __init__(self) -> None:
        self.processes: dict[int, Process] = {}

    def descendants(self, roots: set[int]) -> list[Process]:
        """Returns the processes forked by roots or by their descendants, in order of birth."""
        family, found = set(roots), []
        for process in sorted(self.processes.values(), key=lambda one: one.forked):
            if process.pid in family or process.parent in family:
                family.add(process.pid)
                found.append(process)
        return found

    def take(self, message: bytes) -> None:
        """Takes one datagram of the connector."""
        what, _, nanoseconds = struct.unpack_from("=IIQ", message, _EVENT)
        at = nanoseconds / 1e9
        if what == _FORK:
            _, parent, child, group = struct.unpack_from("=IIII", message, _DATA)
            if child == group:  # else a thread
                self.processes[child] = Process(child, parent, forked=at)
        elif what == _EXEC:
            _, group = struct.unpack_from("=II", message, _DATA)
            self.processes.setdefault(group, Process(group, 0)).programs.append((at, _command(group)))
        elif what == _EXIT:
            pid, group = struct.unpack_from("=II", message, _DATA)
            if pid == group and group in self.processes:
                self.processes[group].ended = at


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            return " ".join(file.read().split("\0")).strip() or "?"
    except OSError:
        return "?"  # it ended before we looked


def _subscribe(connector: socket.socket, operation: int) -> None:
    body = struct.pack("=IIIIHHI", _CN_IDX_PROC, 1, 0, 0, 4, 0, operation)
    connector.send(struct.pack("=IHHII", 16 + len(body), 3, 0, 0, 0) + body)


@contextlib.contextmanager
def watching() -> Iterator[Events]:
    """Watches every process of the machine while the block runs."""
    events, stop = Events(), threading.Event()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_CONNECTOR) as connector:
        connector.bind((0, _CN_IDX_PROC))
        connector.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        connector.settimeout(0.2)
        _subscribe(connector, _LISTEN)

        def read() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    events.take(connector.recv(4096))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        try:
            yield events
        finally:
            stop.set()
            thread.join()
            _subscribe(connector, _IGNORE)
