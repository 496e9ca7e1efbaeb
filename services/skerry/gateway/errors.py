"""The one map from failures to HTTP statuses, and the bodies they get."""

import logging

import grpc.aio
import msgspec
from aiohttp import web

from skerry.core import errors
from skerry.core.rpc.errors import from_rpc

_log = logging.getLogger(__name__)

HTTP: dict[type[errors.SkerryError], int] = {
    errors.InvalidArgument: 400,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.NotModified: 304,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotSupported: 501,
    errors.Unavailable: 503,
    errors.Failed: 500,
}


class BadInput(errors.InvalidArgument):
    """Input that could not even be read (no JSON, no number, no one container): old API versions answer these with 500."""


class TooLarge(errors.InvalidArgument):
    """A request body above its limit: 413."""


def status_of(error: BaseException, *, bad_input: int = 400) -> tuple[int, str]:
    """Returns HTTP status and message for whatever a handler raised. bad_input is what BadInput means in the request's version."""
    if isinstance(error, grpc.aio.AioRpcError):
        known = from_rpc(error)
        if known is None:
            return 500, error.details() or error.code().name
        error = known
    if isinstance(error, BadInput):
        return bad_input, str(error)
    if isinstance(error, TooLarge):
        return 413, str(error)
    if isinstance(error, errors.SkerryError):
        return HTTP[type(error)], str(error)
    return 500, f"{type(error).__name__}: {error}"


def message(text: str) -> bytes:
    """Returns Docker's error body."""
    return msgspec.json.encode({"message": text}) + b"\n"


def response(error: BaseException, *, head: bool = False, bad_input: int = 400, headers: dict[str, str] | None = None) -> web.Response:
    """Returns the answer for whatever a handler raised before it began its own response. Logs what is a bug."""
    if not isinstance(error, (errors.SkerryError, grpc.aio.AioRpcError)):
        _log.error("handler failed", exc_info=error)
    status, text = status_of(error, bad_input=bad_input)
    if status == 304:
        return web.Response(status=304, headers=headers)
    return web.Response(status=status, body=b"" if head else message(text), content_type="application/json", headers=headers)
