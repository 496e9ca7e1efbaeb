"""POST /containers/{id}/attach."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import Conflict, NotSupported
from skerry.core.rpc.channel import call_again
from skerry.gateway import detach
from skerry.gateway.call import Call, Route
from skerry.gateway.hijack import Taken, take_over
from skerry.gateway.peers import Peers
from skerry.gateway.pump import Client, Place, Pump, new_hold
from skerry.gateway.replay import replay
from skerry.gateway.versions import STREAM_CONTENT_TYPES, Version

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"

_ATTACHABLE = frozenset({pb.STATUS_RUNNING, pb.STATUS_PAUSED})


def stream_type(version: Version, tty: bool) -> str:
    """Returns the content type of a stream of output."""
    return MULTIPLEXED if version >= STREAM_CONTENT_TYPES and not tty else RAW


class AttachSession:
    """An attach to a container's own process. run: the one that is attached to."""

    def __init__(self, peers: Peers, opening: pb.AttachOpen, run: int) -> None:
        self._peers = peers
        self._opening = opening
        self._run = run

    def open(self) -> Any:
        """Returns a new call."""
        return self._peers.containers.Attach()

    def opening(self, place: Place | None) -> pb.AttachRequest:
        """Returns the first request."""
        opening = pb.AttachOpen()
        opening.CopyFrom(self._opening)
        if place is not None:
            opening.offset = place.offset
            if place.sequence is not None:
                opening.sequence = place.sequence
            opening.run = self._run
            opening.replay = False
        return pb.AttachRequest(open=opening)

    def stdin(self, data: bytes) -> pb.AttachRequest:
        """Returns input."""
        return pb.AttachRequest(stdin=data)

    def stdin_end(self) -> pb.AttachRequest:
        """Returns the end of input."""
        return pb.AttachRequest(stdin_end=pb.StdinEnd())


@dataclass(slots=True)
class Joined:
    """What a request to attach comes to."""

    container: pb.Container
    session: AttachSession
    # Where the output begins.
    resume_at: int
    before_start: bool
    stdin: bool
    detach_keys: bytes
    # The log comes before the stream, as the spool does not have all of it.
    log: pb.AttachOpen | None

    async def before(self, peers: Peers, pump: Pump, client: Client) -> None:
        """Sends the client what comes before the stream. Raises ConnectionError."""
        if self.log is not None:
            async for data in replay(peers, self.log, pump.opened):
                await client.write(data)

    def joining(self, peers: Peers) -> AbstractContextManager[None]:
        """Marks a client that joined before the start, for the body's time."""
        return peers.joining(self.container.id) if self.before_start else nullcontext()


async def join(call: Call, *, everything: bool = False) -> Joined:
    """Reads a request to attach; everything: to all streams, whatever it asks for. Raises Conflict, InvalidArgument, NotFound."""
    keys = detach.parse(call.text("detachKeys"))
    container = await call.container()
    status = container.state.status
    if status == pb.STATUS_PAUSED:
        raise Conflict(f"container {call.params['id']} is paused, unpause the container before attach")
    if status == pb.STATUS_RESTARTING:
        raise Conflict(f"container {call.params['id']} is restarting, wait until the container is running")
    opening = pb.AttachOpen(
        id=container.id,
        stdin=(everything or call.flag("stdin")) and container.spec.open_stdin,
        stdout=everything or call.flag("stdout"),
        stderr=everything or call.flag("stderr"),
        replay=call.flag("logs"),
        stream=call.flag("stream"),
    )
    before_start = status not in _ATTACHABLE
    if before_start:
        opening.hold = new_hold()
    session = AttachSession(call.peers, opening, container.state.run + before_start)
    spool = await _spool(call, container)
    log = None
    if opening.replay and container.log.driver == "none":
        raise NotSupported("configured logging driver does not support reading")
    if opening.replay and spool.first_offset:
        opening.replay, log = False, opening
    resume_at = 0 if opening.replay else spool.end_offset
    return Joined(container, session, resume_at, before_start, opening.stdin, keys, log)


async def attach(call: Call) -> web.StreamResponse:
    """Joins the container's streams over the hijacked connection."""
    joined = await join(call)
    await call.body()
    pump = Pump(joined.session, joined.resume_at)
    with call.peers.stream():
        try:
            with joined.joining(call.peers):
                await pump.begin()
                stream = await take_over(call.request, stream_type(call.version, pump.tty))
                once = joined.container.spec.stdin_once
                await joined.before(call.peers, pump, stream)
                await pump.run(stream, stdin=joined.stdin, once=once, detach_keys=joined.detach_keys)
                await stream.flush()
            await stream.finish()
        finally:
            pump.cancel()
    return Taken()


async def _spool(call: Call, container: pb.Container) -> pb.GetSpoolResponse:
    """Returns where the output to come begins. A container that never ran has written nothing: no need to ask."""
    if container.state.run == 0:
        return pb.GetSpoolResponse()
    request = pb.GetSpoolRequest(id=container.id)
    return await call_again(lambda: call.peers.containers.GetSpool(request), what="the container service")


ROUTES: list[Route] = [("POST", "/containers/{id}/attach", attach)]
