"""Lists: tags, referrers, repositories (OCI distribution specification 1.1: end-8, 12; Docker's _catalog)."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from skerry.core.errors import NotFound
from skerry.images import manifest
from skerry.images.distribution import documents, names
from skerry.images.distribution.access import canonical
from skerry.images.distribution.refusals import Refusal
from skerry.images.distribution.shelf import Shelf

_PAGE = 100
_MAX_PAGE = 1000
_MAX_TAGS = 10_000
# Bytes of one page of referrers, as the specification has it for manifests.
_MAX_REFERRERS = 4 << 20


class ListRoutes:
    """Handlers."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def tags(self, request: web.Request) -> web.StreamResponse:
        """GET of a repository's tags."""
        name = request.match_info["name"]
        repository = names.repository_of(name)
        await self._shelf.gate.check(request, "pull", name)
        try:
            tags = await self._shelf.records.tags(repository)
        except NotFound:
            raise Refusal("NAME_UNKNOWN", "repository name not known to registry") from None
        page, link = tags_page(name, tags, request.query)
        return _json({"name": name, "tags": page}, {"Link": link} if link else {})

    async def referrers(self, request: web.Request) -> web.StreamResponse:
        """GET of what says something about a manifest; nothing is an answer too."""
        name, digest = request.match_info["name"], names.digest_or_refusal(request.match_info["digest"])
        repository = names.repository_of(name)
        await self._shelf.gate.check(request, "pull", name)
        found = [one for one in await self._shelf.records.referrers(repository, digest) if one.digest > request.query.get("last", "")]
        headers: dict[str, str] = {}
        if wanted := request.query.get("artifactType", ""):
            found = [one for one in found if one.artifact_type == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        page: list[dict[str, object]] = []
        size = 0
        for one in found:
            item = documents.referrer(one)
            size += len(msgspec.json.encode(item)) + 1
            if page and size > _MAX_REFERRERS - 1024:
                query = {"last": page[-1]["digest"], **({"artifactType": wanted} if wanted else {})}
                headers["Link"] = f'</v2/{name}/referrers/{digest}?{urlencode(query)}>; rel="next"'
                break
            page.append(item)
        return _json({"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": page}, headers, manifest.OCI_INDEX)

    async def catalog(self, request: web.Request) -> web.StreamResponse:
        """GET of the repositories that the caller may pull from."""
        caller = await self._shelf.gate.check_catalog(request)
        count = min(_number(request.query.get("n", str(_PAGE))), _MAX_PAGE)
        after = request.query.get("last", "")
        # Sorted by the full name, which the shown one is not always in the order of: the whole is looked through.
        found = [names.shown(one) for one in await self._shelf.records.repositories("", 1 << 31)]
        mine = sorted(name for name in set(found) if name and name > after and caller.user.may("pull", canonical(name)))
        page = mine[:count]
        more = f'</v2/_catalog?n={count}&last={quote(page[-1])}>; rel="next"' if page and len(mine) > count else ""
        return _json({"repositories": page}, {"Link": more} if more else {})


def tags_page(name: str, tags: list[str], query: Mapping[str, str]) -> tuple[list[str], str]:
    """Returns a page of tags, and the Link header to the next ("": there is none). Raises Refusal for an n that is no number."""
    if last := query.get("last", ""):
        tags = [tag for tag in tags if (tag.lower(), tag) > (last.lower(), last)]
    count = _number(query["n"]) if "n" in query else _MAX_TAGS
    page = tags[:count]
    if len(tags) <= count or not page:
        return page, ""
    return page, f'</v2/{name}/tags/list?{urlencode({"n": count, "last": page[-1]})}>; rel="next"'


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise Refusal("SIZE_INVALID", f"invalid n: {text[:50]!r}")
    return int(text[:9])


def _json(document: object, headers: Mapping[str, str], kind: str = "application/json") -> web.Response:
    return web.Response(body=msgspec.json.encode(document), headers={"Content-Type": kind, **headers})
