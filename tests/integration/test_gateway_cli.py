"""The stock docker CLI against a gateway in front of doubles."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway_doubles.engine import Engine, engine


@pytest_asyncio.fixture
async def running() -> AsyncIterator[Engine]:
    async with engine() as made:
        yield made


async def test_run_prints_both_streams_and_leaves_nothing_with_rm(running: Engine) -> None:
    assert await running.docker("run", "--rm", "busybox", "both") == (0, "out\n", "err\n")
    assert not running.containers.boxes
    assert not running.images.leases
    assert not running.networks.boxes
    assert len(running.logs.removed) == 1


async def test_run_returns_the_exit_code_every_time(running: Engine) -> None:
    for number in range(10):
        assert (await running.docker("run", *(["--rm"] if number % 2 else []), "busybox", "exit", str(number)))[0] == number


async def test_run_detached_and_its_life(running: Engine) -> None:
    code, out, _ = await running.docker("run", "-d", "--name", "one", "-p", "8080:80", "busybox", "sleep", "100")
    assert code == 0
    container = out.strip()
    _, out, _ = await running.docker("ps", "--no-trunc", "--format", "{{.ID}} {{.Image}} {{.Command}} {{.Ports}} {{.Names}}")
    # Clients before 27 write :::8080 for [::]:8080.
    assert out.replace(" :::", " [::]:") == f'{container} busybox "sleep 100" 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp one\n'
    ports = (await running.docker("port", "one"))[1]
    assert ports.replace(" :::", " [::]:") == "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n"
    assert (await running.docker("inspect", "-f", "{{.State.Status}} {{.NetworkSettings.IPAddress}}", "one"))[1] == "running 172.17.0.2\n"
    assert (await running.docker("pause", "one"))[0] == 0
    assert "(Paused)" in (await running.docker("ps"))[1]
    assert (await running.docker("unpause", "one"))[0] == 0
    assert (await running.docker("rename", "one", "two"))[0] == 0
    assert (await running.docker("restart", "two"))[1] == "two\n"
    assert (await running.docker("stop", "two"))[1] == "two\n"
    # Given back before stop was answered.
    assert not running.networks.boxes
    assert (await running.docker("stop", "two"))[0] == 0
    assert (await running.docker("rm", "two"))[1] == "two\n"
    assert not running.images.leases


async def test_the_sandbox_is_given_back_before_die_is_told(running: Engine) -> None:
    await running.docker("run", "--name", "one", "-p", "8080:80", "busybox", "exit", "3")
    assert [event.action for event in running.containers.events.all] == ["create", "start", "die"]
    assert running.networks.released
    assert running.containers.find("one").record.state.settled_run == 1


async def test_a_command_that_does_not_exist_is_exit_127_and_undone(running: Engine) -> None:
    for extra in ([], ["--rm"]):
        code, _, err = await running.docker("run", *extra, "busybox", "nosuch")
        assert code == 127
        assert "executable file not found in $PATH" in err
    assert not running.networks.boxes
    assert len(running.containers.boxes) == 1


async def test_a_missing_image_is_pulled_by_the_cli(running: Engine) -> None:
    code, out, err = await running.docker("run", "--rm", "remote", "echo", "hi")
    assert (code, out) == (0, "hi\n")
    assert "Unable to find image 'remote:latest' locally" in err
    assert "Status: Downloaded newer image for remote:latest" in err
    assert running.containers.prepared == 1


async def test_a_layer_is_prepared_while_the_others_still_come(running: Engine) -> None:
    pulling = asyncio.ensure_future(running.docker("pull", "layered"))
    for _ in range(500):
        if running.containers.prepared_layers:
            break
        await asyncio.sleep(0.02)
    assert running.containers.prepared_layers == [["sha256:" + "1" * 64]]
    assert not pulling.done()
    running.images.resume.set()
    assert (await pulling)[0] == 0
    assert running.containers.prepared == 2


async def test_pull_names_with_a_port_and_slashes(running: Engine) -> None:
    assert (await running.docker("pull", "-q", "host:5000/team/app:1"))[1] == "host:5000/team/app:1\n"
    assert (await running.docker("image", "inspect", "-f", "{{.RepoTags}}", "host:5000/team/app:1"))[1] == "[host:5000/team/app:1]\n"


async def test_pull_errors_before_and_after_the_head(running: Engine) -> None:
    code, _, err = await running.docker("pull", "nope")
    assert (code, err) == (1, "Error response from daemon: manifest for nope:latest not found: manifest unknown: manifest unknown\n")
    code, _, err = await running.docker("pull", "broken")
    assert (code, err) == (1, "unexpected EOF\n")


async def test_stdin_reaches_the_process_whole_and_its_end_too(running: Engine) -> None:
    data = bytes(range(256)) * 4096
    assert await running.docker("run", "-i", "--rm", "busybox", "count", stdin=data) == (0, f"{len(data)}\n", "")
    assert await running.docker("run", "-i", "--rm", "busybox", "cat", stdin=b"hello") == (0, "hello", "")


async def test_a_process_that_ends_while_the_client_still_sends_loses_no_output(running: Engine) -> None:
    size = 1 << 20
    code, out, _ = await running.docker("run", "-i", "--rm", "busybox", "first", str(size), stdin=b"x" * (8 << 20))
    assert (code, len(out)) == (0, size)


async def test_much_output_comes_whole(running: Engine) -> None:
    code, out, _ = await running.docker("run", "--rm", "busybox", "bytes", str(8 << 20))
    assert (code, len(out)) == (0, 8 << 20)


async def test_exec_gives_output_and_exit_code(running: Engine) -> None:
    await running.docker("run", "-d", "--name", "one", "busybox", "sleep", "100")
    assert await running.docker("exec", "one", "both") == (0, "out\n", "err\n")
    assert (await running.docker("exec", "one", "exit", "9"))[0] == 9
    assert await running.docker("exec", "-i", "one", "cat", stdin=b"in") == (0, "in", "")
    assert await running.docker("exec", "-d", "one", "echo", "x") == (0, "", "")
    code, _, err = await running.docker("exec", "one", "nosuch")
    assert code == 127
    assert "executable file not found" in err
    await running.docker("stop", "one")
    code, _, err = await running.docker("exec", "one", "true")
    assert code == 1
    assert "is not running" in err


async def test_logs_and_follow(running: Engine) -> None:
    await running.docker("run", "--name", "one", "busybox", "both")
    assert await running.docker("logs", "one") == (0, "out\n", "err\n")
    assert await running.docker("logs", "--tail", "1", "one") == (0, "", "err\n")
    await running.docker("run", "-d", "--name", "two", "busybox", "lines", "50")
    code, out, _ = await running.docker("logs", "-f", "two")
    assert (code, out.splitlines()[-1]) == (0, "line 49")


async def test_logs_none_is_refused(running: Engine) -> None:
    await running.docker("run", "--name", "one", "--log-driver", "none", "busybox", "both")
    code, _, err = await running.docker("logs", "one")
    assert (code, err) == (1, "Error response from daemon: configured logging driver does not support reading\n")


async def test_events_are_merged_in_order_of_time_and_filtered(running: Engine) -> None:
    await running.docker("run", "--rm", "--name", "one", "busybox", "exit", "3")
    await asyncio.sleep(1.1)  # --until counts in seconds
    _, out, _ = await running.docker("events", "--since", "1m", "--until", "0s", "--format", "{{.Type}} {{.Action}}")
    assert out.split("\n")[:-1] == ["container create", "network connect", "container start", "container die", "container destroy"]
    _, out, _ = await running.docker("events", "--since", "1m", "--until", "0s", "--filter", "event=die", "--format", "{{.Action}}")
    assert out == "die\n"


async def test_inspect_of_nothing_falls_through_all_nouns(running: Engine) -> None:
    for name in ("zz", "zz:1", "a/b:1"):
        code, out, err = await running.docker("inspect", name)
        assert (code, out.strip()) == (1, "[]")
        assert f"No such object: {name}" in err


async def test_images_history_tag_rmi_load_import(running: Engine) -> None:
    assert "busybox" in (await running.docker("images"))[1]
    assert "COPY / /" in (await running.docker("history", "busybox"))[1]
    assert (await running.docker("tag", "busybox", "other:1"))[0] == 0
    assert await running.docker("load", stdin=b"x" * 3_000_000) == (0, "Loaded image: loaded:latest\n", "")
    assert running.images.received == 3_000_000
    code, out, _ = await running.docker("import", "-c", "CMD x", "-", "imp:1", stdin=b"tar")
    assert (code, out.startswith("sha256:")) == (0, True)
    assert running.images.imported is not None
    assert (running.images.imported.name, list(running.images.imported.changes)) == ("imp:1", ["CMD x"])
    await running.docker("create", "--name", "user", "busybox")
    code, _, err = await running.docker("rmi", "busybox")
    assert code == 1
    assert "must force" in err


ERRORS = [
    (["run", "--name", "!!", "busybox"], "Invalid container name (!!), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
    # The client's own text; it was shorter before 24.
    (["run", "--rm", "--restart", "always", "busybox"], "--restart and --rm"),
    (["run", "--network", "nope", "busybox"], "network nope not found"),
    (["create", "--network", "container:nope", "busybox"], "No such container: nope"),
    (["ps", "--filter", "foo=bar"], "invalid filter 'foo'"),
    (["rm", "one"], "You cannot remove a running container"),
    (["kill", "-s", "FOO", "one"], "invalid signal: FOO"),
    (["node", "ls"], "This node is not a swarm manager."),
    (["network", "create", "x"], "creating networks is not supported yet"),
    (["attach", "nope"], "No such container: nope"),
    (["create", "--name", "one", "busybox"], 'Conflict. The container name "/one" is already in use by container'),
    (["run", "-p", "80:80", "busybox", "true"], "Bind for 0.0.0.0:80 failed: port is already allocated"),
]


@pytest.mark.parametrize(("args", "text"), ERRORS, ids=[" ".join(args) for args, _ in ERRORS])
async def test_error_texts(running: Engine, args: list[str], text: str) -> None:
    await running.docker("run", "-d", "--name", "one", "-p", "80:80", "busybox", "sleep", "100")
    code, _, err = await running.docker(*args)
    assert code != 0
    assert text.lower() in err.lower()


async def test_an_older_client_is_served_in_its_version(running: Engine) -> None:
    code, out, _ = await running.docker("run", "--rm", "busybox", "both", env={"DOCKER_API_VERSION": "1.41"})
    assert (code, out) == (0, "out\n")
    code, out, _ = await running.docker(
        "version", "-f", "{{.Client.APIVersion}} {{.Server.MinAPIVersion}}", env={"DOCKER_API_VERSION": "1.24"}
    )
    assert (code, out) == (0, "1.24 1.12\n")
