"""How the API says no: the error codes of the OCI distribution specification (1.1, "Error Codes")."""

from collections.abc import Mapping

import msgspec
from aiohttp import web

from skerry.core.errors import (
    Conflict,
    Forbidden,
    InvalidArgument,
    NotFound,
    NotSupported,
    SkerryError,
    Unauthorized,
    Unavailable,
)

_STATUS = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DENIED": 403,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "SIZE_INVALID": 400,
    "TOOMANYREQUESTS": 429,
    "UNAUTHORIZED": 401,
    "UNSUPPORTED": 405,
}


class Refusal(Exception):
    """An answer that is no success. status: when it is not the code's usual one."""

    def __init__(self, code: str, message: str, *, status: int = 0, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status or _STATUS[code]
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        """Returns it as the specification writes it."""
        body = msgspec.json.encode({"errors": [{"code": self.code, "message": str(self), "detail": None}]})
        return web.Response(status=self.status, body=body, content_type="application/json", headers=self.headers)


def refusal_of(error: SkerryError) -> Refusal:
    """Returns what another part of the store said no with."""
    text = str(error)
    if isinstance(error, InvalidArgument):
        return Refusal("MANIFEST_INVALID", text)
    if isinstance(error, NotFound):
        return Refusal("MANIFEST_UNKNOWN", text)
    if isinstance(error, Forbidden | Unauthorized):
        return Refusal("DENIED", text)
    if isinstance(error, Conflict):
        return Refusal("DENIED", text, status=409)
    if isinstance(error, NotSupported):
        return Refusal("UNSUPPORTED", text)
    if isinstance(error, Unavailable):
        return Refusal("TOOMANYREQUESTS", text, status=503)
    return Refusal("UNSUPPORTED", text, status=500)
