"""The mount namespace in which containers live on hosts with hybrid cgroups, and the few system calls it takes.

crun refuses a host where /sys/fs/cgroup/unified is mounted beside version 1. Such a host gets a mount namespace without it, pinned
at RUN/ns/mnt so that a later keeper and the containers service enter the same one. Elsewhere the host's namespace is used.
"""

import ctypes
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
    pin = f"{run}/ns/mnt"
    if enter(pin):
        return "entered"
    if not os.path.ismount(_UNIFIED):
        return "host"
    # A namespace can only be pinned on a private mount, from outside of itself.
    own_mount(f"{run}/ns", _MS_PRIVATE)
    os.close(os.open(pin, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    reader, writer = os.pipe()
    outside = os.fork()
    if outside == 0:
        _pin(reader, writer, os.getppid(), pin)
    try:
        _check(_libc.unshare(_CLONE_NEWNS), "unshare")
        _mount("none", "/sys/fs/cgroup", _MS_PRIVATE)
        _check(_libc.umount2(os.fsencode(_UNIFIED), _MNT_DETACH), _UNIFIED)
        os.write(writer, b"1")
    finally:
        os.close(reader)
        os.close(writer)
        _, status = os.waitpid(outside, 0)
    if status != 0:
        raise OSError(os.waitstatus_to_exitcode(status), "cannot pin the mount namespace", pin)
    return "made"


def _pin(reader: int, writer: int, maker: int, pin: str) -> None:
    """Waits, as a process that stays outside, until the namespace is made, and pins it. Never returns."""
    os.close(writer)
    try:
        if os.read(reader, 1) == b"1":
            _mount(f"/proc/{maker}/ns/mnt", pin, _MS_BIND)
            os._exit(0)
    except OSError as error:
        os._exit(error.errno or 1)
    os._exit(1)


def enter(pin: str) -> bool:
    """Enters the namespace that is pinned there. False when none is, or nobody lives in it: then it is unpinned, to be made anew.

    Entering moves a process to the namespace's own root. An engine that was started in a chroot must come out in the same place, so the
    root is taken from a process that lives there. Wants root and a process of one thread. Raises OSError.
    """
    try:
        fd = os.open(pin, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        root = _root_of_a_member(os.fstat(fd).st_ino)
        if root < 0:
            _libc.umount2(os.fsencode(pin), _MNT_DETACH)  # or an ordinary file: a pin that was never made
            return False
        try:
            _check(_libc.setns(fd, _CLONE_NEWNS), "setns")
            os.fchdir(root)
            os.chroot(".")
            os.chdir("/")
        finally:
            os.close(root)
    finally:
        os.close(fd)
    return True


def _root_of_a_member(namespace: int) -> int:
    """Returns a descriptor of the root directory of a process in that mount namespace; -1 when there is none."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}/ns/mnt").st_ino == namespace:
                    return os.open(f"/proc/{name}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue  # it ended
    return -1
