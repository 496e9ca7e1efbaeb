"""The image store as a process: `python -m skerry.images`."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal

import aiohttp
import msgspec

from skerry.api.images.v1.images_pb2_grpc import add_ImagesServiceServicer_to_server
from skerry.core import lifecycle, log
from skerry.core.lifecycle import Tasks
from skerry.core.rpc.endpoint import endpoint
from skerry.core.settings import from_env
from skerry.images.blobs.files import FileBlobs, exclusively
from skerry.images.catalog.sqlite import open_catalog
from skerry.images.check import Checker
from skerry.images.collector import Collector
from skerry.images.commit import Commits
from skerry.images.compress import Compressing
from skerry.images.describe import Describing
from skerry.images.distribution.server import distribution
from skerry.images.distribution.settings import DistributionSettings
from skerry.images.fetches import Fetches
from skerry.images.intake import Intake, Limits
from skerry.images.layers import RATIO
from skerry.images.pull import Pulls, Sources
from skerry.images.push import Pushes
from skerry.images.push_layers import LayerPush
from skerry.images.registry import reach
from skerry.images.registry.login import Logins
from skerry.images.registry_calls import Registries
from skerry.images.search import Searches
from skerry.images.service import NAME, ImagesService
from skerry.images.storing import Storing
from skerry.images.streams import open_streams


class Settings(DistributionSettings, frozen=True, kw_only=True):
    """Read from SKERRY_IMAGES_*."""

    # Asked before docker.io, in order.
    mirrors: list[str] = []
    # Registries (HOST or HOST:PORT) that may be asked by http. The loopback range always may.
    insecure_registries: list[str] = []
    # Layers fetched at once.
    parallel_layers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 3
    # Whether the compressed form a layer came in is kept, so that a push keeps its digest. pushed: only once it was pushed.
    keep_compressed: Literal["never", "pushed", "always"] = "always"
    # Layers pushed at once.
    parallel_uploads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 5
    # Where `docker search` asks when the term names no index host.
    search_index: str = "https://index.docker.io"
    # Bytes that one layer may have uncompressed.
    max_layer_bytes: Annotated[int, msgspec.Meta(ge=1)] = 64 << 30
    # Plain bytes that each compressed byte of a layer may stand for, once it is larger than 64 MiB.
    max_layer_ratio: Annotated[float, msgspec.Meta(ge=1)] = RATIO
    # Seconds without a byte after which an upload is given up.
    upload_idle: Annotated[float, msgspec.Meta(gt=0)] = 600.0


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[str]:
    """Runs the image store; yields its address."""
    folder = os.path.join(settings.root, "images")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    stopping = asyncio.Event()
    keep = settings.keep_compressed == "always"
    boot_id = await asyncio.to_thread(_boot_id)
    async with (
        exclusively(folder),
        open_catalog(os.path.join(folder, "catalog.db")) as catalog,
        # No cookies: what one registry sets is nobody else's business, nor the next user's.
        aiohttp.ClientSession(trust_env=True, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as session,
        open_streams() as streams,
        Tasks() as tasks,
    ):
        blobs = await asyncio.to_thread(FileBlobs, folder)
        collector = Collector(catalog, blobs, tasks)
        collector.before_sweep.append(lambda: catalog.expire(time.time_ns()))
        collector.soon()  # what an interrupted pull or load left
        storing = Storing(catalog, blobs)
        fetches = Fetches(
            blobs,
            streams,
            tasks,
            parallel=settings.parallel_layers,
            keep_compressed=keep,
            layer_bytes=settings.max_layer_bytes,
            layer_ratio=settings.max_layer_ratio,
        )
        sources = Sources(settings.mirrors, settings.insecure_registries)
        pulls = Pulls(session, sources, catalog, blobs, storing, fetches, collector)
        limits = Limits(settings.max_layer_bytes, settings.max_layer_ratio, keep, settings.upload_idle)
        intake = Intake(blobs, storing, streams, collector, limits)
        commits = Commits(catalog, blobs, streams, collector, limits)
        servicer = ImagesService(catalog, catalog.journal, blobs, pulls, intake, commits, collector, boot_id, stopping)
        servicer.checker = Checker(catalog, blobs, collector, layer_bytes=settings.max_layer_bytes)
        compressing = Compressing(catalog, blobs, streams, keep=settings.keep_compressed != "never")
        uploads = LayerPush(catalog, blobs, streams, compressing, parallel=settings.parallel_uploads)
        direct = reach.Registries(session, settings.insecure_registries)
        servicer.registries = Registries(
            Pushes(direct, catalog, blobs, uploads, collector), Searches(direct, settings.search_index), Logins(direct), Describing(direct)
        )
        register = [lambda server: add_ImagesServiceServicer_to_server(servicer, server)]
        registry = distribution(
            settings,
            catalog=catalog,
            blobs=blobs,
            streams=streams,
            collector=collector,
            storing=storing,
            session=session,
            tasks=tasks,
            insecure=settings.insecure_registries,
            layer_bytes=settings.max_layer_bytes,
            layer_ratio=settings.max_layer_ratio,
        )
        async with registry, endpoint(settings, "images", register, [NAME], stopping) as address:
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
