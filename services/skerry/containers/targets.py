"""Places of mounts in a container's root that lie behind links to what is not there yet: /var/lock/x where /var/lock leads to /run/lock.

Docker makes them where the link leads, below the root. crun makes what is missing too, but not behind such a link.
"""

import os
import posixpath
import stat
from collections.abc import Sequence

from skerry.containers.inside import evaluate, make_below, open_at, opened_root
from skerry.containers.record import Volume

# Mounted by the runtime before: what is made there would be hidden.
_MADE = ("/proc", "/sys", "/dev")


def make(rootfs: str, mounts: Sequence[Volume]) -> None:
    """Makes them; nothing leads out of the root, whatever is changed meanwhile. Raises InvalidArgument, Failed, OSError. Blocks briefly."""
    with opened_root(rootfs) as root:
        for mount in mounts:
            if any(mount.target.startswith(f"{other.target}/") for other in mounts):
                continue  # in a mount: the runtime's, at its turn
            place = evaluate(root, mount.target)
            if place != mount.target and not place.startswith(_MADE):
                _make(root, place, file=mount.type == "bind" and not stat.S_ISDIR(os.stat(mount.source).st_mode))


def _make(root: int, place: str, *, file: bool) -> None:
    if not file:
        make_below(root, place)
        return
    above, name = posixpath.split(place)
    make_below(root, above)
    parent = open_at(root, above, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=parent))
    except FileExistsError:
        return
    finally:
        os.close(parent)
