"""Docker's ?filters=: a JSON map of names to values, as lists (old) or maps to true (new)."""

from collections.abc import Iterable, Iterator

import msgspec

from skerry.core.errors import InvalidArgument
from skerry.gateway.errors import BadInput


class Filters:
    """Parsed filters. Values of one name are alternatives unless a method says otherwise."""

    def __init__(self, values: dict[str, list[str]]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return bool(self._values.get(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def get(self, name: str) -> list[str]:
        """Returns the values of a filter, empty when it is not given."""
        return self._values.get(name, [])

    def one(self, name: str) -> str:
        """Returns the only value, empty when not given. Raises InvalidArgument for several."""
        values = self.get(name)
        if len(values) > 1:
            raise InvalidArgument(f"Invalid filter '{name}': only one value is allowed")
        return values[0] if values else ""

    def boolean(self, name: str) -> bool | None:
        """Returns a filter that is true or false, None when not given. Raises InvalidArgument."""
        values = set(self.get(name))
        if not values:
            return None
        if values <= {"1", "true", "True"}:
            return True
        if values <= {"0", "false", "False"}:
            return False
        raise InvalidArgument(f"Invalid filter '{name}=[{' '.join(sorted(values))}]'")

    def matches(self, name: str, values: Iterable[str]) -> bool:
        """Tells whether the filter is not given or one of values is among its own."""
        wanted = self._values.get(name)
        return not wanted or not set(wanted).isdisjoint(values)

    def labels_match(self, labels: "dict[str, str]", name: str = "label") -> bool:
        """Tells whether labels has all of "key" and "key=value"."""
        return all(_has(labels, wanted) for wanted in self.get(name))

    def no_label_matches(self, labels: "dict[str, str]", name: str = "label!") -> bool:
        """Tells whether labels has none of "key" and "key=value"."""
        return not any(_has(labels, unwanted) for unwanted in self.get(name))


def _has(labels: dict[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def parse(text: str, known: Iterable[str] | None) -> Filters:
    """Reads ?filters=. Raises BadInput for what is no JSON, InvalidArgument "Invalid filter 'X'" for unknown names; known None: none is."""
    if not text.strip():
        return Filters({})
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BadInput(f"invalid filter: {error}") from None
    if document is None:
        return Filters({})
    if not isinstance(document, dict):
        raise BadInput("invalid filter: not an object")
    allowed = None if known is None else frozenset(known)
    result: dict[str, list[str]] = {}
    for name, values in document.items():
        if allowed is not None and name not in allowed:
            raise InvalidArgument(f"Invalid filter '{name}'")
        if isinstance(values, dict):
            # "false" takes a value back, as in Go's Args.
            result[name] = [key for key, on in values.items() if on]
        elif isinstance(values, list) and all(isinstance(value, str) for value in values):
            result[name] = values
        else:
            raise BadInput(f"invalid filter '{name}'")
    return Filters(result)
