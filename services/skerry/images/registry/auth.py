"""Who we are to registries: challenges, tokens that are kept until shortly before they end, refresh tokens, passwords."""

import base64
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec
from yarl import URL

from skerry.core.errors import Failed, Unauthorized
from skerry.images.registry.endpoints import Endpoint
from skerry.images.registry.transport import Again, Transport, overloaded
from skerry.images.registry.words import bounded, words_of

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_CLIENT = "docker"
_MAX_ANSWER = 1 << 20
_MAX_TOKENS = 1000
# What a token lives whose server does not say, by the token specification.
_LIFETIME = 60.0


class Credentials(msgspec.Struct, frozen=True):
    """What X-Registry-Auth brought. Never logged."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def basic(self) -> str:
        """Returns the header of name and password."""
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"

    def fingerprint(self) -> str:
        """Returns what tells users apart without keeping their secrets."""
        return hashlib.sha256("\0".join((self.username, self.password, self.identity_token)).encode()).hexdigest()


class Challenge(msgspec.Struct, frozen=True):
    """What a WWW-Authenticate header asks for; scheme in lower case."""

    scheme: str
    realm: str = ""
    service: str = ""
    scopes: tuple[str, ...] = ()


def challenge_of(header: str) -> Challenge | None:
    """Reads a WWW-Authenticate header; None when there is none that we know."""
    scheme, _, rest = header.partition(" ")
    parameters = dict(_PARAMETER.findall(rest))
    if scheme.lower() not in ("basic", "bearer"):
        return None
    return Challenge(scheme.lower(), parameters.get("realm", ""), parameters.get("service", ""), tuple(parameters.get("scope", "").split()))


class _Token(msgspec.Struct):
    token: str
    # On the clock given to Tokens.
    ends: float


class _Answer(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_in: float | None = None


class Tokens:
    """Tokens by realm, service, scopes and user. One for all repositories: a second pull needs no second token."""

    def __init__(self, transport: Transport, clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._clock = clock
        self._kept: dict[tuple[object, ...], _Token] = {}
        # What token servers gave instead of a refresh token that they will not take again.
        self._refreshed: dict[str, str] = {}

    async def token(
        self, endpoint: Endpoint, challenge: Challenge, scopes: Sequence[str], user: Credentials, *, refused: str = "", asked: str = ""
    ) -> str:
        """Returns a token for these scopes, a new one when the registry refused the kept one. asked (`Get "URL"`) is for errors.

        Raises Unauthorized, Failed, and what is worth another try.
        """
        key = (challenge.realm, challenge.service, tuple(sorted(scopes)), user.fingerprint())
        kept = self._kept.get(key)
        if kept is not None and kept.ends > self._clock() and kept.token != refused:
            return kept.token
        asked = asked or f'Get "{endpoint.base}/v2/"'
        answer = await self._ask(endpoint, challenge, scopes, user, asked)
        token = answer.token or answer.access_token
        if not token:
            raise Failed(f"{asked}: authorization server did not include a token in the response")
        if user.identity_token and answer.refresh_token and answer.refresh_token != user.identity_token:
            self._refreshed[user.fingerprint()] = answer.refresh_token
        if len(self._kept) >= _MAX_TOKENS:
            now = self._clock()
            self._kept = {one: token for one, token in list(self._kept.items())[-_MAX_TOKENS // 2 :] if token.ends > now}
        # A fifth early: the request that it is for takes its time to arrive, and clocks differ.
        self._kept[key] = _Token(token, self._clock() + 0.8 * (answer.expires_in or _LIFETIME))
        return token

    async def _ask(self, endpoint: Endpoint, challenge: Challenge, scopes: Sequence[str], user: Credentials, asked: str) -> _Answer:
        if urlsplit(challenge.realm).scheme not in ("http", "https"):
            raise Failed(f"unsupported token realm: {challenge.realm[:200]}")
        headers: dict[str, str] = {}
        where, method, body = challenge.realm, "GET", None
        if user.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": challenge.service,
                "client_id": _CLIENT,
                "refresh_token": self._refreshed.get(user.fingerprint(), user.identity_token),
                "scope": " ".join(scopes),
            }
            method, body = "POST", urlencode(form).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        else:
            query = [("scope", scope) for scope in scopes]
            query += [("service", challenge.service)] if challenge.service else []
            if user.username:
                query += [("account", user.username), ("client_id", _CLIENT)]
                headers["Authorization"] = user.basic()
            where = f"{where}{'&' if '?' in where else '?'}{urlencode(query)}"
        async with self._transport.send(method, URL(where, encoded=True), endpoint, headers, body) as response:
            return await _read(response, asked)


async def _read(response: aiohttp.ClientResponse, asked: str) -> _Answer:
    if response.status in (400, 401, 403):
        raise Unauthorized(f"{asked}: {await words_of(response, 'unauthorized: authentication required')}")
    if (later := await overloaded(response)) is not None:
        raise Again(f"{asked}: {later}", later.pause)
    if response.status != 200:
        raise Failed(f"{asked}: received unexpected HTTP status: {response.status} {response.reason}")
    try:
        return msgspec.json.decode(await bounded(response, _MAX_ANSWER), type=_Answer, strict=False)
    except msgspec.DecodeError as error:
        raise Failed(f"{asked}: unable to decode token response: {error}") from None
