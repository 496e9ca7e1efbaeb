"""The driver `local`: a directory per volume, on which its options may mount something. Functions here block."""

import os
import shutil
import socket
from collections.abc import Mapping

from skerry.containers.layers.mounts import unmount_all
from skerry.core import linux
from skerry.core.errors import Failed, InvalidArgument

DRIVER = "local"
REMOVED = ".removed-"
NEW = ".new-"
_NEEDS = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_FLAGS = {
    "defaults": 0,
    "rw": 0,
    "ro": linux.MS_RDONLY,
    "nosuid": linux.MS_NOSUID,
    "nodev": linux.MS_NODEV,
    "noexec": linux.MS_NOEXEC,
    "sync": 0x10,
    "dirsync": 0x80,
    "noatime": 0x400,
    "nodiratime": 0x800,
    "bind": linux.MS_BIND,
    "rbind": linux.MS_BIND | linux.MS_REC,
    "relatime": 1 << 21,
    "strictatime": 1 << 24,
}


def check_options(options: Mapping[str, str]) -> None:
    """Raises InvalidArgument in Docker's words."""
    for key in options:
        if key not in ("type", "o", "device", "size"):
            raise InvalidArgument(f'invalid option: "{key}"')
    if "size" in options:
        raise InvalidArgument("quota size requested but no quota support")
    for key, needed in _NEEDS.items():
        for other in needed:
            if key in options and not options.get(other):
                raise InvalidArgument(f'missing required option: "{other}"')


def make(directory: str) -> None:
    """Makes a volume's directories, those that are missing. Raises Failed."""
    content = f"{directory}/_data"
    try:
        os.makedirs(os.path.dirname(directory), mode=0o711, exist_ok=True)
        os.makedirs(directory, mode=0o711, exist_ok=True)
        os.makedirs(content, mode=0o755, exist_ok=True)
    except OSError as error:
        raise Failed(f"error while creating volume path '{content}': mkdir {error.filename}: {(error.strerror or '').lower()}") from None


def prepare(directory: str) -> str:
    """Makes a new volume's directories where no volume is, and returns the place; `take_place` makes it a volume. Raises Failed."""
    aside = os.path.join(os.path.dirname(directory), f"{NEW}{os.path.basename(directory)}")
    make(aside)
    return aside


def take_place(aside: str, directory: str) -> None:
    """Gives what `prepare` made its name, in one step; what is there already stays. Raises Failed."""
    try:
        os.rename(aside, directory)
    except OSError as error:
        if not os.path.isdir(f"{directory}/_data"):
            raise Failed(f"error while creating volume path '{directory}': {(error.strerror or '').lower()}") from None
        delete(aside)


def delete(directory: str) -> None:
    """Deletes what `set_aside` returned."""
    shutil.rmtree(directory, ignore_errors=True)


def set_aside(directory: str) -> str:
    """Takes a volume's directory away in one step; returns its new place, empty when there was none. Raises Failed."""
    place = os.path.join(os.path.dirname(directory), f"{REMOVED}{os.path.basename(directory)}")
    unmount_all(f"{directory}/_data")
    try:
        os.rename(directory, place)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Failed(f"error while removing volume path '{directory}': {(error.strerror or '').lower()}") from None
    return place


def binds(options: Mapping[str, str]) -> bool:
    """Tells whether the options bind a path of the host."""
    return bool(options.get("device")) and any(word in ("bind", "rbind") for word in options.get("o", "").split(","))


def clone(path: str, options: Mapping[str, str]) -> int:
    """Returns a bind mount of what the options bind at path, not attached yet: to be called where the host's mounts are seen.

    Raises Failed in Docker's words.
    """
    try:
        fd = os.open(options["device"], os.O_PATH | os.O_CLOEXEC)
        try:
            return linux.clone_mount(fd, recursive="rbind" in options.get("o", "").split(","))
        finally:
            os.close(fd)
    except OSError as error:
        raise _refused(path, options, error) from None


def mount(path: str, options: Mapping[str, str], bound: int = -1) -> None:
    """Mounts what the options say (bound: what `clone` returned), unless it is mounted already. Raises Failed in Docker's words."""
    if not options.get("device") or linux.is_mount_point(path):
        return
    kind, device = options.get("type", ""), options["device"]
    flags, data = 0, []
    for word in options.get("o", "").split(","):
        if word in _FLAGS:
            flags |= _FLAGS[word]
        elif word:
            data.append(_resolved(word) if kind.startswith("nfs") or kind == "cifs" else word)
    try:
        if bound >= 0:
            linux.attach_mount(bound, path)
            linux.mount("none", path, flags=linux.MS_REC | linux.MS_PRIVATE)
        else:
            linux.mount(device, path, "" if kind == "none" else kind, flags, ",".join(data))
        if flags & linux.MS_BIND and flags & linux.MS_RDONLY:
            linux.mount("none", path, flags=linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY)
    except OSError as error:
        raise _refused(path, options, error) from None


def _refused(path: str, options: Mapping[str, str], error: OSError) -> Failed:
    told = f", data: {options['o']}" if options.get("o") else ""
    what = f"mount {options['device']}:{path}{told}: {(error.strerror or '').lower()}"
    return Failed(f"error while mounting volume '{path}': failed to mount local volume: {what}")


def _resolved(word: str) -> str:
    """The kernel takes a server's address as a number only."""
    if not word.startswith("addr="):
        return word
    host = word.removeprefix("addr=")
    try:
        return f"addr={socket.getaddrinfo(host, None)[0][4][0]}"
    except OSError as error:
        raise Failed(f"error resolving passed in network volume address: {host}: {error.strerror}") from None


def unmount(path: str) -> None:
    """Unmounts it, if it is mounted."""
    unmount_all(path)
