"""Create: router checks the log options and image store takes the lease -> node makes record and root file system."""

import asyncio

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.api.logs.v1 import logs_pb2
from skerry.core import ids
from skerry.core.errors import InvalidArgument, NotFound, Unavailable
from skerry.core.rpc.channel import call_again
from skerry.gateway import platforms
from skerry.gateway.call import find
from skerry.gateway.coordinator.leftover import later
from skerry.gateway.docker.create import Wanted
from skerry.gateway.docker.names import familiar
from skerry.gateway.peers import Peers

# Drivers whose log needs no check by the router: a create succeeds while it is away.
_LOCAL_DRIVERS = frozenset({"", "json-file", "none"})


async def create(peers: Peers, wanted: Wanted) -> pb.CreateResponse:
    """Makes a container. Nothing is left of one that could not be made. Raises what the services raise."""
    container_id = ids.new_id()
    await _resolve_modes(peers, wanted)
    holder = peers.holder(container_id)
    try:
        image, log = await asyncio.gather(_lease(peers, wanted, holder), _log_target(peers, container_id, wanted))
        request = pb.CreateRequest(
            id=container_id,
            name=wanted.name,
            spec=wanted.spec,
            image=image,
            image_name=wanted.image_name,
            image_store=peers.image_store,
            log=log,
            docker_config_json=wanted.config_json,
            docker_host_config_json=wanted.host_config_json(log.driver, dict(log.options)),
            docker_networking_config_json=wanted.networking_config_json,
        )
        return await call_again(lambda: peers.containers.Create(request), what="the container service")
    except BaseException:
        later(peers, "lease of a failed create", lambda: peers.images.ReleaseLease(images_pb2.ReleaseLeaseRequest(holder=holder)))
        raise


async def create_step(peers: Peers, wanted: Wanted, image: images_pb2.Image) -> pb.CreateResponse:
    """Makes the container of a build's step: the build's own lease keeps the image, and what it writes goes to the build alone."""
    await _resolve_modes(peers, wanted)
    request = pb.CreateRequest(
        id=ids.new_id(),
        name=wanted.name,
        spec=wanted.spec,
        image=image,
        image_name=wanted.image_name,
        image_store=peers.image_store,
        log=pb.LogTarget(driver="none"),
        docker_config_json=wanted.config_json,
        docker_host_config_json=wanted.host_config_json("none", {}),
        docker_networking_config_json=wanted.networking_config_json,
    )
    return await call_again(lambda: peers.containers.Create(request), what="the container service")


async def _lease(peers: Peers, wanted: Wanted, holder: str) -> images_pb2.Image:
    request = images_pb2.AcquireLeaseRequest(image=wanted.image_name, holder=holder)
    try:
        image = (await call_again(lambda: peers.images.AcquireLease(request), what="the image store")).image
    except NotFound:
        raise NotFound(f"No such image: {familiar(wanted.image_name)}") from None
    if wanted.platform:
        platforms.check(wanted.platform, wanted.image_name, image)
    return image


async def _log_target(peers: Peers, container_id: str, wanted: Wanted) -> pb.LogTarget:
    request = logs_pb2.ValidateRequest(container_id=container_id, driver=wanted.log_driver, options=wanted.log_options)
    patience = 1.0 if wanted.log_driver in _LOCAL_DRIVERS else 10.0
    try:
        answer = await call_again(lambda: peers.logs.Validate(request), patience=patience, what="the log router")
    except Unavailable:
        if wanted.log_driver not in _LOCAL_DRIVERS:
            raise
        driver = wanted.log_driver or "json-file"
        path = f"{peers.root}/containers/{container_id}/{container_id}-json.log" if driver == "json-file" else ""
        return pb.LogTarget(driver=driver, options=wanted.log_options, router=peers.log_router, path=path)
    return pb.LogTarget(driver=answer.driver, options=answer.options, router=peers.log_router, path=answer.path)


async def _resolve_modes(peers: Peers, wanted: Wanted) -> None:
    """Turns container:NAME into container:ID. A network is looked up at start only, as in Docker.

    Nothing here may be answered with 404: the docker CLI takes any 404 of a create for a missing image, and pulls.
    """
    spec = wanted.spec
    for field in ("network_mode", "pid_mode", "ipc_mode"):
        mode = getattr(spec, field)
        if not mode.startswith("container:"):
            continue
        name = mode.removeprefix("container:")
        if not name:
            raise InvalidArgument(f"invalid {field.replace('_', ' ')}: {mode}")
        try:
            other = await find(peers, name)
        except NotFound:
            raise InvalidArgument(f"No such container: {name}") from None
        setattr(spec, field, f"container:{other.id}")
        wanted.set_mode(field, f"container:{other.id}")
