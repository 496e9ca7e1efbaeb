"""What a monitor must not forget when it is killed: D/monitor.state, a page that is written in place.

A write within one page is done whole or not at all by a process that SIGKILL ends, so nothing here is renamed or synced. After a crash
of the host the containers are gone too.
"""

import json
import os
import struct
import zlib
from typing import Any

from skerry.containers.monitor import protocol

NAME = "monitor.state"
_SIZE = 4096
# stdin: bytes given to the relay, and 1 while some are being put there; then dropped bytes and lines of stdout and stderr.
_COUNTS = struct.Struct("<QQQQQQ")
_BODY = struct.Struct("<II")  # crc32 and length of the JSON behind
_BODY_AT = 64
# Of a refused command's stderr; those who are connected get more.
_ERROR_LIMIT = 2000


class Notes:
    """Where a run stands. Set attributes, then `save`; counters are saved by their own methods."""

    def __init__(self, directory: str, run: int) -> None:
        """Begins a run's notes. Raises OSError."""
        self.run = run
        self.phase = protocol.NEW
        self.pid = 0
        # Start time of pid in clock ticks after boot: what tells it from a later process of that id.
        self.ticks = 0
        # The runtime's command under way; 0: none was spawned yet.
        self.command = 0
        # Exit codes, by id, of what ended while the process's id was not known yet.
        self.strays: dict[str, int] = {}
        self.started = False
        self.error: str | None = None
        self.status = 0
        self.ended: int | None = None
        # Why `ended` is not the process's own word; empty: it is.
        self.unsure = ""
        self.time_ns = 0
        self.exit: dict[str, Any] | None = None
        self.stdin_ended = False
        # Inode of stdin, stdout and stderr: by these they are found again when nobody of ours holds them any more.
        self.inodes: dict[str, int] = {}
        self._counts = [0] * 6
        self._fd = -1
        self._open(directory)

    def _open(self, directory: str) -> None:
        self._fd = os.open(f"{directory}/{NAME}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._fd).st_size < _SIZE:
            # A full disk is to be met now, not by a later save.
            os.pwrite(self._fd, bytes(_SIZE), 0)

    def begin(self) -> None:
        """Forgets an earlier run."""
        os.pwrite(self._fd, _COUNTS.pack(*self._counts), 0)
        self.save()

    def load(self) -> bool:
        """Takes over what the file says; False when it says nothing of this run."""
        data = os.pread(self._fd, _SIZE, 0)
        crc, length = _BODY.unpack_from(data, _BODY_AT)
        body = data[_BODY_AT + _BODY.size : _BODY_AT + _BODY.size + length]
        if not body or zlib.crc32(body) != crc:
            return False
        told = json.loads(body)
        if told.pop("run") != self.run:
            return False
        for name, value in told.items():
            setattr(self, name, value)
        self._counts = list(_COUNTS.unpack_from(data))
        return True

    def save(self) -> None:
        """Writes everything but the counters."""
        told = {name: value for name, value in vars(self).items() if name[0] != "_"}
        if told["error"]:
            told["error"] = told["error"][:_ERROR_LIMIT]
        body = json.dumps(told).encode()
        if _BODY_AT + _BODY.size + len(body) > _SIZE:
            # An error of many escapes.
            body = json.dumps(dict(told, error="")).encode()
        os.pwrite(self._fd, _BODY.pack(zlib.crc32(body), len(body)) + body, _BODY_AT)

    @property
    def given(self) -> int:
        """Bytes of stdin that were taken from clients so far."""
        return self._counts[0]

    @property
    def giving(self) -> bool:
        """Whether the writer of these notes may have died while it put bytes into stdin's relay."""
        return bool(self._counts[1])

    def give(self, given: int, giving: bool) -> None:
        """Saves stdin's count."""
        self._counts[0], self._counts[1] = given, int(giving)
        os.pwrite(self._fd, _COUNTS.pack(*self._counts)[:16], 0)

    def dropped(self, stream: int) -> tuple[int, int]:
        """Returns bytes and lines of stream 1 or 2 that were dropped and have no marker in the spool yet."""
        at = stream * 2
        return self._counts[at], self._counts[at + 1]

    def drop(self, stream: int, size: int, lines: int) -> None:
        """Saves such counts."""
        at = stream * 2
        self._counts[at : at + 2] = size, lines
        os.pwrite(self._fd, _COUNTS.pack(*self._counts)[at * 8 : at * 8 + 16], at * 8)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._fd)
