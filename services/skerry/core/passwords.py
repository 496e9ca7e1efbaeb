"""Passwords as they are kept: scrypt (RFC 7914) with a salt of their own. Blocks some 50 ms: call on a thread."""

import base64
import hashlib
import hmac
import os

from skerry.core.errors import InvalidArgument

# 16 MiB for each check.
_LOG_N, _R, _P = 14, 8, 1
_MAX_LOG_N = 18
_MAX_PASSWORD = 1024


def hashed(password: str) -> str:
    """Returns what to keep: "scrypt$LOG2N$SALT$KEY". Raises InvalidArgument for a password that is empty, too long, or has a NUL in it."""
    data = password.encode()
    # HMAC, which scrypt is made of, does not tell a key from the same with NULs behind it.
    if not 0 < len(data) <= _MAX_PASSWORD or b"\0" in data:
        raise InvalidArgument(f"a password has 1 to {_MAX_PASSWORD} bytes, none of them NUL")
    salt = os.urandom(16)
    return f"scrypt${_LOG_N}${_text(salt)}${_text(_key(data, salt, _LOG_N))}"


def matches(kept: str, password: str) -> bool:
    """Tells whether a password is the one that was kept. False also for what `well_formed` denies."""
    data = password.encode("utf-8", "surrogatepass")
    if not well_formed(kept) or len(data) > _MAX_PASSWORD or b"\0" in data:
        return False
    _, log_n, salt, key = kept.split("$")
    return hmac.compare_digest(_key(data, base64.b64decode(salt), int(log_n)), base64.b64decode(key))


def well_formed(kept: str) -> bool:
    """Tells whether text is of the form that `hashed` returns."""
    parts = kept.split("$")
    if len(parts) != 4 or parts[0] != "scrypt" or not (parts[1].isdigit() and 10 <= int(parts[1]) <= _MAX_LOG_N):
        return False
    try:
        return len(base64.b64decode(parts[2], validate=True)) >= 8 and len(base64.b64decode(parts[3], validate=True)) == 32
    except ValueError:
        return False


def _key(data: bytes, salt: bytes, log_n: int) -> bytes:
    n = 1 << log_n
    return hashlib.scrypt(data, salt=salt, n=n, r=_R, p=_P, maxmem=256 * n * _R, dklen=32)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
