"""Trying credentials against a registry, as `docker login` does."""

from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec
from yarl import URL

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, InvalidArgument, SkerryError, Unauthorized
from skerry.images.reference import DEFAULT_DOMAIN
from skerry.images.registry.auth import Challenge, challenge_of
from skerry.images.registry.endpoints import Endpoint
from skerry.images.registry.reach import Registries, credentials
from skerry.images.registry.transport import TRANSIENT
from skerry.images.registry.words import bounded, unreachable, words_of

_CLIENT = "docker"
_MAX_ANSWER = 1 << 20
_HUB_NAMES = ("index.docker.io", DEFAULT_DOMAIN)


class Logins:
    """Asks registries whether a user may come in."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries
        self._transport = registries.transport

    async def login(self, auth: pb.RegistryAuth) -> str:
        """Returns the refresh token that the registry gave, mostly none. Raises InvalidArgument, Unauthorized, Failed, Unavailable."""
        last: SkerryError = Failed("no registry to log in to")
        for endpoint in await self._registries.endpoints(domain_of(auth.server_address)):
            try:
                return await self._try(endpoint, auth)
            except TRANSIENT as error:
                last = unreachable(f"{endpoint.base}/v2/", error)
        raise last

    async def _try(self, endpoint: Endpoint, auth: pb.RegistryAuth) -> str:
        url = f"{endpoint.base}/v2/"
        async with self._transport.send("GET", URL(url, encoded=True), endpoint, {}) as response:
            if response.status != 401:
                return _accepted(url, response)
            challenge = challenge_of(response.headers.get("WWW-Authenticate", ""))
        refresh = ""
        if challenge is not None and challenge.scheme == "bearer" and challenge.realm:
            token, refresh = await self._token(endpoint, challenge, auth)
            authorization = f"Bearer {token}"
        elif auth.username:
            authorization = credentials(auth).basic()
        else:
            raise Failed(f'Get "{url}": no basic auth credentials')
        async with self._transport.send("GET", URL(url, encoded=True), endpoint, {"Authorization": authorization}) as response:
            _accepted(url, response)
            return refresh

    async def _token(self, endpoint: Endpoint, challenge: Challenge, auth: pb.RegistryAuth) -> tuple[str, str]:
        """Returns access and refresh token. Raises Unauthorized, Failed."""
        url, where, headers = f"{endpoint.base}/v2/", challenge.realm, {}
        if urlsplit(where).scheme not in ("http", "https"):
            raise Failed(f"unsupported token realm: {where[:200]}")
        method, body = "GET", None
        if auth.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": challenge.service,
                "client_id": _CLIENT,
                "refresh_token": auth.identity_token,
            }
            method, body = "POST", urlencode(form).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        else:
            query = {"account": auth.username, "client_id": _CLIENT, "offline_token": "true", "service": challenge.service}
            where = f"{where}{'&' if '?' in where else '?'}{urlencode({key: value for key, value in query.items() if value})}"
            if auth.username:
                headers["Authorization"] = credentials(auth).basic()
        async with self._transport.send(method, URL(where, encoded=True), endpoint, headers, body) as response:
            if response.status in (401, 403):
                raise Unauthorized(f'Get "{url}": {await words_of(response, "unauthorized: incorrect username or password")}')
            if response.status != 200:
                raise Failed(f'Get "{url}": received unexpected HTTP status: {response.status} {response.reason}')
            try:
                document = msgspec.json.decode(await bounded(response, _MAX_ANSWER), type=dict[str, object])
            except msgspec.DecodeError as error:
                raise Failed(f"invalid answer of the token server: {error}") from None
        token = document.get("token") or document.get("access_token")
        if not token:
            raise Failed(f'Get "{url}": authorization server did not include a token in the response')
        return str(token), str(document.get("refresh_token") or auth.identity_token)


def _accepted(url: str, response: aiohttp.ClientResponse) -> str:
    if response.status != 200:
        raise Failed(f"login attempt to {url} failed with status: {response.status} {response.reason}")
    return ""


def domain_of(address: str) -> str:
    """Returns the registry that a server address means. Raises InvalidArgument."""
    if not address:
        return DEFAULT_DOMAIN
    try:
        host = urlsplit(address if address.startswith(("http://", "https://")) else f"https://{address}").netloc.rpartition("@")[2]
    except ValueError as error:
        raise InvalidArgument(f"unable to parse server address: {error}") from None
    if not host:
        raise InvalidArgument(f"unable to parse server address: {address[:200]}")
    return DEFAULT_DOMAIN if host in _HUB_NAMES else host
