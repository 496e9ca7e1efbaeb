"""Finding the endpoint of a registry that answers."""

import aiohttp

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, SkerryError
from skerry.images.reference import Reference
from skerry.images.registry.client import Credentials, Repository, endpoints


class Registries:
    """Where registries are asked directly: no mirror stands for them here."""

    def __init__(self, session: aiohttp.ClientSession, insecure: list[str]) -> None:
        self.session = session
        self.insecure = insecure

    async def repository(self, reference: Reference, auth: pb.RegistryAuth, actions: str) -> Repository:
        """Returns a repository at the first endpoint that answers. Raises the last one's Failed, Unauthorized or Unavailable."""
        user = Credentials(auth.username, auth.password, auth.identity_token, auth.registry_token)
        last: SkerryError = Failed(f"no registry for {reference.familiar}")
        for endpoint in endpoints(reference.domain, [], self.insecure):
            repository = Repository(self.session, reference, endpoint, user, actions)
            try:
                await repository.ping()
                return repository
            except SkerryError as error:
                last = error
        raise last
