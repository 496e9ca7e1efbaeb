"""`skerry node forget NAME`: frees what a node that will not come back keeps in the image store."""

import asyncio
import os
import sys
from typing import Any

import grpc.aio

from skerry.api.images.v1 import images_pb2 as pb
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceStub
from skerry.cli.parts import Places
from skerry.core.errors import InvalidArgument, SkerryError
from skerry.core.rpc.channel import open_channel, translated
from skerry.core.rpc.tls import Tls, tls_from


async def _forget(address: str, tls: Tls | None, name: str) -> tuple[int, int]:
    """Returns how many holders, and how many leases, there were."""
    async with open_channel(address, tls) as channel:
        stub: Any = ImagesServiceStub(channel)
        leases = [lease.holder async for lease in stub.ListLeases(pb.ListLeasesRequest(holder_prefix=f"{name}/"))]
        for holder in sorted(set(leases)):
            await stub.ReleaseLease(pb.ReleaseLeaseRequest(holder=holder))
    return len(set(leases)), len(leases)


def forget(where: Places, name: str) -> int:
    """Releases all leases of a node's containers; returns 0, or 1 when the image store cannot be asked.

    The store is SKERRY_IMAGES_ADDRESS, with SKERRY_IMAGES_TLS_CERT, _KEY and _CA; else the one of this machine.
    """
    address = os.environ.get("SKERRY_IMAGES_ADDRESS") or f"unix:{where.run}/images.sock"
    try:
        if not name or "/" in name:
            raise InvalidArgument(f"{name!r} is no node's name")
        tls = tls_from(*(os.environ.get(f"SKERRY_IMAGES_TLS_{part}", "") for part in ("CERT", "KEY", "CA")))
        holders, leases = asyncio.run(_forget(address, tls, name))
    except grpc.aio.AioRpcError as error:
        known = translated(error)
        text = str(known) if isinstance(known, SkerryError) else f"{error.details()}"
        sys.stderr.write(f"error: the image store at {address}: {text}\n")
        return 1
    except SkerryError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    if not leases:
        sys.stdout.write(f"node {name} keeps nothing in the image store\n")
    else:
        sys.stdout.write(f"node {name} is forgotten: {leases} leases of {holders} containers freed\n")
    return 0
