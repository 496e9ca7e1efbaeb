"""What a gateway finds at start, and what happens when services or the gateway go away and come back."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway_doubles.engine import Engine, doubles, engine
from gateway_doubles.raw import ask, frames, head, hijack, request
from skerry.api.containers.v1 import containers_pb2
from skerry.api.networks.v1 import networks_pb2
from skerry.core.errors import InvalidArgument
from skerry.gateway.__main__ import Settings, service

_ALL = ("images", "networks", "logs", "containers")


async def until(condition: Callable[[], bool], seconds: float = 8) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.02)


async def run(made: Engine, *cmd: str, name: str = "one", rm: bool = False, **config: object) -> str:
    body = {"Image": "busybox", "Cmd": list(cmd), "HostConfig": {"AutoRemove": rm}, **config}
    answer = await ask(made.socket, "POST", f"/containers/create?name={name}", body)
    assert answer.status == 201, answer.body
    assert (await ask(made.socket, "POST", f"/containers/{name}/start")).status == 204
    return str(answer.json()["Id"])


async def test_an_end_while_no_gateway_was_there_is_settled_by_the_next() -> None:
    async with doubles() as made, AsyncExitStack() as stack:
        for name in _ALL:
            await stack.enter_async_context(made.serve(name))
        async with made.gateway():
            one = await run(made, "sleep", "0.5", rm=True)
        assert one in made.networks.boxes
        await until(lambda: made.containers.boxes[one].record.state.status == containers_pb2.STATUS_EXITED)
        async with made.gateway():
            await until(lambda: not made.containers.boxes and not made.networks.boxes and not made.images.leases)
        assert made.logs.removed == [one]


async def test_leftovers_are_removed_and_the_young_are_left_alone() -> None:
    async with doubles() as made, AsyncExitStack() as stack:
        for name in _ALL:
            await stack.enter_async_context(made.serve(name))
        made.images.leases = {"testnode/" + "0" * 64: "sha256:x", "othernode/" + "0" * 64: "sha256:x"}
        old, young = "a" * 64, "b" * 64
        made.networks.boxes[old] = networks_pb2.Sandbox(container_id=old, run=1, created_ns=1)
        made.networks.boxes[young] = networks_pb2.Sandbox(container_id=young, run=1, created_ns=time.time_ns() + 10**12)
        async with made.gateway():
            await until(lambda: old not in made.networks.boxes and "testnode/" + "0" * 64 not in made.images.leases)
        assert young in made.networks.boxes
        assert list(made.images.leases) == ["othernode/" + "0" * 64]


async def test_a_container_that_needs_a_sandbox_is_started() -> None:
    async with doubles() as made, AsyncExitStack() as stack:
        for name in _ALL:
            await stack.enter_async_context(made.serve(name))
        async with made.gateway():
            answer = await ask(made.socket, "POST", "/containers/create?name=one", {"Image": "busybox", "Cmd": ["sleep", "9"]})
            one = answer.json()["Id"]
            made.containers.ask_for_sandbox(one)
            await until(lambda: made.containers.boxes[one].record.state.status == containers_pb2.STATUS_RUNNING)


async def test_two_gateways_may_settle_the_same_end() -> None:
    async with engine() as made:
        second = Settings(
            root=made.run,
            run=made.run,
            docker=f"unix:{made.run}/two.sock",
            listen=f"unix:{made.run}/g2.sock",
            metrics="off",
            node="testnode",
        )
        async with service(second):
            for number in range(5):
                await run(made, "exit", "0", name=f"c{number}", rm=True)
            await until(lambda: not made.containers.boxes and not made.networks.boxes and not made.images.leases)


async def test_a_failed_start_gives_the_sandbox_back() -> None:
    async with engine() as made:
        await ask(made.socket, "POST", "/containers/create?name=one", {"Image": "busybox", "Cmd": ["nosuch"]})
        assert (await ask(made.socket, "POST", "/containers/one/start")).status == 400
        assert not made.networks.boxes


async def test_a_failed_create_gives_the_lease_back() -> None:
    async with engine() as made:
        for _ in range(2):
            answer = await ask(made.socket, "POST", "/containers/create?name=one", {"Image": "busybox"})
        assert answer.status == 409
        await until(lambda: len(made.images.leases) == 1)


async def test_a_removals_last_step_is_the_lease_by_which_the_next_gateway_sees_what_is_left() -> None:
    async with engine() as running:
        answer = await ask(running.socket, "POST", "/containers/create?name=one", {"Image": "busybox"})
        identity = json.loads(answer.body)["Id"]
        running.logs.may_remove.clear()
        removing = asyncio.ensure_future(ask(running.socket, "DELETE", f"/containers/{identity}"))
        await asyncio.sleep(0.5)
        assert running.logs.removed == [] and len(running.images.leases) == 1
        running.logs.may_remove.set()
        assert (await removing).status == 204
        assert running.logs.removed == [identity] and running.images.leases == {}


async def test_the_log_of_a_container_removed_while_the_router_was_away_is_removed_by_the_next_gateway() -> None:
    async with doubles() as made, AsyncExitStack() as stack:
        for name in ("images", "networks", "containers"):
            await stack.enter_async_context(made.serve(name))
        async with made.gateway():
            answer = await ask(made.socket, "POST", "/containers/create?name=one", {"Image": "busybox"})
            one = str(answer.json()["Id"])
            assert (await ask(made.socket, "DELETE", f"/containers/{one}")).status == 204
        assert made.logs.removed == [] and len(made.images.leases) == 1
        async with made.gateway():
            async with made.serve("logs"):
                await until(lambda: made.logs.removed == [one] and not made.images.leases)


async def test_a_log_whose_router_comes_back_is_removed_by_the_same_gateway() -> None:
    async with doubles() as made, AsyncExitStack() as stack:
        for name in ("images", "networks", "containers"):
            await stack.enter_async_context(made.serve(name))
        async with made.gateway():
            answer = await ask(made.socket, "POST", "/containers/create?name=one", {"Image": "busybox"})
            one = str(answer.json()["Id"])
            assert (await ask(made.socket, "DELETE", f"/containers/{one}")).status == 204
            async with made.serve("logs"):
                await until(lambda: made.logs.removed == [one] and not made.images.leases, 15)


async def test_attach_and_wait_outlive_a_restart_of_the_node_service() -> None:
    async with doubles() as made, AsyncExitStack() as stack:
        for name in ("images", "networks", "logs"):
            await stack.enter_async_context(made.serve(name))
        node = AsyncExitStack()
        await node.enter_async_context(made.serve("containers"))
        await stack.enter_async_context(made.gateway())
        answer = await ask(
            made.socket, "POST", "/containers/create?name=one", {"Image": "busybox", "Cmd": ["cat"], "OpenStdin": True, "StdinOnce": True}
        )
        one = answer.json()["Id"]
        reader, writer, _ = await hijack(made.socket, f"/containers/{one}/attach?stream=1&stdin=1&stdout=1&stderr=1")
        waiting = asyncio.ensure_future(ask(made.socket, "POST", f"/containers/{one}/wait?condition=next-exit"))
        await ask(made.socket, "POST", f"/containers/{one}/start")
        writer.write(b"before")
        assert frames(await reader.readexactly(14)) == [(1, b"before")]
        await node.aclose()
        made.containers.boxes[one].output.write(1, b"meanwhile")
        async with made.serve("containers"):
            assert frames(await asyncio.wait_for(reader.readexactly(17), 8)) == [(1, b"meanwhile")]
            writer.write(b"after")
            assert frames(await asyncio.wait_for(reader.readexactly(13), 8)) == [(1, b"after")]
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 8) == b""
            assert (await asyncio.wait_for(waiting, 8)).json() == {"Error": None, "StatusCode": 0}
        writer.close()


async def test_events_go_on_without_gap_or_double_after_a_restart_of_a_service() -> None:
    async with doubles() as made, AsyncExitStack() as stack:
        for name in ("images", "networks", "logs"):
            await stack.enter_async_context(made.serve(name))
        node = AsyncExitStack()
        await node.enter_async_context(made.serve("containers"))
        await stack.enter_async_context(made.gateway())
        reader, writer = await asyncio.open_unix_connection(made.socket)
        writer.write(request("GET", '/events?filters={"type":["container"]}'))
        await head(reader)

        async def next_action() -> str:
            line = await asyncio.wait_for(reader.readuntil(b"}\n"), 8)
            return str(json.loads(line[line.index(b"{") :])["Action"])

        made.containers.events.add("container", "one", "x")
        assert await next_action() == "one"
        await node.aclose()
        made.containers.events.add("container", "two", "x")
        async with made.serve("containers"):
            assert await next_action() == "two"
            made.containers.events.add("container", "three", "x")
            assert await next_action() == "three"
        writer.close()


async def test_following_logs_go_on_after_a_restart_of_the_router() -> None:
    async with doubles() as made, AsyncExitStack() as stack:
        for name in ("images", "networks", "containers"):
            await stack.enter_async_context(made.serve(name))
        router = AsyncExitStack()
        await router.enter_async_context(made.serve("logs"))
        await stack.enter_async_context(made.gateway())
        one = await run(made, "sleep", "9")
        output = made.containers.boxes[one].output
        output.write(1, b"before")
        reader, writer = await asyncio.open_unix_connection(made.socket)
        writer.write(request("GET", "/containers/one/logs?stdout=1&follow=1"))
        await head(reader)

        async def next_frame() -> list[tuple[int, bytes]]:
            size = int(await asyncio.wait_for(reader.readuntil(b"\r\n"), 8), 16)
            return frames((await reader.readexactly(size + 2))[:-2])

        assert await next_frame() == [(1, b"before")]
        await router.aclose()
        output.write(1, b"meanwhile")
        async with made.serve("logs"):
            assert await next_frame() == [(1, b"meanwhile")]
        writer.close()


async def test_a_service_that_is_away_for_a_moment_is_waited_for() -> None:
    async with doubles() as made, AsyncExitStack() as stack:
        for name in ("images", "logs", "containers"):
            await stack.enter_async_context(made.serve(name))
        await stack.enter_async_context(made.gateway())
        running = asyncio.ensure_future(run(made, "sleep", "9"))
        await asyncio.sleep(0.4)
        assert not running.done()
        async with made.serve("networks"):
            await asyncio.wait_for(running, 8)


async def test_without_the_router_create_succeeds_and_logs_come_from_the_spool() -> None:
    async with doubles() as made, AsyncExitStack() as stack:
        for name in ("images", "networks", "containers"):
            await stack.enter_async_context(made.serve(name))
        await stack.enter_async_context(made.gateway())
        one = await run(made, "both")
        await until(lambda: made.containers.boxes[one].record.state.status == containers_pb2.STATUS_EXITED)
        answer = await ask(made.socket, "GET", "/containers/one/logs?stdout=1&stderr=1")
        note, *rest = frames(answer.body)
        assert note == (2, b"WARNING: the log router is not reachable: older lines may be missing\n")
        assert rest == [(1, b"out\n"), (2, b"err\n")]
        path = (await ask(made.socket, "GET", "/containers/one/json")).json()["LogPath"]
        assert path == f"{made.run}/containers/{one}/{one}-json.log"
        assert (await ask(made.socket, "DELETE", "/containers/one")).status == 204


async def test_without_the_image_store_ps_stop_and_rm_work_and_create_names_it() -> None:
    async with doubles() as made, AsyncExitStack() as stack:
        for name in ("networks", "logs", "containers"):
            await stack.enter_async_context(made.serve(name))
        images = AsyncExitStack()
        await images.enter_async_context(made.serve("images"))
        await stack.enter_async_context(made.gateway())
        await run(made, "sleep", "9")
        await images.aclose()
        assert (await ask(made.socket, "GET", "/containers/json")).json()[0]["Image"] == "busybox"
        assert (await ask(made.socket, "POST", "/containers/one/stop")).status == 204
        assert (await ask(made.socket, "DELETE", "/containers/one")).status == 204
        answer = await ask(made.socket, "POST", "/containers/create", {"Image": "busybox"})
        assert answer.status == 503
        assert "the image store is not reachable" in answer.message
        # The lease is given back when the store returns.
        async with made.serve("images"):
            await until(lambda: not made.images.leases, 12)


async def test_endless_streams_end_when_the_gateway_stops() -> None:
    async with doubles() as made, AsyncExitStack() as stack:
        for name in _ALL:
            await stack.enter_async_context(made.serve(name))
        async with made.gateway():
            await run(made, "sleep", "9")
            reader, writer, _ = await hijack(made.socket, "/containers/one/attach?stream=1&stdout=1")
            begun = time.monotonic()
        assert time.monotonic() - begun < 2.5
        assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()


async def test_the_process_serves_an_inherited_socket_and_ends_well_at_sigterm(tmp_path: Path) -> None:
    path = str(tmp_path / "d.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        environment = {
            **os.environ,
            "SKERRY_RUN": str(tmp_path),
            "SKERRY_ROOT": str(tmp_path),
            "SKERRY_GATEWAY_SOCKET_FD": str(listener.fileno()),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        for _ in range(2):  # the second takes the same socket over
            process = await asyncio.to_thread(
                subprocess.Popen, [sys.executable, "-m", "skerry.gateway"], env=environment, pass_fds=[listener.fileno()]
            )
            try:
                assert (await ask(path, "GET", "/_ping")).body == b"OK"
            finally:
                process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 10) == 0


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"docker": "127.0.0.1:0"}, "INSECURE_TCP"),
        ({"docker": "nonsense"}, "unix:PATH or HOST:PORT"),
        ({"socket_fd": 99}, "inherited descriptor 99"),
        ({"socket_mode": "9"}, "octal"),
    ],
)
async def test_wrong_settings_say_what_is_wrong(settings: dict[str, object], text: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=text) as caught:
        async with service(Settings(run=str(tmp_path), root=str(tmp_path), metrics="off", **settings)):  # type: ignore[arg-type]
            pass
    assert "\n" not in str(caught.value)
