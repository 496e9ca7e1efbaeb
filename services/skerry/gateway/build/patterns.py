"""Go's filepath.Match, for the wildcards of COPY and ADD."""

import re

_WILD = re.compile(r"\\.|[*?\[]", re.DOTALL)


def has_wildcards(path: str) -> bool:
    """Tells whether there is an unescaped *, ? or [."""
    return any(not found[0].startswith("\\") for found in _WILD.finditer(path))


def compiled(pattern: str) -> "re.Pattern[str] | None":
    """Returns what matches a whole path, None for a pattern that Go calls bad: it matches nothing."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        one = pattern[at]
        at += 1
        if one == "*":
            out.append("[^/]*")
        elif one == "?":
            out.append("[^/]")
        elif one == "[":
            piece, at = _class(pattern, at)
            if not piece:
                return None
            out.append(piece)
        elif one == "\\":
            if at == len(pattern):
                return None
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(one))
    try:
        return re.compile("".join(out) + r"\Z", re.DOTALL)
    except re.error:
        return None


def _class(pattern: str, at: int) -> tuple[str, int]:
    """Reads a class behind its "["; returns it as Python's, or "" for a bad one."""
    negated = pattern.startswith("^", at)
    at += negated
    out: list[str] = []
    while at < len(pattern) and (pattern[at] != "]" or not out):
        low, at = _character(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _character(pattern, at + 1)
        if not low or not high or low > high:
            return "", at
        out.append(f"{re.escape(low)}-{re.escape(high)}")
    if at >= len(pattern):
        return "", at
    return f"(?!/)[{'^' if negated else ''}{''.join(out)}]", at + 1


def _character(pattern: str, at: int) -> tuple[str, int]:
    if pattern.startswith("\\", at):
        at += 1
    elif pattern[at : at + 1] in ("-", "]"):
        return "", at
    return pattern[at : at + 1], at + 1
