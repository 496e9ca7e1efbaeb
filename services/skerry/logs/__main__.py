"""The log router as a process: `python -m skerry.logs`."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from skerry.api.logs.v1.logs_pb2_grpc import add_LogsServiceServicer_to_server
from skerry.core import lifecycle, log
from skerry.core.errors import InvalidArgument
from skerry.core.lifecycle import Tasks, background
from skerry.core.rpc.endpoint import endpoint
from skerry.core.settings import Common, from_env
from skerry.logs import drivers
from skerry.logs.containers import Containers
from skerry.logs.service import NAME, LogsService
from skerry.logs.stores import Sync

_SYNC_SECONDS = 0.2
_THREADS = 4


class Settings(Common, frozen=True, kw_only=True):
    """Read from SKERRY_LOGS_*."""

    # The driver of containers that name none, and its options as KEY=VALUE.
    driver: str = "json-file"
    options: list[str] = []
    # When accepted records are made durable against a crash of the host: off, interval (each 200 ms), batch (before each ack).
    # A crash of the router loses nothing in any case.
    sync: Sync = "interval"


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[str]:
    """Runs the log router; yields its address. Raises InvalidArgument for settings that cannot hold."""
    if not all("=" in one for one in settings.options):
        raise InvalidArgument("bad value for setting SKERRY_LOGS_OPTIONS: want KEY=VALUE, ...")
    options = dict(one.split("=", 1) for one in settings.options)
    drivers.checked(settings.driver, options)
    os.makedirs(os.path.join(settings.root, "containers"), mode=0o710, exist_ok=True)
    stopping = asyncio.Event()
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="logs")
    containers = Containers(settings.root, settings.sync, pool)
    try:
        async with Tasks() as tasks:
            servicer = LogsService(containers, tasks, (settings.driver, options), stopping)
            register = [lambda server: add_LogsServiceServicer_to_server(servicer, server)]
            async with background(_sync(containers)), endpoint(settings, "logs", register, [NAME], stopping) as address:
                yield address
    finally:
        await containers.close()
        pool.shutdown()


async def _sync(containers: Containers) -> None:
    while True:
        await asyncio.sleep(_SYNC_SECONDS)
        await containers.sync_all()


def main() -> None:
    """Reads the settings and runs until SIGTERM."""
    settings = lifecycle.settings_or_exit(lambda: from_env(Settings, "SKERRY_LOGS_"))
    log.configure("logs", settings.log_level, settings.log_format)
    lifecycle.run(service(settings))


if __name__ == "__main__":
    main()
