"""One HTTP request as handlers see it: version, path parameters, query, body, and the answers they give."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from skerry.api.containers.v1 import containers_pb2
from skerry.core import ids
from skerry.core.errors import InvalidArgument
from skerry.core.rpc.channel import call_again
from skerry.gateway.errors import BadInput, TooLarge
from skerry.gateway.peers import Peers
from skerry.gateway.versions import CURRENT, Version

JSON_LIMIT = 4 << 20
COMMON_HEADERS = {
    "Api-Version": str(CURRENT),
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": "Docker/28.0.0-skerry.0.1.0 (linux)",
}
_FALSE = frozenset({"", "0", "no", "false", "none"})


@dataclass(slots=True)
class Call:
    """One request. Handlers return a response or raise; see errors.py for what becomes of that."""

    request: web.BaseRequest
    version: Version
    params: Mapping[str, str]
    peers: Peers
    # The response's head is out: an error can only be shown by cutting the answer off.
    begun: bool = False

    def text(self, name: str, default: str = "") -> str:
        """Returns a query parameter."""
        return self.request.query.get(name, default)

    def flag(self, name: str, default: bool = False) -> bool:
        """Returns a query parameter as Docker's BoolValue: everything but empty, 0, no, false, none is true."""
        value = self.request.query.get(name)
        return default if value is None else value.strip().lower() not in _FALSE

    def number(self, name: str) -> int | None:
        """Returns a query parameter as int, None when absent. Raises BadInput in Go's words."""
        value = self.request.query.get(name)
        if not value:
            return None
        try:
            return int(value, 10)
        except ValueError:
            raise BadInput(f'strconv.Atoi: parsing "{value}": invalid syntax') from None

    async def body(self, limit: int = JSON_LIMIT) -> bytes:
        """Returns the whole body. Raises TooLarge."""
        length = self.request.content_length
        if length is not None and length > limit:
            raise TooLarge(f"request body of {length} bytes is larger than {limit}")
        if not self.request.can_read_body:
            return b""
        pieces: list[bytes] = []
        size = 0
        async for piece in self.request.content.iter_any():
            size += len(piece)
            if size > limit:
                raise TooLarge(f"request body is larger than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def json_body(self) -> bytes:
        """Returns the body of a request that must say application/json. Raises InvalidArgument, TooLarge."""
        body = await self.body()
        kind = self.request.headers.get("Content-Type", "")
        if body and kind.partition(";")[0].strip().lower() != "application/json":
            if kind:
                raise InvalidArgument(f"Content-Type specified ({kind}) must be 'application/json'")
            raise InvalidArgument("Content-Type header is required and must be 'application/json'")
        return body

    async def container(self, *, size: bool = False) -> containers_pb2.Container:
        """Returns the container that the path names. Raises NotFound, BadInput."""
        return await find(self.peers, self.params["id"], size=size)

    async def container_id(self) -> str:
        """Returns the full id of the container that the path names, asking the node only when it is not one already."""
        name = self.params["id"]
        return name if ids.is_id(name) else (await self.container()).id


async def find(peers: Peers, name: str, *, size: bool = False) -> containers_pb2.Container:
    """Returns a container by id, prefix or name. Raises NotFound, BadInput (several have the prefix)."""
    request = containers_pb2.GetRequest(container=name, size=size)
    try:
        return (await call_again(lambda: peers.containers.Get(request), what="the container service")).container
    except InvalidArgument as error:
        raise BadInput(str(error)) from None


Handler = Callable[[Call], Awaitable[web.StreamResponse]]
# method, path pattern ("{name}" one segment, "{name...}" several), handler
Route = tuple[str, str, Handler]


def json(document: Any, status: int = 200) -> web.Response:
    """Answers a JSON document, with the newline that Go's encoder writes."""
    return json_text(encoded(document), status)


def encoded(document: Any) -> bytes:
    """Returns a document as JSON, as `json` answers it."""
    return msgspec.json.encode(document) + b"\n"


def json_text(text: bytes, status: int = 200) -> web.Response:
    """Answers JSON that is encoded already."""
    return web.Response(status=status, body=text, content_type="application/json", headers=COMMON_HEADERS)


def empty(status: int = 204) -> web.Response:
    """Answers without a body."""
    return web.Response(status=status, headers=COMMON_HEADERS)


async def streaming(call: Call, content_type: str | None = "application/json", status: int = 200) -> web.StreamResponse:
    """Sends the head of a chunked answer at once. content_type None: says none, as old versions did for logs."""
    response = web.StreamResponse(status=status, headers=COMMON_HEADERS)
    response.enable_chunked_encoding()
    if content_type is not None:
        response.headers["Content-Type"] = content_type
    call.begun = True
    await response.prepare(call.request)
    return response


def registry_auth(header: str) -> dict[str, str]:
    """Returns the fields of X-Registry-Auth (base64url JSON, padding optional). Unreadable ones count as none, as Docker does."""
    try:
        raw = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
        document = msgspec.json.decode(raw or b"{}")
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {str(key).lower(): value for key, value in document.items() if isinstance(value, str)}
