"""The mount namespace that the service was started in, seen from the pinned one where containers' mounts are.

Networks binds the containers' network namespaces there, on a shared mount point. Whatever makes the host's mounts private later
(debootstrap's successors do) ends the sharing for good, so a namespace that did not come over is fetched.
"""

import os

from skerry.core import linux
from skerry.core.errors import Failed


class Outside:
    """Kept by a descriptor of its root; None: the service never left it."""

    def __init__(self, root: int | None = None) -> None:
        self._root = root

    def show_namespace(self, path: str) -> None:
        """Makes the network namespace that is bound at path there visible at path here. Idempotent. Raises Failed. Blocks briefly."""
        if self._root is None or _is_namespace(path):
            return
        try:
            fd = os.open(path.lstrip("/"), os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._root)
        except OSError as error:
            raise Failed(f"network namespace {path}: {error.strerror}") from None
        try:
            # Of all mounts of another mount namespace the kernel lets namespaces, and only them, be bound here.
            linux.mount(f"/proc/self/fd/{fd}", path, flags=linux.MS_BIND)
        except OSError as error:
            raise Failed(f"network namespace {path} cannot be shown to containers: {error.strerror}") from None
        finally:
            os.close(fd)


def _is_namespace(path: str) -> bool:
    try:
        return os.stat(path).st_dev == os.stat("/proc/self/ns/net").st_dev
    except OSError:
        return False
