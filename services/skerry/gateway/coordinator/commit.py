"""Commit: the node makes a layer of what a container changed, the image store makes an image of it."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.core.ids import new_id
from skerry.core.rpc.channel import call, call_again
from skerry.gateway.coordinator.leftover import later, soon
from skerry.gateway.docker.names import familiar
from skerry.gateway.docker.system import SERVER_VERSION
from skerry.gateway.peers import Peers


@dataclass(frozen=True, slots=True)
class CommitWanted:
    """What shall become of a container."""

    # Docker's Config objects: the image's before changes, and the container's own.
    config: dict[str, Any]
    own_config: dict[str, Any]
    # Reference, empty: none.
    name: str = ""
    author: str = ""
    comment: str = ""
    changes: list[str] = field(default_factory=list)
    pause: bool = True


async def commit(peers: Peers, container: pb.Container, wanted: CommitWanted) -> images_pb2.Image:
    """Makes the image and tells the node. Raises what either raises; then there is no image, and nothing is left in the store."""
    # Not the container's: while it lives, a lease in its name is never a leftover. This one is, when it outlives this process.
    holder = peers.holder(f"commit-{new_id()}")
    layer = pb.CommitLayerRequest(container=container.id, image_store=peers.image_store, pause=wanted.pause, holder=holder)
    try:
        stored = await call_again(lambda: peers.containers.CommitLayer(layer), what="the container service")
        request = images_pb2.CommitRequest(
            parent=container.image_id,
            diff_id=stored.layer.diff_id,
            config_json=msgspec.json.encode(wanted.config).decode(),
            changes=wanted.changes,
            author=wanted.author,
            comment=wanted.comment,
            created_by=" ".join(container.spec.cmd.values),
            container_id=container.id,
            container_config_json=msgspec.json.encode(wanted.own_config).decode(),
            name=wanted.name,
            docker_version=SERVER_VERSION,
            fill=True,
        )
        # Once: a second one after a lost answer would be a second image.
        image = (await call(lambda: peers.images.Commit(request))).image
    finally:
        release = images_pb2.ReleaseLeaseRequest(holder=holder)
        later(peers, f"layer of {container.id[:12]}", lambda: peers.images.ReleaseLease(release))
    told = pb.RecordCommitRequest(
        container=container.id, image_id=image.id, image_name=familiar(wanted.name) if wanted.name else "", comment=wanted.comment
    )
    await soon(peers, f"commit of {container.id[:12]}", lambda: peers.containers.RecordCommit(told))
    return image
