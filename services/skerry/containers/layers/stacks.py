"""Mounts of layers, and root file systems put together of them. All of it runs on one thread, whose current directory is RUN/layers."""

import base64
import os
import shutil
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from skerry.containers.layers import mounts
from skerry.core.errors import Failed, NotFound, SkerryError

EROFS = "erofs"
DIRECTORIES = "directories"
# Directories in RUN/layers that are empty: overlayfs wants at least one below, and two when there is none above.
EMPTY = "empty"
NOTHING = "nothing"
# Mounts without a user that stay: the next container of the same image finds its pages in memory.
_IDLE_MOUNTS = 64


class LayerInfo(msgspec.Struct, frozen=True):
    """ROOT/layers/HEX/layer.json, written last: a directory without it is no layer."""

    diff_id: str
    # erofs: `tar` and `index.erofs` beside this file; directories: `diff/`.
    form: str
    # Bytes of the tar, its entries, and of the regular files in it.
    size: int
    entries: int
    bytes: int


class Stacks:
    """Who uses which layer. infos is the store's: what is prepared, by hex digest."""

    def __init__(self, root: str, run: str, infos: dict[str, LayerInfo]) -> None:
        self._root = root
        self._run = run
        self._infos = infos
        self._users: dict[str, set[str]] = {}
        self._idle: OrderedDict[str, None] = OrderedDict()
        # Directories whose root a run wants mounted, and how many hold each besides.
        self._running: set[str] = set()
        self._held: dict[str, int] = {}

    def mount(self, directory: str, names: Sequence[str]) -> str:
        """Mounts a container's root for a run; returns where. Raises NotFound, Failed."""
        path = self._mount_root(os.path.abspath(directory), names)
        self._running.add(os.path.abspath(directory))
        return path

    def hold(self, directory: str, names: Sequence[str]) -> str:
        """Mounts a root for somebody else; as often, `let_go` follows. Raises NotFound, Failed."""
        directory = os.path.abspath(directory)
        path = self._mount_root(directory, names)
        self._held[directory] = self._held.get(directory, 0) + 1
        return path

    def let_go(self, directory: str) -> None:
        """Undoes `hold`; the last one unmounts a root that no run wants."""
        directory = os.path.abspath(directory)
        self._held[directory] -= 1
        if not self._held[directory]:
            del self._held[directory]
            if directory not in self._running:
                self._unmount_root(directory)

    def mount_below(self, target: str, names: Sequence[str]) -> None:
        """Mounts the layers alone, read-only, at a directory that it makes. Raises NotFound, Failed."""
        stack = stacked(names)
        try:
            for name in stack:
                self._mount_layer(name)
                self._users.setdefault(name, set()).add(target)
                self._idle.pop(name, None)
            os.mkdir(target, 0o700)
            mounts.mount_lowers([*([short(name) for name in stack] or [NOTHING]), EMPTY], target)
        except OSError as error:
            self.unmount_below(target)
            raise Failed(f"error creating overlay mount to {target}: {error.strerror}") from error
        except SkerryError:
            self.unmount_below(target)
            raise

    def unmount_below(self, target: str) -> None:
        """Undoes `mount_below`, also one of an earlier process."""
        mounts.unmount_all(target)
        if os.path.isdir(target):
            os.rmdir(target)
        self._release(target)

    def _mount_root(self, directory: str, names: Sequence[str]) -> str:
        target = f"{directory}/rootfs"
        stack = stacked(names)
        try:
            for name in stack:
                self._mount_layer(name)
                self._users.setdefault(name, set()).add(directory)
                self._idle.pop(name, None)
            if not os.path.ismount(target):
                for path, mode in ((f"{directory}/upper", 0o755), (f"{directory}/work", 0o700), (target, 0o700)):
                    os.makedirs(path, exist_ok=True)
                    os.chmod(path, mode)
                lower = [short(name) for name in stack] or [EMPTY]
                mounts.mount_overlay(lower, f"{directory}/upper", f"{directory}/work", target)
        except OSError as error:
            self._release(directory)
            raise Failed(f"error creating overlay mount to {target}: {error.strerror}") from error
        except SkerryError:
            self._release(directory)
            raise
        return target

    def _mount_layer(self, name: str) -> None:
        info = self._infos.get(name)
        if info is None:
            raise NotFound(f"layer sha256:{name} is not on this node")
        place, own = short(name), f"{self._root}/{name}"
        if os.path.lexists(place) and os.path.islink(place) != (info.form == DIRECTORIES):
            self._unmount_layer(name)  # left from before it was prepared in the other form
        if info.form == DIRECTORIES:
            if not os.path.islink(place):
                os.symlink(f"{own}/diff", place)
            return
        os.makedirs(place, mode=0o700, exist_ok=True)
        if not os.path.ismount(place):
            try:
                mounts.mount_layer(f"{own}/index.erofs", f"{own}/tar", place)
            except OSError as error:
                raise Failed(f"cannot mount layer {info.diff_id}: {error.strerror}") from error

    def unmount(self, directory: str) -> None:
        """Says that no run wants a root any more; unmounts it unless somebody holds it."""
        directory = os.path.abspath(directory)
        self._running.discard(directory)
        if directory not in self._held:
            self._unmount_root(directory)

    def _unmount_root(self, directory: str) -> None:
        mounts.unmount_all(f"{directory}/rootfs")
        self._release(directory)

    def _release(self, directory: str) -> None:
        for name, users in list(self._users.items()):
            users.discard(directory)
            if not users:
                del self._users[name]
                self._idle[name] = None
        while len(self._idle) > _IDLE_MOUNTS:
            self._unmount_layer(self._idle.popitem(last=False)[0])

    def _unmount_layer(self, name: str) -> None:
        place = short(name)
        if os.path.islink(place):
            os.unlink(place)
        else:
            mounts.unmount_all(place)
            if os.path.isdir(place):
                os.rmdir(place)

    def forget(self, name: str) -> bool:
        """Deletes a prepared layer; False when a root uses it."""
        if name in self._users:
            return False
        self._idle.pop(name, None)
        self._unmount_layer(name)
        del self._infos[name]
        # layer.json first: what remains of a crash here is no layer.
        if os.path.exists(f"{self._root}/{name}/layer.json"):
            os.unlink(f"{self._root}/{name}/layer.json")
        shutil.rmtree(f"{self._root}/{name}", ignore_errors=True)
        return True

    def reconcile(self, live: set[str]) -> None:
        """Takes over the mounts of an earlier process; live: directories of the containers that run."""
        names = {short(name): name for name in self._infos}
        containers = os.path.join(os.path.dirname(self._root), "runtime")
        for point in mounts.mounted(containers):
            directory, base = os.path.split(point.path)
            if point.kind != "overlay" or os.path.dirname(directory) != containers:
                continue
            if base.startswith("below-"):
                self.unmount_below(point.path)
                continue
            if base != "rootfs":
                continue
            if directory not in live:
                mounts.unmount_all(point.path)
                continue
            self._running.add(directory)
            lower = next((each.removeprefix("lowerdir=") for each in point.options if each.startswith("lowerdir=")), "")
            for place in lower.split(":"):
                if place in names:
                    self._users.setdefault(names[place], set()).add(directory)
        for point in mounts.mounted(self._run):
            name = names.get(os.path.basename(point.path), "")
            if point.path == self._run or name in self._users:
                continue
            mounts.unmount_all(point.path)
        sweep(self._root)

    def shown(self, name: str) -> str:
        """Returns where a layer is to be seen."""
        info = self._infos.get(name)
        return f"{self._root}/{name}/diff" if info is not None and info.form == DIRECTORIES else f"{self._run}/{short(name)}"


def short(name: str) -> str:
    """24 characters, 144 bits of the digest: 127 layers fit in one page of mount options."""
    return base64.urlsafe_b64encode(bytes.fromhex(name))[:24].decode()


def stacked(names: Sequence[str]) -> list[str]:
    """Topmost first. The same layer twice would be refused by overlayfs; all that its lower place holds is hidden by its upper one."""
    return list(dict.fromkeys(reversed(names)))


def sweep(root: str) -> None:
    """Removes what an earlier process left unfinished."""
    for name in os.listdir(root):
        if name.startswith((".new-", ".old-", ".probe-")):
            shutil.rmtree(f"{root}/{name}", ignore_errors=True)
