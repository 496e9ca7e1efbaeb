"""docker-py, the other client that many programs use."""

from collections.abc import Iterator

import docker
import docker.errors
import pytest

from engines import Engine

from .waiting import wait_until


@pytest.fixture
def client(engine: Engine) -> Iterator[docker.DockerClient]:
    one = docker.DockerClient(base_url=f"unix://{engine.socket}", version="auto", timeout=60)
    yield one
    one.close()


def test_run_returns_the_output(client: docker.DockerClient) -> None:
    assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"


def test_a_failing_command_raises(client: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.ContainerError) as caught:
        client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"])
    assert caught.value.exit_status == 3 and caught.value.stderr == b"bad\n"


def test_missing_things_raise(client: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("nosuch")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("nosuch")


def test_life_of_a_container(client: docker.DockerClient, name: str) -> None:
    one = client.containers.run("busybox", ["sleep", "100"], detach=True, name=name, labels={"a": "b"}, environment={"X": "1"})
    assert one.status == "created"
    one.reload()
    assert one.status == "running" and one.labels == {"a": "b"}
    assert [found.id for found in client.containers.list(filters={"label": "a=b"})] == [one.id]
    code, output = one.exec_run(["sh", "-c", "echo $X; exit 4"])
    assert (code, output) == (4, b"1\n")
    one.pause()
    one.unpause()
    one.rename(f"{name}x")
    one.stop(timeout=0)
    assert one.wait()["StatusCode"] == 137
    one.start()
    one.kill()
    one.wait()
    one.remove()


def test_exec_streams_apart(client: docker.DockerClient) -> None:
    one = client.containers.run("busybox", ["sleep", "100"], detach=True)
    code, (out, err) = one.exec_run(["sh", "-c", "sleep 0.1; echo out; echo err >&2"], demux=True)
    assert (code, out, err) == (0, b"out\n", b"err\n")


def test_logs(client: docker.DockerClient) -> None:
    one = client.containers.run("busybox", ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"], detach=True)
    assert b"".join(one.logs(stream=True, follow=True)) == b"1\n2\n3\n"
    assert one.logs(tail=1) == b"3\n"


def test_attach_socket(client: docker.DockerClient) -> None:
    one = client.containers.create("busybox", ["cat"], stdin_open=True, tty=True)
    one.start()
    taken = one.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    taken._sock.settimeout(20)
    taken._sock.sendall(b"typed\n")
    seen = b""
    while seen.count(b"typed") < 2:  # the terminal's echo and cat's output
        seen += taken._sock.recv(1024)
    # The response first: it flushes what it reads from, which must not be closed then.
    taken._response.close()
    taken.close()


def test_published_ports(client: docker.DockerClient) -> None:
    one = client.containers.run("busybox", ["sleep", "100"], detach=True, ports={"80/tcp": ("127.0.0.1", 18090)})
    one.reload()
    assert one.ports == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18090"}]}


def test_images(client: docker.DockerClient, name: str) -> None:
    image = client.images.get("busybox")
    assert image.tag(name, "v1")
    assert f"{name}:v1" in client.images.get(f"{name}:v1").tags
    client.images.remove(f"{name}:v1")
    assert all(f"{name}:v1" not in one.tags for one in client.images.list())


def test_events(client: docker.DockerClient, name: str) -> None:
    stream = client.events(decode=True, filters={"container": name})
    client.containers.create("busybox", name=name)
    event = next(iter(stream))
    stream.close()
    assert (event["Action"], event["Actor"]["Attributes"]["name"]) == ("create", name)


def test_system(client: docker.DockerClient) -> None:
    assert client.ping() is True
    assert client.info()["OSType"] == "linux" and client.version()["ApiVersion"]


def test_prune(client: docker.DockerClient) -> None:
    one = client.containers.run("busybox", ["true"], detach=True)
    one.wait()
    wait_until(lambda: one.id in (client.containers.prune()["ContainersDeleted"] or []), "it was pruned")
