"""What the kernel counts for a container's cgroup. Reads take microseconds and never block on a disk."""

import os


def oom_kills(cgroup: str) -> int:
    """Returns how many processes of cgroup (a path below each hierarchy's root) the kernel killed for lack of memory; 0 when gone."""
    for path in (f"/sys/fs/cgroup/memory{cgroup}/memory.oom_control", f"/sys/fs/cgroup{cgroup}/memory.events"):
        try:
            with open(path, encoding="ascii") as file:
                for line in file:
                    name, _, count = line.partition(" ")
                    if name == "oom_kill":
                        return int(count)
        except OSError:
            continue
    return 0


def processes(cgroup: str) -> set[int]:
    """Returns the ids of the processes in cgroup and below it; empty when it is gone."""
    for base in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        top = f"{base}{cgroup}"
        if os.path.exists(f"{top}/cgroup.procs"):
            return _collect(top)
    return set()


def _collect(top: str) -> set[int]:
    found: set[int] = set()
    for directory, _, _ in os.walk(top):
        try:
            with open(f"{directory}/cgroup.procs", encoding="ascii") as file:
                found.update(int(line) for line in file)
        except OSError:
            continue  # removed while we looked
    return found
