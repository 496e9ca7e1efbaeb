"""What an image came as, in Docker's JSON: Descriptor and Manifests."""

from collections.abc import Iterable
from typing import Any

from skerry.api.containers.v1 import containers_pb2
from skerry.api.images.v1 import images_pb2 as pb


def platform(text: str) -> dict[str, str]:
    """Returns an OCI platform."""
    os, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    return {"architecture": architecture, "os": os, **({"variant": variant} if variant else {})}


def descriptor(one: pb.Descriptor) -> dict[str, Any]:
    """Returns an OCI descriptor."""
    document: dict[str, Any] = {"mediaType": one.media_type, "digest": one.digest, "size": one.size}
    if one.urls:
        document["urls"] = list(one.urls)
    if one.annotations:
        document["annotations"] = dict(one.annotations)
    if one.platform:
        document["platform"] = platform(one.platform)
    return document


def manifests(image: pb.Image, containers: Iterable[containers_pb2.Container]) -> list[dict[str, Any]]:
    """Returns ImageManifestSummary objects."""
    users: dict[str, list[str]] = {}
    for container in containers:
        users.setdefault(container.image_id, []).append(container.id)
    return [_summary(one, users) for one in image.manifests]


def _summary(one: pb.ManifestSummary, users: dict[str, list[str]]) -> dict[str, Any]:
    # Which platforms an image is for is said in the list; "unknown" is what BuildKit writes where it is none.
    kind = "attestation" if one.attests else "image" if one.platform and not one.platform.startswith("unknown") else "unknown"
    document: dict[str, Any] = {
        "ID": one.descriptor.digest,
        "Descriptor": descriptor(one.descriptor),
        "Available": one.available,
        "Size": {"Content": one.content_size, "Total": one.content_size + one.unpacked_size},
        "Kind": kind,
    }
    if kind == "image":
        document["ImageData"] = {
            "Platform": platform(one.platform),
            "Containers": sorted(users.get(one.image_id, ())) if one.image_id else [],
            "Size": {"Unpacked": one.unpacked_size},
        }
    elif kind == "attestation":
        document["AttestationData"] = {"For": one.attests}
    return document
