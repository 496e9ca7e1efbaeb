"""`python -m skerry.containers.layers.worker FORM TAR TARGET ENTRIES DEPTH`: prepares one layer in a process of its own.

Prints "entries bytes". Exit status 2 and one line on stderr: the tar is bad; 1: the host refused.
"""

import sys

from skerry.containers.layers import erofs, unpack
from skerry.containers.layers.tar import Limits
from skerry.core.errors import InvalidArgument

BAD_TAR = 2


def prepare(form: str, tar_path: str, target: str, limits: Limits, *, sync: bool = True) -> erofs.Summary:
    """Makes a layer's index file (form "erofs"; durable if sync) or fills its directory ("directories"; durable in any case)."""
    return erofs.build(tar_path, target, limits, sync=sync) if form == "erofs" else unpack.unpack(tar_path, target, limits)


def main() -> None:
    """Runs from the command line."""
    try:
        form, source, target, entries, depth = sys.argv[1:6]
        summary = prepare(form, source, target, Limits(int(entries), int(depth)))
    except InvalidArgument as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(BAD_TAR) from None
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
    sys.stdout.write(f"{summary.entries} {summary.bytes}\n")


if __name__ == "__main__":
    main()
