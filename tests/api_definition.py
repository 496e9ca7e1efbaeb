"""The published definition of Docker's API, read as far as tests need it: the properties of a definition, with their own properties."""

import itertools
import re
from pathlib import Path

from skerry.gateway import app

DEFINITION = Path(app.__file__).with_name("docker_api_v1.50.yaml")
_KEY = re.compile(r"( *)((?:- +)*)([\w$]+):(.*)")
_REFERENCE = re.compile(r'.*\$ref: "?#/definitions/(\w+)')


def definitions() -> dict[str, list[str]]:
    """Returns the lines of each definition by its name."""
    found: dict[str, list[str]] = {}
    name = ""
    inside = False
    for line in DEFINITION.read_text().splitlines():
        if re.match(r"\w", line):
            inside = line.startswith("definitions:")
        elif inside and (match := re.match(r"  (\w+):", line)):
            name = match[1]
            found[name] = []
        elif inside and name:
            found[name].append(line)
    return found


def properties(name: str) -> list[str]:
    """Returns all properties of a definition, with those of their own objects as "Outer.Inner", in its order."""
    return _properties(definitions(), name, ())


def _properties(every: dict[str, list[str]], name: str, above: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    # Keys that the line at hand is in, outermost first: indentation, key.
    stack: list[tuple[int, str]] = []
    text_above: int | None = None
    for line in every[name]:
        match = _KEY.match(line)
        blank = not line.strip()
        indent = len(line) - len(line.lstrip())
        if text_above is not None and (blank or indent > text_above):
            continue
        text_above = None
        if reference := _REFERENCE.match(line):
            if reference[1] not in above:
                outer = ".".join(key for (_, parent), (_, key) in itertools.pairwise(stack) if parent == "properties")
                inner = _properties(every, reference[1], (*above, name))
                found += [f"{outer}.{each}" if outer and indent > 6 else each for each in inner]
            continue
        if match is None:
            continue
        column = len(match[1]) + len(match[2])
        while stack and stack[-1][0] >= column:
            stack.pop()
        stack.append((column, match[3]))
        if match[4].strip()[:1] in {"|", ">"}:
            text_above = column
        if len(stack) > 1 and stack[-2][1] == "properties":
            found.append(".".join(key for (_, parent), (_, key) in itertools.pairwise(stack) if parent == "properties"))
    return found
