"""How many layers download at once, counted by a proxy in front of a real registry."""

import asyncio
import http.client
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from integration.images_fake import FakeRegistry, fake_registry
from integration.images_registry import REGISTRY, Registry, registry, store
from integration.test_images_pull import tar_of

pytestmark = pytest.mark.root

LAYERS = 8
_SIZE = 400_000
_PIECE = 1 << 16
_PAUSE = 0.05


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("r")) as one:
        one.push("many:latest", [tar_of(**{f"f{number}": os.urandom(_SIZE)}) for number in range(LAYERS)])
        one.push("others:latest", [tar_of(**{f"g{number}": os.urandom(_SIZE)}) for number in range(LAYERS)])
        yield one


class Counting:
    """Hands requests on to the registry behind it, layers slowly, and counts how many of those are under way."""

    def __init__(self, fake: FakeRegistry) -> None:
        self.most = self.now = self.layers = 0
        self._lock = threading.Lock()
        fake.extend(self._answer, "GET", "HEAD")

    def _count(self, change: int) -> None:
        with self._lock:
            self.now += change
            self.layers += change > 0
            self.most = max(self.most, self.now)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        behind = http.client.HTTPConnection(REGISTRY, timeout=20)
        behind.request(handler.command, handler.path, headers={"Accept": handler.headers.get("Accept", "*/*")})
        answer = behind.getresponse()
        large = handler.command == "GET" and "/blobs/" in handler.path and (answer.length or 0) > _SIZE // 2
        if large:
            self._count(1)
        handler.send_response(answer.status)
        for name in ("Content-Type", "Content-Length", "Docker-Content-Digest", "Docker-Distribution-Api-Version"):
            if name in answer.headers:
                handler.send_header(name, answer.headers[name])
        handler.end_headers()
        while data := answer.read(_PIECE):
            time.sleep(_PAUSE if large else 0)
            if large and not answer.length:
                self._count(-1)  # before the client can know that it has all
            handler.wfile.write(data)
        behind.close()


@pytest.fixture
def proxy(server: Registry) -> Iterator[tuple[Counting, str]]:
    with fake_registry(server.inside) as fake:
        yield Counting(fake), fake.address


@pytest.mark.parametrize("parallel", [1, 2, 5])
async def test_as_many_layers_download_at_once_as_the_setting_says(
    server: Registry, proxy: tuple[Counting, str], tmp_path: Path, parallel: int
) -> None:
    counting, address = proxy
    async with store(server.inside, tmp_path, parallel_layers=str(parallel)) as images:
        _, image = await images.pull(f"{address}/many")
    assert (len(image.layers), counting.layers, counting.now) == (LAYERS, LAYERS, 0)
    assert counting.most == parallel


async def test_the_setting_is_for_all_pulls_together(server: Registry, proxy: tuple[Counting, str], tmp_path: Path) -> None:
    counting, address = proxy
    async with store(server.inside, tmp_path) as images:
        await asyncio.gather(*(images.pull(f"{address}/{name}") for name in ("many", "others", "many")))
    assert counting.layers == 2 * LAYERS
    assert counting.most == 3, "Docker's default"
