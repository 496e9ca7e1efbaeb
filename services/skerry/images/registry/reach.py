"""Finding the endpoints of a registry, and the first of them that answers."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, SkerryError
from skerry.images.reference import Reference
from skerry.images.registry.auth import Credentials, Tokens
from skerry.images.registry.endpoints import Endpoint, endpoints, host_of, name_of
from skerry.images.registry.repository import Repository
from skerry.images.registry.transport import Transport

_LOOKUP_SECONDS = 5.0


def credentials(auth: pb.RegistryAuth) -> Credentials:
    """Returns what a client sent."""
    return Credentials(auth.username, auth.password, auth.identity_token, auth.registry_token)


class Registries:
    """All registries: which of them have mirrors, which are insecure."""

    def __init__(self, transport: Transport, mirrors: list[str], insecure: list[str]) -> None:
        self.transport = transport
        self.tokens = Tokens(transport)
        self._mirrors = mirrors
        self._insecure = insecure

    async def endpoints(self, domain: str, *, mirrors: bool = False) -> list[Endpoint]:
        """Returns where a registry is asked, best first; by http too when it is an insecure one."""
        name = name_of(host_of(domain))
        return endpoints(domain, self._mirrors if mirrors else [], self._insecure, await _addresses(name))

    async def repository(self, reference: Reference, auth: pb.RegistryAuth, actions: str) -> Repository:
        """Returns a repository at the registry's first endpoint that answers: no mirror stands for it here.

        Raises the last one's Failed, Unauthorized or Unavailable.
        """
        last: SkerryError = Failed(f"no registry for {reference.familiar}")
        async for repository in self.repositories(reference, auth, actions, mirrors=False):
            try:
                await repository.ping()
                return repository
            except SkerryError as error:
                last = error
        raise last

    async def repositories(
        self, reference: Reference, auth: pb.RegistryAuth, actions: str = "pull", *, mirrors: bool = True
    ) -> AsyncIterator[Repository]:
        """Yields a name's repositories, mirrors first; not by http when the host answered by https when it was tried.

        The user's name goes to the registry itself only.
        """
        reached: set[str] = set()
        for endpoint in await self.endpoints(reference.domain, mirrors=mirrors):
            if endpoint.host in reached and endpoint.base.startswith("http:"):
                continue
            user = Credentials() if endpoint.mirror else credentials(auth)
            repository = Repository(self.transport, self.tokens, reference, endpoint, user, actions)
            yield repository
            if repository.reached:
                reached.add(endpoint.host)


async def _addresses(name: str) -> list[str]:
    """Returns the addresses of a host; none when it has none now: the request will tell."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return [name]
    try:
        async with asyncio.timeout(_LOOKUP_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return []
    return [str(one[4][0]) for one in found]
