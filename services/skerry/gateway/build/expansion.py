"""Variables and quotes in the words of an instruction, as Docker's shell lexer reads them: $X, ${X}, ${X:-a}, quotes, escapes.

No commands, no globs. Source: BuildKit's frontend/dockerfile/shell at the version in dockerd 20.10; the table test repeats its results.
"""

from collections.abc import Mapping

from skerry.core.errors import Failed
from skerry.gateway.build.notation import quoted

_SPECIAL = frozenset("@*#?-$!0")
_MAX_NESTING = 40
# What one word may become: ${A} in A's own value cannot loop, but a hundred ${A} of a megabyte each can add up.
_MAX_LENGTH = 1 << 20


class _SyntaxError(Exception):
    """The word cannot be read; becomes Failed with the word in front."""


def expand(word: str, env: Mapping[str, str], escape: str = "\\") -> str:
    """Returns the word with variables replaced and quotes taken away. Raises Failed in Docker's words."""
    return _run(word, env, escape)[0]


def expand_words(word: str, env: Mapping[str, str], escape: str = "\\") -> list[str]:
    """Like expand, but what an unquoted variable holds may become several words (EXPOSE)."""
    return _run(word, env, escape)[1]


def _run(word: str, env: Mapping[str, str], escape: str) -> tuple[str, list[str]]:
    lexer = _Lexer(word, env, escape)
    try:
        text, words = lexer.until("")
    except _SyntaxError as error:
        raise Failed(f"failed to process {quoted(word)}: {error}") from None
    return text, words.finish()


class _Words:
    """Collects words while the lexer goes on."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._word: list[str] = []
        self._inside = False

    def split(self, text: str) -> None:
        for one in text:
            if not one.isspace():
                self.raw(one)
            elif self._inside:
                self._end()

    def raw(self, text: str) -> None:
        self._word.append(text)
        self._inside = True

    def _end(self) -> None:
        if word := "".join(self._word):
            self._done.append(word)
            self._word = []
            self._inside = False

    def finish(self) -> list[str]:
        self._end()
        return self._done


class _Lexer:
    def __init__(self, word: str, env: Mapping[str, str], escape: str) -> None:
        self._word = word
        self._env = env
        self._escape = escape
        self._at = 0
        self._depth = 0
        self._length = 0

    def _peek(self) -> str:
        return self._word[self._at : self._at + 1]

    def _next(self) -> str:
        one = self._peek()
        self._at += len(one)
        return one

    def until(self, stop: str) -> tuple[str, _Words]:
        """Reads up to the stop character, or to the end when it is empty."""
        self._depth += 1
        if self._depth > _MAX_NESTING:
            raise _SyntaxError("too many substitutions within one another")
        out: list[str] = []
        words = _Words()
        while one := self._peek():
            if one == stop:
                self._next()
                break
            if one == "$":
                text = self._dollar()
                words.split(text)
            elif one in "'\"":
                text = self._single() if one == "'" else self._double()
                words.raw(text)
            else:
                self._next()
                text = self._next() if one == self._escape else one
                if one == self._escape:
                    words.raw(text)
                else:
                    words.split(text)
            out.append(text)
            self._grow(len(text))
        else:
            if stop:
                raise _SyntaxError(f"unexpected end of statement while looking for matching {stop}")
        self._depth -= 1
        return "".join(out), words

    def _grow(self, size: int) -> None:
        self._length += size
        if self._length > _MAX_LENGTH:
            raise _SyntaxError(f"the result is longer than {_MAX_LENGTH} characters")

    def _single(self) -> str:
        self._next()
        end = self._word.find("'", self._at)
        if end < 0:
            raise _SyntaxError("unexpected end of statement while looking for matching single-quote")
        text, self._at = self._word[self._at : end], end + 1
        return text

    def _double(self) -> str:
        self._next()
        out: list[str] = []
        while one := self._peek():
            if one == "$":
                out.append(self._dollar())
                continue
            self._next()
            if one == '"':
                return "".join(out)
            if one == self._escape:
                following = self._peek()
                if not following:
                    continue
                if following in ('"', "$", self._escape):
                    one = self._next()
            out.append(one)
        raise _SyntaxError("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        self._next()
        if self._peek() != "{":
            name = self._name()
            value = self._env.get(name, "") if name else "$"
            self._grow(len(value))
            return value
        self._next()
        if not self._peek():
            raise _SyntaxError("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise _SyntaxError("syntax error: bad substitution")
        name = self._name()
        ending = self._next()
        value = self._env.get(name, "")
        if ending == "}":
            return value
        if ending != ":":
            raise _SyntaxError("missing ':' in substitution")
        return self._modified(name, value)

    def _modified(self, name: str, value: str) -> str:
        modifier = self._next()
        try:
            other, _ = self.until("}")
        except _SyntaxError:
            if not self._peek():
                raise _SyntaxError("syntax error: missing '}'") from None
            raise
        if modifier == "+":
            return other if value else value
        if modifier == "-":
            return value or other
        if modifier == "?":
            if not value:
                raise _SyntaxError(f"{name}: {other or 'is not allowed to be unset'}")
            return value
        raise _SyntaxError(f"unsupported modifier ({modifier}) in substitution")

    def _name(self) -> str:
        first = self._peek()
        start = self._at
        if first and first in _SPECIAL:
            return self._next()
        if first.isdigit():
            while self._peek().isdigit():
                self._at += 1
            return self._word[start : self._at]
        while (one := self._peek()) and (one.isalnum() or one == "_"):
            self._at += 1
        return self._word[start : self._at]
