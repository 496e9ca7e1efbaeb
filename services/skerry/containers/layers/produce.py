"""`main` with VERB ... in sys.argv: walks over a container's files in a process of their own. Standard library only, to start quickly.

`layer UPPER BELOW FILE` writes a container's changes into FILE, as a layer, and prints how many entries and bytes went in and the tar's
size. `root ROOT` writes a root file system to stdout. `diff UPPER BELOW` writes kind and path of each change, ended by NUL. A walk over
many files is Python's work, and would hold up the service's loop. Exit status 1 and one line on stderr: it failed.
"""

import gc
import os
import sys

from skerry.containers.layers.diff import diff
from skerry.containers.layers.pack import Packed, pack_root, pack_upper
from skerry.containers.layers.writer import FileSink, PipeSink
from skerry.core.errors import SkerryError


def layer(upper: str, below: str, target: str) -> tuple[Packed, int]:
    """Writes the changes in upper into the existing file target; returns what went in and the tar's size.

    Blocks. Raises Failed, OSError.
    """
    fd = os.open(target, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        sink = FileSink(fd)
        packed = pack_upper(upper, below, sink)
        return packed, sink.close()
    finally:
        os.close(fd)


def root(path: str, fd: int) -> None:
    """Writes the root file system at path into a pipe. Blocks. Raises Failed, OSError."""
    sink = PipeSink(fd)
    pack_root(path, sink)
    sink.close()


def main() -> None:
    """Runs from the command line."""
    gc.disable()  # nothing here is circular
    try:
        if sys.argv[1] == "layer":
            packed, size = layer(*sys.argv[2:5])
            sys.stdout.write(f"{packed.entries} {packed.bytes} {size}\n")
        elif sys.argv[1] == "diff":
            for path, kind in diff(*sys.argv[2:4]):
                sys.stdout.buffer.write(b"%d%s\0" % (kind, path))
        else:
            root(sys.argv[2], 1)
    except (SkerryError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
