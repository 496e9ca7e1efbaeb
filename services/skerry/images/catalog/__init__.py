"""The catalog: which images there are, under which names, who holds them. Content lies in the blob store.

Each method is one transaction. tests/contract/test_image_catalog.py is its definition; a second implementation passes the same suite.
"""

from typing import Protocol

import msgspec

from skerry.api.events.v1 import events_pb2
from skerry.images.catalog.repositories import Repositories


class LayerRecord(msgspec.Struct, frozen=True):
    """One layer: the uncompressed tar in the blob store, and the compressed form that is kept beside it (empty: none).

    Of a layer that was here when its image was pulled the compressed form is what some manifest says it is: who gives it on proves it first
    (compress.Forms).
    """

    diff_id: str
    # Bytes of the tar.
    size: int
    compressed: str = ""
    # Bytes of its files (measure.py); -1: not known, in records of stores before this was counted, or of a tar that was not understood.
    files: int = -1

    @property
    def shown(self) -> int:
        """What Docker's commands call the layer's size."""
        return self.files if self.files >= 0 else self.size


class ImageRecord(msgspec.Struct, frozen=True):
    """One image. id is the digest of config, which is stored verbatim."""

    id: str
    config: bytes
    layers: tuple[LayerRecord, ...]
    created_ns: int
    parent: str = ""
    # Unix nanoseconds.
    stored_ns: int = 0


class Names(msgspec.Struct, frozen=True):
    """What points at an image: full names with a tag, and "repository@digest"."""

    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    last_tagged_ns: int = 0


class Entry(msgspec.Struct, frozen=True):
    """An image with its names and the holders of its leases."""

    image: ImageRecord
    names: Names
    holders: tuple[str, ...] = ()


class Form(msgspec.Struct, frozen=True):
    """A compressed form of a layer. Proven: a blob of this digest was decompressed here and was the layer. No registry's word counts."""

    diff_id: str
    digest: str
    size: int
    # The blob store keeps it as long as an image has the layer.
    kept: bool = False
    # As layers.compression tells it.
    compression: str = "gzip"


class PushRecords(Protocol):
    """What is remembered so that a push sends as little as possible. Hints, but for `kept`: registries forget, nothing is lost with a row.

    Bounded: of each layer and of each blob the newest rows only.
    """

    async def remember(self, forms: list[Form]) -> None:
        """Notes compressed forms; one that is kept stays kept. Idempotent."""

    async def forms(self, diff_id: str) -> list[Form]:
        """Returns the known forms of a layer: kept ones first, then newest first."""

    async def saw(self, registry: str, repository: str, digests: list[str]) -> None:
        """Notes that a repository (path, without the registry) has these blobs. Idempotent."""

    async def seen_in(self, registry: str, digest: str) -> list[str]:
        """Returns the repositories of a registry that had a blob, newest first."""

    async def documents(self, image_id: str) -> list[str]:
        """Returns the digests of the manifests and lists that are kept for an image, sorted."""

    async def pushed(self, image_id: str, name: str, document: str, events: list[events_pb2.Event]) -> None:
        """Publishes events; points "repository@digest" at the image and keeps the document with it, unless it was removed meanwhile."""


class Catalog(PushRecords, Repositories, Protocol):
    """Names, images and leases."""

    async def add(
        self,
        image: ImageRecord,
        names: list[str],
        digests: list[str],
        documents: list[str],
        events: list[events_pb2.Event],
        *,
        holder: str = "",
    ) -> None:
        """Stores an image (once per id) and points the names at it, away from any other image. All or nothing.

        documents are digests of blobs (manifests, lists) that are kept as long as the image. holder gets a lease on it; empty: nobody.
        """

    async def get(self, image_id: str) -> Entry:
        """Raises NotFound."""

    async def by_name(self, name: str) -> Entry:
        """Finds by full name with tag, or "repository@digest". Raises NotFound."""

    async def by_prefix(self, prefix: str) -> Entry:
        """Finds by the first hex digits of the id. Raises NotFound; InvalidArgument when several images fit."""

    async def all(self) -> list[Entry]:
        """Returns every image, newest first."""

    async def revision(self) -> str:
        """Returns a text that differs whenever the catalog has changed since; "" when that is not known.

        Asked before `all`, it belongs to that list or an older one.
        """

    async def children(self, parent: str) -> list[ImageRecord]:
        """Returns the images that were made of a parent (empty: of none), newest first."""

    async def tag(self, image_id: str, name: str, event: events_pb2.Event) -> None:
        """Points one more name at the image. Raises NotFound."""

    async def remove(self, seen: Entry, untag: tuple[str, ...], *, delete: bool, events: list[events_pb2.Event]) -> bool:
        """Takes names away, and the image itself when delete is set. All or nothing.

        False, and nothing is done, when names or leases of the image are no longer what `seen` says.
        """

    async def acquire(self, image_id: str, holder: str) -> Entry:
        """Adds a lease. Idempotent. Raises NotFound."""

    async def keep(self, layer: LayerRecord, holder: str) -> None:
        """Keeps a layer, which no image need have, for a holder. Idempotent."""

    async def layer(self, diff_id: str) -> LayerRecord:
        """Returns a layer that is kept for somebody or that an image has. Raises NotFound."""

    async def release(self, holder: str) -> None:
        """Drops all leases of a holder, and the layers kept for it. Idempotent."""

    async def leases(self, holder_prefix: str, image_id: str) -> list[tuple[str, str]]:
        """Returns (image id, holder), both arguments narrowing when given. The image id of a kept layer is ""."""

    async def blobs_in_use(self) -> set[str]:
        """Returns the digests of all layers, kept ones too, their compressed forms (of `remember` too), and documents of the images."""


class Turns(Protocol):
    """How services over one catalog keep a sweep of blobs and what takes blobs in apart. A turn that is not renewed ends by itself."""

    async def begin_intake(self, name: str, seconds: float) -> bool:
        """Holds sweeps off. False, and nothing is held, when somebody sweeps."""

    async def renew_intake(self, name: str, seconds: float) -> bool:
        """Goes on holding sweeps off. False when the turn had ended by itself."""

    async def end_intake(self, name: str) -> None:
        """Gives the turn back. Idempotent."""

    async def begin_sweep(self, name: str, seconds: float) -> bool:
        """Holds intakes and sweeps of other names off, or goes on doing so. False when there are any."""

    async def end_sweep(self, name: str) -> None:
        """Gives the turn back. Idempotent."""
