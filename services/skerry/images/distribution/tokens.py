"""Bearer tokens (Docker's token authentication): JSON Web Tokens (RFC 7519, HS256), made and checked by this store alone."""

import base64
import hashlib
import hmac
import os
import time

import msgspec

from skerry.core.errors import Failed, InvalidArgument
from skerry.core.files import write_atomic

ACCESS_SECONDS = 300
REFRESH_SECONDS = 90 * 86400
_KEY_BYTES = 32
_MAX_TOKEN = 16384
_HEAD = {"alg": "HS256", "typ": "JWT"}


class Access(msgspec.Struct, frozen=True):
    """What a token lets its bearer do with one resource ("repository", name) or ("registry", "catalog")."""

    type: str
    name: str
    actions: tuple[str, ...] = ()


class Claims(msgspec.Struct, frozen=True):
    """A token's content. use: "access" or "refresh"; mark: of a refresh token, a digest of the password's hash it was given for."""

    sub: str
    aud: str
    use: str
    iat: int
    exp: int
    access: tuple[Access, ...] = ()
    mark: str = ""


class Tokens:
    """Signs and checks, for one service name."""

    def __init__(self, key: bytes, service: str) -> None:
        self._key = key
        self.service = service

    def access(self, user: str, granted: tuple[Access, ...]) -> str:
        """Returns a token for ACCESS_SECONDS."""
        now = int(time.time())
        return self._sign(Claims(user, self.service, "access", now, now + ACCESS_SECONDS, granted))

    def refresh(self, user: str, kept_hash: str) -> str:
        """Returns a refresh token for REFRESH_SECONDS, or until the password changes."""
        now = int(time.time())
        return self._sign(Claims(user, self.service, "refresh", now, now + REFRESH_SECONDS, (), self.mark(kept_hash)))

    def mark(self, kept_hash: str) -> str:
        """Returns what of a password's hash stands in a refresh token."""
        return hmac.digest(self._key, kept_hash.encode(), hashlib.sha256).hex()[:32]

    def check(self, token: str, use: str) -> Claims | None:
        """Returns the claims of a token that was made here for this use and holds now; None for any other."""
        head, _, rest = token.partition(".")
        body, _, signature = rest.partition(".")
        if len(token) > _MAX_TOKEN or not signature or not token.isascii():
            return None
        if not hmac.compare_digest(signature, _text(hmac.digest(self._key, f"{head}.{body}".encode(), hashlib.sha256))):
            return None
        try:
            if msgspec.json.decode(_bytes(head)) != _HEAD:
                return None
            claims = msgspec.json.decode(_bytes(body), type=Claims)
        except (msgspec.DecodeError, ValueError):
            return None
        return claims if claims.use == use and claims.aud == self.service and claims.exp > time.time() else None

    def _sign(self, claims: Claims) -> str:
        signed = f"{_text(msgspec.json.encode(_HEAD))}.{_text(msgspec.json.encode(claims))}"
        return f"{signed}.{_text(hmac.digest(self._key, signed.encode(), hashlib.sha256))}"


def load_key(path: str) -> bytes:
    """Returns the key kept at path, made when there is none. Blocks. Raises InvalidArgument, Failed."""
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        write_atomic(path, os.urandom(_KEY_BYTES).hex().encode())
    try:
        with open(path, "rb") as file:
            key = file.read(1024).strip()
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror}") from None
    if len(key) < _KEY_BYTES:
        raise InvalidArgument(f"the key in {path} has less than {_KEY_BYTES} bytes")
    return key


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
