"""The mount namespace in which containers live on hosts with hybrid cgroups, and the few system calls it takes.

crun refuses a host where /sys/fs/cgroup/unified is mounted beside version 1. Such a host gets a mount namespace without it, pinned
at RUN/ns/mnt so that a later keeper and the containers service enter the same one. Elsewhere the host's namespace is used.
"""

import ctypes
import errno
import os

_MS_BIND, _MS_PRIVATE, _MS_SHARED = 0x1000, 1 << 18, 1 << 20
_MNT_DETACH = 0x2
_CLONE_NEWNS = 0x00020000
_PR_SET_CHILD_SUBREAPER = 36
_UNIFIED = "/sys/fs/cgroup/unified"

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _mount(source: str, target: str, flags: int) -> None:
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None), target)


def become_subreaper() -> None:
    """Orphaned grandchildren become this process's children. Not inherited by fork."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "subreaper")


def _is_mount(path: str) -> bool:
    """os.path.ismount does not see a directory that is bound onto itself."""
    wanted = os.path.realpath(path).replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011").replace("\n", "\\012")
    with open("/proc/self/mountinfo") as file:
        return any(line.split(" ", 5)[4] == wanted for line in file)


def own_mount(path: str, flags: int) -> None:
    """Makes path a mount point with that propagation. Idempotent."""
    os.makedirs(path, mode=0o711, exist_ok=True)
    if not _is_mount(path):
        _mount(path, path, _MS_BIND)
        _mount("none", path, _MS_PRIVATE)
        if flags != _MS_PRIVATE:
            _mount("none", path, flags)


def prepare(run: str) -> str:
    """Makes RUN/netns shared, then enters the pinned namespace, or makes and pins it where cgroups are hybrid.

    Returns what it did: "entered", "made" or "host". Wants root and a process of one thread. Raises OSError.
    """
    # Before the namespace is copied: what networks binds there later must be seen in it.
    own_mount(f"{run}/netns", _MS_SHARED)
    if in_chroot():
        raise OSError(
            errno.EPERM,
            "this is a chroot: a container's root cannot be closed off there (pivot_root moves only a mount namespace's own root), "
            "and `exec` would see the outer system; make the directory the root of a mount namespace (pivot_root), or use a machine",
        )
    pin = f"{run}/ns/mnt"
    if _enter(pin):
        return "entered"
    if not os.path.ismount(_UNIFIED):
        return "host"
    # A namespace can only be pinned on a private mount, from outside of itself.
    own_mount(f"{run}/ns", _MS_PRIVATE)
    os.close(os.open(pin, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    _make_and_pin(pin)
    os.chdir("/")
    return "made"


def _make_and_pin(pin: str) -> None:
    """Enters a new mount namespace without the unified hierarchy, bound at pin.

    The kernel only binds namespaces that are younger than the one they are bound in, and tells age by a number that each CPU draws
    from a store of its own (6.18): a new namespace can look older. So each CPU may try, the one we are on first.
    """
    allowed = os.sched_getaffinity(0)
    outside = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for cpu in (None, *sorted(allowed)):
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            if _made_and_pinned(pin, outside):
                return
        raise OSError(errno.EINVAL, f"no new mount namespace can be bound: {os.strerror(errno.EINVAL)}", pin)
    finally:
        os.close(outside)
        os.sched_setaffinity(0, allowed)


def _made_and_pinned(pin: str, outside: int) -> bool:
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    inside = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _mount("none", "/sys/fs/cgroup", _MS_PRIVATE)
        _check(_libc.umount2(os.fsencode(_UNIFIED), _MNT_DETACH), _UNIFIED)
        _check(_libc.setns(outside, _CLONE_NEWNS), "setns")
        try:
            _mount(f"/proc/self/fd/{inside}", pin, _MS_BIND)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        _check(_libc.setns(inside, _CLONE_NEWNS), "setns")
        return True
    finally:
        os.close(inside)


def in_chroot() -> bool:
    """Tells whether our root is another than our mount namespace's. Found out by a child: entering a namespace leaves a chroot."""
    child = os.fork()
    if child == 0:
        status = 0
        try:
            before = os.stat("/")
            fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            _check(_libc.setns(fd, _CLONE_NEWNS), "setns")
            after = os.stat("/")
            status = int((before.st_dev, before.st_ino) != (after.st_dev, after.st_ino))
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] != 0


def _enter(pin: str) -> bool:
    try:
        fd = os.open(pin, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # An ordinary file is a pin that was never made, or that an unmount left behind.
        return bool(_libc.setns(fd, _CLONE_NEWNS) == 0)
    finally:
        os.close(fd)
