"""The image store as a process: `python -m skerry.images`."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal

import msgspec

from skerry.api.images.v1.images_pb2_grpc import add_ImagesServiceServicer_to_server
from skerry.core import lifecycle, log
from skerry.core.lifecycle import Tasks, background
from skerry.core.rpc.endpoint import endpoint
from skerry.core.settings import from_env
from skerry.images.check import Checker
from skerry.images.collector import Collector, sweeping
from skerry.images.commit import Commits
from skerry.images.compress import Compressing
from skerry.images.describe import Describing
from skerry.images.distribution.server import distribution
from skerry.images.distribution.settings import DistributionSettings
from skerry.images.fetches import Fetches
from skerry.images.ingest import Ingest
from skerry.images.intake import Intake, Limits
from skerry.images.layers import RATIO
from skerry.images.pull import Pulls
from skerry.images.push import Pushes
from skerry.images.push_layers import LayerPush
from skerry.images.registry import reach
from skerry.images.registry.login import Logins
from skerry.images.registry.transport import open_transport
from skerry.images.registry_calls import Registries
from skerry.images.remote import open_remotes
from skerry.images.search import Searches
from skerry.images.service import NAME, ImagesService
from skerry.images.stores import open_stores
from skerry.images.storing import Storing
from skerry.images.streams import open_streams
from skerry.images.uploads import Pipes

# How often is looked for blobs that have grown old enough to go, and for what dead services left.
_SWEEP_SECONDS = 1800.0


class Settings(DistributionSettings, frozen=True, kw_only=True):
    """Read from SKERRY_IMAGES_*."""

    # Asked before docker.io, in order.
    mirrors: list[str] = []
    # Registries (HOST, HOST:PORT or a CIDR of addresses) that need no good certificate and may be asked by http when https fails. The
    # loopback range always may.
    insecure_registries: list[str] = []
    # HOST[:PORT]/*.crt in it are authorities, *.cert with *.key who we are: Docker's layout.
    certificates: str = "/etc/docker/certs.d"
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
    # Seconds for which an interrupted download is kept to be gone on with, and bytes that all of them may take.
    partial_age: Annotated[float, msgspec.Meta(ge=0)] = 7 * 86400.0
    partial_bytes: Annotated[int, msgspec.Meta(ge=0)] = 10 << 30
    # Seconds without a byte after which an upload is given up.
    upload_idle: Annotated[float, msgspec.Meta(gt=0)] = 600.0


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[str]:
    """Runs the image store; yields its address."""
    stopping = asyncio.Event()
    keep = settings.keep_compressed == "always"
    boot_id = await asyncio.to_thread(_boot_id)
    async with (
        open_stores(settings) as stores,
        open_transport(settings.certificates) as transport,
        open_streams() as streams,
        open_remotes(settings.upload_idle) as remotes,
        Tasks() as tasks,
    ):
        catalog, blobs = stores.catalog, stores.blobs
        ingest = Ingest(os.path.join(settings.root, "images", "ingest"), max_age=settings.partial_age, max_bytes=settings.partial_bytes)
        collector = Collector(catalog, blobs, tasks, turns=stores.turns, grace=stores.grace, claimed=ingest.claimed)
        collector.soon()  # what an interrupted pull or load left
        storing = Storing(catalog, blobs)
        fetches = Fetches(
            blobs,
            streams,
            tasks,
            ingest,
            parallel=settings.parallel_layers,
            keep_compressed=keep,
            layer_bytes=settings.max_layer_bytes,
            layer_ratio=settings.max_layer_ratio,
        )
        asked = reach.Registries(transport, settings.mirrors, settings.insecure_registries)
        pulls = Pulls(asked, catalog, blobs, storing, fetches, ingest, collector)
        limits = Limits(settings.max_layer_bytes, settings.max_layer_ratio, keep, settings.upload_idle)
        intake = Intake(catalog, blobs, storing, streams, collector, limits)
        commits = Commits(catalog, blobs, streams, collector, limits)
        servicer = ImagesService(catalog, catalog.journal, blobs, pulls, intake, commits, collector, boot_id, stopping)
        servicer.streams, servicer.upload_idle = streams, settings.upload_idle
        servicer.pipes = await asyncio.to_thread(Pipes, os.path.join(settings.run, "uploads"))
        servicer.remotes = remotes
        servicer.checker = Checker(catalog, blobs, collector, layer_bytes=settings.max_layer_bytes)
        keep_pushed = settings.keep_compressed != "never"
        compressing = Compressing(catalog, blobs, streams, keep=keep_pushed)
        uploads = LayerPush(catalog, blobs, streams, compressing, parallel=settings.parallel_uploads)
        pushes = Pushes(asked, catalog, blobs, uploads, collector, leaves=not keep_pushed)
        servicer.registries = Registries(pushes, Searches(asked, settings.search_index), Logins(asked), Describing(asked))
        register = [lambda server: add_ImagesServiceServicer_to_server(servicer, server)]
        shelves = distribution(
            settings,
            catalog=catalog,
            blobs=blobs,
            streams=streams,
            collector=collector,
            storing=storing,
            asked=asked,
            tasks=tasks,
            layer_bytes=settings.max_layer_bytes,
            layer_ratio=settings.max_layer_ratio,
        )
        _ = tasks.spawn(ingest.tidying(), "tidy interrupted downloads")
        async with (
            shelves,
            background(sweeping(collector, _SWEEP_SECONDS)),
            endpoint(settings, "images", register, [NAME], stopping) as address,
        ):
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
