"""POST /images/create: pull, or import (see intake.py), with Docker's progress stream."""

import grpc.aio
from aiohttp import web

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument, SkerryError
from skerry.core.lifecycle import Tasks
from skerry.gateway.call import Call, Route, registry_auth
from skerry.gateway.docker.images import join_reference, progress
from skerry.gateway.routes.intake import import_
from skerry.gateway.routes.output import Output, prepare, store_there


async def create(call: Call) -> web.StreamResponse:
    """POST /images/create: pull (fromImage) or import (fromSrc)."""
    if name := call.text("fromImage"):
        return await _pull(call, name)
    if call.text("fromSrc"):
        return await import_(call)
    raise InvalidArgument("one of fromImage and fromSrc is required")


async def _pull(call: Call, name: str) -> web.StreamResponse:
    await call.body()
    auth = registry_auth(call.request.headers.get("X-Registry-Auth", ""))
    request = pb.PullRequest(
        reference=join_reference(name, call.text("tag")),
        platform=call.text("platform"),
        auth=pb.RegistryAuth(
            username=auth.get("username", ""),
            password=auth.get("password", ""),
            server_address=auth.get("serveraddress", ""),
            identity_token=auth.get("identitytoken", ""),
            registry_token=auth.get("registrytoken", ""),
        ),
        # Without a tag Docker's API pulls all of them; the CLI always gives one.
        all_tags=not call.text("tag") and ":" not in name.rpartition("/")[2] and "@" not in name,
    )
    await store_there(call)
    output = Output(call)
    stream = call.peers.images.Pull(request)
    try:
        async with Tasks() as early:
            async for item in stream:
                match item.WhichOneof("step"):
                    case "progress":
                        await output.send(progress(item.progress))
                    case "layer":
                        # Indexed while the others still come.
                        _ = early.spawn(prepare(call, [item.layer], item.layer.diff_id), "prepare a layer")
                    case "image":
                        await prepare(call, item.image.layers, item.image.id)
    except (SkerryError, grpc.aio.AioRpcError) as error:
        await output.fail(error)
    finally:
        stream.cancel()
    return await output.end()


ROUTES: list[Route] = [
    ("POST", "/images/create", create),
]
