"""Signal names as Docker takes them: TERM, SIGTERM, 15, RTMIN+3."""

import re
import signal

from skerry.core.errors import InvalidArgument

_RTMIN, _RTMAX = 34, 64
# Docker names the lower half by RTMIN, the upper by RTMAX.
_ABOVE, _BELOW = 15, 14
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}\Z")
_NAMES = {entry.name.removeprefix("SIG"): int(entry) for entry in signal.Signals}
_NAMES |= {name.removeprefix("SIG"): int(getattr(signal, name)) for name in ("SIGCLD", "SIGIOT", "SIGPOLL") if hasattr(signal, name)}
_NAMES |= {"RTMIN": _RTMIN, "RTMAX": _RTMAX}
_NAMES |= {f"RTMIN+{offset}": _RTMIN + offset for offset in range(1, _ABOVE + 1)}
_NAMES |= {f"RTMAX-{offset}": _RTMAX - offset for offset in range(1, _BELOW + 1)}
_NUMBERS = frozenset(_NAMES.values())


def parse_signal(text: str) -> int:
    """Returns the number. Any number but 0 is one: see `supported`. Raises InvalidArgument "Invalid signal: X"."""
    number = int(text) if _NUMBER.match(text) else _NAMES.get(text.upper().removeprefix("SIG"), 0)
    if number == 0:
        raise InvalidArgument(f"Invalid signal: {text}")
    return number


def supported(number: int) -> int:
    """Returns number. Raises InvalidArgument in Docker's words when Linux has no such signal."""
    if number not in _NUMBERS:
        raise InvalidArgument(f"The linux daemon does not support signal {number % 2**64}")
    return number
