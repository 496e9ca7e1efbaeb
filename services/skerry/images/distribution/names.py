"""Names as the API's paths carry them (OCI distribution specification 1.1), and the repositories of the store that they mean.

/v2/NAME means what `docker pull NAME` means: "busybox" and "library/busybox" are docker.io/library/busybox, "ghcr.io/a/b" is that.
"""

import re

from skerry.core.errors import InvalidArgument
from skerry.images.distribution.refusals import Refusal
from skerry.images.reference import parse

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*\Z")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")
_DIGEST = re.compile(r"(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})\Z")
ALGORITHMS = ("sha256", "sha512")


def repository_of(name: str) -> str:
    """Returns the repository ("docker.io/library/busybox"). Raises Refusal NAME_INVALID."""
    if not _NAME.match(name) or len(name) > 255:
        raise Refusal("NAME_INVALID", f"invalid repository name: {name[:255]!r}")
    try:
        reference = parse(name)
    except InvalidArgument as error:
        raise Refusal("NAME_INVALID", str(error)) from None
    return reference.repository


def shown(repository: str) -> str | None:
    """Returns the name under which a repository is asked for; None: no path can carry it (a registry's name with a port)."""
    name = parse(repository).familiar_name
    return name if _NAME.match(name) else None


def is_digest(text: str) -> bool:
    """Tells whether text is a digest of an algorithm that the API takes."""
    return _DIGEST.match(text) is not None


def digest_or_refusal(text: str) -> str:
    """Returns a digest as it is. Raises Refusal DIGEST_INVALID."""
    if not is_digest(text):
        raise Refusal("DIGEST_INVALID", f"invalid digest: {text[:200]!r}")
    return text


def check_tag(text: str) -> str:
    """Returns a tag as it is. Raises Refusal: no manifest can have another."""
    if not _TAG.match(text):
        raise Refusal("MANIFEST_INVALID", f"invalid tag: {text[:200]!r}")
    return text
