"""What is pushed under a tag becomes an image of the store, when it is one for a container."""

import asyncio
import logging

from skerry.core.errors import Failed, InvalidArgument, NotFound
from skerry.images import config as configs
from skerry.images import library, manifest
from skerry.images.catalog import Form
from skerry.images.distribution import documents
from skerry.images.distribution.refusals import Refusal
from skerry.images.distribution.shelf import Shelf
from skerry.images.layers import Stored, take
from skerry.images.platforms import choose, own_platform
from skerry.images.reference import parse
from skerry.images.storing import Incoming

_log = logging.getLogger(__name__)


class Becoming:
    """Makes images. Callers hold `Collector.taking`."""

    def __init__(self, shelf: Shelf, *, layer_bytes: int, layer_ratio: float) -> None:
        self._shelf = shelf
        self._limit = layer_bytes
        self._ratio = layer_ratio
        self._slots = asyncio.Semaphore(3)

    async def image(self, repository: str, tags: list[str], data: bytes, document: documents.Document, digest: str) -> str:
        """Stores what was pushed as an image with these tags; returns its id, "" when it is something else than an image.

        Of an index it is the manifest for this platform. Raises Failed, Unavailable.
        """
        try:
            kept = [data]
            if document.manifests is not None:
                chosen = choose(_index(data, document), own_platform())
                inner = await self._shelf.document(await self._shelf.records.manifest(repository, chosen.digest))
                kept.append(inner)
                document = documents.read(inner, "")
            if not documents.may_be_image(document):
                return ""
            image = manifest.decode(kept[-1], document.media_type)
            if not isinstance(image, manifest.Manifest):
                return ""
            return await self._stored(repository, tags, kept, image, digest)
        except (InvalidArgument, NotFound, Refusal) as error:
            _log.info("kept as a manifest only", extra={"repository": repository, "digest": digest, "reason": str(error)})
            return ""
        except Failed as error:
            if "verification failed" in str(error) or "no matching manifest" in str(error):
                return ""
            raise

    async def _stored(self, repository: str, tags: list[str], kept: list[bytes], image: manifest.Manifest, digest: str) -> str:
        config = await asyncio.to_thread(self._shelf.blobs.read, image.config.digest, manifest.MAX_CONFIG)
        diff_ids = configs.admit(config).diff_ids()
        if len(diff_ids) != len(image.layers):
            raise InvalidArgument(f"image config has {len(diff_ids)} layers, its manifest {len(image.layers)}")
        pairs = list(zip(image.layers, diff_ids, strict=True))
        distinct = {pair[1]: pair[0] for pair in pairs}
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {diff_id: group.create_task(self._layer(one, diff_id)) for diff_id, one in distinct.items()}
        except BaseExceptionGroup as failed:
            error: BaseException = failed
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            raise error from None
        layers = [tasks[diff_id].result() for diff_id in diff_ids]
        by_digest = [f"{repository}@{digest}"] if digest.startswith("sha256:") else []
        familiar = parse(f"{repository}:{tags[0]}").familiar
        said = library.event("load", manifest.digest_of(config), config, familiar)
        await self._shelf.storing.store(Incoming(config, layers), [f"{repository}:{tag}" for tag in tags], by_digest, kept, [said])
        came = [(one, layer) for (one, _), layer in zip(pairs, layers, strict=True) if layer.kind]
        await self._shelf.catalog.remember([Form(layer.diff_id, one.digest, one.size, compression=layer.kind) for one, layer in came])
        return image.config.digest

    async def _layer(self, one: manifest.Descriptor, diff_id: str) -> Stored:
        blobs = self._shelf.blobs

        def known() -> Stored | None:
            return Stored(diff_id, blobs.size(diff_id), one.digest if one.digest != diff_id else "") if blobs.has(diff_id) else None

        def work() -> Stored:
            with blobs.open(one.digest) as source:
                stored = take(
                    source,
                    blobs,
                    keep_compressed=False,
                    limit=self._limit,
                    ratio=self._ratio,
                    expected_diff=diff_id,
                    expected=one.digest,
                )
            return Stored(diff_id, stored.size, one.digest if one.digest != diff_id else "", stored.files, stored.came, stored.kind)

        # Only a form that was found right once may be believed.
        believed = one.digest == diff_id or one.digest in {form.digest for form in await self._shelf.catalog.forms(diff_id)}
        if believed and (stored := await asyncio.to_thread(known)) is not None:
            return stored
        async with self._slots:
            return await self._shelf.streams.run(work)


def _index(data: bytes, document: documents.Document) -> manifest.Index:
    index = manifest.decode(data, document.media_type)
    if not isinstance(index, manifest.Index):
        raise InvalidArgument("no index")
    return index
