"""Mounts of layers and root file systems by mount(2), and what /proc/self/mountinfo says of them. Everything blocks briefly."""

import os
import re
import tempfile
from collections.abc import Sequence

import msgspec

from skerry.containers.layers import erofs, tar
from skerry.core import linux
from skerry.core.errors import Failed

# mount(2) takes at most one page of options, with the closing NUL.
_OPTIONS_LIMIT = 4095
_OCTAL = re.compile(rb"\\([0-7]{3})")


class MountPoint(msgspec.Struct, frozen=True):
    """One line of mountinfo."""

    path: str
    kind: str
    source: str
    # Options of the file system, "lowerdir=..." among them.
    options: tuple[str, ...]


def mount_layer(index: str, data: str, target: str) -> None:
    """Mounts an EROFS index whose file data are in the tar `data`, read-only, at target. Raises OSError."""
    # Neither nosuid nor nodev: set-uid programs and device nodes of images work, as in Docker.
    linux.mount(index, target, "erofs", linux.MS_RDONLY, f"device={data}")


def _plain() -> str:
    """Options that take back what the host's overlayfs may do by default: leave names and data of changed files in lower layers."""
    asked = ""
    for option in ("redirect_dir", "metacopy"):
        try:
            with open(f"/sys/module/overlay/parameters/{option}", encoding="ascii") as file:
                asked += f",{option}=off" if file.read(1) == "Y" else ""
        except OSError:
            continue  # a kernel that does not know it
    return asked


def mount_lowers(lower: Sequence[str], target: str) -> None:
    """Mounts two or more directories, topmost first, as one read-only tree. Raises OSError; Failed when they are too many."""
    options = f"lowerdir={':'.join(lower)}"
    if len(os.fsencode(options)) > _OPTIONS_LIMIT:
        raise Failed(f"max depth exceeded: {len(lower)} layers do not fit in one mount")
    linux.mount("overlay", target, "overlay", linux.MS_RDONLY, options)


def mount_overlay(lower: Sequence[str], upper: str, work: str, target: str) -> None:
    """Mounts an overlay; lower is topmost first, paths relative to the calling thread's directory. Raises Failed when they are too many."""
    options = ",".join([f"lowerdir={':'.join(lower)}", f"upperdir={_escaped(upper)}", f"workdir={_escaped(work)}"]) + _plain()
    if len(os.fsencode(options)) > _OPTIONS_LIMIT:
        raise Failed(f"max depth exceeded: {len(lower)} layers do not fit in one mount")
    linux.mount("overlay", target, "overlay", 0, options)


def mount_shm(target: str, size: int) -> None:
    """Mounts a tmpfs for shared memory of `size` bytes at target, which other containers may be given. Raises OSError."""
    os.makedirs(target, mode=0o700, exist_ok=True)
    if not os.path.ismount(target):
        linux.mount("shm", target, "tmpfs", linux.MS_NOSUID | linux.MS_NOEXEC | linux.MS_NODEV, f"mode=1777,size={size}")


def unmount_all(target: str) -> bool:
    """Unmounts, lazily, whatever is mounted at target, however often; tells whether anything was."""
    done = False
    while True:
        try:
            linux.unmount(target)
        except OSError:
            # EINVAL: no mount point (any more). ENOENT: no directory.
            return done
        done = True


def mounted(below: str) -> list[MountPoint]:
    """Returns the mounts at and below a directory, in the order in which they were made, as this thread sees them."""
    with open("/proc/thread-self/mountinfo", "rb") as file:
        points = [_parse(line) for line in file]
    prefix = below.rstrip("/") + "/"
    return [point for point in points if (point.path + "/").startswith(prefix)]


def mount_of(path: str) -> tuple[str, tuple[str, ...]]:
    """Returns the mount point that a path (without links) lies on, as this thread sees it, and its propagation ("shared:7", "master:3")."""
    best, options = "/", b""
    with open("/proc/thread-self/mountinfo", "rb") as file:
        for line in file:
            fields = line.partition(b" - ")[0].split(b" ")
            point = _text(fields[4])
            # Of mounts on top of each other the last one counts.
            if len(point) >= len(best) and (path + "/").startswith(point.rstrip("/") + "/"):
                best, options = point, b" ".join(fields[6:])
    return best, tuple(options.decode("ascii").split())


def erofs_works(directory: str) -> bool:
    """Tells whether this kernel mounts an EROFS index straight from files, by doing so with a tiny one below directory."""
    with tempfile.TemporaryDirectory(dir=directory, prefix=".probe-") as place:
        with open(f"{place}/tar", "wb") as file:
            file.write(tar.header(b"probe", b"0", 5) + b"works".ljust(512, b"\0") + bytes(1024))
        try:
            erofs.build(f"{place}/tar", f"{place}/index")
            os.mkdir(f"{place}/m")
            mount_layer(f"{place}/index", f"{place}/tar", f"{place}/m")
        except OSError:
            return False
        try:
            with open(f"{place}/m/probe", "rb") as file:
                return file.read() == b"works"
        except OSError:
            return False
        finally:
            linux.unmount(f"{place}/m")


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")


def _parse(line: bytes) -> MountPoint:
    before, _, after = line.rstrip(b"\n").partition(b" - ")
    kind, source, options = (after.split(b" ") + [b""] * 3)[:3]
    return MountPoint(_text(before.split(b" ")[4]), kind.decode(), _text(source), tuple(_text(options).split(",")))


def _text(field: bytes) -> str:
    return os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match.group(1), 8)]), field))
