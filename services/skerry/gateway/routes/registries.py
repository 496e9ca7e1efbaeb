"""What goes to registries: push, login, search, and asking what a name means there."""

from typing import Any

import grpc.aio
import msgspec
from aiohttp import web

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, InvalidArgument, SkerryError
from skerry.core.rpc.channel import call as once
from skerry.core.rpc.channel import call_again
from skerry.gateway import filters, platforms
from skerry.gateway.call import Call, Route, json, registry_auth
from skerry.gateway.docker.images import failure, join_reference, progress
from skerry.gateway.docker.origins import platform
from skerry.gateway.errors import BadInput, status_of
from skerry.gateway.routes.output import Output, store_there
from skerry.gateway.versions import PLATFORM_OF_PUSH

_WHAT = "the image store"
_SEARCH_FILTERS = frozenset({"is-automated", "is-official", "stars"})
_DEFAULT_LIMIT = 25
_MAX_LIMIT = 100
_MAX_STARS = (1 << 32) - 1


def auth_of(fields: dict[str, str]) -> pb.RegistryAuth:
    """Returns the credentials that a client sent."""
    return pb.RegistryAuth(
        username=fields.get("username", ""),
        password=fields.get("password", ""),
        server_address=fields.get("serveraddress", ""),
        identity_token=fields.get("identitytoken", ""),
        registry_token=fields.get("registrytoken", ""),
    )


def _header_auth(call: Call) -> pb.RegistryAuth:
    return auth_of(registry_auth(call.request.headers.get("X-Registry-Auth", "")))


def _body_auth(body: bytes) -> dict[str, str]:
    """Reads an AuthConfig. Raises BadInput, in the words of Go's decoder where it is short of input."""
    if not body.strip():
        raise BadInput("EOF")
    try:
        document = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadInput("unexpected EOF" if "truncated" in str(error) else str(error)) from None
    return {str(key).lower(): value for key, value in document.items() if isinstance(value, str)}


async def push(call: Call) -> web.StreamResponse:
    """POST /images/{name}/push."""
    body = await call.body()
    if call.request.headers.get("X-Registry-Auth"):
        auth = _header_auth(call)
    else:
        # The way of old clients: credentials as the body.
        try:
            auth = auth_of(_body_auth(body))
        except BadInput as error:
            raise InvalidArgument(f"Bad parameters and missing X-Registry-Auth: {error}") from None
    name, tag = call.params["name"], call.text("tag")
    reference = join_reference(name, tag)
    request = pb.PushRequest(reference=reference, auth=auth, all_tags=not tag and ":" not in name.rpartition("/")[2])
    if (wanted := platforms.parameter(call, PLATFORM_OF_PUSH)) and not request.all_tags:
        platforms.check(
            wanted, reference, (await call_again(lambda: call.peers.images.Get(pb.GetRequest(image=reference)), what=_WHAT)).image
        )
    await store_there(call)
    output = Output(call)
    stream = call.peers.images.Push(request)
    try:
        async for item in stream:
            if item.WhichOneof("step") == "progress":
                await output.send(progress(item.progress))
            else:
                await output.send({"progressDetail": {}, "aux": _pushed(item.pushed)})
    except (SkerryError, grpc.aio.AioRpcError) as error:
        if not call.begun:
            raise
        # Without a code, as Docker: clients put words of their own in the place of a 401's.
        await output.send(failure(status_of(error)[1]))
    finally:
        stream.cancel()
    return await output.end()


def _pushed(item: pb.Pushed) -> dict[str, Any]:
    return {"Tag": item.tag, "Digest": item.digest, "Size": item.size}


async def login(call: Call) -> web.StreamResponse:
    """POST /auth."""
    fields = _body_auth(await call.body())
    # Not repeated: registries count failures.
    answer = await once(lambda: call.peers.images.Login(pb.LoginRequest(auth=auth_of(fields))))
    return json({"IdentityToken": answer.identity_token, "Status": answer.status})


async def search(call: Call) -> web.StreamResponse:
    """GET /images/search."""
    limit = call.number("limit")
    wanted = filters.parse(call.text("filters"), _SEARCH_FILTERS)
    request = pb.SearchRequest(
        term=call.text("term"), limit=_limit(_DEFAULT_LIMIT if limit is None else limit), auth=_header_auth(call), stars=_stars(wanted)
    )
    if (official := _only(wanted, "is-official")) is not None:
        request.is_official = official
    if (automated := _only(wanted, "is-automated")) is not None:
        request.is_automated = automated
    answer = await call_again(lambda: call.peers.images.Search(request), what=_WHAT)
    return json(
        [
            {
                "star_count": one.star_count,
                "is_official": one.is_official,
                "name": one.name,
                "is_automated": one.is_automated,
                "description": one.description,
            }
            for one in answer.results
        ]
    )


def _limit(value: int) -> int:
    if not 1 <= value <= _MAX_LIMIT:
        raise InvalidArgument(f"Limit {value} is outside the range of [1, {_MAX_LIMIT}]")
    return value


def _only(wanted: filters.Filters, name: str) -> bool | None:
    """Returns a filter that must be exactly "true" or "false"."""
    values = wanted.get(name)
    if not values:
        return None
    if values not in (["true"], ["false"]):
        raise InvalidArgument(f"Invalid filter '{name}=[{' '.join(values)}]'")
    return values == ["true"]


def _stars(wanted: filters.Filters) -> int:
    """Returns the largest of the given numbers, as Docker takes it."""
    most = 0
    for text in wanted.get("stars"):
        try:
            most = max(most, int(text, 10))
        except ValueError:
            raise InvalidArgument(f"Invalid filter 'stars={text}'") from None
    return min(most, _MAX_STARS)


async def distribution(call: Call) -> web.StreamResponse:
    """GET /distribution/{name}/json."""
    name = call.params["name"]
    if name.startswith("sha256:") and len(name) == len("sha256:") + 64:
        raise Failed("no manifest found for full image ID")
    request = pb.DescribeRequest(reference=name, auth=_header_auth(call))
    answer = await call_again(lambda: call.peers.images.Describe(request), what=_WHAT)
    descriptor = {"mediaType": answer.media_type, "digest": answer.digest, "size": answer.size}
    return json({"Descriptor": descriptor, "Platforms": [platform(one) for one in answer.platforms] or None})


ROUTES: list[Route] = [
    ("POST", "/auth", login),
    ("GET", "/images/search", search),
    ("POST", "/images/{name...}/push", push),
    ("GET", "/distribution/{name...}/json", distribution),
]
