"""Lifecycles are nested `async with`: start order is the nesting, stop order its reverse."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import uvloop

from skerry.core import structs
from skerry.core.errors import SkerryError

T = TypeVar("T")


@asynccontextmanager
async def background(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs loops beside the body: one that fails ends the body, the body's end cancels them."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


class Tasks:
    """Owner of short-lived tasks: keeps them referenced, reports what they raise, ends them with its own `async with`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> "Tasks":
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Starts work as an owned task. An exception in it is logged with the name; nobody else need await it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"task {task.get_name()} failed", "exception": error, "task": task}
            )


def settings_or_exit(read: Callable[[], T]) -> T:
    """Returns what read returns. Exits 1 with one line when it raises a SkerryError: a bad setting is the user's to mend."""
    try:
        return read()
    except SkerryError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None


def run(service: AbstractAsyncContextManager[Any]) -> None:
    """Runs a service until SIGTERM or SIGINT, then leaves its `async with`. Exits 1 with one line when it cannot start."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with service:
            await stop.wait()

    structs.prepare()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except SkerryError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None
