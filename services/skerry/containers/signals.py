"""Signal names as Docker takes them: TERM, SIGTERM, 15, RTMIN+3."""

import signal

from skerry.core.errors import InvalidArgument

_RTMIN = 34
_RTMAX = 64
_NAMES = {entry.name.removeprefix("SIG"): int(entry) for entry in signal.Signals if entry.name not in ("SIGRTMIN", "SIGRTMAX")}


def parse_signal(text: str) -> int:
    """Returns the number. Raises InvalidArgument "Invalid signal: X"."""
    name = text.upper().removeprefix("SIG")
    if name.isascii() and name.isdigit():
        number = int(name[:4])
    elif name.startswith("RTMIN"):
        number = _RTMIN + _offset(name.removeprefix("RTMIN"), "+", text)
    elif name.startswith("RTMAX"):
        number = _RTMAX - _offset(name.removeprefix("RTMAX"), "-", text)
    else:
        number = _NAMES.get(name, 0)
    if not 1 <= number <= _RTMAX:
        raise InvalidArgument(f"Invalid signal: {text}")
    return number


def _offset(rest: str, sign: str, text: str) -> int:
    if not rest:
        return 0
    if rest[0] != sign or not (rest[1:].isascii() and rest[1:].isdigit()) or int(rest[1:][:4]) > _RTMAX - _RTMIN:
        raise InvalidArgument(f"Invalid signal: {text}")
    return int(rest[1:])
