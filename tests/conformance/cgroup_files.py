"""The kernel's own numbers for a container, as files of its cgroup in whatever hierarchies the host has."""

from pathlib import Path

from engines import Engine, cgroups


def files(engine: Engine, container: str, *names: str) -> dict[str, str]:
    """Returns the contents of those of the named files that the container's cgroups have."""
    found = {}
    for directory in cgroups(engine.name)[container]:
        for name in names:
            path = Path(directory, name)
            if path.exists():
                found[name] = path.read_text().strip()
    return found


def number(engine: Engine, container: str, *names: str) -> int:
    """Returns the number in the first of the named files (cgroup v1's name, then v2's) that there is."""
    contents = files(engine, container, *names)
    return int(next(contents[name] for name in names if name in contents))
