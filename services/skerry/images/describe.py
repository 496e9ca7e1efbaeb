"""What a name means in its registry, without pulling it."""

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, SkerryError
from skerry.images import manifest
from skerry.images.reference import parse
from skerry.images.registry.reach import Registries
from skerry.images.registry.repository import Repository
from skerry.images.registry.upload import refusal
from skerry.images.registry.words import bounded


class Describing:
    """Asks registries for descriptors."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries

    async def describe(self, request: pb.DescribeRequest) -> pb.DescribeResponse:
        """Returns descriptor and platforms. Raises InvalidArgument, NotFound, Unauthorized, Forbidden, Failed, Unavailable."""
        reference = parse(request.reference)
        repository = await self._registries.repository(reference, request.auth, "pull")
        data, media_type = await self._manifest(repository, reference.digest or reference.with_default_tag().tag)
        digest = manifest.digest_of(data)
        if reference.digest and digest != reference.digest:
            raise Failed(f"manifest verification failed for digest {reference.digest}")
        document = manifest.decode(data, media_type)
        if isinstance(document, manifest.Index):
            kind = document.media_type or media_type.partition(";")[0]
            platforms = [str(one.platform) for one in document.manifests if one.platform]
        else:
            kind = manifest.kind_of(document)
            platforms = await self._platform(repository, document)
        return pb.DescribeResponse(media_type=kind, digest=digest, size=len(data), platforms=platforms)

    async def _manifest(self, repository: Repository, what: str) -> tuple[bytes, str]:
        async def once() -> tuple[bytes, str]:
            async with repository.request("GET", f"manifests/{what}", {"Accept": ", ".join(manifest.ACCEPT)}) as response:
                if response.status != 200:
                    raise await refusal(response)
                return await bounded(response, manifest.MAX_MANIFEST), response.headers.get("Content-Type", "")

        return await repository.retried(once)

    async def _platform(self, repository: Repository, document: manifest.Manifest) -> list[str]:
        """Returns the platform of the configuration; none when it cannot be had or says none, as Docker does."""
        try:
            platform = msgspec.json.decode(await repository.small_blob(document.config.digest), type=manifest.Platform)
        except (msgspec.DecodeError, SkerryError):
            return []
        return [str(platform)] if platform.os or platform.architecture else []
