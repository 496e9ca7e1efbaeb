"""Where catalog and blobs are: files of this machine, or MongoDB and S3 for stores that several services share."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from skerry.core import linux
from skerry.core.errors import InvalidArgument
from skerry.core.settings import Common
from skerry.images.blobs import Blobs
from skerry.images.blobs.files import FileBlobs, exclusively
from skerry.images.catalog import Turns
from skerry.images.catalog.sqlite import SqliteCatalog, open_catalog

if TYPE_CHECKING:
    from skerry.images.catalog.mongo import MongoCatalog

_SHARED_GRACE = 3600.0
_LARGE = 256 << 10


class StoreSettings(Common, frozen=True, kw_only=True):
    """The part of the image store's settings that says where its data are."""

    # mongodb://HOST[,HOST]/DATABASE; empty: a SQLite file below ROOT/images.
    catalog: str = ""
    # s3://BUCKET[/PREFIX]; empty: files below ROOT/images.
    blobs: str = ""
    # Of an S3 service other than Amazon's, as http://HOST:PORT.
    s3_endpoint: str = ""
    s3_region: str = ""
    # Empty: as boto3 finds them (AWS_* in the environment, a profile, the machine's role).
    s3_access_key: str = ""
    s3_secret_key: str = ""
    # Whether nodes download layers from the bucket themselves, by links that hold for some seconds; off: through this service.
    s3_links: Literal["on", "off"] = "on"
    # Under which address nodes reach the bucket; empty: s3_endpoint.
    s3_links_endpoint: str = ""
    s3_link_seconds: Annotated[int, msgspec.Meta(ge=10, le=604_800)] = 3600
    # Seconds for which a blob that no image needs is kept since it came in; below 0: 0 alone, 3600 with a shared catalog.
    sweep_grace: float = -1.0


class Stores(msgspec.Struct, frozen=True):
    """What was opened. turns: how sweeps keep apart from other services' intakes, None when this service is alone."""

    catalog: "SqliteCatalog | MongoCatalog"
    blobs: Blobs
    turns: Turns | None
    grace: float


@asynccontextmanager
async def open_stores(settings: StoreSettings) -> AsyncIterator[Stores]:
    """Opens, or makes, catalog and blobs. Raises InvalidArgument, Failed, Unavailable."""
    if settings.catalog and not settings.blobs:
        raise InvalidArgument("SKERRY_IMAGES_CATALOG is shared with other services, so SKERRY_IMAGES_BLOBS must be too: s3://BUCKET")
    async with AsyncExitStack() as stack:
        folder = os.path.join(settings.root, "images")
        if not settings.catalog:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            await stack.enter_async_context(exclusively(folder))
        blobs = await _s3(settings, stack) if settings.blobs else await asyncio.to_thread(FileBlobs, folder)
        if settings.catalog:
            from skerry.images.catalog.mongo import open_mongo_catalog

            shared = await stack.enter_async_context(open_mongo_catalog(settings.catalog))
            yield Stores(shared, blobs, shared, settings.sweep_grace if settings.sweep_grace >= 0 else _SHARED_GRACE)
        else:
            catalog = await stack.enter_async_context(open_catalog(os.path.join(folder, "catalog.db")))
            yield Stores(catalog, blobs, None, max(settings.sweep_grace, 0.0))


async def _s3(settings: StoreSettings, stack: AsyncExitStack) -> Blobs:
    # Parts and pieces of layers are large and short-lived: without this half of them stay with the process.
    linux.give_large_blocks_back(_LARGE)
    # Imported only where it is used: 25 MB.
    from skerry.images.blobs.s3 import open_s3_blobs
    from skerry.images.blobs.s3_client import S3Settings

    opened = open_s3_blobs(
        S3Settings(
            url=settings.blobs,
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            links=settings.s3_links == "on",
            links_endpoint=settings.s3_links_endpoint,
            link_seconds=settings.s3_link_seconds,
        )
    )
    blobs = await asyncio.to_thread(opened.__enter__)
    stack.push_async_callback(asyncio.to_thread, opened.__exit__, None, None, None)
    return blobs
