"""GET /containers/json: one line of `docker ps` each."""

import time
from collections.abc import Callable
from typing import Any

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.networks.v1 import networks_pb2
from skerry.gateway.docker.inspect import STATUS, endpoint_map, mount_point
from skerry.gateway.docker.ports import port_list
from skerry.gateway.docker.times import human_duration
from skerry.gateway.versions import Version

_LIVE = frozenset({pb.STATUS_RUNNING, pb.STATUS_PAUSED, pb.STATUS_RESTARTING})


def summary(
    container: pb.Container, sandbox: networks_pb2.Sandbox | None, image: Callable[[pb.Container], str], version: Version
) -> dict[str, Any]:
    """Returns one element. image gives the name to show: the id when the name means another image by now."""
    live = container.state.status in _LIVE
    endpoints = list(sandbox.endpoints) if sandbox and live else []
    document: dict[str, Any] = {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": image(container),
        "ImageID": container.image_id,
        "Command": command(container),
        "Created": container.created_ns // 10**9,
        "Ports": port_list(sandbox.ports, container.spec.exposed_ports if endpoints else ()) if sandbox and live else [],
    }
    if container.HasField("size_rw") and container.size_rw:
        document["SizeRw"] = container.size_rw
    if container.HasField("size_root_fs"):
        document["SizeRootFs"] = container.size_root_fs
    return document | {
        "Labels": dict(container.spec.labels),
        "State": STATUS[container.state.status],
        "Status": status(container.state, time.time_ns()),
        "HostConfig": {"NetworkMode": container.spec.network_mode or "default"},
        "NetworkSettings": {"Networks": endpoint_map(container, endpoints, "", version)},
        "Mounts": [mount_point(mount) for mount in container.mount_points],
    }


def command(container: pb.Container) -> str:
    """Returns path and arguments; arguments with a space are quoted."""
    return " ".join([container.path, *(f"'{arg}'" if " " in arg else arg for arg in container.args)])


def status(state: pb.State, now_ns: int) -> str:
    """Returns the words of the STATUS column: moby's State.String."""
    since_start = human_duration((now_ns - state.started_ns) / 1e9)
    since_end = human_duration((now_ns - state.finished_ns) / 1e9)
    match state.status:
        case pb.STATUS_RUNNING:
            if not state.HasField("health"):
                return f"Up {since_start}"
            return f"Up {since_start} ({'health: starting' if state.health.status == 'starting' else state.health.status})"
        case pb.STATUS_PAUSED:
            return f"Up {since_start} (Paused)"
        case pb.STATUS_RESTARTING:
            return f"Restarting ({state.exit_code}) {since_end} ago"
        case pb.STATUS_REMOVING:
            return "Removal In Progress"
        case pb.STATUS_DEAD:
            return "Dead"
        case pb.STATUS_EXITED:
            return f"Exited ({state.exit_code}) {since_end} ago" if state.finished_ns else ""
        case _:
            return "Created"
