"""The registries that the store stands for: where they are, and the name and password that they know it by."""

import asyncio
import base64
import binascii

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.images.reference import DEFAULT_DOMAIN, parse
from skerry.images.registry.endpoints import Endpoint, is_insecure, name_of
from skerry.images.registry.reach import Registries, credentials
from skerry.images.registry.repository import Repository

# Repositories whose place is remembered.
_REMEMBERED = 200
_HUB_AUTH = "https://index.docker.io/v1/"


class _Auth(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _Auths(msgspec.Struct):
    auths: dict[str, _Auth] = {}


class Upstreams:
    """Which registries are stood for, where they are and under which name they are asked."""

    def __init__(self, asked: Registries, upstreams: list[str], auths: str) -> None:
        self._asked = asked
        self._urls = dict(_split(one) for one in upstreams)
        self._auths = auths
        self._known: dict[str, Repository] = {}

    def has(self, repository: str) -> bool:
        """Tells whether the repository's registry is one of them."""
        return repository.partition("/")[0] in self._urls

    async def of(self, repository: str) -> Repository:
        """Returns the repository there. Raises InvalidArgument when the credentials cannot be read, Failed, Unavailable."""
        if repository not in self._known:
            domain = repository.partition("/")[0]
            auth = await asyncio.to_thread(self._credentials, domain) if self._auths else pb.RegistryAuth()
            reference, url = parse(repository), self._urls[domain]
            if url:
                endpoint = Endpoint(url)
                loopback = is_insecure(endpoint.host, [], [name_of(endpoint.host)])
                endpoint = Endpoint(url, verify=not loopback)
                found = Repository(self._asked.transport, self._asked.tokens, reference, endpoint, credentials(auth))
            else:
                found = await self._asked.repository(reference, auth, "pull")
            while len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[repository] = found
        return self._known[repository]

    def forget(self, repository: str) -> None:
        """Asks anew where it is and with which credentials."""
        self._known.pop(repository, None)

    def _credentials(self, domain: str) -> pb.RegistryAuth:
        try:
            with open(self._auths, "rb") as file:
                found = msgspec.json.decode(file.read(1 << 20), type=_Auths).auths
        except (OSError, msgspec.DecodeError) as error:
            raise InvalidArgument(f"cannot read {self._auths}: {error}") from None
        keys = (domain, f"https://{domain}", *((_HUB_AUTH,) if domain == DEFAULT_DOMAIN else ()))
        one = next((found[key] for key in keys if key in found), None)
        if one is None:
            return pb.RegistryAuth()
        try:
            user, _, password = base64.b64decode(one.auth).decode().partition(":")
        except (binascii.Error, UnicodeError):
            raise InvalidArgument(f"{self._auths}: malformed auth of {domain}") from None
        return pb.RegistryAuth(username=one.username or user, password=one.password or password, identity_token=one.identitytoken)


def _split(entry: str) -> tuple[str, str]:
    domain, _, url = entry.partition("=")
    if url and not url.startswith(("http://", "https://")):
        raise InvalidArgument(f"SKERRY_IMAGES_DISTRIBUTION_UPSTREAMS: {entry!r}: want DOMAIN or DOMAIN=URL")
    return domain, url.rstrip("/")
