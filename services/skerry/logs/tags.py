"""The log option `tag`: the part of Go's templates that Docker's documentation uses.

Fields with an optional chain of functions, `{{.Name}}`, `{{upper .Name}}`, `{{.Name | lower}}`, `{{truncate .Name 8}}`; no control
structures: those are refused by name.
"""

import json
import re
from collections.abc import Callable, Sequence

from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.core.ids import SHORT

_ACTION = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_WORD = re.compile(r'\s*(?:(\.\w+)|("(?:[^"\\]|\\.)*")|(-?\d+)|(\w+)|(\|))')
_FIELDS: dict[str, Callable[[pb.Open], str]] = {
    ".ID": lambda about: about.container_id[:SHORT],
    ".FullID": lambda about: about.container_id,
    ".Name": lambda about: about.container_name.removeprefix("/"),
    ".Command": lambda about: about.command,
    ".ImageID": lambda about: about.image_id[:SHORT],
    ".ImageFullID": lambda about: about.image_id,
    ".ImageName": lambda about: about.image_name,
    ".DaemonName": lambda about: "docker",
}
_FUNCTIONS: dict[str, tuple[int, Callable[..., str]]] = {
    "json": (1, lambda value: json.dumps(value, ensure_ascii=False)),
    "lower": (1, lambda value: str(value).lower()),
    "upper": (1, lambda value: str(value).upper()),
    "title": (1, lambda value: re.sub(r"\b\w", lambda match: match[0].upper(), str(value))),
    "truncate": (2, lambda value, length: str(value)[: max(0, length)]),
    "pad": (3, lambda value, before, after: " " * before + str(value) + " " * after if value else ""),
}


def render(template: str, about: pb.Open) -> str:
    """Returns the tag; empty for an empty template. Raises InvalidArgument, as near to Go's words as it goes."""
    out, position = [], 0
    for match in _ACTION.finditer(template):
        out += [template[position : match.start()], _value(match[1], about)]
        position = match.end()
    rest = template[position:]
    if "{{" in rest:
        raise InvalidArgument("template: log-tag:1: unclosed action")
    return "".join([*out, rest])


def _value(action: str, about: pb.Open) -> str:
    value: object = None
    for number, words in enumerate(_commands(action)):
        piped = [value] if number else []
        head, rest = words[0], words[1:]
        if head in _FUNCTIONS:
            count, function = _FUNCTIONS[head]
            arguments = [*(_operand(word, about) for word in rest), *piped]
            if len(arguments) != count or not all(isinstance(one, int) for one in arguments[1:]):
                raise InvalidArgument(f"template: log-tag:1: wrong arguments for {head}: {action.strip()}")
            value = function(*arguments)
        elif rest or piped:
            raise InvalidArgument(f"template: log-tag:1: can't give argument to non-function {head}")
        else:
            value = _operand(head, about)
    return str(value)


def _commands(action: str) -> list[Sequence[str]]:
    commands: list[list[str]] = [[]]
    text = action.strip()
    position = 0
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None:
            raise InvalidArgument(f"template: log-tag:1: unexpected {text[position:][:20]!r} in command")
        if match[5]:
            commands.append([])
        else:
            commands[-1].append(match[0].strip())
        position = match.end()
    if not all(commands):
        raise InvalidArgument("template: log-tag:1: missing value for command")
    return list(commands)


def _operand(word: str, about: pb.Open) -> object:
    if word in _FIELDS:
        return _FIELDS[word](about)
    if word.startswith("."):
        raise InvalidArgument(
            f'template: log-tag:1:2: executing "log-tag" at <{word}>: can\'t evaluate field {word[1:]} in type *logger.Info'
        )
    if word.startswith('"'):
        return json.loads(word)
    if word.lstrip("-").isdigit():
        return int(word)
    raise InvalidArgument(f'template: log-tag:1: function "{word}" not defined')
