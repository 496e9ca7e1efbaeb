"""The runtime's program behind a read-only mount of our own.

A container's root must not be able to write to the runtime through /proc/PID/exe (CVE-2019-5736). So crun and runc, at each call, mount
their program read-only, detach that mount and run themselves again from it: half of the time of a short command. A program that lies on
a read-only file system, and is told that somebody saw to that, does not. The mount here is one that stays: whoever opens the program
through it cannot write, and nobody in another mount namespace can change it.
"""

import os

import msgspec

from skerry.containers.runtime import Runtime
from skerry.core import linux


def mounted(runtime: Runtime, run: str) -> Runtime:
    """Returns the runtime with its program behind RUN/program/NAME, or as it was where that cannot be. Blocks briefly."""
    folder = f"{run}/program"
    program = f"{folder}/{runtime.name}"
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with open(program, "ab"):
            pass  # the place of the mount
    except OSError:
        if not linux.is_mount_point(program):
            return runtime
    try:
        if not _is_mounted(runtime.path, program):
            linux.mount(os.path.realpath(runtime.path), program, flags=linux.MS_BIND)
            linux.mount("none", program, flags=linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY)
    except OSError:
        return runtime
    if not os.statvfs(program).f_flag & os.ST_RDONLY:
        return runtime
    return msgspec.structs.replace(runtime, program=program)


def _is_mounted(path: str, program: str) -> bool:
    """Tells whether what is mounted is today's program; unmounts what is not: it was upgraded, or an earlier try was not finished."""
    while linux.is_mount_point(program):
        if os.path.samefile(path, program) and os.statvfs(program).f_flag & os.ST_RDONLY:
            return True
        linux.unmount(program)
    return False
