"""The server and channel that every service has, over real sockets."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from certificates import make
from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.api.logs.v1 import logs_pb2_grpc
from skerry.core import errors
from skerry.core.rpc.channel import call, call_again, open_channel, translated
from skerry.core.rpc.endpoint import endpoint
from skerry.core.rpc.server import serving
from skerry.core.settings import Common

NAME = "skerry.api.logs.v1.LogsService"


class Servicer(logs_pb2_grpc.LogsServiceServicer):
    """Raises what the driver's name says; streams until told to stop."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.stopping = asyncio.Event()

    async def Validate(self, request: pb.ValidateRequest, context: Any) -> pb.ValidateResponse:
        if request.driver == "bug":
            raise KeyError("bug")
        if request.driver:
            raise getattr(errors, request.driver)(f"text of {request.driver}")
        return pb.ValidateResponse(driver="ok")

    async def Read(self, request: pb.ReadRequest, context: Any) -> AsyncIterator[pb.ReadResponse]:
        try:
            yield pb.ReadResponse(data=b"first")
            if request.follow:
                await self.stopping.wait()
            else:
                raise errors.Conflict("in the middle")
        finally:
            await asyncio.sleep(0.05)
            self.ended.append("read")


def register(servicer: Servicer) -> Callable[[grpc.aio.Server], None]:
    return lambda server: logs_pb2_grpc.add_LogsServiceServicer_to_server(servicer, server)


def stub(channel: grpc.aio.Channel) -> Any:
    return logs_pb2_grpc.LogsServiceStub(channel)


@pytest.mark.parametrize("name", [cls.__name__ for cls in errors.SkerryError.__subclasses__()])
async def test_a_handlers_error_reaches_the_caller_as_it_was_raised(tmp_path: Path, name: str) -> None:
    async with serving(f"unix:{tmp_path}/s", [register(Servicer())], [NAME]) as address, open_channel(address) as channel:
        with pytest.raises(getattr(errors, name), match=f"text of {name}"):
            await call(lambda: stub(channel).Validate(pb.ValidateRequest(driver=name)))


async def test_an_error_in_the_middle_of_a_stream_reaches_the_caller(tmp_path: Path) -> None:
    async with serving(f"unix:{tmp_path}/s", [register(Servicer())], [NAME]) as address, open_channel(address) as channel:
        got = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for response in stub(channel).Read(pb.ReadRequest()):
                got.append(response.data)
        assert got == [b"first"]
        assert repr(translated(caught.value)) == repr(errors.Conflict("in the middle"))


async def test_a_bug_is_unknown_and_does_not_end_the_server(tmp_path: Path) -> None:
    async with serving(f"unix:{tmp_path}/s", [register(Servicer())], [NAME]) as address, open_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(channel).Validate(pb.ValidateRequest(driver="bug"))
        assert caught.value.code() is grpc.StatusCode.UNKNOWN
        assert (await stub(channel).Validate(pb.ValidateRequest())).driver == "ok"


async def test_the_end_waits_for_handlers_finally_blocks(tmp_path: Path) -> None:
    servicer = Servicer()
    async with open_channel(f"unix:{tmp_path}/s") as channel:
        async with serving(f"unix:{tmp_path}/s", [register(servicer)], [NAME], drain=1, stopping=servicer.stopping):
            stream = stub(channel).Read(pb.ReadRequest(follow=True))
            assert (await stream.read()).data == b"first"
        assert servicer.ended == ["read"]


async def test_health_and_reflection_answer(tmp_path: Path) -> None:
    async with serving(f"unix:{tmp_path}/s", [register(Servicer())], [NAME]) as address, open_channel(address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", NAME):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflect: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        async for answer in reflect.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")])):
            assert NAME in [service.name for service in answer.list_services_response.service]


async def test_metrics_are_served(tmp_path: Path) -> None:
    settings = Common(run=str(tmp_path))
    async with endpoint(settings, "logs", [register(Servicer())], [NAME]) as address, open_channel(address) as channel:
        await stub(channel).Validate(pb.ValidateRequest())
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/logs.metrics.sock")
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        assert text.startswith("HTTP/1.1 200 OK")
        assert 'skerry_rpc_calls_total{code="OK",method="/skerry.api.logs.v1.LogsService/Validate"}' in text


async def test_tcp_without_certificates_is_refused_unless_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument, match="INSECURE_TCP=true"):
        async with endpoint(Common(run=str(tmp_path), listen="127.0.0.1:0"), "logs", [], []):
            pass
    async with (
        endpoint(Common(run=str(tmp_path), listen="127.0.0.1:0", insecure_tcp=True), "logs", [register(Servicer())], [NAME]) as address,
        open_channel(address) as channel,
    ):
        assert (await stub(channel).Validate(pb.ValidateRequest())).driver == "ok"


async def test_mutual_tls_lets_in_only_certificates_of_the_same_ca(tmp_path: Path) -> None:
    ours, theirs = make(tmp_path, "ours"), make(tmp_path, "theirs")
    async with serving("127.0.0.1:0", [register(Servicer())], [NAME], tls=ours) as address:
        async with open_channel(address, ours) as channel:
            assert (await stub(channel).Validate(pb.ValidateRequest())).driver == "ok"
        stranger = type(ours)(cert=theirs.cert, key=theirs.key, ca=ours.ca)
        for tls in (stranger, theirs, None):
            async with open_channel(address, tls) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub(channel).Validate(pb.ValidateRequest(), timeout=3)
                assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_half_given_certificates_stop_the_service(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument, match="together"):
        async with endpoint(Common(run=str(tmp_path), tls_cert="/x"), "logs", [], []):
            pass


async def test_an_idempotent_call_waits_for_a_peer_that_is_being_restarted(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s"

    async def late() -> None:
        await asyncio.sleep(0.5)
        async with serving(address, [register(Servicer())], [NAME]):
            await asyncio.sleep(1.5)

    server = asyncio.ensure_future(late())
    async with open_channel(address) as channel:
        answer = await call_again(lambda: stub(channel).Validate(pb.ValidateRequest()), what="the log router")
        assert answer.driver == "ok"
    await server


async def test_a_peer_that_stays_away_is_named(tmp_path: Path) -> None:
    async with open_channel(f"unix:{tmp_path}/nobody") as channel:
        with pytest.raises(errors.Unavailable, match="the log router is not reachable"):
            await call_again(lambda: stub(channel).Validate(pb.ValidateRequest()), patience=0.3, what="the log router")


async def test_a_service_that_says_unavailable_itself_is_not_asked_again(tmp_path: Path) -> None:
    async with serving(f"unix:{tmp_path}/s", [register(Servicer())], [NAME]) as address, open_channel(address) as channel:
        async with asyncio.timeout(2):
            with pytest.raises(errors.Unavailable, match="text of Unavailable"):
                await call_again(lambda: stub(channel).Validate(pb.ValidateRequest(driver="Unavailable")), patience=30)


async def test_a_service_process_drains_and_exits_0_on_sigterm(tmp_path: Path) -> None:
    program = (
        "import sys; from skerry.core import lifecycle\nfrom skerry.core.settings import Common\n"
        "from skerry.core.rpc.endpoint import endpoint\n"
        f"lifecycle.run(endpoint(Common(run={str(tmp_path)!r}), 'x', [], []))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=environ)
    for _ in range(200):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(f"{tmp_path}/x.sock") == 0:
                break
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0
