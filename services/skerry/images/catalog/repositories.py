"""What the distribution API (/v2/) keeps beside the images: which repository has which manifests, tags and blobs.

A repository is named in full ("docker.io/library/busybox"), as in the images' names. Images are the catalog's: a manifest or a tag that
stands for one lives as long as that, so that `docker rmi` and the API never disagree.
"""

from collections.abc import Iterable
from typing import Protocol

import msgspec


class ManifestRecord(msgspec.Struct, frozen=True):
    """One manifest, index or artifact of a repository.

    content is its digest in the blob store; digest may be of another algorithm.
    """

    digest: str
    content: str
    media_type: str
    size: int
    # The image it was made into, or made from; empty: none, it lives until it is deleted.
    image: str = ""
    # Digest of the manifest that this one says something about.
    subject: str = ""
    artifact_type: str = ""
    annotations: dict[str, str] = {}
    # Digests of the blobs, and of the manifests, that it names.
    parts: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    # A copy of another registry's: Unix nanoseconds after which it is forgotten. 0: not a copy.
    expires_ns: int = 0


class BlobPlace(msgspec.Struct, frozen=True):
    """One blob of a repository. content is its digest in the blob store."""

    digest: str
    content: str
    size: int


class TagPlace(msgspec.Struct, frozen=True):
    """What a tag means. image as in ManifestRecord."""

    digest: str
    image: str = ""
    copied: bool = False


class Repositories(Protocol):
    """Each method is one transaction. tests/contract/test_repositories.py is its definition."""

    async def put_manifest(self, repository: str, record: ManifestRecord, tags: Iterable[str], blobs: Iterable[BlobPlace]) -> None:
        """Stores a manifest and points tags at it. blobs, and its parts, stay as long as it lives."""

    async def manifest(self, repository: str, digest: str) -> ManifestRecord:
        """Raises NotFound, also for that of an image that is gone."""

    async def tagged(self, repository: str, tag: str) -> TagPlace:
        """Raises NotFound when the API knows no such tag, or when the image's name has moved on since."""

    async def tags(self, repository: str) -> list[str]:
        """Returns all tags, the images' too, in the order of the specification (alphanumeric, case ignored).

        Raises NotFound when nothing is known of the repository.
        """

    async def untag(self, repository: str, tag: str) -> bool:
        """Takes a tag of the API away; False when there is none. The image's name is not touched."""

    async def drop_manifest(self, repository: str, digest: str) -> bool:
        """Removes a manifest and the tags that point at it; False when there is none."""

    async def referrers(self, repository: str, subject: str) -> list[ManifestRecord]:
        """Returns the manifests about a subject, sorted by digest."""

    async def put_blob(self, repository: str, blob: BlobPlace, until_ns: int) -> None:
        """Gives the repository a blob; at least until then it stays without a manifest that names it."""

    async def blob(self, repository: str, digest: str) -> BlobPlace:
        """Raises NotFound."""

    async def touch_blob(self, repository: str, digest: str, until_ns: int) -> None:
        """Keeps a blob at least until then. Idempotent; nothing happens when it is not there."""

    async def drop_blob(self, repository: str, digest: str) -> bool:
        """Takes a blob from the repository; False when it has none."""

    async def holders(self, digest: str) -> list[str]:
        """Returns the repositories that have a blob, sorted."""

    async def touch_manifest(self, repository: str, digest: str, expires_ns: int) -> None:
        """Keeps a copy longer. Nothing happens when it is not there."""

    async def used_bytes(self, repository: str) -> int:
        """Returns the bytes of a repository's blobs; "": of all repositories, each content once."""

    async def repositories(self, after: str, count: int) -> list[str]:
        """Returns up to count repositories that have a manifest or an image, sorted, those after a name."""

    async def images_in(self, repository: str) -> list[str]:
        """Returns the ids of the images that have a name, with a tag or a digest, in the repository."""

    async def expire(self, now_ns: int) -> None:
        """Forgets manifests of images that are gone and what came with them, old copies, blobs that nothing names."""


class Row(msgspec.Struct, frozen=True):
    """What `dead` looks at."""

    repository: str
    digest: str
    image: str
    expires_ns: int
    children: tuple[str, ...]


def dead(rows: Iterable[Row], images: set[str], tagged: set[tuple[str, str]], now_ns: int) -> set[tuple[str, str]]:
    """Returns (repository, digest) of the manifests to forget.

    With an index go the manifests that were pushed for it: those without an image of their own that no tag and no other index names.
    """
    live = {(row.repository, row.digest): row for row in rows}
    gone: set[tuple[str, str]] = set()
    fresh = [key for key, row in live.items() if (row.image and row.image not in images) or 0 < row.expires_ns < now_ns]
    while fresh:
        orphans: set[tuple[str, str]] = set()
        for key in fresh:
            row = live.pop(key)
            gone.add(key)
            orphans |= {(row.repository, child) for child in row.children}
        named = {(row.repository, child) for row in live.values() for child in row.children} | tagged
        fresh = [key for key in orphans if key in live and not live[key].image and not live[key].expires_ns and key not in named]
    return gone


def in_order(tags: Iterable[str]) -> list[str]:
    """Returns tags in the order in which the specification lists them."""
    return sorted(tags, key=lambda tag: (tag.lower(), tag))
