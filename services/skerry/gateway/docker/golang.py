"""Reading JSON as Go's decoder does: keys in any case, null as absent, unknown keys ignored, wrong types refused in its words.

A shape names a struct's fields in order, with a kind each. Source: encoding/json; the shapes' users say which structs they follow.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from skerry.gateway.errors import BadInput

Kind = Any  # one of the constants below, a Shape, or List/Map of a kind
Shape = Mapping[str, Kind]

STRING = "string"
BOOL = "bool"
INT = "int64"
UINT = "uint64"
# A list of strings, or one string that stands for a list of one (entrypoint, cmd).
STRINGS = "strslice.StrSlice"
# Any object, kept as it is.
OBJECT = "map[string]struct {}"
ANY = "interface {}"


class List:
    """A list of one kind."""

    def __init__(self, item: Kind) -> None:
        self.item = item


class Map:
    """An object with free keys and values of one kind."""

    def __init__(self, item: Kind) -> None:
        self.item = item


def parse(raw: bytes, shape: Shape, name: str) -> dict[str, Any]:
    """Decodes raw by shape; name is the Go struct's, for texts. Absent and null fields are left out. Raises BadInput."""
    if not raw.strip():
        raise BadInput("invalid JSON: got EOF while reading request body")
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"invalid JSON: {error}") from None
    if document is None:
        return {}
    return _struct(document, shape, name, name)


def _struct(value: Any, shape: Shape, struct: str, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, path, struct)
    exact = {key.lower(): key for key in shape}
    result: dict[str, Any] = {}
    for key, item in value.items():
        name = key if key in shape else exact.get(key.lower())
        if name is None or item is None:
            continue
        result[name] = _value(item, shape[name], f"{path}.{name}")
    return result


def _value(value: Any, kind: Kind, path: str) -> Any:
    if isinstance(kind, List):
        if not isinstance(value, list):
            raise _wrong(value, path, "[]" + _type(kind.item))
        return [_value(item, kind.item, path) if item is not None else _zero(kind.item) for item in value]
    if isinstance(kind, Map):
        if not isinstance(value, dict):
            raise _wrong(value, path, "map[string]" + _type(kind.item))
        return {key: _value(item, kind.item, path) if item is not None else _zero(kind.item) for key, item in value.items()}
    if isinstance(kind, Mapping):
        return _struct(value, kind, "struct", path)
    return _scalar(value, kind, path)


def _scalar(value: Any, kind: Kind, path: str) -> Any:
    if kind == STRINGS:
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        raise _wrong(value, path, kind)
    if kind in (INT, UINT):
        if isinstance(value, bool) or not isinstance(value, int) or (kind == UINT and value < 0) or not -(2**63) <= value < 2**63:
            raise _wrong(value, path, kind)
        return value
    expected = {STRING: str, BOOL: bool, OBJECT: dict, ANY: object}[kind]
    if not isinstance(value, expected):
        raise _wrong(value, path, kind)
    return value


def _zero(kind: Kind) -> Any:
    if isinstance(kind, (List, Map)) or kind == STRINGS:
        return None
    if isinstance(kind, Mapping) or kind == OBJECT:
        return {}
    return {STRING: "", BOOL: False, INT: 0, UINT: 0}.get(kind)


def _type(kind: Kind) -> str:
    return kind if isinstance(kind, str) else "struct"


def _wrong(value: Any, path: str, kind: str) -> BadInput:
    word = {str: "string", bool: "bool", list: "array", dict: "object", int: "number", float: "number"}.get(type(value), "value")
    where = f"Go struct field {path}" if "." in path else "Go value"
    return BadInput(f"json: cannot unmarshal {word} into {where} of type {kind}")
