"""Who may do what: the users' file, written by `skerry images user`.

One user a line, `NAME:HASH[:RIGHTS]`; RIGHTS are `ACTION=PATTERN` separated by spaces, ACTION one of pull, push (which includes pull) and
delete (which includes both), PATTERN a repository name with `*` for any characters. Without RIGHTS everything is allowed.
"""

import asyncio
import fnmatch
import hashlib
import hmac
import os
import time

import msgspec

from skerry.core import passwords
from skerry.core.errors import InvalidArgument

ACTIONS = ("pull", "push", "delete")
# What an action's right includes.
_INCLUDED = {"pull": {"pull"}, "push": {"pull", "push"}, "delete": {"pull", "push", "delete"}}
_MAX_FILE = 4 << 20
# Checks of passwords at once; each takes 16 MiB.
_CHECKS = 2
_REMEMBERED_SECONDS = 300.0
_MAX_REMEMBERED = 1000


class Right(msgspec.Struct, frozen=True):
    """Actions on the repositories whose names match."""

    actions: frozenset[str]
    pattern: str


class User(msgspec.Struct, frozen=True):
    """One line of the file."""

    name: str
    hash: str
    rights: tuple[Right, ...]

    def may(self, action: str, name: str) -> bool:
        """Tells whether the user may do this with the repository called name in the API."""
        return any(action in right.actions and fnmatch.fnmatchcase(name, right.pattern) for right in self.rights)


EVERYTHING = (Right(frozenset(ACTIONS), "*"),)
PULL_ALL = (Right(frozenset(("pull",)), "*"),)


def parse_rights(text: str) -> tuple[Right, ...]:
    """Reads RIGHTS. Raises InvalidArgument."""
    rights = []
    for word in text.split():
        action, equals, pattern = word.partition("=")
        if action not in ACTIONS or not equals or not pattern:
            raise InvalidArgument(f"invalid right {word!r}: want pull=PATTERN, push=PATTERN or delete=PATTERN")
        rights.append(Right(frozenset(_INCLUDED[action]), pattern))
    return tuple(rights) or EVERYTHING


def parse_users(text: str) -> dict[str, User]:
    """Reads the file. Raises InvalidArgument that names the line."""
    users: dict[str, User] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        kept, _, rights = rest.partition(":")
        if not name or not passwords.well_formed(kept.strip()):
            raise InvalidArgument(f"users' file, line {number}: want NAME:HASH[:RIGHTS] as `skerry images user add` writes it")
        try:
            users[name] = User(name, kept.strip(), parse_rights(rights))
        except InvalidArgument as error:
            raise InvalidArgument(f"users' file, line {number}: {error}") from None
    return users


class Users:
    """The file, read again when it changes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp = (0, 0, 0)
        self._users: dict[str, User] = {}
        self._checks = asyncio.Semaphore(_CHECKS)
        self._secret = os.urandom(32)
        # (name, its hash, keyed hash of a password that was right) -> until when that is taken as known.
        self._right: dict[tuple[str, str, bytes], float] = {}
        self._nobody = passwords.hashed(os.urandom(16).hex())

    async def load(self) -> dict[str, User]:
        """Returns the users by name. Raises InvalidArgument when the file cannot be read."""
        return await asyncio.to_thread(self._load)

    def _load(self) -> dict[str, User]:
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != self._stamp:
                with open(self._path, encoding="utf-8") as file:
                    self._users = parse_users(file.read(_MAX_FILE))
                self._stamp = stamp
        except (OSError, UnicodeError) as error:
            raise InvalidArgument(f"cannot read the users' file {self._path}: {error}") from None
        return self._users

    async def authenticate(self, name: str, password: str) -> User | None:
        """Returns the user whose password this is. An unknown name takes as long as a wrong password."""
        user = (await self.load()).get(name)
        kept = user.hash if user else self._nobody
        key = (name, kept, hmac.digest(self._secret, password.encode("utf-8", "surrogatepass"), hashlib.sha256))
        now = time.monotonic()
        if self._right.get(key, 0.0) > now:
            return user
        async with self._checks:
            right = await asyncio.to_thread(passwords.matches, kept, password)
        if not (right and user):
            return None
        if len(self._right) >= _MAX_REMEMBERED:
            self._right.clear()
        self._right[key] = now + _REMEMBERED_SECONDS
        return user
