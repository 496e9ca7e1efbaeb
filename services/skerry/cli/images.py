"""`skerry images fsck`: checks the image store while it runs."""

import asyncio
import os
import sys
from typing import Any

import grpc.aio

from skerry.api.images.v1 import images_pb2 as pb
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceStub
from skerry.cli.parts import Places
from skerry.core.errors import SkerryError
from skerry.core.rpc.channel import open_channel, translated

_KINDS = {
    pb.Finding.KIND_DAMAGED: "damaged",
    pb.Finding.KIND_MISSING: "missing",
    pb.Finding.KIND_UNUSED: "unused",
    pb.Finding.KIND_RECORD: "record",
}


def line(finding: pb.Finding) -> str:
    """Returns a finding as one line."""
    of = f" ({', '.join(finding.images)})" if finding.images else ""
    return f"{'mended' if finding.repaired else 'found'}: {_KINDS.get(finding.kind, 'unknown')} {finding.subject}{of}: {finding.text}"


async def _check(address: str, *, repair: bool) -> int:
    shown = sys.stderr.isatty()
    left = 0
    async with open_channel(address) as channel:
        stub: Any = ImagesServiceStub(channel)
        async for step in stub.Check(pb.CheckRequest(repair=repair)):
            kind = step.WhichOneof("step")
            if kind == "progress" and shown:
                sys.stderr.write(f"\rblob {step.progress.checked} of {step.progress.total}\x1b[K")
            elif kind == "finding":
                # What no image needs is waste, not harm.
                left += not step.finding.repaired and step.finding.kind != pb.Finding.KIND_UNUSED
                sys.stdout.write(f"{line(step.finding)}\n")
            elif kind == "summary":
                if shown:
                    sys.stderr.write("\r\x1b[K")
                one = step.summary
                sys.stdout.write(
                    f"{one.images} images, {one.blobs} blobs, {one.bytes} bytes read: {one.findings} findings, {one.repaired} mended\n"
                )
    return 1 if left else 0


def fsck(where: Places, *, repair: bool) -> int:
    """Checks the store of this machine; returns 0 when all that images need is there, 1 when not, 2 when it cannot be asked."""
    address = os.environ.get("SKERRY_IMAGES_ADDRESS") or f"unix:{where.run}/images.sock"
    try:
        return asyncio.run(_check(address, repair=repair))
    except grpc.aio.AioRpcError as error:
        known = translated(error)
        text = str(known) if isinstance(known, SkerryError) else f"{error.details()}"
        sys.stderr.write(f"error: the image store at {address}: {text}; is it running? (skerry status)\n")
        return 2
