"""POST /containers/{id}/update."""

from aiohttp import web

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.rpc.channel import call_again
from skerry.gateway.call import Call, Route, json
from skerry.gateway.docker import golang, limits
from skerry.gateway.docker.checks import check_restart
from skerry.gateway.docker.shapes import HOST_CONFIG
from skerry.gateway.errors import BadInput


async def update(call: Call) -> web.StreamResponse:
    """Changes limits and restart policy; what the request leaves out, or gives as 0, stays as it is."""
    wanted = golang.parse(await call.json_body(), HOST_CONFIG, "UpdateConfig")
    container_id = await call.container_id()
    limits.check(wanted)
    policy = wanted.get("RestartPolicy") or {}
    check_restart({"RestartPolicy": policy})
    try:
        request = pb.UpdateRequest(
            container=container_id, resources=limits.resources(wanted), set_pids_limit=wanted.get("PidsLimit") is not None
        )
        if policy.get("Name"):
            request.restart_policy.CopyFrom(pb.RestartPolicy(name=policy["Name"], maximum_retry_count=policy.get("MaximumRetryCount", 0)))
    except ValueError as error:  # a number too large for its field, text that is no UTF-8
        raise BadInput(f"invalid value in request: {error}") from None
    # Not what `docker update` changes: Docker takes it without a word.
    request.resources.ClearField("memory_swappiness")
    said = limits.warnings(wanted)
    answer = await call_again(lambda: call.peers.containers.Update(request), what="the container service")
    return json({"Warnings": [*said, *answer.warnings] or None})


ROUTES: list[Route] = [("POST", "/containers/{id}/update", update)]
