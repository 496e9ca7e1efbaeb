"""A small image store for tests of the node: serves layers by path or by bytes, and can be told to misbehave."""

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from skerry.api.images.v1 import images_pb2, images_pb2_grpc


class LayerStore(images_pb2_grpc.ImagesServiceServicer):
    """Answers what a node asks for layers. Files are SHA256.tar in its directory."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.by_path = True
        # Given to those who take a link.
        self.link: images_pb2.LayerLink | None = None
        # Breaks the next streams off after so many bytes.
        self.break_after: list[int] = []
        self.corrupt = False
        # Layers that images have.
        self.used: set[str] = set()
        self.requests: list[images_pb2.FetchLayerRequest] = []
        os.makedirs(directory, exist_ok=True)

    def add(self, data: bytes) -> images_pb2.Layer:
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{self.directory}/{digest}.tar", "wb") as file:
            file.write(data)
        return images_pb2.Layer(diff_id=f"sha256:{digest}", size=len(data))

    def path(self, layer: images_pb2.Layer) -> str:
        return f"{self.directory}/{layer.diff_id.removeprefix('sha256:')}.tar"

    async def UsedLayers(self, request, context):  # type: ignore[no-untyped-def]
        return images_pb2.UsedLayersResponse(diff_ids=self.used & set(request.diff_ids))

    async def FetchLayer(self, request, context):  # type: ignore[no-untyped-def]
        self.requests.append(request)
        path = f"{self.directory}/{request.diff_id.removeprefix('sha256:')}.tar"
        if self.link is not None and request.accepts:
            yield images_pb2.FetchLayerResponse(link=self.link)
            return
        if self.by_path:
            yield images_pb2.FetchLayerResponse(path=path)
            return
        with open(path, "rb") as file:
            file.seek(request.offset)
            left = self.break_after.pop(0) if self.break_after else 1 << 60
            while data := file.read(min(256 << 10, left)):
                left -= len(data)
                yield images_pb2.FetchLayerResponse(chunk=data[:-1] + b"!" if self.corrupt else data)
                if left == 0:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "broken off")


@asynccontextmanager
async def serve_layers(directory: str) -> AsyncIterator[tuple[str, LayerStore]]:
    """Yields the address and the store."""
    store = LayerStore(f"{directory}/blobs")
    server = grpc.aio.server()
    images_pb2_grpc.add_ImagesServiceServicer_to_server(store, server)
    address = f"unix:{directory}/images.sock"
    server.add_insecure_port(address)
    await server.start()
    try:
        yield address, store
    finally:
        await server.stop(None)
