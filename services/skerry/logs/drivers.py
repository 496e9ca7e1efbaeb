"""Logging drivers by name, and their options checked as `docker create` does (texts: moby daemon/logger)."""

import re
from collections.abc import Callable, Mapping

import msgspec

from skerry.core.errors import InvalidArgument
from skerry.logs import attributes

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(i?b?)\Z", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
# Read by the node, or common to all drivers.
_COMMON = frozenset({"mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"})
_JSON_FILE = frozenset({"max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag"})


class Driver(msgspec.Struct, frozen=True):
    """What a driver accepts. check raises InvalidArgument; stored tells whether `docker logs` reads its json-file."""

    name: str
    check: Callable[[Mapping[str, str]], None]
    stored: bool


def human_size(text: str) -> int:
    """Reads "10m" as units.FromHumanSize does: powers of 1000. Raises InvalidArgument."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise InvalidArgument(f"invalid size: '{text}'")
    return int(float(match[1]) * 1000 ** _POWER[match[2].lower()])


def binary_size(text: str) -> int:
    """Reads "1m" as units.RAMInBytes does: powers of 1024. Raises InvalidArgument."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise InvalidArgument(f"invalid size: '{text}'")
    return int(float(match[1]) * 1024 ** _POWER[match[2].lower()])


class JsonFileOptions(msgspec.Struct, frozen=True):
    """max_size in bytes; 0: unlimited."""

    max_size: int = 0
    max_file: int = 1
    compress: bool = False


def json_file_options(options: Mapping[str, str]) -> JsonFileOptions:
    """Reads json-file's options. Raises InvalidArgument in Docker's words."""
    max_size = 0
    if "max-size" in options:
        max_size = human_size(options["max-size"])
        if max_size <= 0:
            raise InvalidArgument("max-size must be a positive number")
    files = options.get("max-file", "1")
    if not re.fullmatch(r"[+-]?\d+", files):
        raise InvalidArgument(f'strconv.Atoi: parsing "{files}": invalid syntax')
    max_file = int(files)
    if max_file < 1:
        raise InvalidArgument("max-file cannot be less than 1")
    compress = _boolean(options.get("compress", "false"))
    if compress and (max_file < 2 or not max_size):
        raise InvalidArgument("compress cannot be true when max-file is less than 2 or max-size is not set")
    return JsonFileOptions(max_size, max_file, compress)


def _boolean(text: str) -> bool:
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise InvalidArgument(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def _check_json_file(options: Mapping[str, str]) -> None:
    for key in options:
        if key not in _JSON_FILE and key not in _COMMON:
            raise InvalidArgument(f"unknown log opt '{key}' for json-file log driver")
    attributes.check(options)
    json_file_options(options)


def _check_none(options: Mapping[str, str]) -> None:
    """`none` takes whatever it is given, as Docker's does."""


# A driver that only stores is one line here; one that also forwards has a module in forwarders/ and its line there.
DRIVERS = {
    "json-file": Driver("json-file", _check_json_file, stored=True),
    "none": Driver("none", _check_none, stored=False),
}


def checked(name: str, options: Mapping[str, str]) -> Driver:
    """Returns the driver when name and options are right. Raises InvalidArgument in Docker's words."""
    driver = DRIVERS.get(name)
    if driver is None:
        raise InvalidArgument(f"logger: no log driver named '{name}' is registered")
    if driver.stored:
        _check_mode(options)
    driver.check(options)
    return driver


def _check_mode(options: Mapping[str, str]) -> None:
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise InvalidArgument(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise InvalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        try:
            binary_size(options["max-buffer-size"])
        except InvalidArgument as error:
            raise InvalidArgument(f"error parsing option max-buffer-size: {error}") from None
    if "cache-disabled" in options:
        try:
            _boolean(options["cache-disabled"])
        except InvalidArgument:
            raise InvalidArgument(f"invalid value for option cache-disabled: {options['cache-disabled']}") from None
