"""A program on a real terminal: what a user at the keyboard does and sees."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence

CTRL_C, CTRL_D, DETACH = b"\x03", b"\x04", b"\x10\x11"


class Terminal:
    """Made by `terminal`."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], rows: int, columns: int) -> None:
        self._master, slave = pty.openpty()
        self._seen = b""
        try:
            self.resize(rows, columns)
            self.process = subprocess.Popen(
                argv, env=environ, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
            )  # fmt: skip
        finally:
            os.close(slave)

    def resize(self, rows: int, columns: int) -> None:
        """Changes the terminal's size; the program gets SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str | bytes) -> None:
        """Presses keys; no newline is added."""
        os.write(self._master, keys.encode() if isinstance(keys, str) else keys)

    def expect(self, pattern: str, seconds: float = 20) -> str:
        """Waits until the screen shows the pattern (a regular expression), takes everything up to its end off and returns that."""
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern.encode(), self._seen, re.DOTALL)
            if match:
                shown, self._seen = self._seen[: match.end()], self._seen[match.end() :]
                return shown.decode("utf-8", "replace")
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{pattern!r} did not appear; the screen shows {self._seen!r}")

    def run(self, line: str, pattern: str, seconds: float = 20) -> str:
        """Types a line with Enter and waits for the pattern."""
        self.type(line + "\n")
        return self.expect(pattern, seconds)

    def wait(self, seconds: float = 20) -> int:
        """Waits for the program's end and returns its exit status."""
        deadline = time.monotonic() + seconds
        while self._read(min(0.05, deadline - time.monotonic())) or self.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"the program does not end; the screen shows {self._seen!r}")
        return self.process.wait()

    def rest(self) -> str:
        """Returns what was shown and not yet expected."""
        return self._seen.decode("utf-8", "replace")

    def close(self) -> None:
        """Ends the program."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], max(seconds, 0))[0]:
            return False
        with contextlib.suppress(OSError):  # EIO: nobody holds the other side any more
            data = os.read(self._master, 65536)
            self._seen += data
            return bool(data)
        return False


@contextlib.contextmanager
def terminal(argv: Sequence[str], environ: Mapping[str, str], rows: int = 24, columns: int = 80) -> Iterator[Terminal]:
    """Runs argv as the session leader of a terminal of that size."""
    one = Terminal(argv, environ, rows, columns)
    try:
        yield one
    finally:
        one.close()
