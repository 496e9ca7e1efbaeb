"""The image store as a process: `python -m skerry.images`."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from skerry.api.images.v1.images_pb2_grpc import add_ImagesServiceServicer_to_server
from skerry.core import lifecycle, log
from skerry.core.lifecycle import Tasks
from skerry.core.rpc.endpoint import endpoint
from skerry.core.settings import Common, from_env
from skerry.images.blobs.files import FileBlobs
from skerry.images.catalog.sqlite import open_catalog
from skerry.images.intake import Intake, Limits
from skerry.images.service import NAME, ImagesService


class Settings(Common, frozen=True, kw_only=True):
    """Read from SKERRY_IMAGES_*."""

    # Asked before docker.io, in order.
    mirrors: list[str] = []
    # Registries (HOST or HOST:PORT) that may be asked by http. The loopback range always may.
    insecure_registries: list[str] = []
    # Layers fetched at once.
    parallel_layers: int = 3
    # never, pushed or always: whether the compressed form a layer came in is kept, so that a push keeps its digest.
    keep_compressed: str = "always"
    # Bytes that one layer may have uncompressed.
    max_layer_bytes: int = 64 << 30


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[str]:
    """Runs the image store; yields its address."""
    folder = os.path.join(settings.root, "images")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    stopping = asyncio.Event()
    limits = Limits(
        settings.max_layer_bytes,
        settings.keep_compressed == "always",
        settings.parallel_layers,
        settings.mirrors,
        settings.insecure_registries,
    )
    blobs = await asyncio.to_thread(FileBlobs, folder)
    boot_id = await asyncio.to_thread(_boot_id)
    async with (
        open_catalog(os.path.join(folder, "catalog.db")) as catalog,
        aiohttp.ClientSession(trust_env=True, auto_decompress=False) as session,
        Tasks() as tasks,
    ):
        intake = Intake(catalog, blobs, session, limits, tasks)
        # What an interrupted pull or load left.
        _ = tasks.spawn(intake.collect(), "collect blobs")
        servicer = ImagesService(catalog, catalog.journal, blobs, intake, tasks, boot_id, stopping)
        register = [lambda server: add_ImagesServiceServicer_to_server(servicer, server)]
        async with endpoint(settings, "images", register, [NAME], stopping) as address:
            yield address


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def main() -> None:
    """Reads the settings and runs until SIGTERM."""
    settings = lifecycle.settings_or_exit(lambda: from_env(Settings, "SKERRY_IMAGES_"))
    log.configure("images", settings.log_level, settings.log_format)
    lifecycle.run(service(settings))


if __name__ == "__main__":
    main()
