"""`skerry doctor`: what this machine lacks, what that means, and the command that mends it."""

import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator

import msgspec

from skerry.cli.parts import Places
from skerry.core import linux

_LEAST_FREE = 1 << 30


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at. level: ok, note (works without), problem (some or all will not work)."""

    level: str
    subject: str
    found: str
    meaning: str = ""
    mend: str = ""


def _kernel(_where: Places) -> Iterator[Finding]:
    release = platform.release()
    major, minor = (int("".join(c for c in part if c.isdigit()) or 0) for part in release.split(".")[:2])
    if (major, minor) < (5, 10):
        yield Finding(
            "problem", "kernel", release, "pidfds and openat2 are missing; containers cannot be run", "install a kernel from 5.10 on"
        )
    elif (major, minor) < (6, 12):
        yield Finding("note", "kernel", release, "EROFS cannot mount files before 6.12: layers are unpacked (slower pulls)")
    else:
        yield Finding("ok", "kernel", release)
    if os.geteuid() != 0:
        yield Finding("problem", "user", f"uid {os.geteuid()}", "namespaces, mounts and cgroups need root", "sudo skerry doctor")


def _root(_where: Places) -> Iterator[Finding]:
    # Entering a mount namespace, even one's own, leaves a chroot: a child does it and compares.
    child = os.fork()
    if child == 0:
        status = 2
        try:
            before = os.stat("/")
            linux.setns(os.open("/proc/self/ns/mnt", os.O_RDONLY), linux.CLONE_NEWNS)
            after = os.stat("/")
            status = int((before.st_dev, before.st_ino) != (after.st_dev, after.st_ino))
        finally:
            os._exit(status)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1:
        yield Finding("problem", "root", "this is a chroot", "a container's root cannot be closed off here; the engine refuses to start",
                      "make the directory the root of a mount namespace (pivot_root), or use a machine")  # fmt: skip


def _filesystems(_where: Places) -> Iterator[Finding]:
    with open("/proc/filesystems", encoding="ascii") as file:
        known = {line.split()[-1] for line in file}
    for name, meaning in (("overlay", "containers have no writable layer without it"), ("erofs", "layers are unpacked instead of mounted")):
        if name in known:
            yield Finding("ok", name, "known to the kernel")
        else:
            level = "problem" if name == "overlay" else "note"
            yield Finding(level, name, "unknown to the kernel (or its module is not loaded yet)", meaning, f"modprobe {name}")


def _cgroups(_where: Places) -> Iterator[Finding]:
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        with open("/sys/fs/cgroup/cgroup.controllers", encoding="ascii") as file:
            yield Finding("ok", "cgroups", f"version 2 ({file.read().strip()})")
    elif os.path.isdir("/sys/fs/cgroup/memory"):
        hybrid = os.path.exists("/sys/fs/cgroup/unified/cgroup.controllers")
        found = "version 1 with a unified hierarchy (hybrid)" if hybrid else "version 1"
        yield Finding("ok", "cgroups", found, "crun runs in a mount namespace of its own here" if hybrid else "")
    else:
        yield Finding("problem", "cgroups", "not mounted below /sys/fs/cgroup", "containers cannot be limited or stopped safely",
                      "mount -t cgroup2 none /sys/fs/cgroup")  # fmt: skip


def _programs(_where: Places) -> Iterator[Finding]:
    runtimes = [name for name in ("crun", "runc") if shutil.which(name)]
    if runtimes:
        yield Finding("ok", "OCI runtime", ", ".join(runtimes))
    else:
        yield Finding("problem", "OCI runtime", "neither crun nor runc", "no container can be started", "apt-get install crun")
    for name, package, meaning in (
        ("nft", "nftables", "ports cannot be published"),
        ("ps", "procps", "docker top does not work"),
        ("docker", "docker-cli", "the engine works; the docker command is missing"),
    ):
        if path := shutil.which(name):
            yield Finding("ok", name, path)
        else:
            level = "problem" if name == "nft" else "note"
            yield Finding(level, name, "not found", meaning, f"apt-get install {package}")


def _network(where: Places) -> Iterator[Finding]:
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12).close()
        yield Finding("ok", "nf_tables", "netlink socket opens")
    except OSError as error:
        yield Finding("problem", "nf_tables", str(error), "ports cannot be published", "modprobe nf_tables")
    with open("/proc/sys/net/ipv4/ip_forward", encoding="ascii") as file:
        if file.read().strip() == "1":
            yield Finding("ok", "ip_forward", "on")
        else:
            yield Finding("note", "ip_forward", "off", "the network manager turns it on when it starts")
    for other in ("/var/run/docker.sock",):
        if os.path.exists(other) and other != where.docker_socket:
            yield Finding("note", "other engine", other, "an engine may run already; Skerry uses its own bridge and address pool beside it")


def _ports(_where: Places) -> Iterator[Finding]:
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        low, high = map(int, file.read().split())
    taken = set()
    for family in ("tcp", "tcp6"):
        with open(f"/proc/net/{family}", encoding="ascii") as file:
            # State 0A is LISTEN; the local address is HEX:PORT.
            taken |= {int(line.split()[1].rpartition(":")[2], 16) for line in file if line.split()[3] == "0A"}
    free = high - low + 1 - sum(low <= port <= high for port in taken)
    listening = f"; host programs listen on {', '.join(map(str, sorted(taken)[:10]))}" if taken else ""
    if free < 100:
        yield Finding("problem", "ports", f"{free} free in {low}-{high}", "random ports (-P, -p 80) run out",
                      "sysctl net.ipv4.ip_local_port_range='32768 60999'")  # fmt: skip
    else:
        yield Finding("ok", "ports", f"{low}-{high} for random publishing{listening}")


def _places(where: Places) -> Iterator[Finding]:
    for path in (where.root, where.run):
        parent = path
        while not os.path.exists(parent):
            parent = os.path.dirname(parent)
        usage = shutil.disk_usage(parent)
        if usage.free < _LEAST_FREE:
            yield Finding(
                "problem",
                path,
                f"{usage.free >> 20} MiB free",
                "images and logs will not fit",
                f"free space below {parent}, or set SKERRY_ROOT",
            )
        else:
            yield Finding("ok", path, f"{usage.free / 2**30:.1f} GiB free")
        longest = f"{path}/containers.metrics.sock"
        if path == where.run and len(longest) > 107:
            yield Finding(
                "problem", path, f"{len(path)} characters", "names of unix sockets are limited to 107", "set SKERRY_RUN to a shorter path"
            )


def _python(_where: Places) -> Iterator[Finding]:
    level = "ok" if sys.version_info >= (3, 11) else "problem"
    yield Finding(level, "python", platform.python_version(), "" if level == "ok" else "3.11 or newer is needed", "")


CHECKS: tuple[Callable[[Places], Iterator[Finding]], ...] = (
    _kernel,
    _python,
    _root,
    _filesystems,
    _cgroups,
    _programs,
    _network,
    _ports,
    _places,
)


def findings(where: Places) -> list[Finding]:
    """Returns all findings; a check that cannot look is a finding itself."""
    found: list[Finding] = []
    for check in CHECKS:
        try:
            found += check(where)
        except OSError as error:
            found.append(Finding("note", check.__name__.strip("_"), f"cannot look: {error}"))
    return found


def show(where: Places) -> int:
    """Prints the findings. Returns 1 when there is a problem."""
    found = findings(where)
    width = max(len(one.subject) for one in found)
    for one in found:
        print(f"{one.level:8}{one.subject.ljust(width)}  {one.found}")
        if one.meaning:
            print(f"{'':8}{'':{width}}  {one.meaning}")
        if one.mend and one.level != "ok":
            print(f"{'':8}{'':{width}}  mend: {one.mend}")
    problems = sum(one.level == "problem" for one in found)
    print(f"\n{problems} problem{'s' * (problems != 1)}" if problems else "\nThis machine can run Skerry.")
    return 1 if problems else 0
