"""A tiny event loop over epoll: descriptors with a handler each, and a few named timers."""

import select
import time
from collections.abc import Callable

IN = select.EPOLLIN
OUT = select.EPOLLOUT

Handler = Callable[[int, int], None]


class Loop:
    """Runs handlers until `stop`. A descriptor has one handler; watching it again replaces events and handler."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: dict[str, tuple[float, Callable[[], None]]] = {}
        self._running = True

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Calls handler(fd, events) while fd is ready."""
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Ends watching, also EPOLLHUP, which no mask keeps out. Before closing fd."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, name: str, seconds: float, work: Callable[[], None]) -> None:
        """Calls work once, after seconds; a timer of the same name is replaced."""
        self._timers[name] = (time.monotonic() + seconds, work)

    def cancel(self, name: str) -> None:
        """Ends a timer, if there is one."""
        self._timers.pop(name, None)

    def stop(self) -> None:
        """Makes `run` return."""
        self._running = False

    def run(self) -> None:
        """Runs until stopped."""
        while self._running:
            timeout = -1.0
            if self._timers:
                timeout = max(0.0, min(due for due, _ in self._timers.values()) - time.monotonic())
            for fd, events in self._epoll.poll(timeout):
                # An earlier handler of this round may have closed it.
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler(fd, events)
            if self._timers:
                now = time.monotonic()
                for name in [name for name, (due, _) in self._timers.items() if due <= now]:
                    self._timers.pop(name)[1]()

    def close(self) -> None:
        """Closes the epoll descriptor."""
        self._epoll.close()
