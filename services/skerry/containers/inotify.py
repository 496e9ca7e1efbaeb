"""Wake-ups of spool readers: one inotify instance per event loop, for a user may have but 128 of them."""

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable

_MODIFY, _MOVED_TO, _CREATE = 0x2, 0x80, 0x100
_EVENT = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)
_instances: dict[asyncio.AbstractEventLoop, "_Inotify"] = {}

Wake = Callable[[], None]


class _Inotify:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._wakes: dict[int, set[Wake]] = {}
        loop.add_reader(self._fd, self._drain)

    def add(self, directory: str, wake: Wake) -> int:
        watch = int(_libc.inotify_add_watch(self._fd, os.fsencode(directory), _MODIFY | _MOVED_TO | _CREATE))
        if watch < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), directory)
        self._wakes.setdefault(watch, set()).add(wake)
        return watch

    def remove(self, watch: int, wake: Wake) -> bool:
        """Returns True when nothing is watched any more."""
        wakes = self._wakes.get(watch, set())
        wakes.discard(wake)
        if not wakes:
            self._wakes.pop(watch, None)
            _libc.inotify_rm_watch(self._fd, watch)
        return not self._wakes

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _drain(self) -> None:
        try:
            events = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        seen = set()
        at = 0
        while at < len(events):
            watch, _, _, length = _EVENT.unpack_from(events, at)
            at += _EVENT.size + length
            seen.add(watch)
        if -1 in seen:  # the queue overflowed: anybody may have missed something
            seen = set(self._wakes)
        for watch in seen:
            for wake in tuple(self._wakes.get(watch, ())):
                wake()


class Watch:
    """Calls wake whenever a file in the directory was made or written. Raises OSError without the directory."""

    def __init__(self, directory: str, wake: Wake) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = wake
        instance = _instances.get(self._loop)
        if instance is None:
            instance = _instances[self._loop] = _Inotify(self._loop)
        try:
            self._watch = instance.add(directory, wake)
        except OSError:
            if not instance._wakes:
                _instances.pop(self._loop).close()
            raise

    def close(self) -> None:
        """Ends it."""
        instance = _instances.get(self._loop)
        if instance is not None and instance.remove(self._watch, self._wake):
            _instances.pop(self._loop).close()
