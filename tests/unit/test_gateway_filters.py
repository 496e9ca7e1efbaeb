"""?filters="""

import pytest

from skerry.core.errors import InvalidArgument
from skerry.gateway.errors import BadInput
from skerry.gateway.filters import parse


def test_both_notations_mean_the_same() -> None:
    for text in ('{"name":{"a":true,"b":true}}', '{"name":["a","b"]}'):
        assert parse(text, ["name"]).get("name") == ["a", "b"]


def test_nothing_matches_all() -> None:
    for text in ("", "{}", "null", " "):
        assert parse(text, []).matches("name", ["x"])


def test_unknown_filters_are_refused_in_dockers_words() -> None:
    with pytest.raises(InvalidArgument, match="Invalid filter 'foo'"):
        parse('{"foo":["x"]}', ["name"])


@pytest.mark.parametrize("text", ["x", "[]", '{"name":5}', '{"name":[1]}', "{"])
def test_what_is_no_filter_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput):
        parse(text, ["name"])


def test_labels_must_all_match_and_may_have_a_value() -> None:
    filters = parse('{"label":["a","b=1"]}', ["label"])
    assert filters.labels_match({"a": "x", "b": "1"})
    assert not filters.labels_match({"a": "x", "b": "2"})
    assert not filters.labels_match({"b": "1"})


def test_booleans() -> None:
    assert parse('{"dangling":["true"]}', ["dangling"]).boolean("dangling") is True
    assert parse('{"dangling":{"0":true}}', ["dangling"]).boolean("dangling") is False
    assert parse("{}", ["dangling"]).boolean("dangling") is None
    with pytest.raises(InvalidArgument):
        parse('{"dangling":["perhaps"]}', ["dangling"]).boolean("dangling")
