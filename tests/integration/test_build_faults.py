"""Builds whose engine dies under them, that are too large, or that another builder should do. A whole engine of its own."""

import io
import os
import signal
import sqlite3
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.waiting import wait_until
from engines import Engine, skerry_engine
from images.busybox import make_busybox

pytestmark = pytest.mark.root
_LIMITS = {"SKERRY_GATEWAY_BUILD_BYTES": str(8 << 20), "SKERRY_GATEWAY_BUILD_ENTRIES": "50", "SKERRY_GATEWAY_BUILD_DEPTH": "8"}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive, skerry_engine(**_LIMITS) as one:
        make_busybox(archive.name)
        wait_until(lambda: one.request("GET", "/info")[0] == 200, "every service answers")
        one.docker("load", "-i", archive.name)
        yield one


@pytest.fixture(autouse=True)
def _no_containers_left(engine: Engine) -> Iterator[None]:
    yield
    for one in engine.request("GET", "/containers/json?all=1")[1]:
        engine.request("DELETE", f"/containers/{one['Id']}?force=1")


def _context(dockerfile: str, **files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in {"Dockerfile": dockerfile.encode(), **files}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _post(engine: Engine, body: bytes, query: str = "") -> tuple[int, str]:
    status, answer = engine.request("POST", f"/build?{query}", body, headers={"Content-Type": "application/x-tar"})
    return status, answer.decode() if isinstance(answer, bytes) else str(answer)


def _leases(engine: Engine) -> list[str]:
    """Returns holders of leases and of layers, as the store's file has them."""
    database = sqlite3.connect(f"file:{engine.folder}/root/images/catalog.db?mode=ro", uri=True)
    try:
        return [row[0] for table in ("lease", "kept") for row in database.execute(f"SELECT holder FROM {table}")]
    finally:
        database.close()


def _kill(engine: Engine, service: str) -> None:
    (pid,) = [row["pid"] for row in engine.status() if row["service"] == service]
    os.kill(pid, signal.SIGKILL)


class _Client(threading.Thread):
    def __init__(self, engine: Engine, dockerfile: str) -> None:
        super().__init__(daemon=True)
        self._argv = ["docker", "build", "--no-cache", "-t", "faults", "-"]
        self._environ = engine.environ()
        self._stdin = dockerfile.encode()
        self.result: subprocess.CompletedProcess[bytes] | None = None
        self.start()

    def run(self) -> None:
        self.result = subprocess.run(self._argv, env=self._environ, input=self._stdin, capture_output=True, timeout=60, check=False)


def test_nothing_is_left_of_a_build_whose_gateway_was_killed(engine: Engine) -> None:
    client = _Client(engine, "FROM busybox\nRUN echo layer > /layer\nRUN sleep 300\n")
    wait_until(lambda: len(engine.out("ps", "-q").split()) == 1 and "sleep 300" in engine.out("ps", "--no-trunc"), "the build runs")
    assert any("/build-" in holder for holder in _leases(engine))
    _kill(engine, "gateway")
    client.join(30)
    assert client.result is not None and client.result.returncode != 0
    wait_until(lambda: engine.answers() and not engine.out("ps", "-aq"), "the container is gone")
    wait_until(lambda: not _leases(engine), "the leases are given back")
    engine.docker("image", "prune", "-f")
    assert engine.out("images", "-aq") == engine.out("images", "-q", "busybox")


@pytest.mark.parametrize("service", ["images", "containers", "networks", "logs"])
def test_a_service_that_dies_does_not_harm_a_build(engine: Engine, service: str) -> None:
    client = _Client(engine, "FROM busybox\nENV A=1\nRUN sleep 2; echo one > /one\nWORKDIR /w\nRUN echo two > /two\nCMD cat /one /two\n")
    wait_until(lambda: len(engine.out("ps", "-q").split()) == 1, "the first command runs")
    _kill(engine, service)
    client.join(60)
    assert client.result is not None
    assert client.result.returncode == 0, client.result.stdout + client.result.stderr
    wait_until(lambda: engine.request("GET", "/info")[0] == 200, "every service answers")
    assert engine.out("run", "--rm", "faults") == "one\ntwo"
    wait_until(lambda: not engine.out("ps", "-aq") and not _leases(engine), "nothing is left")
    engine.docker("rmi", "faults")


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"big": bytes(9 << 20)}, "the build context is larger than 8388608 bytes"),
        ({f"f{number}": b"" for number in range(60)}, "the build context has more than 50 entries"),
        ({"/".join("d" * 9): b""}, "the build context is deeper than 8 directories"),
    ],
)
def test_contexts_have_limits(engine: Engine, files: dict[str, bytes], text: str) -> None:
    status, answer = _post(engine, _context("FROM busybox\n", **files))
    assert status == 400 and text in answer
    assert list(Path(f"{engine.folder}/root/builds").iterdir()) == []


def test_what_copy_reads_has_the_context_s_limits(engine: Engine) -> None:
    dockerfile = "FROM busybox AS a\nRUN head -c 9000000 /dev/zero > /big\nFROM busybox\nCOPY --from=a /big /\n"
    status, answer = _post(engine, _context(dockerfile))
    assert status == 200 and "COPY failed: the build context is larger than 8388608 bytes" in answer
    wait_until(lambda: not engine.out("ps", "-aq"), "the containers are gone")


@pytest.mark.parametrize("path", ["/build?version=2", "/build?remote=client-session", "/build?session=x", "/session", "/grpc"])
def test_buildkit_is_refused_by_name(engine: Engine, path: str) -> None:
    status, body = engine.request("POST", path, b"")
    assert status == 501 and "set DOCKER_BUILDKIT=0" in body["message"]


def test_builds_run_side_by_side(engine: Engine) -> None:
    answers: list[tuple[int, str]] = []

    def build(number: int) -> None:
        dockerfile = f"FROM busybox\nRUN echo {number} > /n\nCOPY Dockerfile /\nRUN cat /n\n"
        answers.append(_post(engine, _context(dockerfile), f"t=side:{number}&nocache=1"))

    begun = time.monotonic()
    threads = [threading.Thread(target=build, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 6 and all(status == 200 and "Successfully tagged" in text for status, text in answers), answers
    assert time.monotonic() - begun < 60
    assert [engine.out("run", "--rm", f"side:{number}", "cat", "/n") for number in range(6)] == list("012345")
    engine.docker("rmi", *(f"side:{number}" for number in range(6)))


def test_prune_takes_nothing_from_a_build(engine: Engine) -> None:
    client = _Client(engine, "FROM busybox\n" + "".join(f"ENV A{number}=1\nRUN echo {number} > /n{number}\n" for number in range(6)))
    counts: dict[str, Any] = {}
    while client.is_alive():
        engine.docker("image", "prune", "-f")
        counts["pruned"] = counts.get("pruned", 0) + 1
    assert client.result is not None and client.result.returncode == 0, client.result.stderr
    assert counts["pruned"] > 2
    assert engine.out("run", "--rm", "faults", "cat", "/n0", "/n5") == "0\n5"
    engine.docker("rmi", "faults")
