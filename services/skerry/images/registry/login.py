"""Trying credentials against a registry, as `docker login` does."""

from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, InvalidArgument, SkerryError, Unauthorized
from skerry.images.reference import DEFAULT_DOMAIN
from skerry.images.registry.client import CHALLENGE, TIMEOUT, TRANSIENT, bounded, endpoints, unreachable, words_of
from skerry.images.registry.reach import Registries

_CLIENT = "docker"
_MAX_ANSWER = 1 << 20
_HUB_NAMES = ("index.docker.io", DEFAULT_DOMAIN)


class Logins:
    """Asks registries whether a user may come in."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries
        self._session = registries.session

    async def login(self, auth: pb.RegistryAuth) -> str:
        """Returns the refresh token that the registry gave, mostly none. Raises InvalidArgument, Unauthorized, Failed, Unavailable."""
        last: SkerryError = Failed("no registry to log in to")
        for endpoint in endpoints(_domain(auth.server_address), [], self._registries.insecure):
            url = f"{endpoint.base}/v2/"
            try:
                return await self._try(url, auth)
            except TRANSIENT as error:
                last = unreachable(url, error)
        raise last

    async def _try(self, url: str, auth: pb.RegistryAuth) -> str:
        async with self._session.get(url, timeout=TIMEOUT) as response:
            if response.status != 401:
                return _accepted(url, response)
            scheme, _, rest = response.headers.get("WWW-Authenticate", "").partition(" ")
            parameters = dict(CHALLENGE.findall(rest))
        refresh = ""
        if scheme.lower() == "bearer" and parameters.get("realm"):
            token, refresh = await self._token(url, parameters, auth)
            authorization = f"Bearer {token}"
        elif auth.username:
            authorization = aiohttp.BasicAuth(auth.username, auth.password, "utf-8").encode()
        else:
            raise Failed(f'Get "{url}": no basic auth credentials')
        async with self._session.get(url, headers={"Authorization": authorization}, timeout=TIMEOUT) as response:
            _accepted(url, response)
            return refresh

    async def _token(self, url: str, parameters: dict[str, str], auth: pb.RegistryAuth) -> tuple[str, str]:
        """Returns access and refresh token. Raises Unauthorized, Failed."""
        realm, service = parameters["realm"], parameters.get("service", "")
        if urlsplit(realm).scheme not in ("http", "https"):
            raise Failed(f"unsupported token realm: {realm[:200]}")
        if auth.identity_token:
            form = {"grant_type": "refresh_token", "service": service, "client_id": _CLIENT, "refresh_token": auth.identity_token}
            request = self._session.post(realm, data=form, timeout=TIMEOUT)
        else:
            query = {"account": auth.username, "client_id": _CLIENT, "offline_token": "true", "service": service}
            whole = f"{realm}{'&' if '?' in realm else '?'}{urlencode({key: value for key, value in query.items() if value})}"
            basic = aiohttp.BasicAuth(auth.username, auth.password, "utf-8") if auth.username else None
            request = self._session.get(whole, auth=basic, timeout=TIMEOUT)
        async with request as response:
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


def _domain(address: str) -> str:
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
