"""A real docker-registry and an image store beside it, in a network namespace of their own."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from images.busybox import archive
from integration.netns import Namespace, namespace
from skerry.api.images.v1 import images_pb2 as pb
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceStub
from skerry.core.rpc.channel import open_channel

REGISTRY = "127.0.0.1:5000"
_CONFIG = """
version: 0.1
storage:
  filesystem: {{rootdirectory: {folder}}}
http: {{addr: "127.0.0.1:5000"}}
log: {{level: error}}
"""


class Registry:
    """docker-registry on 127.0.0.1:5000 of its namespace."""

    def __init__(self, inside: Namespace, folder: Path, server: subprocess.Popen[bytes]) -> None:
        self.inside = inside
        self._folder = folder
        self._server = server

    def stop(self) -> None:
        """Ends it for good."""
        self._server.kill()
        self._server.wait()

    def push(self, name: str, layers: list[bytes], *options: str) -> None:
        """Pushes an image of these layers by skopeo."""
        path = self._folder / "push.tar"
        path.write_bytes(archive(layers, [f"{name}"]))
        self.inside.run("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", *options,
                        f"docker-archive:{path}", f"docker://{REGISTRY}/{name}")  # fmt: skip


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[Registry]:
    """Runs a registry while the body runs."""
    config = folder / "registry.yml"
    config.write_text(_CONFIG.format(folder=folder / "registry"))
    with namespace("img") as inside:
        program = shutil.which("docker-registry")
        assert program, "docker-registry is missing: make setup-test unpacks it"
        server = subprocess.Popen(inside.argv(program, "serve", str(config)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while subprocess.run(inside.argv("curl", "-s", "-o", "/dev/null", f"http://{REGISTRY}/v2/"), check=False).returncode:
                assert time.monotonic() < deadline, "the registry does not answer"
                time.sleep(0.05)
            yield Registry(inside, folder, server)
        finally:
            server.kill()
            server.wait()


class Store:
    """An image store as a process in the namespace, and its client."""

    def __init__(self, process: subprocess.Popen[bytes], stub: Any, root: Path) -> None:
        self.process = process
        self.stub = stub
        self.root = root

    async def pull(self, name: str, **more: Any) -> tuple[list[str], pb.Image]:
        """Pulls; returns the progress texts and the image."""
        texts, image = [], pb.Image()
        async for step in self.stub.Pull(pb.PullRequest(reference=name, **more), wait_for_ready=True, timeout=60):
            if step.HasField("progress"):
                texts.append(step.progress.status)
            else:
                image = step.image
        return texts, image

    async def load(self, data: bytes) -> list[pb.Loaded]:
        """Loads an archive."""

        async def chunks() -> AsyncIterator[pb.LoadRequest]:
            for start in range(0, len(data), 1 << 20):
                yield pb.LoadRequest(chunk=data[start : start + (1 << 20)])

        return [step.loaded async for step in self.stub.Load(chunks(), wait_for_ready=True, timeout=60) if step.HasField("loaded")]

    async def images(self) -> list[pb.Image]:
        """Lists all."""
        return [answer.image async for answer in self.stub.List(pb.ListRequest(), wait_for_ready=True)]

    def files(self) -> list[str]:
        """Names of everything below blobs and tmp."""
        base = self.root / "images"
        return sorted(path.name for folder in ("blobs", "tmp") for path in (base / folder).rglob("*") if path.is_file())

    def kill(self) -> None:
        """Ends it as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.asynccontextmanager
async def store(inside: Namespace, folder: Path, **settings: str) -> AsyncIterator[Store]:
    """Runs an image store while the body runs; its data stay in folder."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SKERRY_ROOT": str(folder / "root"), "SKERRY_RUN": str(folder)}
    environ |= {f"SKERRY_IMAGES_{key.upper()}": value for key, value in settings.items()}
    process = await asyncio.to_thread(subprocess.Popen, inside.argv(sys.executable, "-m", "skerry.images"), env=environ)
    try:
        async with open_channel(f"unix:{folder}/images.sock") as channel:
            yield Store(process, ImagesServiceStub(channel), folder / "root")
    finally:
        if process.poll() is None:
            process.terminate()
            await asyncio.to_thread(process.wait, 20)
