"""`skerry images user`: the file of those who may use the store as a registry (SKERRY_IMAGES_DISTRIBUTION_USERS).

One user a line, NAME:HASH[:RIGHTS]; the service reads it again when it changes.
"""

import getpass
import os
import re
import sys

from skerry.core import passwords
from skerry.core.errors import InvalidArgument
from skerry.core.files import write_atomic

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}\Z")
_RIGHT = re.compile(r"(?:pull|push|delete)=[a-z0-9._/*?\[\]-]+\Z")


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def _write(path: str, lines: list[str]) -> None:
    write_atomic(path, "".join(f"{line}\n" for line in lines).encode())


def _password(*, from_stdin: bool) -> str:
    if from_stdin or not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise InvalidArgument("the passwords differ")
    return first


def add(path: str, name: str, rights: str, *, from_stdin: bool) -> int:
    """Adds a user, or gives one another password and rights. The password comes from the terminal, or is the first line of stdin."""
    if not _NAME.match(name):
        raise InvalidArgument(f"invalid user name {name!r}")
    if bad := next((word for word in rights.split() if not _RIGHT.match(word)), None):
        raise InvalidArgument(f"invalid right {bad!r}: want pull=PATTERN, push=PATTERN or delete=PATTERN")
    kept = passwords.hashed(_password(from_stdin=from_stdin))
    line = f"{name}:{kept}:{' '.join(rights.split())}" if rights.split() else f"{name}:{kept}"
    others = [one for one in _lines(path) if not one.startswith(f"{name}:")]
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    _write(path, [*others, line])
    return 0


def remove(path: str, name: str) -> int:
    """Removes a user; returns 1 when there is none of that name."""
    lines = _lines(path)
    left = [one for one in lines if not one.startswith(f"{name}:")]
    if len(left) == len(lines):
        sys.stderr.write(f"error: no user {name} in {path}\n")
        return 1
    _write(path, left)
    return 0


def show(path: str) -> int:
    """Prints each user with the rights."""
    for line in _lines(path):
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(":")
            print(f"{name}\t{rest.partition(':')[2] or 'everything'}")
    return 0
