"""Image configurations (OCI image config, Docker's image JSON) and what the catalog keeps of them."""

import datetime
import hashlib
import re
from typing import Any

import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.images.manifest import MAX_CONFIG, MAX_LAYERS
from skerry.images.reference import is_digest

MAX_ITEMS = 10_000
# With the document itself (MAX_CONFIG) well below what one message may have.
MAX_INHERITED = 2 << 20


class RootFs(msgspec.Struct):
    """The layers of an image, lowest first."""

    # Go writes null for what it has not.
    diff_ids: list[str] | None = None


class Document(msgspec.Struct):
    """The fields we act on; everything else stays in the verbatim JSON."""

    architecture: str | None = None
    os: str | None = None
    variant: str | None = None
    created: str | None = None
    rootfs: RootFs | None = None
    config: dict[str, Any] | None = None

    def diff_ids(self) -> list[str]:
        """Returns the layers, lowest first."""
        return (self.rootfs.diff_ids or []) if self.rootfs else []


def decode(data: bytes) -> Document:
    """Reads a configuration. Raises InvalidArgument when it is no image's, or hostile."""
    if len(data) > MAX_CONFIG:
        raise InvalidArgument(f"image configuration is larger than {MAX_CONFIG} bytes")
    try:
        data.decode()  # the decoder skips over fields it need not know without looking at their encoding
        document = msgspec.json.decode(data, type=Document)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise InvalidArgument(f"invalid image configuration: {error}") from None
    if document.rootfs is None:
        raise InvalidArgument("invalid image JSON, no RootFS key")
    if len(document.diff_ids()) > MAX_LAYERS:
        raise InvalidArgument(f"image has more than {MAX_LAYERS} layers")
    if not all(is_digest(one) for one in document.diff_ids()):
        raise InvalidArgument("invalid diff_id in image configuration")
    return document


def admit(data: bytes) -> Document:
    """Reads the configuration of an image that is to be stored: what is admitted can be listed and inspected at little cost.

    Raises InvalidArgument as `decode`, and when it holds more than any image has use for.
    """
    document = decode(data)
    raw = document.config or {}
    for key in ("Env", "Entrypoint", "Cmd", "Labels", "ExposedPorts", "Volumes", "Shell"):
        if isinstance(raw.get(key), list | dict) and len(raw[key]) > MAX_ITEMS:
            raise InvalidArgument(f"invalid image configuration: more than {MAX_ITEMS} items in {key}")
    size = to_config(document).ByteSize()
    if size > MAX_INHERITED:
        raise InvalidArgument(f"invalid image configuration: what containers inherit has {size} bytes, more than {MAX_INHERITED}")
    return document


def chain_ids(diff_ids: list[str]) -> list[str]:
    """Returns the chain id of each layer (OCI image spec, Layer ChainID)."""
    chain: list[str] = []
    for diff_id in diff_ids:
        text = f"{chain[-1]} {diff_id}" if chain else diff_id
        chain.append(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" if chain else diff_id)
    return chain


_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\d*(Z|z|[+-]\d\d:\d\d)\Z")


def parse_time(text: str | None) -> int:
    """Returns Unix nanoseconds of an RFC 3339 time; 0 for none, nonsense, or Go's zero time."""
    match = _TIME.match(text or "")
    if match is None:
        return 0
    whole, fraction, zone = match.groups()
    try:
        seconds = datetime.datetime.fromisoformat(whole + ("+00:00" if zone in "Zz" else zone)).timestamp()
    except (ValueError, OverflowError):
        return 0
    return max(0, int(seconds) * 10**9 + int((fraction or "").ljust(9, "0")))


def format_time(time_ns: int) -> str:
    """Returns RFC 3339 with nanoseconds as Go prints it (trailing zeros cut)."""
    seconds, nanoseconds = divmod(time_ns, 10**9)
    text = datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return f"{text}{fraction}Z"


def _list(value: object, what: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidArgument(f"invalid image configuration: {what} is not a list of strings")
    return value


def _keys(value: object, what: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, dict):
        raise InvalidArgument(f"invalid image configuration: {what} is not an object")
    return sorted(value)


def to_config(document: Document) -> pb.ImageConfig:
    """Returns what a container inherits. Raises InvalidArgument for ill-typed fields."""
    raw = document.config or {}
    config = pb.ImageConfig(
        user=_text(raw, "User"),
        env=_list(raw.get("Env"), "Env"),
        working_dir=_text(raw, "WorkingDir"),
        exposed_ports=_keys(raw.get("ExposedPorts"), "ExposedPorts"),
        volumes=_keys(raw.get("Volumes"), "Volumes"),
        stop_signal=_text(raw, "StopSignal"),
        shell=_list(raw.get("Shell"), "Shell"),
    )
    if raw.get("Entrypoint") is not None:
        config.entrypoint.values.extend(_list(raw["Entrypoint"], "Entrypoint"))
    if raw.get("Cmd") is not None:
        config.cmd.values.extend(_list(raw["Cmd"], "Cmd"))
    for key in _keys(raw.get("Labels"), "Labels"):
        value = raw["Labels"][key]
        if not isinstance(value, str | None):
            raise InvalidArgument("invalid image configuration: a label is not a string")
        config.labels[key] = value or ""
    if raw.get("Healthcheck"):
        if not isinstance(raw["Healthcheck"], dict):
            raise InvalidArgument("invalid image configuration: Healthcheck is not an object")
        config.healthcheck_json = msgspec.json.encode(raw["Healthcheck"]).decode()
    return config


def _text(raw: dict[str, Any], key: str) -> str:
    value = raw.get(key) or ""
    if not isinstance(value, str):
        raise InvalidArgument(f"invalid image configuration: {key} is not a string")
    return value
