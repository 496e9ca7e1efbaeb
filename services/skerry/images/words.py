"""Words of a Dockerfile instruction: quotes, backslashes and variables as BuildKit's shell lexer reads them. No commands, no globs."""

from collections.abc import Mapping

from skerry.core.errors import InvalidArgument

_MAX_NESTING = 20


def split(text: str) -> list[str]:
    """Cuts at white space outside quotes; quotes and backslashes stay in the words."""
    found: list[str] = []
    word, quote, at = "", "", 0
    while at < len(text):
        one = text[at]
        if one == "\\" and quote != "'" and at + 1 < len(text):
            word += text[at : at + 2]
            at += 2
            continue
        if quote:
            quote = "" if one == quote else quote
        elif one in "'\"":
            quote = one
        if one.isspace() and not quote:
            if word:
                found.append(word)
            word = ""
        else:
            word += one
        at += 1
    return [*found, word] if word else found


def expand(word: str, env: Mapping[str, str]) -> str:
    """Returns the word without its quotes, variables replaced: $X ${X} ${X:-default} ${X:+alternative} ${X:?message}.

    Raises InvalidArgument.
    """
    return _Lexer(word, env, 0).run()


class _Lexer:
    def __init__(self, word: str, env: Mapping[str, str], depth: int) -> None:
        if depth > _MAX_NESTING:
            raise InvalidArgument("too many substitutions within one another")
        self._word = word
        self._env = env
        self._depth = depth
        self._at = 0

    def run(self) -> str:
        out: list[str] = []
        while self._at < len(self._word):
            one = self._next()
            if one == "'":
                out.append(self._until("'"))
            elif one == '"':
                out.append(self._double())
            elif one == "$":
                out.append(self._variable())
            elif one == "\\":
                out.append(self._next() if self._at < len(self._word) else "")
            else:
                out.append(one)
        return "".join(out)

    def _next(self) -> str:
        self._at += 1
        return self._word[self._at - 1]

    def _until(self, end: str) -> str:
        stop = self._word.find(end, self._at)
        if stop < 0:
            raise InvalidArgument("unexpected end of statement while looking for matching single-quote")
        text = self._word[self._at : stop]
        self._at = stop + 1
        return text

    def _double(self) -> str:
        out: list[str] = []
        while self._at < len(self._word):
            one = self._next()
            if one == '"':
                return "".join(out)
            if one == "$":
                out.append(self._variable())
            elif one == "\\" and self._word[self._at : self._at + 1] in ('"', "$", "\\"):
                out.append(self._next())
            else:
                out.append(one)
        raise InvalidArgument("unexpected end of statement while looking for matching double-quote")

    def _name(self) -> str:
        start = self._at
        while self._at < len(self._word) and (
            self._word[self._at].isascii() and (self._word[self._at].isalnum() or self._word[self._at] == "_")
        ):
            self._at += 1
            if self._word[start].isdigit():
                break  # positional parameters have one digit
        return self._word[start : self._at]

    def _variable(self) -> str:
        if self._word[self._at : self._at + 1] != "{":
            name = self._name()
            return self._env.get(name, "") if name else "$"
        self._at += 1
        name = self._name()
        end = self._closing()
        modifier, self._at = self._word[self._at : end], end + 1
        if not name:
            raise InvalidArgument("syntax error: bad substitution")
        if not modifier:
            return self._env.get(name, "")
        kind, rest = modifier[:2], modifier[2:]
        if kind not in (":-", ":+", ":?"):
            raise InvalidArgument(f"unsupported modifier ({modifier[:2]}) in substitution")
        value = self._env.get(name, "")
        other = _Lexer(rest, self._env, self._depth + 1).run()
        if kind == ":-":
            return value or other
        if kind == ":+":
            return other if value else ""
        if not value:
            raise InvalidArgument(f"{name}: {other or 'is not allowed to be unset'}")
        return value

    def _closing(self) -> int:
        depth, at = 1, self._at
        while at < len(self._word):
            one = self._word[at]
            if one == "\\":
                at += 1
            elif one == "{":
                depth += 1
            elif one == "}":
                depth -= 1
                if not depth:
                    return at
            at += 1
        raise InvalidArgument("syntax error: missing '}'")
