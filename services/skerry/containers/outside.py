"""The mount namespace that the service was started in, seen from the pinned one where containers' mounts are.

Networks binds the containers' network namespaces there, on a shared mount point. Whatever makes the host's mounts private later
(debootstrap's successors do) ends the sharing for good, so a namespace that did not come over is fetched. What a bind mount or a
volume plugin names is a path there: a file system that the host mounted later is never seen here.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from skerry.core import linux
from skerry.core.errors import Failed

T = TypeVar("T")
# Each may be held up by a file server that is away.
_THREADS = 8


class Outside:
    """Kept by descriptors of its root and of itself; None: the service never left it."""

    def __init__(self, root: int | None = None, namespace: int | None = None) -> None:
        self._root = root
        self._namespace = namespace
        self._threads = ThreadPoolExecutor(_THREADS, "host", self._enter) if namespace is not None else None

    @property
    def apart(self) -> bool:
        """Tells whether the host's mounts are others than ours."""
        return self._threads is not None

    async def there(self, work: Callable[..., T], *arguments: object) -> T:
        """Runs blocking work in a thread that sees the host's mounts."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

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

    def _enter(self) -> None:
        # A thread that shares its root and working directory with others cannot change its mount namespace.
        linux.unshare(linux.CLONE_FS)
        linux.setns(self._namespace or -1, linux.CLONE_NEWNS)


def _is_namespace(path: str) -> bool:
    try:
        return os.stat(path).st_dev == os.stat("/proc/self/ns/net").st_dev
    except OSError:
        return False
