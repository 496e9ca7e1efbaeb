"""POST /build: the classic builder; POST /build/prune."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc.aio
from aiohttp import web

from skerry.api.images.v1 import images_pb2
from skerry.core.errors import NotSupported, SkerryError
from skerry.gateway import filters
from skerry.gateway.build import options as build_options
from skerry.gateway.build.builder import Builder
from skerry.gateway.build.containers import Containers
from skerry.gateway.build.context import receive
from skerry.gateway.build.library import Library, registry_config
from skerry.gateway.build.output import Output, StepFailed
from skerry.gateway.call import Call, Route, json
from skerry.gateway.coordinator.leftover import later


async def build(call: Call) -> web.StreamResponse:
    """Builds an image. A client that leaves ends the build, and its containers go."""
    options = build_options.read(call)
    output = Output(call, quiet=options.quiet, aux=options.aux)
    peers = call.peers
    try:
        with peers.stream(), peers.builds.build() as name:
            holder = peers.holder(name)
            registries = registry_config(call.request.headers.get("X-Registry-Config", ""))
            library = Library(peers, holder, options, output, registries)
            containers = Containers(peers, name, options.host, output)
            try:
                async with AsyncExitStack() as stack:
                    context = await receive(stack, options, _body(call), peers.builds, output)
                    image_id = await Builder(options, context, library, containers, output, peers.builds, holder).build()
                await containers.finish()
            except Exception:
                await containers.finish()
                raise
            finally:
                release = images_pb2.ReleaseLeaseRequest(holder=holder)
                later(peers, f"leases of {name}", lambda: peers.images.ReleaseLease(release))
    except (SkerryError, grpc.aio.AioRpcError, StepFailed) as error:
        return await output.fail(error)
    return await output.finish(image_id)


async def _body(call: Call) -> AsyncIterator[bytes]:
    if call.request.can_read_body:
        async for piece in call.request.content.iter_any():
            yield piece


async def prune(call: Call) -> web.StreamResponse:
    """Prunes BuildKit's cache, of which there is none: the classic builder's are images without a name, which image prune removes."""
    filters.parse(call.text("filters"), None)
    return json({"CachesDeleted": None, "SpaceReclaimed": 0})


async def buildkit(call: Call) -> web.StreamResponse:
    """BuildKit's own connections."""
    raise NotSupported(build_options.BUILDKIT)


ROUTES: list[Route] = [
    ("POST", "/build", build),
    ("POST", "/build/prune", prune),
    ("POST", "/build/cancel", buildkit),
    ("POST", "/session", buildkit),
    ("POST", "/grpc", buildkit),
]
