"""A gRPC server with everything each service owes: health, reflection, errors, drain, TLS, metrics."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from skerry.core.errors import InvalidArgument, SkerryError, exhausted
from skerry.core.metrics import Counter, Histogram
from skerry.core.rpc.errors import CODES, kind_of, to_trailers
from skerry.core.rpc.options import SERVER_OPTIONS
from skerry.core.rpc.tls import Tls, server_credentials

_log = logging.getLogger(__name__)
_calls = Counter("skerry_rpc_calls", "Calls by method and outcome.", ["method", "code"])
_seconds = Histogram("skerry_rpc_seconds", "Time of unary calls.", ["method"], buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10))

Register = Callable[[grpc.aio.Server], None]


class Calls(grpc.aio.ServerInterceptor):
    """Turns a SkerryError raised by a handler into its status, and knows who still runs.

    Handlers raise, only this aborts: a handler that aborts itself outlives Server.stop (grpc issue 37239).
    """

    def __init__(self) -> None:
        self._live: set[asyncio.Task[Any]] = set()

    async def finished(self) -> None:
        """Waits until every handler's finally blocks have run; Server.stop returns before."""
        if self._live:
            await asyncio.wait(self._live, timeout=10)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        if handler.response_streaming:
            wrap = grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
            inner = handler.stream_stream if handler.request_streaming else handler.unary_stream

            async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
                async with self._one(method, context):
                    async for response in inner(request, context):
                        yield response

            return wrap(stream, handler.request_deserializer, handler.response_serializer)
        wrap = grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def unary(request: Any, context: Any) -> Any:
            start = time.perf_counter()
            async with self._one(method, context):
                response = await inner(request, context)
            _seconds.labels(method).observe(time.perf_counter() - start)
            return response

        return wrap(unary, handler.request_deserializer, handler.response_serializer)

    @asynccontextmanager
    async def _one(self, method: str, context: Any) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._live.add(task)
        task.add_done_callback(self._live.discard)
        code = "OK"
        try:
            yield
        except SkerryError as error:
            code = type(error).__name__
            await context.abort(CODES[kind_of(error)], str(error), trailing_metadata=to_trailers(error))
        except asyncio.CancelledError:
            code = "Cancelled"
            raise
        except Exception as error:  # noqa: BLE001 - the edge of a call: logged, and told to the caller as a bug
            if isinstance(error, OSError) and (refusal := exhausted(error)) is not None:
                code = "Exhausted"
                await context.abort(CODES[kind_of(refusal)], str(refusal), trailing_metadata=to_trailers(refusal))
            code = "Bug"
            _log.exception("handler failed", extra={"method": method})
            await context.abort(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error}")
        finally:
            _calls.labels(method, code).inc()


@asynccontextmanager
async def serving(
    address: str,
    register: Sequence[Register],
    names: Sequence[str],
    *,
    drain: float = 5,
    tls: Tls | None = None,
    insecure_tcp: bool = False,
    stopping: asyncio.Event | None = None,
) -> AsyncIterator[str]:
    """Answers calls at address ("unix:PATH" or "HOST:PORT") and yields the address, with the real port when it was 0.

    names are the full names of the services, for health and reflection. On exit: NOT_SERVING, `stopping` is set so that endless
    streams can end by themselves, drain seconds for calls under way, then every handler is awaited.
    Raises InvalidArgument for TCP without TLS unless insecure_tcp.
    """
    calls, health = Calls(), HealthServicer()
    server = grpc.aio.server(interceptors=[calls], options=SERVER_OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for add in register:
        add(server)
    reflection.enable_server_reflection(
        [*names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME], server
    )
    async with AsyncExitStack() as stack:
        bound = _bind(server, address, tls, insecure_tcp)
        await server.start()
        if address.startswith("unix:"):
            os.chmod(address.removeprefix("unix:"), 0o660)
        for name in ("", *names):
            await health.set(name, health_pb2.HealthCheckResponse.SERVING)

        async def stop() -> None:
            await health.enter_graceful_shutdown()
            if stopping is not None:
                stopping.set()
            await server.stop(drain)
            await calls.finished()

        stack.push_async_callback(stop)
        yield bound


def _bind(server: grpc.aio.Server, address: str, tls: Tls | None, insecure_tcp: bool) -> str:
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.exists(path):
            os.unlink(path)  # a socket file without its server: the supervisor runs one of each
        server.add_insecure_port(address)
        return address
    host = address.rpartition(":")[0]
    if tls is not None:
        port = server.add_secure_port(address, server_credentials(tls))
    elif insecure_tcp:
        port = server.add_insecure_port(address)
    else:
        raise InvalidArgument(
            f"{address}: TCP needs a certificate, a key and a CA (SKERRY_<SERVICE>_TLS_CERT, _TLS_KEY, _TLS_CA), "
            "or SKERRY_<SERVICE>_INSECURE_TCP=true on a network where everybody may control this service"
        )
    return f"{host}:{port}"
