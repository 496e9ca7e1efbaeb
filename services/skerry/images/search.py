"""Searching an index: the Hub's, or that of any host that answers the same v1 API."""

import re
from urllib.parse import urlencode

import msgspec
from yarl import URL

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, InvalidArgument, SkerryError
from skerry.images.reference import DEFAULT_DOMAIN, OFFICIAL
from skerry.images.registry.endpoints import Endpoint
from skerry.images.registry.reach import Registries, credentials
from skerry.images.registry.transport import TRANSIENT
from skerry.images.registry.words import bounded, unreachable

MAX_RESULTS = 100
_DEFAULT_RESULTS = 25
_MAX_ANSWER = 4 << 20
_HOST = re.compile(r"[A-Za-z0-9._\[\]:-]+\Z")


class _Found(msgspec.Struct):
    name: str = ""
    description: str | None = None
    star_count: int | None = None
    is_official: bool | None = None
    is_automated: bool | None = None


class _Answer(msgspec.Struct):
    results: list[_Found] | None = None


class Searches:
    """Asks indexes."""

    def __init__(self, registries: Registries, hub: str) -> None:
        self._registries = registries
        self._hub = hub.rstrip("/")

    async def search(self, request: pb.SearchRequest) -> list[pb.SearchResult]:
        """Returns what the index found and the filters admit, in its order. Raises InvalidArgument, Failed, Unavailable."""
        if request.limit > MAX_RESULTS:
            raise InvalidArgument(f"Limit {request.limit} is outside the range of [1, {MAX_RESULTS}]")
        if "://" in request.term:
            raise InvalidArgument(f"invalid repository name: repository name ({request.term[:200]}) should not have a scheme")
        host, term = split(request.term)
        endpoint = Endpoint(self._hub) if host == DEFAULT_DOMAIN else await self._index(host)
        found = await self._ask(endpoint, term, request)
        return [_result(one) for one in found if _admits(request, one)]

    async def _index(self, host: str) -> Endpoint:
        """Returns where an index host answers. Raises Failed in Docker's words."""
        if not _HOST.match(host):
            raise InvalidArgument(f"invalid index name ({host[:200]})")
        found = await self._registries.endpoints(host)
        failures: list[SkerryError] = []
        for endpoint in found:
            url = f"{endpoint.base}/v1/_ping"
            try:
                async with self._registries.transport.send("GET", URL(url, encoded=True), endpoint, {}):
                    return endpoint
            except TRANSIENT as error:
                failures.append(unreachable(url, error))
        if len(found) > 1:
            raise Failed(f'invalid registry endpoint "http://{host}/v1/". HTTPS attempt: {failures[0]}. HTTP attempt: {failures[1]}')
        raise Failed(
            f"invalid registry endpoint https://{host}/v1/: {failures[0]}. If this private registry supports only HTTP or HTTPS with an "
            f"unknown CA certificate, please add `{host}` to SKERRY_IMAGES_INSECURE_REGISTRIES."
        )

    async def _ask(self, endpoint: Endpoint, term: str, request: pb.SearchRequest) -> list[_Found]:
        url = f"{endpoint.base}/v1/search?{urlencode({'q': term, 'n': request.limit or _DEFAULT_RESULTS})}"
        user = request.auth
        headers = {"X-Docker-Token": "true"}
        if user.username and not user.identity_token:
            headers["Authorization"] = credentials(user).basic()
        try:
            async with self._registries.transport.send("GET", URL(url, encoded=True), endpoint, headers) as response:
                if response.status != 200:
                    raise Failed(f"Unexpected status code {response.status}")
                data = await bounded(response, _MAX_ANSWER)
        except TRANSIENT as error:
            raise unreachable(url, error) from None
        try:
            return (msgspec.json.decode(data, type=_Answer).results or [])[:MAX_RESULTS]
        except msgspec.DecodeError as error:
            raise Failed(f"error decoding registry search results: {error}") from None


def split(term: str) -> tuple[str, str]:
    """Cuts a term into index host and what to look for; the first part is a host when it looks like one."""
    first, slash, rest = term.partition("/")
    host, name = (first, rest) if slash and ("." in first or ":" in first or first == "localhost") else (DEFAULT_DOMAIN, term)
    if host in ("index.docker.io", DEFAULT_DOMAIN):
        return DEFAULT_DOMAIN, name.removeprefix(f"{OFFICIAL}/")
    return host, name


def _admits(request: pb.SearchRequest, one: _Found) -> bool:
    if request.HasField("is_official") and request.is_official != bool(one.is_official):
        return False
    if request.HasField("is_automated") and request.is_automated != bool(one.is_automated):
        return False
    return (one.star_count or 0) >= request.stars


def _result(one: _Found) -> pb.SearchResult:
    return pb.SearchResult(
        name=one.name,
        description=one.description or "",
        star_count=one.star_count or 0,
        is_official=bool(one.is_official),
        is_automated=bool(one.is_automated),
    )
