"""The gateway: Docker's HTTP API in front of one node's services."""

import asyncio
import hashlib
import os
import platform
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from skerry.core import lifecycle, log
from skerry.core.errors import InvalidArgument, SkerryError
from skerry.core.rpc.endpoint import endpoint, tls_of
from skerry.core.settings import Common, from_env
from skerry.gateway.app import App
from skerry.gateway.build.registry import Builds
from skerry.gateway.build.spool import Place
from skerry.gateway.build.tree import Limits
from skerry.gateway.peers import Addresses, connected
from skerry.gateway.reconcile import GRACE, Reconciler

_LISTEN_FDS_START = 3
_BACKLOG = 1024
_HEAD_LIMIT = 64 << 10
_BODY_BUFFER = 512 << 10


class Settings(Common, frozen=True, kw_only=True):
    """Read from SKERRY_GATEWAY_*."""

    # Where Docker's API is served: "unix:PATH", or "HOST:PORT" with insecure_tcp. Empty: unix:RUN/docker.sock. Not used when a listening
    # socket is inherited, by socket_fd or by LISTEN_FDS.
    docker: str = ""
    socket_fd: int = -1
    # Mode of the unix socket.
    socket_mode: str = "660"
    # Addresses of the services; empty: unix:RUN/<service>.sock.
    images: str = ""
    containers: str = ""
    networks: str = ""
    logs: str = ""
    # Addresses that are handed to the node; empty: its own settings.
    images_for_node: str = ""
    logs_for_node: str = ""
    # Name in lease holders; must differ between nodes that share an image store. Empty: the host's name.
    node: str = ""
    # Where contexts of builds are kept while they run, in files without names; empty: ROOT/builds. What one may have at most: bytes (packed
    # and unpacked), entries, directories within one another.
    build_directory: str = ""
    build_bytes: int = 16 << 30
    build_entries: int = 500_000
    build_depth: int = 256
    # Seconds for which leftovers may be starts under way in another gateway.
    grace: float = GRACE


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[str]:
    """Runs the gateway; yields where Docker's API is served."""
    addresses = Addresses(
        *(getattr(settings, name) or f"unix:{settings.run}/{name}.sock" for name in ("images", "containers", "networks", "logs"))
    )
    async with AsyncExitStack() as stack:
        # First, so that a wrong setting is said before anything runs; connections wait in the backlog.
        listener, bound = await asyncio.to_thread(_listener, settings)
        stack.callback(listener.close)
        await stack.enter_async_context(endpoint(settings, "gateway", [], []))
        peers = await stack.enter_async_context(
            connected(
                addresses,
                node=settings.node or platform.node(),
                root=settings.root,
                builds=_builds(settings),
                tls=tls_of(settings),
                image_store=settings.images_for_node,
                log_router=settings.logs_for_node,
            )
        )
        reconciler = Reconciler(peers, settings.grace)
        await stack.enter_async_context(lifecycle.background(reconciler.watch(), reconciler.sweep()))
        server = web.Server(
            App(peers),
            access_log=None,
            # A client that leaves ends its streams; what must not stop half way runs as an owned task.
            handler_cancellation=True,
            keepalive_timeout=3600.0,
            # Filters and registry configurations are long; bodies are passed on as they came.
            max_line_size=_HEAD_LIMIT,
            max_field_size=_HEAD_LIMIT,
            auto_decompress=False,
            # Archives and images that come in are passed on in pieces of this size: each costs a message.
            read_bufsize=_BODY_BUFFER,
        )
        runner = web.ServerRunner(server, access_log=None, shutdown_timeout=settings.drain)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listener, backlog=_BACKLOG).start()
        # Runs first at the end: endless streams must not hold the drain up.
        stack.callback(peers.stop)
        yield bound


def _builds(settings: Settings) -> Builds:
    # The same after a restart: what a killed gateway left is its successor's to clear away.
    identity = hashlib.sha256(f"{platform.node()} {settings.run} {settings.docker}".encode()).hexdigest()[:8]
    place = Place(settings.build_directory or f"{settings.root}/builds", settings.build_bytes)
    return Builds(place, Limits(settings.build_entries, settings.build_depth), identity)


def _listener(settings: Settings) -> tuple[socket.socket, str]:
    """Returns the listening socket and its name. Raises InvalidArgument."""
    inherited = _inherited(settings)
    if inherited is not None:
        return inherited, f"fd:{inherited.fileno()}"
    where = settings.docker or f"unix:{settings.run}/docker.sock"
    if where.startswith("unix:"):
        return _unix_socket(where.removeprefix("unix:"), settings.socket_mode), where
    host, _, port = where.rpartition(":")
    if not port.isdigit() or not host:
        raise InvalidArgument(f"SKERRY_GATEWAY_DOCKER={where!r}: want unix:PATH or HOST:PORT")
    if not settings.insecure_tcp:
        raise InvalidArgument(
            f"{where}: Docker's API on TCP gives root on this machine to everybody who reaches it; "
            "SKERRY_GATEWAY_INSECURE_TCP=true says that this is meant"
        )
    try:
        listener = socket.create_server((host, int(port)), backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise InvalidArgument(f"{where}: {error}") from None
    listener.setblocking(False)
    return listener, f"{host}:{listener.getsockname()[1]}"


def _inherited(settings: Settings) -> socket.socket | None:
    """Returns a listening socket that a supervisor passed: it outlives this process, with all who have it mounted."""
    number = settings.socket_fd
    if number < 0 and os.environ.get("LISTEN_PID", "") in {"", str(os.getpid())} and os.environ.get("LISTEN_FDS", "0") == "1":
        number = _LISTEN_FDS_START
    if number < 0:
        return None
    try:
        inherited = socket.socket(fileno=number)
        if not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError("not a listening socket")
    except OSError as error:
        raise InvalidArgument(f"inherited descriptor {number}: {error}") from None
    inherited.setblocking(False)
    return inherited


def _unix_socket(path: str, mode: str) -> socket.socket:
    try:
        bits = int(mode, 8)
    except ValueError:
        raise InvalidArgument(f"SKERRY_GATEWAY_SOCKET_MODE={mode!r}: want octal digits") from None
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.exists(path):
            os.unlink(path)
        listener.bind(path)
        os.chmod(path, bits)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise InvalidArgument(f"{path}: {error.strerror or error}") from None
    return listener


def main() -> None:
    """Runs the service until SIGTERM."""
    try:
        settings = from_env(Settings, "SKERRY_GATEWAY_")
        log.configure("gateway", settings.log_level, settings.log_format)
    except (SkerryError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
    lifecycle.run(service(settings))


if __name__ == "__main__":
    main()
