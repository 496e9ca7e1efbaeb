"""What an OCI runtime leaves: one that was killed while it made a container, which its delete does not know; and crun on hybrid hosts.

There the place of the `unified` hierarchy, which is not mounted where containers are made (see monitor/mounts.py), is a plain directory in
a tmpfs. crun makes the container's cgroup in it all the same, of plain files, and cannot remove it.
"""

import contextlib
import os
import shutil
import signal
import time

from skerry.containers.host import CGROUP_ROOT

_TRIES, _PAUSE = 50, 0.01


def cgroups(cgroup: str) -> list[str]:
    """Returns the directories of a cgroup (a path below each hierarchy's root) that exist, in every hierarchy of the host."""
    hierarchies = [CGROUP_ROOT, *(f"{CGROUP_ROOT}/{name}" for name in os.listdir(CGROUP_ROOT))]
    return [path for path in (f"{base}{cgroup}" for base in hierarchies) if os.path.exists(f"{path}/cgroup.procs")]


def remove_cgroups(directories: list[str]) -> None:
    """Kills what runs in these cgroups and removes them. Blocks for half a second at most; what cannot be removed then stays."""
    for _ in range(_TRIES):
        left = [directory for directory in directories if not _removed(directory)]
        if not left:
            return
        time.sleep(_PAUSE)


def _removed(top: str) -> bool:
    if not _is_cgroup(top):
        shutil.rmtree(top, ignore_errors=True)
        return True
    for directory, _, _ in os.walk(top, topdown=False):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue
        except OSError:
            _kill(directory)
    return not os.path.exists(top)


def _is_cgroup(directory: str) -> bool:
    """Tells a cgroup from such a directory. Hierarchies are mounted below a tmpfs; with version 2 alone there is nothing else."""
    device = os.stat(CGROUP_ROOT).st_dev
    try:
        return os.stat(directory).st_dev != device or os.path.exists(f"{CGROUP_ROOT}/cgroup.controllers")
    except FileNotFoundError:
        return True


def _kill(directory: str) -> None:
    with contextlib.suppress(OSError):
        with open(f"{directory}/cgroup.procs", encoding="ascii") as file:
            for pid in file.read().split():
                os.kill(int(pid), signal.SIGKILL)
