"""Volumes as Docker's JSON."""

from typing import Any

import msgspec

from skerry.api.containers.v1 import volumes_pb2 as pb
from skerry.gateway.docker.times import rfc3339


def volume(value: pb.Volume, *, usage: bool = False) -> dict[str, Any]:
    """Returns a volume; with its size and users for `system df`."""
    # Whole seconds, as Docker's local driver tells them; not every plugin knows.
    document: dict[str, Any] = {"CreatedAt": rfc3339(value.created_ns // 10**9 * 10**9)} if value.created_ns else {}
    document |= {
        "Driver": value.driver,
        "Labels": dict(value.labels) or None,
        "Mountpoint": value.mountpoint,
        "Name": value.name,
        "Options": dict(value.options) or None,
        "Scope": value.scope or "local",
    }
    if value.status_json:
        document["Status"] = msgspec.json.decode(value.status_json)
    if usage:
        document["UsageData"] = {"RefCount": value.ref_count, "Size": value.size}
    return document
