"""Manifests, indexes and artifacts as they are pushed: read far enough to know what they name. Pure functions."""

import msgspec

from skerry.images import manifest
from skerry.images.catalog.repositories import ManifestRecord
from skerry.images.distribution.names import is_digest
from skerry.images.distribution.refusals import Refusal

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
_CONFIGS = (manifest.DOCKER_CONFIG, OCI_CONFIG)
_INDEXES = (manifest.DOCKER_LIST, manifest.OCI_INDEX)
_MAX_PARTS = 4096
_MAX_ANNOTATIONS = 64 << 10


class Part(msgspec.Struct, frozen=True, rename="camel"):
    """A descriptor."""

    digest: str
    size: int
    media_type: str = ""
    urls: list[str] | None = None


class Document(msgspec.Struct, frozen=True, rename="camel"):
    """What the API looks at; the document itself is kept byte for byte."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    config: Part | None = None
    layers: list[Part] | None = None
    manifests: list[Part] | None = None
    subject: Part | None = None
    annotations: dict[str, str] | None = None


def read(data: bytes, content_type: str) -> Document:
    """Reads a manifest as it was pushed under a Content-Type ("": not known, OCI's need not say it). Raises Refusal MANIFEST_INVALID."""
    try:
        document = msgspec.json.decode(data, type=Document)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Refusal("MANIFEST_INVALID", f"invalid manifest: {error}") from None
    told = content_type.partition(";")[0].strip()
    kind = document.media_type or told or (manifest.OCI_INDEX if document.manifests is not None else manifest.OCI_MANIFEST)
    if document.schema_version != 2 or kind not in manifest.ACCEPT:
        raise Refusal("MANIFEST_INVALID", f"unsupported manifest: {kind[:200] or 'no media type'}")
    if told and document.media_type and told != document.media_type:
        raise Refusal("MANIFEST_INVALID", f"the manifest says it is {document.media_type[:200]}, its Content-Type {told[:200]}")
    if kind in _INDEXES:
        if document.manifests is None or document.layers is not None or document.config is not None:
            raise Refusal("MANIFEST_INVALID", "an index has manifests, neither config nor layers")
    elif document.config is None or document.layers is None or document.manifests is not None:
        raise Refusal("MANIFEST_INVALID", "an image manifest has config and layers, no manifests")
    parts = [*(document.manifests or []), *(document.layers or []), *filter(None, (document.config, document.subject))]
    if len(parts) > _MAX_PARTS:
        raise Refusal("MANIFEST_INVALID", f"manifest lists more than {_MAX_PARTS} parts")
    if bad := next((one for one in parts if not is_digest(one.digest) or one.size < 0), None):
        raise Refusal("MANIFEST_INVALID", f"invalid descriptor in manifest: {bad.digest[:200]!r}")
    if sum(len(key) + len(value) for key, value in (document.annotations or {}).items()) > _MAX_ANNOTATIONS:
        raise Refusal("MANIFEST_INVALID", f"annotations have more than {_MAX_ANNOTATIONS} bytes")
    return msgspec.structs.replace(document, media_type=kind)


def blobs_of(document: Document) -> list[Part]:
    """Returns the blobs that the registry has to have: not those whose licence says that they lie elsewhere."""
    layers = [one for one in document.layers or [] if not (one.urls or manifest.is_foreign(one.media_type))]
    return [*([document.config] if document.config else []), *layers]


def record(document: Document, digest: str, content: str, size: int, image: str = "", expires_ns: int = 0) -> ManifestRecord:
    """Returns what a repository keeps of it. digest, content and size are the document's own."""
    return ManifestRecord(
        digest=digest,
        content=content,
        media_type=document.media_type,
        size=size,
        image=image,
        subject=document.subject.digest if document.subject else "",
        artifact_type=document.artifact_type or (document.config.media_type if document.config else ""),
        annotations=document.annotations or {},
        parts=tuple(one.digest for one in blobs_of(document)),
        children=tuple(one.digest for one in document.manifests or []),
        expires_ns=expires_ns,
    )


def may_be_image(document: Document) -> bool:
    """Tells whether it says of itself that it is what a container can be made of."""
    if document.artifact_type or document.config is None or document.config.media_type not in _CONFIGS:
        return False
    return all(".tar" in one.media_type for one in document.layers or [])


def referrer(one: ManifestRecord) -> dict[str, object]:
    """Returns its descriptor as the referrers API lists it."""
    found: dict[str, object] = {"mediaType": one.media_type, "size": one.size, "digest": one.digest}
    if one.artifact_type:
        found["artifactType"] = one.artifact_type
    if one.annotations:
        found["annotations"] = one.annotations
    return found
