"""What a container changed: changes, commit, export."""

import asyncio

from aiohttp import HttpVersion11, web

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.core.errors import InvalidArgument, NotFound
from skerry.core.ids import is_id
from skerry.core.rpc.channel import call_again
from skerry.gateway.call import Call, Route, find, json, streaming
from skerry.gateway.coordinator.commit import CommitWanted
from skerry.gateway.coordinator.commit import commit as make
from skerry.gateway.docker.commit import check_changes, parse_config
from skerry.gateway.docker.images import join_reference
from skerry.gateway.docker.inspect import config as own_config
from skerry.gateway.errors import BadInput
from skerry.gateway.fifo import send
from skerry.gateway.routes.containers import owned, sandbox_of

_KINDS = {pb.Change.KIND_MODIFIED: 0, pb.Change.KIND_ADDED: 1, pb.Change.KIND_DELETED: 2}
_ARCHIVE = "application/octet-stream"


async def changes(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/changes."""
    request = pb.DiffRequest(container=await call.container_id())

    async def read() -> list[dict[str, object]]:
        # Names that are no UTF-8 look as Go's encoder makes them.
        found = [change async for item in call.peers.containers.Diff(request) for change in item.changes]
        # Names that are no UTF-8 look as Go's encoder makes them.
        return [{"Path": change.path.decode("utf-8", "replace"), "Kind": _KINDS[change.kind]} for change in found]

    return json(await call_again(read, what="the container service") or None)


async def commit(call: Call) -> web.StreamResponse:
    """POST /commit."""
    given = parse_config(await call.json_body())
    if not call.text("container"):
        raise InvalidArgument('invalid name or ID supplied: ""')
    container = await find(call.peers, call.text("container"))
    asked = call.request.query.getall("changes", [])
    check_changes(asked, call.version)
    own = own_config(container, await sandbox_of(call.peers, container.id))
    wanted = CommitWanted(
        config=given or own,
        own_config=own,
        name=await _name(call, call.text("repo"), call.text("tag")),
        author=call.text("author"),
        comment=call.text("comment"),
        changes=asked,
        pause=call.flag("pause") if call.text("pause") else True,
    )
    image = await owned(call, make(call.peers, container, wanted), "commit")
    return json({"Id": image.id}, 201)


async def _name(call: Call, repository: str, tag: str) -> str:
    """Returns the reference that repo and tag make; a bad one is told before anything is done. Raises InvalidArgument, BadInput."""
    if not repository:
        return ""  # as in Docker: a tag alone is not used
    if "@" in repository:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    if is_id(repository):
        raise BadInput(f"invalid repository name ({repository}), cannot specify 64-byte hexadecimal strings")
    name = join_reference(repository, tag)
    try:
        # The image store knows what names may be.
        await call_again(lambda: call.peers.images.Get(images_pb2.GetRequest(image=name)), what="the image store")
    except InvalidArgument as error:
        raise BadInput(str(error)) from None
    except NotFound:
        pass
    return name


async def export(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/export: through a FIFO where node and gateway share a machine's files, else in the node's pieces."""
    container_id = await call.container_id()
    transport = call.request.transport
    by_path = transport is not None and call.request.version >= HttpVersion11
    boot_id = await asyncio.to_thread(_boot_id) if by_path else ""
    stream = call.peers.containers.Export(pb.ExportRequest(container=container_id, boot_id=boot_id))
    response: web.StreamResponse | None = None
    try:
        item = await stream.read()
        if isinstance(item, pb.ExportResponse) and item.WhichOneof("content") == "path":
            assert transport is not None
            response = await send(item.path, lambda: streaming(call, _ARCHIVE), transport)
            item = await stream.read()  # raises when the tar is not whole
        while isinstance(item, pb.ExportResponse):
            # An error before the first piece has a status of its own.
            response = response or await streaming(call, _ARCHIVE)
            await response.write(item.chunk)
            item = await stream.read()
    finally:
        stream.cancel()
    response = response or await streaming(call, _ARCHIVE)
    await response.write_eof()
    return response


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


ROUTES: list[Route] = [
    ("GET", "/containers/{id}/changes", changes),
    ("GET", "/containers/{id}/export", export),
    ("POST", "/commit", commit),
]
