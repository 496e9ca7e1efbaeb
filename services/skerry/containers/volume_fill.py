"""First use of a volume: what the image has at its target is copied in, with owners and modes. All or nothing, whatever ends us meanwhile.

The copy is made in a directory aside, which is renamed when it is whole: from then on it is the volume's content, and what is left to
do, moving its entries to where they belong, is done by whoever comes next. Until then it counts for nothing.
"""

import asyncio
import os
import shutil
import stat
from collections.abc import Sequence

from skerry.containers import mounts
from skerry.containers.inside import open_beneath
from skerry.containers.outside import Outside
from skerry.containers.record import Volume
from skerry.core import failpoints, process
from skerry.core.errors import Failed

failpoints.declare("containers.volumes", "copying", "copied", "moved")

_SECONDS = 600
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Beside a local volume's content; in the content where that is another file system, or a part of one.
_BESIDE, _WITHIN = "_fill", ".skerry-fill"
_WHOLE = "-whole"


async def fill(rootfs: str, volume: Volume, source: str, *, plain: bool, outside: Outside) -> None:
    """Fills a volume that is empty. plain: its content is a directory of ours, not a mount. Raises Failed; the volume is then as before."""
    work = outside.there if volume.by_plugin else asyncio.to_thread
    content = await work(_open, source, volume.subpath)
    if content is None:
        return
    beside = plain and not volume.subpath
    try:
        aside = os.open(os.path.dirname(source), _DIRECTORY) if beside else os.dup(content)
        try:
            await _fill(rootfs, volume.target, content, aside, _BESIDE if beside else _WITHIN)
        except OSError as error:
            raise Failed(f"error while copying to volume {volume.name}: {(error.strerror or str(error)).lower()}") from None
        finally:
            os.close(aside)
    finally:
        os.close(content)


def recover(directory: str) -> None:
    """Goes on with, or undoes, the filling of a local volume that was cut short. Blocks briefly. Raises OSError."""
    if not (os.path.lexists(f"{directory}/{_BESIDE}") or os.path.lexists(f"{directory}/{_BESIDE}{_WHOLE}")):
        return
    aside, content = os.open(directory, _DIRECTORY), os.open(f"{directory}/_data", _DIRECTORY)
    try:
        _recover(aside, content, _BESIDE)
    finally:
        os.close(aside)
        os.close(content)


async def _fill(rootfs: str, target: str, content: int, aside: int, name: str) -> None:
    if not await asyncio.to_thread(_empty, content, aside, name):
        return
    image = await asyncio.to_thread(mounts.image_content, rootfs, target)
    if image is None:
        return
    try:
        os.mkdir(name, 0o700, dir_fd=aside)
        # By our descriptors: the copy ends with us, and no path of it can be swapped.
        mine = f"/proc/{os.getpid()}/fd"
        await process.run(["cp", "-a", f"{mine}/{image}/.", f"{mine}/{aside}/{name}"], timeout=_SECONDS)
        await failpoints.reached("containers.volumes.copying")
        os.rename(name, name + _WHOLE, src_dir_fd=aside, dst_dir_fd=aside)
        await failpoints.reached("containers.volumes.copied")
    finally:
        os.close(image)
        await asyncio.to_thread(_remove, aside, name)
    await asyncio.to_thread(_recover, aside, content, name)
    await failpoints.reached("containers.volumes.moved")


def _open(source: str, subpath: str) -> int | None:
    try:
        base = os.open(source, _DIRECTORY)
    except OSError as error:
        raise Failed(f"error while mounting volume '{source}': {(error.strerror or '').lower()}") from None
    if not subpath:
        return base
    try:
        return open_beneath(base, subpath, _DIRECTORY)
    except OSError:
        # Not there, a file, or a link that leads out: the start tells.
        return None
    finally:
        os.close(base)


def _empty(content: int, aside: int, name: str) -> bool:
    _recover(aside, content, name)
    return not os.listdir(content)


def _recover(aside: int, content: int, name: str) -> None:
    _remove(aside, name)
    try:
        whole = os.open(name + _WHOLE, _DIRECTORY | os.O_NOFOLLOW, dir_fd=aside)
    except FileNotFoundError:
        return
    try:
        there = set(os.listdir(content))
        for entry in os.listdir(whole):
            # What somebody else made meanwhile stays.
            if entry not in there:
                os.rename(entry, entry, src_dir_fd=whole, dst_dir_fd=content)
        _give_attributes(whole, content)
    finally:
        os.close(whole)
    shutil.rmtree(name + _WHOLE, dir_fd=aside)


def _remove(aside: int, name: str) -> None:
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=aside, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=aside)
    except FileNotFoundError:
        return


def _give_attributes(source: int, target: int) -> None:
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    for attribute in _attributes(source):
        os.setxattr(target, attribute, os.getxattr(source, attribute))
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _attributes(fd: int) -> Sequence[str]:
    try:
        return os.listxattr(fd)
    except OSError:
        return ()  # a file system without them
