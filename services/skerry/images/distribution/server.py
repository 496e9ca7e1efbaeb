"""The HTTP server of /v2/."""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from skerry.core.errors import InvalidArgument, SkerryError
from skerry.core.lifecycle import Tasks, background
from skerry.core.metrics import Counter
from skerry.images.blobs import Blobs
from skerry.images.catalog import Catalog
from skerry.images.collector import Collector
from skerry.images.compress import Compressing
from skerry.images.distribution.access import Gate
from skerry.images.distribution.becoming import Becoming
from skerry.images.distribution.blob_routes import BlobRoutes
from skerry.images.distribution.list_routes import ListRoutes
from skerry.images.distribution.manifest_routes import ManifestRoutes
from skerry.images.distribution.mirror import Mirror
from skerry.images.distribution.refusals import Refusal, refusal_of
from skerry.images.distribution.serving import Serving
from skerry.images.distribution.settings import DistributionSettings, listen_address
from skerry.images.distribution.shelf import Shelf
from skerry.images.distribution.tokens import Tokens, load_key
from skerry.images.distribution.uploads import Uploads
from skerry.images.distribution.upstreams import Upstreams
from skerry.images.distribution.users import Users
from skerry.images.registry.reach import Registries
from skerry.images.storing import Storing
from skerry.images.streams import Streams

_log = logging.getLogger(__name__)
_answers = Counter("skerry_distribution_answers", "Answers of the distribution API", ["method", "status"])
_SERVICE = "skerry"
_NAME = "/v2/{name:.+}"
_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
_HEAD_LIMIT = 64 << 10
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _edge(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns what goes wrong into the specification's answers; one line of log for each that is not the client's doing."""
    try:
        response = await handler(request)
    except Refusal as refusal:
        response = refusal.response()
    except SkerryError as error:
        response = refusal_of(error).response()
        if response.status >= 500:
            _log.warning("request failed", extra={"method": request.method, "path": request.path, "reason": str(error)})
    except web.HTTPException as http:
        response = Refusal("UNSUPPORTED", http.reason, status=http.status).response()
    if not response.prepared:
        response.headers.update(_VERSION)
    if response.status >= 400 and request.can_read_body and not request.content.at_eof():
        # What was refused is not read to its end: the connection cannot be used again.
        response.force_close()
    _answers.labels(request.method, str(response.status)).inc()
    return response


def _app(shelf: Shelf, blobs: BlobRoutes, manifests: ManifestRoutes, lists: ListRoutes) -> web.Application:
    async def ping(request: web.Request) -> web.StreamResponse:
        await shelf.gate.ping(request)
        return web.Response(body=b"{}", content_type="application/json")

    app = web.Application(middlewares=[_edge], client_max_size=1 << 20)
    upload = f"{_NAME}/blobs/uploads/{{upload:[a-f0-9]+}}"
    app.add_routes(
        [
            web.get("/v2/", ping),
            web.get("/v2", ping),
            web.get("/token", shelf.gate.token),
            web.post("/token", shelf.gate.token),
            web.get("/v2/_catalog", lists.catalog),
            web.get(f"{_NAME}/tags/list", lists.tags),
            web.get(f"{_NAME}/referrers/{{digest}}", lists.referrers),
            web.get(f"{_NAME}/manifests/{{reference}}", manifests.get),
            web.put(f"{_NAME}/manifests/{{reference}}", manifests.put),
            web.delete(f"{_NAME}/manifests/{{reference}}", manifests.delete),
            web.post(f"{_NAME}/blobs/uploads/", blobs.begin),
            web.post(f"{_NAME}/blobs/uploads", blobs.begin),
            web.get(upload, blobs.status),
            web.patch(upload, blobs.piece),
            web.put(upload, blobs.finish),
            web.delete(upload, blobs.cancel),
            web.get(f"{_NAME}/blobs/{{digest}}", blobs.get),
            web.delete(f"{_NAME}/blobs/{{digest}}", blobs.delete),
        ]
    )
    return app


@asynccontextmanager
async def distribution(
    settings: DistributionSettings,
    *,
    catalog: Catalog,
    blobs: Blobs,
    streams: Streams,
    collector: Collector,
    storing: Storing,
    asked: Registries,
    tasks: Tasks,
    layer_bytes: int,
    layer_ratio: float,
) -> AsyncIterator[str]:
    """Serves /v2/ while the body runs, when the settings say where; yields HOST:PORT, or "". Raises InvalidArgument, Failed."""
    if not settings.distribution_listen:
        yield ""
        return
    host, port = listen_address(settings)
    context = await asyncio.to_thread(_tls, settings)
    users = Users(settings.distribution_users) if settings.distribution_users else None
    if users is not None:
        await users.load()
    folder = os.path.join(settings.root, "images")
    key = await asyncio.to_thread(load_key, settings.distribution_key or os.path.join(folder, "distribution.key"))
    gate = Gate(
        users,
        Tokens(key, _SERVICE),
        anonymous=settings.distribution_anonymous,
        challenge=settings.distribution_challenge,
        url=settings.distribution_url,
    )
    uploads = Uploads(blobs, most=settings.distribution_uploads, idle=settings.distribution_upload_idle)
    await uploads.restore()
    shelf = Shelf(catalog, catalog, blobs, streams, collector, storing, gate, uploads, settings)
    serving = Serving(shelf, Compressing(catalog, blobs, streams, keep=True))
    upstreams = Upstreams(asked, settings.distribution_upstreams, settings.distribution_upstream_auths)
    mirror = Mirror(shelf, serving, upstreams, tasks, folder)
    becoming = Becoming(shelf, layer_bytes=layer_bytes, layer_ratio=layer_ratio)
    app = _app(shelf, BlobRoutes(shelf, serving, mirror), ManifestRoutes(shelf, serving, becoming, mirror), ListRoutes(shelf))
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        auto_decompress=False,
        max_line_size=_HEAD_LIMIT,
        max_field_size=_HEAD_LIMIT,
        shutdown_timeout=settings.drain,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=context)
        try:
            await site.start()
        except OSError as error:
            raise InvalidArgument(f"cannot listen on {settings.distribution_listen}: {error.strerror or error}") from None
        bound = runner.addresses[0]
        async with background(uploads.watch()):
            yield f"{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()
        await uploads.close()


def _tls(settings: DistributionSettings) -> ssl.SSLContext | None:
    if not settings.distribution_tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.distribution_tls_cert, settings.distribution_tls_key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(f"cannot use {settings.distribution_tls_cert}: {error}") from None
    return context
