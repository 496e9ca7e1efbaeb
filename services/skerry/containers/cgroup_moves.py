"""Makes the kernel ready for a process to be moved into a cgroup.

The first such move for some milliseconds waits, as the writer of a lock that all forks read, for an RCU grace period (5 to 10 ms); those
that follow closely do not (kernel/rcu/sync.c). The runtime makes one in the middle of each create and exec. So a move of this process to
where it is already is made, which changes nothing, while that is still being prepared: the waits overlap. Not needed, and cheap, on
hosts whose cgroups are mounted with favordynmods.
"""

import asyncio
import os

from skerry.core.lifecycle import Tasks


class CgroupMoves:
    """Expected moves."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._file = own_processes_file()
        self._under_way = False

    def expect(self) -> None:
        """Says that a process will be moved soon. Returns at once; without a cgroup to write to it does nothing."""
        if not self._file or self._under_way:
            return
        self._under_way = True
        _ = self._tasks.spawn(self._move(), "cgroup move")

    async def _move(self) -> None:
        try:
            await asyncio.to_thread(move_to_where_it_is, self._file)
        finally:
            self._under_way = False


def own_processes_file() -> str:
    """Returns the cgroup.procs of a cgroup that this process is in; "" when none is found."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    for _, controllers, path in lines:
        place = f"/sys/fs/cgroup/{controllers.removeprefix('name=')}" if controllers else "/sys/fs/cgroup"
        name = f"{place}{path.rstrip('/')}/cgroup.procs"
        if os.path.exists(name):
            return name
    return ""


def move_to_where_it_is(file: str) -> None:
    """Writes this process into its own cgroup. Blocks."""
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return  # read-only, or removed: then nothing is won
    try:
        os.write(fd, b"0")
    except OSError:
        pass  # a cgroup that may have no processes of its own any more; the kernel has waited all the same
    finally:
        os.close(fd)
