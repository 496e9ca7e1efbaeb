"""Identifiers as Docker makes them: 64 hexadecimal digits from the system's random source."""

import os
import re

_HEX64 = re.compile(r"[0-9a-f]{64}\Z")
SHORT = 12


def new_id() -> str:
    """Returns a fresh id. Never one whose first 12 digits are a number, as those would be bad host names (Docker's rule)."""
    while True:
        value = os.urandom(32).hex()
        if not value[:SHORT].isdigit():
            return value


def is_id(text: str) -> bool:
    """Tells whether text is a full id, fit for a path component."""
    return _HEX64.match(text) is not None


def short(value: str) -> str:
    """Returns the 12 digits that people see."""
    return value.removeprefix("sha256:")[:SHORT]
