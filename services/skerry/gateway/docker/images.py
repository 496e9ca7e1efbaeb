"""Images as Docker's JSON: list, inspect, history, progress."""

from collections.abc import Iterable
from typing import Any

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.gateway.docker.times import ZERO, rfc3339
from skerry.gateway.versions import NO_CONTAINER_CONFIG, NO_NONE_NAMES, NO_VIRTUAL_SIZE, SPARSE_IMAGE_CONFIG, Version

_NONE_TAG = "<none>:<none>"
_NONE_DIGEST = "<none>@<none>"
# Go's zero time in Unix seconds.
_ZERO_SECONDS = -62135596800
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")

_EMPTY_CONFIG: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}
# What an image can say, in order, for versions that show no more than that.
_IMAGE_FIELDS = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "ArgsEscaped",
    "Healthcheck",
    "OnBuild",
    "Shell",
)


def summary(image: pb.Image, version: Version, *, containers: int = -1, shared_size: int = -1) -> dict[str, Any]:
    """Returns one element of GET /images/json."""
    tags, digests = list(image.repo_tags), list(image.repo_digests)
    if version < NO_NONE_NAMES and not tags:
        # A name by digest alone has no tag but its repository.
        tags = [f"{digest.partition('@')[0]}:<none>" for digest in digests] or [_NONE_TAG]
        digests = digests or [_NONE_DIGEST]
    document: dict[str, Any] = {
        "Containers": containers,
        "Created": image.created_ns // 10**9,
        "Id": image.id,
        "Labels": dict(image.config.labels) or None,
        "ParentId": image.parent,
        # Old versions say null where there are none.
        "RepoDigests": digests or (None if version < NO_NONE_NAMES else []),
        "RepoTags": tags,
        "SharedSize": shared_size,
        "Size": image.size,
    }
    if version < NO_VIRTUAL_SIZE:
        document["VirtualSize"] = image.size
    return document


def inspect(image: pb.Image, version: Version) -> dict[str, Any]:
    """Returns the document of GET /images/{name}/json."""
    source = _document(image)
    document: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": list(image.repo_tags),
        "RepoDigests": list(image.repo_digests),
        "Parent": image.parent,
        "Comment": _comment(source),
    }
    if image.created_ns or version < NO_VIRTUAL_SIZE:
        document["Created"] = rfc3339(image.created_ns)
    if version < NO_CONTAINER_CONFIG:
        document |= {"Container": source.get("container") or "", "ContainerConfig": _config(source.get("container_config"))}
    document |= {
        "DockerVersion": source.get("docker_version") or "",
        "Author": source.get("author") or "",
        "Config": _sparse(source.get("config")) if version >= SPARSE_IMAGE_CONFIG else _config(source.get("config")),
        "Architecture": image.architecture,
    }
    if image.variant:
        document["Variant"] = image.variant
    document |= {"Os": image.os or "linux", "Size": image.size}
    if version < NO_VIRTUAL_SIZE:
        document["VirtualSize"] = image.size
    return document | {
        "GraphDriver": {"Data": None, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": [layer.diff_id for layer in image.layers]},
        "Metadata": {"LastTagTime": rfc3339(image.last_tagged_ns) if image.last_tagged_ns else ZERO},
    }


def history(items: Iterable[pb.HistoryItem]) -> list[dict[str, Any]]:
    """Returns GET /images/{name}/history."""
    return [
        {
            "Comment": item.comment,
            "Created": item.created_ns // 10**9 if item.HasField("created_ns") else _ZERO_SECONDS,
            "CreatedBy": item.created_by,
            "Id": item.id,
            "Size": item.size,
            "Tags": list(item.tags) or None,
        }
        for item in items
    ]


def _document(image: pb.Image) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(image.config_json or "{}")
    except msgspec.DecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _comment(source: dict[str, Any]) -> str:
    if source.get("comment"):
        return str(source["comment"])
    entries = source.get("history") or []
    return str(entries[-1].get("comment") or "") if entries else ""


def _config(given: dict[str, Any] | None) -> dict[str, Any]:
    result = dict(_EMPTY_CONFIG)
    for key, value in (given or {}).items():
        if key in result or key in _IMAGE_FIELDS:
            result[key] = value
    return result


def _sparse(given: dict[str, Any] | None) -> dict[str, Any]:
    return {key: given[key] for key in _IMAGE_FIELDS if given.get(key)} if given else {}


def progress(step: pb.Progress) -> dict[str, Any]:
    """Returns one object of a progress stream, with the bar that old clients print."""
    document: dict[str, Any] = {"status": step.status}
    if step.current or step.total:
        detail = {"current": step.current}
        if step.total:
            detail["total"] = step.total
        document |= {"progressDetail": detail, "progress": _bar(step.current, step.total)}
    elif step.id and not step.status.startswith("Pulling from "):
        document["progressDetail"] = {}
    if step.id:
        document["id"] = step.id
    return document


def _bar(current: int, total: int) -> str:
    if not total:
        return f"{_size(current):>8}"
    filled = min(50, current * 50 // total)
    return f"[{'=' * filled}>{' ' * (50 - filled)}] {_size(current):>8}/{_size(total)}"


def _size(value: float) -> str:
    unit = 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.4g}{_UNITS[unit]}"


def failure(text: str, code: int = 1) -> dict[str, Any]:
    """Returns the object that ends a progress stream that failed."""
    return {"errorDetail": {"code": code, "message": text} if code != 1 else {"message": text}, "error": text}


def join_reference(name: str, tag: str) -> str:
    """Returns the reference of ?fromImage=&tag=: the tag may be a digest; without one the name stays as it is."""
    if not tag:
        return name
    base = name.rpartition("@")[0] or name
    head, slash, last = base.rpartition("/")
    base = head + slash + last.partition(":")[0]
    return f"{base}@{tag}" if ":" in tag else f"{base}:{tag}"
