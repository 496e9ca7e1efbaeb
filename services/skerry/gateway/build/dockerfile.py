"""From the text of a Dockerfile to its lines: directives, comments, continuations, flags, and the words each instruction is cut into.

What a line means is instructions.py's business. Source: BuildKit's frontend/dockerfile/parser at the version in dockerd 20.10.
"""

import json
import re
from collections.abc import Callable

import msgspec

from skerry.core.errors import InvalidArgument
from skerry.gateway.build.notation import quoted

MAX_SIZE = 4 << 20
_MAX_LINE = 65535
_MAX_LINES = 20_000
_SPACE = re.compile(r"[\t\v\f\r ]+")
_DIRECTIVE = re.compile(r"#[ \t]*(escape|syntax)[ \t]*=[ \t]*(.+?)[ \t]*\Z", re.IGNORECASE)
_CONTINUED = {one: re.compile(rf"([^{re.escape(one)}]){re.escape(one)}[ \t]*\Z|^{re.escape(one)}[ \t]*\Z") for one in "\\`"}


class Line(msgspec.Struct, frozen=True):
    """One instruction with its continuation lines put together."""

    # As written.
    word: str
    flags: tuple[str, ...]
    # For ONBUILD the trigger's first word, and nothing else.
    args: tuple[str, ...]
    # The arguments were a JSON array.
    json: bool
    # Without surrounding white space.
    original: str
    # Counted from 1.
    number: int


class Dockerfile(msgspec.Struct, frozen=True):
    """A parsed Dockerfile."""

    lines: tuple[Line, ...]
    escape: str
    # For stderr, without the last newline.
    warnings: tuple[str, ...]


class _Unreadable(Exception):
    pass


def parse(data: bytes) -> Dockerfile:
    """Reads a Dockerfile. Raises InvalidArgument in Docker's words."""
    try:
        return _parse(data)
    except _Unreadable as error:
        raise InvalidArgument(f"failed to parse Dockerfile: {error}") from None


def _parse(data: bytes) -> Dockerfile:
    if len(data) > MAX_SIZE:
        raise _Unreadable(f"the Dockerfile is larger than {MAX_SIZE} bytes")
    raw = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n")
    if raw and not raw[-1]:
        raw.pop()
    rows = [row.removesuffix("\r") for row in raw]
    if any(len(row) > _MAX_LINE for row in rows):
        raise _Unreadable(f"dockerfile line greater than max allowed size of {_MAX_LINE}")
    escape = _directives(rows)
    lines: list[Line] = []
    warnings: list[str] = []
    at = 0
    while at < len(rows):
        number = at + 1
        text, whole = _uncontinued(_without_comment(rows[at].lstrip()), escape)
        at += 1
        if whole and not text:
            continue
        empty = False
        parts = [text]
        while not whole and at < len(rows):
            row = rows[at]
            at += 1
            if row.lstrip().startswith("#"):
                continue
            if not row.strip():
                empty = True
                continue
            text, whole = _uncontinued(row, escape)
            parts.append(text)
        text = "".join(parts)
        if empty:
            warnings.append(f"[WARNING]: Empty continuation line found in:\n    {text}")
        lines.append(_line(text, number, escape))
        if len(lines) > _MAX_LINES:
            raise _Unreadable(f"more than {_MAX_LINES} instructions")
    if warnings:
        warnings.append("[WARNING]: Empty continuation lines will become errors in a future release.")
    if not lines:
        raise _Unreadable("file with no instructions")
    return Dockerfile(tuple(lines), escape, tuple(warnings))


def parse_trigger(text: str) -> list[Line]:
    """Reads the text of an ONBUILD trigger. Raises InvalidArgument."""
    return list(parse(text.encode("utf-8", "surrogateescape")).lines)


def _directives(rows: list[str]) -> str:
    """Returns the escape character; directives stand above everything else."""
    escape = "\\"
    seen: set[str] = set()
    for row in rows:
        match = _DIRECTIVE.match(row.lstrip())
        if match is None:
            return escape
        name = match[1].lower()
        if name in seen:
            raise _Unreadable(f"only one {name} parser directive can be used")
        seen.add(name)
        if name == "escape":
            escape = match[2]
            if escape not in _CONTINUED:
                raise _Unreadable(f"invalid escape token '{escape}' does not match ` or \\")
    return escape


def _without_comment(row: str) -> str:
    return "" if row.startswith("#") else row


def _uncontinued(text: str, escape: str) -> tuple[str, bool]:
    """Returns the text without a continuation mark at its end, and whether there was none."""
    match = _CONTINUED[escape].search(text)
    if match is None:
        return text, True
    return text[: match.start()] + (match[1] or ""), False


def _line(text: str, number: int, escape: str) -> Line:
    words = _SPACE.split(text.strip(), maxsplit=1)
    flags: list[str] = []
    rest = ""
    if len(words) == 2:
        rest, flags = _flags(words[1])
    args, as_json = _READERS.get(words[0].lower(), _nothing)(rest.strip(), escape)
    return Line(words[0], tuple(flags), tuple(args), as_json, text.strip(), number)


def _flags(text: str) -> tuple[str, list[str]]:
    """Cuts the words that begin with "--" off the front; quotes and backslashes in them are resolved."""
    found: list[str] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        if not text.startswith("--", at):
            return text[at:], found
        word, at, quotes = _flag(text, at)
        if word == "--":
            return text[at:], found
        if word or quotes:
            found.append(word)
    return "", found


def _flag(text: str, at: int) -> tuple[str, int, bool]:
    word: list[str] = []
    quote = ""
    quotes = False
    while at < len(text):
        one = text[at]
        if not quote and one.isspace():
            break
        if one == quote:
            quote = ""
        elif not quote and one in "'\"":
            quote, quotes = one, True
        elif one == "\\":
            at += 1
            word.append(text[at : at + 1])
        else:
            word.append(one)
        at += 1
    return "".join(word), at, quotes


Reader = Callable[[str, str], tuple[list[str], bool]]


def _nothing(rest: str, escape: str) -> tuple[list[str], bool]:
    return [], False


def _whole(rest: str, escape: str) -> tuple[list[str], bool]:
    return ([rest] if rest else []), False


def _by_space(rest: str, escape: str) -> tuple[list[str], bool]:
    return (_SPACE.split(rest) if rest else []), False


def _json(rest: str) -> list[str] | None:
    """Returns a JSON array of strings at the begin of rest; what follows it counts for nothing, as in Docker."""
    if not rest.startswith("["):
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(rest)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(one, str) for one in value):
        raise _Unreadable("when using JSON array syntax, arrays must be comprised of strings only")
    return list(value)


def _json_or_whole(rest: str, escape: str) -> tuple[list[str], bool]:
    given = _json(rest)
    return _whole(rest, escape) if given is None else (given, True)


def _json_or_by_space(rest: str, escape: str) -> tuple[list[str], bool]:
    given = _json(rest)
    return _by_space(rest, escape) if given is None else (given, True)


def _words(rest: str, escape: str) -> list[str]:
    """Cuts at white space outside quotes; quotes and escapes stay in the words."""
    found: list[str] = []
    word: list[str] = []
    quote = ""
    at = 0
    while at < len(rest):
        one = rest[at]
        if not quote and one.isspace():
            if word:
                found.append("".join(word))
            word = []
        elif one == escape and quote != "'":
            if at + 1 < len(rest):
                word.append(rest[at : at + 2])
            at += 1
        else:
            if one == quote:
                quote = ""
            elif not quote and one in "'\"":
                quote = one
            word.append(one)
        at += 1
    if word:
        found.append("".join(word))
    return found


def _pairs(instruction: str) -> Reader:
    """Returns a reader of `name=value ...` and of the old `name value`; it yields names and values in turn."""

    def read(rest: str, escape: str) -> tuple[list[str], bool]:
        words = _words(rest, escape)
        if not words:
            return [], False
        if "=" not in words[0]:
            parts = _SPACE.split(rest, maxsplit=1)
            if len(parts) < 2:
                raise _Unreadable(f"{instruction} must have two arguments")
            return parts, False
        found: list[str] = []
        for word in words:
            if "=" not in word:
                raise _Unreadable(f"Syntax error - can't find = in {quoted(word)}. Must be of the form: name=value")
            name, _, value = word.partition("=")
            found += [name, value]
        return found, False

    return read


def _healthcheck(rest: str, escape: str) -> tuple[list[str], bool]:
    kind, *more = rest.split(maxsplit=1)[:2] or [""]
    if not kind:
        return [], False
    args, as_json = _json_or_whole(more[0] if more else "", escape)
    return [kind, *args], as_json


def _trigger(rest: str, escape: str) -> tuple[list[str], bool]:
    if not rest:
        return [], False
    inner = _line(rest, 0, escape)  # its own syntax is checked now, its meaning when it runs
    return [inner.word], False


_READERS: dict[str, Reader] = {
    "add": _json_or_by_space,
    "arg": lambda rest, escape: (_words(rest, escape), False),
    "cmd": _json_or_whole,
    "copy": _json_or_by_space,
    "entrypoint": _json_or_whole,
    "env": _pairs("ENV"),
    "expose": _by_space,
    "from": _by_space,
    "healthcheck": _healthcheck,
    "label": _pairs("LABEL"),
    "maintainer": _whole,
    "onbuild": _trigger,
    "run": _json_or_whole,
    "shell": _json_or_whole,
    "stopsignal": _whole,
    "user": _whole,
    "volume": _json_or_by_space,
    "workdir": _whole,
}
