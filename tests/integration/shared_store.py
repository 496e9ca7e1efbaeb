"""One image store for three nodes: a middle with registry, MongoDB, S3 and two replicas; each node a namespace, joined by a cable."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio

import certificates
from integration.containers_node import NodeUnderTest, clear, end_keeper, unmount
from integration.images_registry import Registry, Store, registry
from integration.netns import Namespace, namespace
from shared_store.servers import S3Server, mongo, s3
from skerry.api.images.v1 import images_pb2
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceStub
from skerry.core.rpc.options import CHANNEL_OPTIONS
from skerry.core.rpc.tls import Tls, channel_credentials

# As nodes see the middle; the registry is on the middle's loopback, where no node reaches it.
MIDDLE = "10.99.0.1"


def node_address(number: int) -> str:
    return f"10.99.0.{10 + number}"


class Middle:
    """Everything that the nodes share."""

    def __init__(self, folder: Path, registry: Registry, mongo: str, bucket: S3Server, tls: Tls) -> None:
        self.folder = folder
        self.registry = registry
        self.inside = registry.inside
        self.mongo = mongo
        self.bucket = bucket
        self.tls = tls
        self._client = bucket.client()  # made once: that takes longer than many of the moments that are waited for

    @contextlib.asynccontextmanager
    async def replica(self, number: int, **settings: str) -> AsyncIterator[Store]:
        """Runs an image store at MIDDLE:7000+number over MongoDB and the bucket. It has no directory of its own."""
        run = self.folder / f"replica{number}"
        run.mkdir(exist_ok=True)
        environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SKERRY_ROOT": str(run / "root"),
            "SKERRY_RUN": str(run),
            "SKERRY_IMAGES_CATALOG": self.mongo,
            **self.bucket.environ("prefix"),
            "SKERRY_IMAGES_LISTEN": f"{MIDDLE}:{7000 + number}",
            **{f"SKERRY_IMAGES_TLS_{part.upper()}": getattr(self.tls, part) for part in ("cert", "key", "ca")},
            **{f"SKERRY_IMAGES_{key.upper()}": value for key, value in settings.items()},
        }
        argv = self.inside.argv(sys.executable, "-m", "skerry.images")
        process = await asyncio.to_thread(subprocess.Popen, argv, env=environ)
        try:
            async with self.client(number, run) as stub:
                yield Store(process, stub, run / "root")
        finally:
            if process.poll() is None:
                process.terminate()
                await asyncio.to_thread(process.wait, 20)

    @contextlib.asynccontextmanager
    async def client(self, number: int, run: Path) -> AsyncIterator[Any]:
        """Calls a replica from the test's own process, which is in no namespace: bytes are carried over, TLS ends at both ends."""
        path = str(run / "carried.sock")
        carried: set[asyncio.StreamWriter] = set()

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with self.inside.entered():
                there = socket.socket()
            there.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(there, (MIDDLE, 7000 + number))
                far_reader, far_writer = await asyncio.open_connection(sock=there)
            except OSError:
                there.close()
                writer.close()
                return
            carried.update((writer, far_writer))
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
            carried.difference_update((writer, far_writer))

        creds = channel_credentials(self.tls)
        options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", "localhost"))
        async with await asyncio.start_unix_server(carry, path):
            try:
                async with grpc.aio.secure_channel(f"unix:{path}", creds, options=options) as channel:
                    yield ImagesServiceStub(channel)
            finally:
                # Since Python 3.12 a server's end waits for its connections, and gRPC lets go of a call that nobody reads late.
                for writer in carried:
                    writer.transport.abort()

    def address(self, number: int) -> str:
        """Returns where a replica listens."""
        return f"{MIDDLE}:{7000 + number}"

    def objects(self) -> dict[str, int]:
        """Returns the bucket's objects and their sizes."""
        with self.inside.entered():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket="skerry-images")
            return {one["Key"]: one["Size"] for page in pages for one in page.get("Contents", ())}

    def uploads(self) -> list[str]:
        """Returns the uploads in parts that are under way."""
        with self.inside.entered():
            return [one["Key"] for one in self._client.list_multipart_uploads(Bucket="skerry-images").get("Uploads", ())]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.contextmanager
def middle(kind: str) -> Iterator[Middle]:
    """Runs registry, MongoDB and an S3 server of this kind."""
    folder = Path(tempfile.mkdtemp(prefix="sk-", dir="/var/tmp"))
    try:
        with registry(folder) as source:
            inside = source.inside
            inside.run("ip", "link", "add", "nodes", "type", "bridge")
            inside.run("ip", "addr", "add", f"{MIDDLE}/24", "dev", "nodes")
            inside.run("ip", "link", "set", "nodes", "up")
            with (
                mongo(folder, host=MIDDLE, port=27017, argv=inside.argv) as uri,
                s3(kind, folder, host=MIDDLE, port=9000, argv=inside.argv) as bucket,
            ):
                tls = certificates.make(folder / "tls", "shared", MIDDLE)
                yield Middle(folder, source, uri.replace("/?", "/images?"), bucket, tls)
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def joined(inside: Namespace, number: int) -> Iterator[Namespace]:
    """Makes a namespace with a cable to the middle."""
    with namespace(f"node{number}") as node:
        name = node.path.rpartition("/")[2]
        inside.run("ip", "link", "add", f"cable{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        inside.run("ip", "link", "set", f"cable{number}", "master", "nodes", "up")
        node.run("ip", "addr", "add", f"{node_address(number)}/24", "dev", "eth0")
        node.run("ip", "link", "set", "eth0", "up")
        yield node


@contextlib.asynccontextmanager
async def node(middle: Middle, number: int, replica: int, **environ: str) -> AsyncIterator[NodeUnderTest]:
    """Runs a node's containers service that fetches from this replica; at the end removes its containers and all it made."""
    base = tempfile.mkdtemp(prefix="sk-", dir="/var/tmp")
    with joined(middle.inside, number) as inside:
        under_test = NodeUnderTest(base, images_pb2.Layer(), inside.path)
        under_test.enter = inside.argv()
        tls = {f"SKERRY_CONTAINERS_TLS_{part.upper()}": getattr(middle.tls, part) for part in ("cert", "key", "ca")}
        try:
            await under_test.start(
                SKERRY_CONTAINERS_IMAGES=middle.address(replica), SKERRY_CONTAINERS_NODE=f"node{number}", **tls, **environ
            )
            try:
                yield under_test
            finally:
                await clear(under_test)
        finally:
            end_keeper(under_test)
            unmount(base)
            shutil.rmtree(base)


async def fetched(store: Store, reference: str) -> Any:
    """Returns an image by name from a store."""
    return (await store.stub.Get(images_pb2.GetRequest(image=reference), wait_for_ready=True, timeout=30)).image
