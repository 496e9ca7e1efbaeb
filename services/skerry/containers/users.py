"""Who a container's process is: USER texts resolved by the container's own /etc/passwd and /etc/group, in Docker's words."""

import os
from collections.abc import Iterator, Sequence

import msgspec

from skerry.containers.inside import read_inside
from skerry.core.errors import InvalidArgument

# Both files are read whole; no sane image comes near.
_FILE_LIMIT = 4 << 20
_MAX_ID = (1 << 31) - 1


class User(msgspec.Struct, frozen=True):
    """A resolved identity. groups are additional ones, in the order the kernel gets them."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


class _Account(msgspec.Struct, frozen=True):
    name: str
    uid: int
    gid: int
    home: str


class _Group(msgspec.Struct, frozen=True):
    name: str
    gid: int
    members: tuple[str, ...]


def resolve(rootfs: str, text: str, groups: Sequence[str] = ()) -> User:
    """Resolves "", "user", "uid", "user:group" (names or numbers) and --group-add's names and numbers. Blocks: reads two files.

    A number need not be in the files. Raises InvalidArgument in Docker's words.
    """
    accounts = list(_accounts(_lines(rootfs, "/etc/passwd")))
    known = list(_groups(_lines(rootfs, "/etc/group")))
    user_text, _, group_text = text.partition(":")
    account = _account(accounts, user_text)
    additional: list[int] = []
    if group_text:
        gid = _group(known, group_text, "unable to find group")
    else:
        gid = account.gid
        # Only without an explicit group does the user bring its other groups along.
        additional = [group.gid for group in known if account.name and account.name in group.members]
    added = [_group(known, name, "Unable to find group") for name in groups]
    every = list(dict.fromkeys([gid, *additional, *added]))
    return User(account.uid, gid, tuple(every), account.home or "/")


def _account(accounts: list[_Account], text: str) -> _Account:
    wanted = text or "0"
    number = _number(wanted)
    # A name that is all digits is first looked for as a name, as in Docker.
    for account in accounts:
        if account.name == wanted or (number is not None and account.uid == number):
            return account
    if number is None:
        raise InvalidArgument(f"unable to find user {wanted}: no matching entries in passwd file")
    _check_range(number)
    return _Account("", number, 0, "/")


def _group(groups: list[_Group], text: str, lament: str) -> int:
    number = _number(text)
    for group in groups:
        if group.name == text or (number is not None and group.gid == number):
            return group.gid
    if number is None:
        raise InvalidArgument(f"{lament} {text}: no matching entries in group file")
    _check_range(number)
    return number


def _check_range(number: int) -> None:
    if not 0 <= number <= _MAX_ID:
        raise InvalidArgument(f"uids and gids must be in range 0-{_MAX_ID}")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 21 else None


def _lines(rootfs: str, path: str) -> Iterator[list[str]]:
    try:
        data = read_inside(rootfs, path, _FILE_LIMIT)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidArgument(f"cannot read {path} of the container: {os.strerror(error.errno or 0)}") from None
    for line in data.decode("utf-8", "replace").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip().split(":")


def _accounts(lines: Iterator[list[str]]) -> Iterator[_Account]:
    for fields in lines:
        uid, gid = (_number(field) for field in (fields + [""] * 4)[2:4])
        if uid is not None and gid is not None and 0 <= uid <= _MAX_ID and 0 <= gid <= _MAX_ID:
            yield _Account(fields[0], uid, gid, fields[5] if len(fields) > 5 else "/")


def _groups(lines: Iterator[list[str]]) -> Iterator[_Group]:
    for fields in lines:
        gid = _number(fields[2]) if len(fields) > 2 else None
        if gid is not None and 0 <= gid <= _MAX_ID:
            yield _Group(fields[0], gid, tuple(fields[3].split(",")) if len(fields) > 3 and fields[3] else ())
