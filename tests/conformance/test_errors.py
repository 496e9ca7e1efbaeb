"""Status codes and texts of the API itself, over the unix socket."""

import json
from typing import Any

import pytest

from engines import Engine, UnixConnection

from .waiting import wait_until

LONG = "f" * 64


def _said(engine: Engine, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
    status, answer = engine.request(method, path, body, headers=headers)
    return status, answer["message"] if isinstance(answer, dict) and "message" in answer else ""


@pytest.fixture
def running(engine: Engine, name: str) -> str:
    return engine.out("run", "-d", "--name", name, "busybox", "sleep", "100")


@pytest.fixture
def stopped(engine: Engine, name: str) -> str:
    return engine.out("create", "--name", name, "busybox", "true")


def _raw(engine: Engine, method: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, dict[str, str], bytes]:
    connection = UnixConnection(engine.socket)
    try:
        connection.request(method, path, body, {"Content-Type": kind} if kind else {})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping(engine: Engine, method: str) -> None:
    status, headers, body = _raw(engine, method, "/_ping")
    assert (status, body) == (200, b"OK" if method == "GET" else b"")
    assert headers["ostype"] == "linux" and headers["docker-experimental"] == "false"
    assert headers["api-version"].startswith("1.")
    assert headers["cache-control"] == "no-cache, no-store, must-revalidate" and headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(("method", "path"), [("GET", "/nosuch"), ("GET", "/v1.41/nosuch/x"), ("PUT", "/v1.41/containers/json")])
def test_unknown_routes(engine: Engine, method: str, path: str) -> None:
    assert _said(engine, method, path) == (404, "page not found")


def test_a_version_above_the_newest_is_refused(engine: Engine) -> None:
    status, message = _said(engine, "GET", "/v1.99/info")
    newest = _raw(engine, "GET", "/_ping")[1]["api-version"]
    assert (status, message) == (400, f"client version 1.99 is too new. Maximum supported API version is {newest}")


def test_a_version_below_the_oldest_is_refused(engine: Engine) -> None:
    assert _raw(engine, "GET", "/v1.11/info")[0] == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/containers/nosuch/json"), ("POST", "/containers/nosuch/start"), ("POST", "/containers/nosuch/stop"),
        ("POST", "/containers/nosuch/kill"), ("POST", "/containers/nosuch/wait"), ("DELETE", "/containers/nosuch"),
        ("GET", "/containers/nosuch/logs?stdout=1"), ("POST", "/containers/nosuch/attach"), ("GET", "/containers/nosuch/top"),
        ("POST", "/containers/nosuch/resize?h=1&w=1"), ("POST", "/containers/nosuch/pause"), ("POST", "/containers/nosuch/restart"),
        ("POST", "/containers/nosuch/rename?name=x"),
    ],
)  # fmt: skip
def test_a_missing_container(engine: Engine, method: str, path: str) -> None:
    status, _, body = _raw(engine, method, f"/v1.41{path}")
    assert status == 404
    # attach answers text: its connection was about to be taken over. kill puts its own words before.
    assert "No such container: nosuch" in body.decode()


def test_exec_in_a_missing_container(engine: Engine) -> None:
    assert _said(engine, "POST", "/containers/nosuch/exec", {"Cmd": ["true"]}) == (404, "No such container: nosuch")


def test_a_missing_exec(engine: Engine) -> None:
    assert _said(engine, "GET", "/exec/nosuch/json") == (404, "No such exec instance: nosuch")
    assert _said(engine, "POST", "/exec/nosuch/start", {"Detach": True})[0] == 404


def test_missing_images_networks_volumes(engine: Engine) -> None:
    assert _said(engine, "GET", "/v1.41/images/nosuch/json") == (404, "no such image: nosuch: No such image: nosuch:latest")
    assert _said(engine, "DELETE", "/v1.41/images/nosuch") == (404, "No such image: nosuch:latest")
    assert _said(engine, "POST", "/v1.41/containers/create", {"Image": "nosuch"}) == (404, "No such image: nosuch:latest")
    assert _said(engine, "GET", "/v1.41/networks/nosuch") == (404, "network nosuch not found")


@pytest.mark.parametrize("text", ["!!", "-x", "a/b"])
def test_a_bad_name(engine: Engine, text: str) -> None:
    said = _said(engine, "POST", f"/containers/create?name={text}", {"Image": "busybox"})
    assert said == (400, f"Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")


def test_a_taken_name(engine: Engine, name: str, stopped: str) -> None:
    said = _said(engine, "POST", f"/containers/create?name={name}", {"Image": "busybox"})
    assert said == (409, f'Conflict. The container name "/{name}" is already in use by container "{stopped}". '
                    "You have to remove (or rename) that container to be able to reuse that name.")  # fmt: skip


def test_create_wants_json(engine: Engine) -> None:
    status, _, body = _raw(engine, "POST", "/v1.41/containers/create", b"{}", "text/plain")
    assert status == 400
    assert json.loads(body)["message"] == "Content-Type specified (text/plain) must be 'application/json'"
    assert _raw(engine, "POST", "/v1.41/containers/create", b"{broken", "application/json")[0] in (400, 500)
    assert _raw(engine, "POST", "/v1.41/containers/create", b"", "application/json")[0] in (400, 500)


def test_create_without_a_command(engine: Engine) -> None:
    assert _said(engine, "POST", "/v1.41/containers/create", {"Image": "busybox", "Cmd": [], "Entrypoint": [""]})[0] == 400


def test_bad_queries(engine: Engine) -> None:
    assert _said(engine, "GET", "/v1.41/containers/json?limit=a")[0] in (400, 500)
    assert _said(engine, "GET", "/v1.41/containers/json?filters=broken")[0] in (400, 500)
    status, message = _said(engine, "GET", '/v1.41/containers/json?filters={"foo":{"x":true}}')
    assert status == 400 and message.lower().startswith("invalid filter 'foo'")


def test_start_and_stop_twice(engine: Engine, running: str) -> None:
    assert engine.request("POST", f"/containers/{running}/start")[0] == 304
    assert engine.request("POST", f"/containers/{running}/stop?t=0")[0] == 204
    assert engine.request("POST", f"/containers/{running}/stop?t=0")[0] == 304
    assert engine.request("POST", f"/containers/{running}/start")[0] == 204
    assert engine.request("POST", f"/containers/{running}/restart?t=0")[0] == 204
    assert engine.request("POST", f"/containers/{running}/kill")[0] == 204


def test_a_command_that_cannot_start(engine: Engine) -> None:
    one = engine.out("create", "busybox", "nosuchcmd")
    status, message = _said(engine, "POST", f"/containers/{one}/start")
    assert status == 400
    assert "OCI runtime create failed" in message and "executable file not found in $PATH" in message


def test_things_that_need_a_running_one(engine: Engine, name: str, stopped: str) -> None:
    assert _said(engine, "POST", f"/v1.41/containers/{name}/kill") == (
        409, f"Cannot kill container: {name}: Container {stopped} is not running")  # fmt: skip
    not_running = f"Container {stopped} is not running"
    assert _said(engine, "POST", f"/v1.41/containers/{name}/exec", {"Cmd": ["true"]}) == (409, not_running)
    assert _said(engine, "POST", f"/v1.41/containers/{name}/pause") == (409, not_running)
    assert _said(engine, "GET", f"/v1.41/containers/{name}/top") == (409, not_running)
    assert _said(engine, "POST", f"/v1.41/containers/{name}/resize?h=1&w=1")[0] == 409


def test_rm_of_a_running_one(engine: Engine, running: str) -> None:
    status, message = _said(engine, "DELETE", f"/v1.41/containers/{running}")
    assert status == 409
    assert message == (f"You cannot remove a running container {running}. Stop the container before attempting removal or force remove")


def test_bad_signals(engine: Engine, running: str) -> None:
    assert _said(engine, "POST", f"/v1.41/containers/{running}/kill?signal=FOO") == (400, "Invalid signal: FOO")


def test_bad_sizes(engine: Engine, running: str) -> None:
    assert _said(engine, "POST", f"/v1.41/containers/{running}/resize?h=a&w=1")[0] == 400
    assert engine.request("POST", f"/v1.41/containers/{running}/resize?h=10&w=10")[0] == 200


def test_rename_errors(engine: Engine, name: str, stopped: str) -> None:
    assert _said(engine, "POST", f"/v1.41/containers/{name}/rename?name={name}") == (
        400, "Renaming a container with the same name as its current name")  # fmt: skip
    assert _said(engine, "POST", f"/v1.41/containers/{name}/rename?name=") == (400, "Neither old nor new names may be empty")
    assert engine.request("POST", f"/v1.41/containers/{name}/rename?name={name}x")[0] == 204


def test_pause_errors(engine: Engine, name: str, running: str) -> None:
    assert _said(engine, "POST", f"/v1.41/containers/{name}/unpause") == (500, f"Container {running} is not paused")
    assert engine.request("POST", f"/v1.41/containers/{name}/pause")[0] == 204
    assert _said(engine, "POST", f"/v1.41/containers/{name}/exec", {"Cmd": ["true"]}) == (
        409, f"Container {name} is paused, unpause the container before exec")  # fmt: skip
    assert engine.request("POST", f"/v1.41/containers/{name}/unpause")[0] == 204


def test_logs_need_a_stream(engine: Engine, stopped: str) -> None:
    assert _said(engine, "GET", f"/v1.41/containers/{stopped}/logs") == (400, "Bad parameters: you must choose at least one stream")


def test_success_codes(engine: Engine, name: str) -> None:
    status, answer = engine.request("POST", f"/v1.41/containers/create?name={name}", {"Image": "busybox", "Cmd": ["sleep", "100"]})
    assert (status, set(answer)) == (201, {"Id", "Warnings"}) and answer["Warnings"] in ([], None)
    assert engine.request("POST", f"/v1.41/containers/{name}/start") == (204, b"")
    status, made = engine.request("POST", f"/v1.41/containers/{name}/exec", {"Cmd": ["true"]})
    assert (status, set(made)) == (201, {"Id"})
    assert engine.request("POST", f"/v1.41/exec/{made['Id']}/start", {"Detach": True})[0] == 200
    wait_until(lambda: engine.request("GET", f"/v1.41/exec/{made['Id']}/json")[1]["ExitCode"] == 0, "the exec ended")
    assert engine.request("POST", f"/v1.41/images/busybox/tag?repo={name}&tag=x")[0] == 201
    assert engine.request("DELETE", f"/v1.41/images/{name}:x") == (200, [{"Untagged": f"{name}:x"}])
    assert engine.request("DELETE", f"/v1.41/containers/{name}?force=1") == (204, b"")
    assert engine.request("POST", "/v1.41/containers/prune")[0] == 200


def test_wait_conditions(engine: Engine, name: str, stopped: str) -> None:
    assert engine.request("POST", f"/v1.41/containers/{stopped}/wait") == (200, {"Error": None, "StatusCode": 0})
    assert engine.request("POST", f"/v1.41/containers/{stopped}/start")[0] == 204
    assert engine.request("POST", f"/v1.41/containers/{stopped}/wait?condition=not-running")[1]["StatusCode"] == 0


def test_wait_for_the_next_exit_and_for_removal(engine: Engine, name: str) -> None:
    """Both answer headers before the container is started: the CLI sends its wait first."""
    engine.request("POST", f"/v1.41/containers/create?name={name}",
                   {"Image": "busybox", "Cmd": ["sh", "-c", "exit 8"], "HostConfig": {"AutoRemove": True}})  # fmt: skip
    waits = [UnixConnection(engine.socket, 20) for _ in range(2)]
    try:
        for one, condition in zip(waits, ("next-exit", "removed"), strict=True):
            one.request("POST", f"/v1.41/containers/{name}/wait?condition={condition}")
        answers = [one.getresponse() for one in waits]
        assert [answer.status for answer in answers] == [200, 200]
        assert engine.request("POST", f"/v1.41/containers/{name}/start")[0] == 204
        assert [json.loads(answer.read())["StatusCode"] for answer in answers] == [8, 8]
        assert engine.request("GET", f"/v1.41/containers/{name}/json")[0] == 404
    finally:
        for one in waits:
            one.close()


def test_short_ids(engine: Engine, running: str) -> None:
    assert engine.request("GET", f"/v1.41/containers/{running[:12]}/json")[1]["Id"] == running
    assert _said(engine, "GET", f"/v1.41/containers/{LONG}/json")[0] == 404


def test_an_ambiguous_prefix_is_refused(engine: Engine) -> None:
    seen: set[str] = set()
    while (one := engine.request("POST", "/v1.41/containers/create", {"Image": "busybox"})[1]["Id"])[0] not in seen:
        seen.add(one[0])
    status, message = _said(engine, "GET", f"/v1.41/containers/{one[0]}/json")
    assert (status, message.lower()) == (500, f"multiple ids found with provided prefix: {one[0]}")


def test_every_answer_names_the_server(engine: Engine) -> None:
    headers = _raw(engine, "GET", "/v1.41/containers/json")[1]
    assert headers["server"].startswith("Docker/") and headers["content-type"] == "application/json"
    assert {"api-version", "ostype", "docker-experimental"} <= set(headers)


def test_attach_without_upgrade_is_a_plain_answer(engine: Engine, name: str) -> None:
    one = engine.out("create", "busybox", "echo", "framed")
    connection = UnixConnection(engine.socket)
    try:
        connection.request("POST", f"/v1.41/containers/{one}/attach?stream=1&stdout=1&stderr=1")
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Content-Type")) == (200, "application/vnd.docker.raw-stream")
        engine.docker("start", one)
        assert answer.read() == b"\x01\0\0\0\0\0\0\x07framed\n"
    finally:
        connection.close()
