"""Settings: one frozen msgspec.Struct per service, read once from the environment, passed down by constructor."""

import os
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from skerry.core.errors import InvalidArgument

T = TypeVar("T", bound=msgspec.Struct)

_SHARED = {"root", "run"}


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """What every service can be told; each service's own struct inherits these fields and gives `listen` its default."""

    # Base of data and of sockets; see docs/architecture.md.
    root: str = "/var/lib/skerry"
    run: str = "/run/skerry"
    # "unix:PATH" or "HOST:PORT"; empty: unix:RUN/SERVICE.sock.
    listen: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    insecure_tcp: bool = False
    # "unix:PATH" or "HOST:PORT"; empty: unix:RUN/SERVICE.metrics.sock; "off": nowhere.
    metrics: str = ""
    # Seconds that calls under way get at the end.
    drain: float = 2.0
    log_level: str = "info"
    # text or json.
    log_format: str = "text"


def from_env(cls: type[T], prefix: str, environ: Mapping[str, str] | None = None) -> T:
    """Reads PREFIX + FIELD variables into cls.

    Raises InvalidArgument that names the variable when one is unknown or ill-typed, or a required one is missing.
    Booleans are true/false/1/0, lists are comma separated. SKERRY_ROOT and SKERRY_RUN stand for PREFIX_ROOT and PREFIX_RUN.
    """
    environ = os.environ if environ is None else environ
    fields = {field.name: field for field in msgspec.structs.fields(cls)}
    values: dict[str, object] = {
        key: environ[f"SKERRY_{key.upper()}"] for key in _SHARED & fields.keys() if f"SKERRY_{key.upper()}" in environ
    }
    for name, raw in environ.items():
        if not name.startswith(prefix):
            continue
        key = name[len(prefix) :].lower()
        if key not in fields:
            raise InvalidArgument(f"unknown setting {name}: known are {', '.join(prefix + f.upper() for f in fields)}")
        values[key] = _convert(name, raw, fields[key].type)
    try:
        return msgspec.convert(values, cls, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"settings {prefix}*: {error}") from None


def _convert(name: str, raw: str, kind: object) -> object:
    origin = getattr(kind, "__origin__", None)
    value: object = raw
    if origin in (list, tuple):
        value = [part.strip() for part in raw.split(",") if part.strip()]
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"bad value for setting {name}: {raw!r}: {error}") from None
