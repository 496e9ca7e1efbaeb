"""A client that runs beside the case."""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence


@contextlib.contextmanager
def client(
    argv: Sequence[str], environ: Mapping[str, str] | None = None, stdin: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs argv with its stdout in a pipe; ends it with the body, whatever became of it: a case that fails must not wait for it."""
    with subprocess.Popen(argv, env=environ, stdin=stdin, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()
