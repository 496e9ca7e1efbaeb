"""Manifests of Docker schema 2 and OCI: decoding with limits, choice of platform. Digests are checked by whoever fetched the bytes."""

import hashlib

import msgspec

from skerry.core.errors import InvalidArgument
from skerry.images.reference import is_digest

MAX_MANIFEST = 4 << 20
MAX_CONFIG = 8 << 20
MAX_LAYERS = 512
_MAX_URLS = 10

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
ACCEPT = (DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX)
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_INDEXES = (DOCKER_LIST, OCI_INDEX)
_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1"


class Platform(msgspec.Struct, frozen=True):
    """What a manifest of an index is for."""

    os: str = ""
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """A pointer to content."""

    digest: str
    size: int
    media_type: str = ""
    platform: Platform | None = None
    annotations: dict[str, str] = {}
    urls: list[str] = []

    def foreign_urls(self) -> list[str]:
        """Returns where a layer lies that registries need not have; none for any other layer."""
        return self.urls[:_MAX_URLS] if is_foreign(self.media_type) else []


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """An image manifest: configuration and layers, lowest first."""

    config: Descriptor
    layers: list[Descriptor]
    media_type: str = ""
    schema_version: int = 2


class Index(msgspec.Struct, frozen=True, rename="camel"):
    """A list of manifests."""

    manifests: list[Descriptor]
    media_type: str = ""
    schema_version: int = 2


class Schema1(InvalidArgument):
    """A manifest of the oldest kind, which nobody reads any more."""


def digest_of(data: bytes) -> str:
    """Returns the sha256 digest of data."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def decode(data: bytes, media_type: str) -> Manifest | Index:
    """Reads a manifest or an index. Raises InvalidArgument when it is neither, or hostile."""
    if len(data) > MAX_MANIFEST:
        raise InvalidArgument(f"manifest is larger than {MAX_MANIFEST} bytes")
    kind = media_type.partition(";")[0].strip()
    try:
        peek = msgspec.json.decode(data)
        if kind.startswith(_SCHEMA1) or (isinstance(peek, dict) and peek.get("schemaVersion") == 1):
            raise Schema1("manifest version 2, schema 1")
        if not isinstance(peek, dict) or peek.get("schemaVersion") != 2:
            raise InvalidArgument("unsupported manifest: schemaVersion is not 2")
        kind = str(peek.get("mediaType") or kind)
        # Both at once is the known trick to make two readers see two images in one document.
        if "manifests" in peek and ("layers" in peek or "config" in peek):
            raise InvalidArgument("manifest has both layers and manifests")
        document: Manifest | Index
        document = msgspec.convert(peek, Index) if kind in _INDEXES or "manifests" in peek else msgspec.convert(peek, Manifest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"invalid manifest: {error}") from None
    descriptors = document.manifests if isinstance(document, Index) else [document.config, *document.layers]
    if len(descriptors) > MAX_LAYERS:
        raise InvalidArgument(f"manifest lists more than {MAX_LAYERS} parts")
    for one in descriptors:
        if not is_digest(one.digest):
            raise InvalidArgument(f"unsupported digest in manifest: {one.digest[:100]!r}")
        if one.size < 0:
            raise InvalidArgument("negative size in manifest")
    return document


def is_foreign(media_type: str) -> bool:
    """Tells whether a layer of this type is never sent to registries: its licence says where it may lie."""
    return ".foreign." in media_type or ".nondistributable." in media_type


def kind_of(document: Manifest) -> str:
    """Returns the media type of a manifest, which OCI's need not name."""
    return document.media_type or (OCI_MANIFEST if document.config.media_type.startswith("application/vnd.oci.") else DOCKER_MANIFEST)


def write(config: Descriptor, layers: list[Descriptor]) -> bytes:
    """Writes a schema 2 manifest, byte for byte as Docker does, so that the same content has the same digest."""

    def described(one: Descriptor, kind: str) -> dict[str, object]:
        return {"mediaType": kind, "size": one.size, "digest": one.digest}

    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": described(config, DOCKER_CONFIG),
        "layers": [described(one, DOCKER_LAYER) for one in layers],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=3)
