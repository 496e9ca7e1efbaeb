"""What goes over the wire, byte by byte, against a gateway in front of doubles."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import closing

import docker
import pytest
import pytest_asyncio
import uvloop

from gateway_doubles.engine import Engine, engine
from gateway_doubles.raw import Answer, ask, frames, head, hijack, request


@pytest_asyncio.fixture
async def running() -> AsyncIterator[Engine]:
    async with engine() as made:
        yield made


async def create(running: Engine, *cmd: str, name: str = "one", **config: object) -> str:
    answer = await ask(running.socket, "POST", f"/v1.41/containers/create?name={name}", {"Image": "busybox", "Cmd": list(cmd), **config})
    assert answer.status == 201, answer.body
    assert answer.json()["Warnings"] == []
    return str(answer.json()["Id"])


async def start(running: Engine, name: str = "one") -> Answer:
    return await ask(running.socket, "POST", f"/containers/{name}/start")


async def test_ping_and_the_common_headers(running: Engine) -> None:
    for method in ("GET", "HEAD"):
        answer = await ask(running.socket, method, "/_ping")
        assert answer.status == 200
        assert answer.headers["api-version"] == "1.50"
        assert answer.headers["ostype"] == "linux"
        assert answer.headers["docker-experimental"] == "false"
        assert answer.headers["content-type"].startswith("text/plain")
        assert "no-cache" in answer.headers["cache-control"]
        assert answer.body == (b"OK" if method == "GET" else b"")
    for path in ("/v1.41/containers/json", "/nope", "/containers/x/json"):
        assert (await ask(running.socket, "GET", path)).headers["api-version"] == "1.50"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nope"),
        ("GET", "/v1.41/nope"),
        ("PUT", "/containers/json"),
        ("DELETE", "/version"),
        ("GET", "/containers/create"),
        ("POST", "/"),
    ],
)
async def test_unknown_routes_and_wrong_methods_are_404(running: Engine, method: str, path: str) -> None:
    answer = await ask(running.socket, method, path)
    assert (answer.status, answer.body) == (404, b'{"message":"page not found"}\n')
    assert answer.headers["content-type"].startswith("application/json")


async def test_versions_outside_the_range_are_400(running: Engine) -> None:
    assert (await ask(running.socket, "GET", "/v1.51/version")).message == (
        "client version 1.51 is too new. Maximum supported API version is 1.50"
    )
    assert (await ask(running.socket, "GET", "/v1.51/version")).status == 400
    assert (await ask(running.socket, "GET", "/v1.11/version")).status == 400
    assert (await ask(running.socket, "GET", "/v1.12/version")).status == 200


async def test_bad_bodies_by_version(running: Engine) -> None:
    path = "/v{}/containers/create"
    plain = await ask(running.socket, "POST", path.format("1.41"), b"{}", Content_Type="text/plain")
    assert (plain.status, plain.message) == (400, "Content-Type specified (text/plain) must be 'application/json'")
    for body in (b"{", b'{"Image":5}'):
        assert (await ask(running.socket, "POST", path.format("1.41"), body)).status == 500
        assert (await ask(running.socket, "POST", path.format("1.50"), body)).status == 400
    assert (await ask(running.socket, "GET", "/v1.41/containers/json?limit=a")).status == 500
    assert (await ask(running.socket, "GET", "/v1.50/containers/json?filters=x")).status == 400
    too_large = await ask(running.socket, "POST", path.format("1.50"), b" " * (5 << 20))
    assert too_large.status == 413


async def test_states_answer_in_dockers_codes(running: Engine) -> None:
    await create(running, "sleep", "100")
    assert (await start(running)).status == 204
    again = await start(running)
    assert (again.status, again.body) == (304, b"")
    assert (await ask(running.socket, "POST", "/containers/one/kill?signal=FOO")).message == "Invalid signal: FOO"
    assert (await ask(running.socket, "POST", "/containers/one/rename?name=")).message == "Neither old nor new names may be empty"
    assert (await ask(running.socket, "GET", "/containers/one/logs")).message == "Bad parameters: you must choose at least one stream"
    assert (await ask(running.socket, "POST", "/containers/one/resize?h=33&w=99")).status == 200
    assert running.containers.resized == [(33, 99)]
    assert (await ask(running.socket, "POST", "/containers/one/resize?h=a&w=99")).status == 400
    assert (await ask(running.socket, "POST", "/containers/one/stop")).status == 204
    assert (await ask(running.socket, "POST", "/containers/one/stop")).status == 304
    assert (await ask(running.socket, "POST", "/containers/one/resize?h=33&w=99")).status == 409
    assert (await ask(running.socket, "POST", "/containers/one/wait?condition=zz")).status == 400
    assert (await ask(running.socket, "POST", "/v1.41/containers/one/wait?condition=zz")).status == 200
    assert (await ask(running.socket, "DELETE", "/containers/one")).status == 204
    for method, path in (("GET", "/volumes/x"), ("GET", "/plugins/x/json"), ("GET", "/exec/x/json"), ("GET", "/images/a/b:1/json")):
        assert (await ask(running.socket, method, path)).status == 404
    assert (await ask(running.socket, "GET", "/volumes/x")).message == "get x: no such volume"
    assert (await ask(running.socket, "GET", "/v1.41/images/x/json")).message == "no such image: x: No such image: x:latest"
    assert (await ask(running.socket, "POST", "/containers/create", {"Image": "x"})).message == "No such image: x:latest"
    assert (await ask(running.socket, "POST", "/containers/none/attach?detachKeys=zz")).message == "Invalid detach keys (zz) provided"


async def test_stream_types_by_version(running: Engine) -> None:
    await create(running, "sleep", "100")
    await create(running, "sleep", "100", name="tty", Tty=True)
    for version, name, kind in (("1.41", "one", "raw"), ("1.50", "one", "multiplexed"), ("1.50", "tty", "raw")):
        _, writer, headers = await hijack(running.socket, f"/v{version}/containers/{name}/attach?stream=1&stdout=1")
        assert headers["content-type"] == f"application/vnd.docker.{kind}-stream"
        assert headers["upgrade"] == "tcp"
        writer.close()


async def test_without_upgrade_the_stream_follows_a_200(running: Engine) -> None:
    await create(running, "both")
    reader, writer = await asyncio.open_unix_connection(running.socket)
    writer.write(request("POST", "/containers/one/attach?stream=1&stdout=1&stderr=1"))
    assert (await head(reader))[0] == 200
    await start(running)
    assert frames(await reader.read()) == [(1, b"out\n"), (2, b"err\n")]
    writer.close()


async def half_close(running: Engine) -> None:
    size = 1 << 20
    await create(running, "cat", OpenStdin=True, StdinOnce=True)
    reader, writer, _ = await hijack(running.socket, "/containers/one/attach?stream=1&stdin=1&stdout=1&stderr=1")
    await start(running)
    read = asyncio.ensure_future(reader.read())
    writer.write(b"z" * size)
    await writer.drain()
    writer.write_eof()
    data = b"".join(piece for _, piece in frames(await asyncio.wait_for(read, 20)))
    assert (len(data), set(data)) == (size, {ord("z")})
    writer.close()


async def test_half_close_leaves_both_directions_whole(running: Engine) -> None:
    await half_close(running)


async def test_half_close_holds_with_the_event_loop_of_the_real_process() -> None:
    async def with_engine() -> None:
        async with engine() as made:
            await half_close(made)

    def in_thread() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(with_engine())

    await asyncio.to_thread(in_thread)


async def test_a_client_without_stdin_that_half_closes_at_once_gets_all_output(running: Engine) -> None:
    await create(running, "lines", "300")
    reader, writer, _ = await hijack(running.socket, "/containers/one/attach?stream=1&stdout=1&stderr=1")
    writer.write_eof()
    await start(running)
    assert len(frames(await asyncio.wait_for(reader.read(), 20))) == 300
    writer.close()


async def test_the_head_comes_alone(running: Engine) -> None:
    """docker-py drops what arrives together with the head."""
    await create(running, "both")
    await start(running)
    loop = asyncio.get_running_loop()
    for _ in range(10):
        raw = socket.socket(socket.AF_UNIX)
        raw.setblocking(False)
        await loop.sock_connect(raw, running.socket)
        path = "/containers/one/attach?logs=1&stream=1&stdout=1&stderr=1"
        await loop.sock_sendall(raw, request("POST", path, Connection="Upgrade", Upgrade="tcp"))
        first = await loop.sock_recv(raw, 65536)
        assert first.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
        assert first.endswith(b"\r\n\r\n")
        rest = b""
        while piece := await loop.sock_recv(raw, 65536):
            rest += piece
        assert frames(rest) == [(1, b"out\n"), (2, b"err\n")]
        raw.close()


async def test_a_client_that_reads_slowly_holds_the_source_back_and_misses_nothing(running: Engine) -> None:
    size = 8 << 20
    await create(running, "bytes", str(size), HostConfig={"AutoRemove": True})
    reader, writer, _ = await hijack(running.socket, "/containers/one/attach?stream=1&stdout=1")
    await start(running)
    await asyncio.sleep(0.3)
    # Not removed while its first client still reads.
    assert running.containers.boxes
    total = 0
    while piece := await reader.read(1 << 20):
        total += len(piece)
    assert total == size + 8 * (size // 65536)
    writer.close()


async def test_detach_keys_end_the_attach_and_not_the_container(running: Engine) -> None:
    await create(running, "cat", Tty=True, OpenStdin=True)
    await start(running)
    for keys, raw in (("", b"\x10\x11"), ("&detachKeys=ctrl-a,x", b"\x01x")):
        reader, writer, _ = await hijack(running.socket, f"/containers/one/attach?stream=1&stdin=1&stdout=1{keys}")
        writer.write(b"hi")
        assert await reader.readexactly(2) == b"hi"
        writer.write(raw)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
    assert (await ask(running.socket, "GET", "/containers/one/json")).json()["State"]["Running"]


async def test_the_end_of_input_ends_the_attach_and_not_the_process_unless_stdin_is_once(running: Engine) -> None:
    for number, (tty, once) in enumerate([(True, True), (False, False), (False, True)]):
        name = f"c{number}"
        await create(running, "cat", name=name, Tty=tty, OpenStdin=True, StdinOnce=once)
        await start(running, name)
        reader, writer, _ = await hijack(running.socket, f"/containers/{name}/attach?stream=1&stdin=1&stdout=1")
        writer.write(b"hi")
        writer.write_eof()
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"hi")
        writer.close()
        await asyncio.sleep(0.05)
        state = (await ask(running.socket, "GET", f"/containers/{name}/json")).json()["State"]
        assert state["Running"] is (tty or not once)


async def test_wait_sends_its_head_before_the_start_and_never_misses_the_exit(running: Engine) -> None:
    for number in range(20):
        name = f"w{number}"
        await create(running, "exit", str(number), name=name, HostConfig={"AutoRemove": bool(number % 2)})
        condition = "removed" if number % 2 else "next-exit"
        reader, writer = await asyncio.open_unix_connection(running.socket)
        writer.write(request("POST", f"/containers/{name}/wait?condition={condition}", Connection="close"))
        status, headers = await asyncio.wait_for(head(reader), 5)
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        await start(running, name)
        body = await asyncio.wait_for(reader.read(), 5)
        assert f'{{"Error":null,"StatusCode":{number}}}\n'.encode() in body
        if number % 2:
            # All is free when the wait is answered.
            assert not any(box.record.name == name for box in running.containers.boxes.values())
            assert len(running.images.leases) == (number + 1) // 2
        writer.close()


async def test_wait_not_running_answers_at_once_for_an_ended_container(running: Engine) -> None:
    await create(running, "exit", "4")
    await start(running)
    assert (await ask(running.socket, "POST", "/containers/one/wait")).json() == {
        "Error": None,
        "StatusCode": 4,
    }


async def test_a_removed_wait_ends_when_the_start_fails(running: Engine) -> None:
    await create(running, "nosuch", HostConfig={"AutoRemove": True})
    wait = asyncio.ensure_future(ask(running.socket, "POST", "/containers/one/wait?condition=removed"))
    await asyncio.sleep(0.1)
    failed = await start(running)
    assert failed.status == 400
    assert "executable file not found in $PATH" in failed.message
    assert (await asyncio.wait_for(wait, 5)).status == 200
    assert not running.images.leases


async def test_logs_frame_by_tty(running: Engine) -> None:
    await create(running, "both")
    await create(running, "echo", "hi", name="tty", Tty=True)
    await start(running)
    await start(running, "tty")
    await asyncio.sleep(0.1)
    path = "/containers/{}/logs?stdout=1&stderr=1"
    multiplexed = await ask(running.socket, "GET", path.format("one"))
    assert frames(multiplexed.body) == [(1, b"out\n"), (2, b"err\n")]
    assert multiplexed.headers["content-type"] == "application/vnd.docker.multiplexed-stream"
    raw = await ask(running.socket, "GET", path.format("tty"))
    assert raw.body == b"hi\r\n"
    assert running.logs.requests[0].min_offset == 2


async def test_following_a_silent_container_sends_the_head(running: Engine) -> None:
    await create(running, "sleep", "100")
    await start(running)
    reader, writer = await asyncio.open_unix_connection(running.socket)
    writer.write(request("GET", "/containers/one/logs?stdout=1&follow=1"))
    assert (await asyncio.wait_for(head(reader), 3))[0] == 200
    writer.close()


async def test_pull_streams_objects_with_crlf(running: Engine) -> None:
    answer = await ask(running.socket, "POST", "/images/create?fromImage=docker.io/library/remote&tag=latest")
    lines = answer.body.split(b"\r\n")
    assert lines.pop() == b""
    documents = [json.loads(line) for line in lines]
    assert documents[0] == {"status": "Pulling from remote", "id": "latest"}
    assert documents[1]["progressDetail"] == {"current": 500, "total": 1000}
    assert answer.headers["content-type"].startswith("application/json")
    broken = await ask(running.socket, "POST", "/images/create?fromImage=broken&tag=latest")
    assert broken.status == 200
    assert json.loads(broken.body.split(b"\r\n")[-2]) == {"errorDetail": {"message": "unexpected EOF"}, "error": "unexpected EOF"}


async def test_events_send_the_head_at_once_and_follow(running: Engine) -> None:
    reader, writer = await asyncio.open_unix_connection(running.socket)
    writer.write(request("GET", '/events?filters={"type":["container"]}'))
    assert (await asyncio.wait_for(head(reader), 3))[0] == 200
    await create(running, "exit", "0")
    assert b'"Action":"create"' in await asyncio.wait_for(reader.readuntil(b"}\n"), 5)
    writer.close()


async def test_events_end_at_until(running: Engine) -> None:
    begun = time.monotonic()
    answer = await ask(running.socket, "GET", f"/events?until={time.time() + 0.5}")
    assert answer.status == 200
    assert 0.3 < time.monotonic() - begun < 5


async def test_keys_of_a_create_may_have_any_case(running: Engine) -> None:
    answer = await ask(
        running.socket, "POST", "/containers/create", {"image": "busybox", "cmd": ["true"], "hostconfig": {"autoremove": True}}
    )
    document = (await ask(running.socket, "GET", f"/containers/{answer.json()['Id']}/json")).json()
    assert document["Path"] == "true"
    assert document["HostConfig"]["AutoRemove"] is True


async def test_container_mode_is_shown_with_the_full_id(running: Engine) -> None:
    one = await create(running, "sleep", "100")
    await start(running)
    await create(running, "true", name="two", HostConfig={"NetworkMode": "container:one"})
    assert (await ask(running.socket, "GET", "/containers/two/json")).json()["HostConfig"]["NetworkMode"] == f"container:{one}"
    assert (await start(running, "two")).status == 204
    assert running.networks.requests[-1].join_container_id == one


async def test_docker_py_gets_data_that_comes_at_once(running: Engine) -> None:
    def use() -> tuple[bytes, bytes, int, bytes]:
        with closing(docker.DockerClient(base_url=f"unix://{running.socket}", version="1.41")) as client:
            container = client.containers.create("busybox", ["both"])
            container.start()
            code = container.wait()["StatusCode"]
            attached = container.attach(logs=True, stdout=True, stderr=True)
            ran = client.containers.run("busybox", ["echo", "hi"], remove=True)
            sleeping = client.containers.run("busybox", ["sleep", "100"], detach=True)
            done = sleeping.exec_run(["echo", "in"])
            sleeping.remove(force=True)
            container.remove()
            return attached, ran, code, done.output

    assert await asyncio.to_thread(use) == (b"out\nerr\n", b"hi\n", 0, b"in\n")


HOSTILE = [
    {"HostConfig": {"ConsoleSize": [1 << 40, 1]}},
    {"HostConfig": {"ConsoleSize": [1]}},
    {"HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1 << 40}}},
    {"StopTimeout": 1 << 40},
    {"HostConfig": {"PortBindings": {"1-65535/tcp": [{"HostPort": "1-65535"}], "1-65535/udp": [{}]}}},
    {"HostConfig": {"Ulimits": [None], "Devices": [None], "Mounts": [None]}},
    {"HostConfig": {"Binds": [":"]}},
    {"Env": [None]},
    {"ExposedPorts": {"": None}},
    {"HostConfig": {"NetworkMode": "container:"}},
    {"HostConfig": {"ExtraHosts": [""]}},
]


@pytest.mark.parametrize("config", HOSTILE, ids=[json.dumps(config)[:60] for config in HOSTILE])
async def test_hostile_creates_are_400_and_change_nothing(running: Engine, config: dict[str, object]) -> None:
    answer = await ask(running.socket, "POST", "/containers/create", {"Image": "busybox", **config})
    assert answer.status == 400, answer.body
    assert answer.message
    assert not running.images.leases
    assert not running.containers.boxes


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/containers/%ff%fe/json", 404),
        ("GET", "/containers/%00/json", 404),
        ("GET", "/containers/%2e%2e%2f%2e%2e/json", 404),
        ("GET", "/images/%ff/json", 404),
        ("POST", "/containers/create?name=%ff", 400),
        ("GET", "/containers/json?limit=99999999999999999999999", 200),
        ("GET", '/containers/json?filters={"name":["["]}', 200),
        ("GET", '/containers/json?filters={"publish":["x"]}', 400),
        ("GET", '/events?filters={"type":[1]}', 400),
        ("GET", "/events?since=x&until=1", 400),
        ("POST", "/containers/x/stop?t=99999999999", 400),
        ("GET", "//containers/json", 404),
        ("GET", "/v1.41", 404),
    ],
)
async def test_odd_paths_and_queries_get_plain_answers(running: Engine, method: str, path: str, status: int) -> None:
    body = {"Image": "busybox"} if "create" in path else None
    assert (await ask(running.socket, method, path, body)).status == status
