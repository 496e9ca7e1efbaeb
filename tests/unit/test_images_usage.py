"""What images take, and which of them are intermediate or build cache."""

from skerry.images import usage
from skerry.images.catalog import Entry, ImageRecord, LayerRecord, Names

LAYERS = {"base": 100, "middle": 20, "top": 3, "other": 7}


def entry(name: str, layers: str, *, parent: str = "", tag: str = "", holder: str = "") -> Entry:
    records = tuple(LayerRecord(one, LAYERS[one]) for one in layers.split())
    return Entry(ImageRecord(name, b"{}", records, 0, parent=parent), Names((tag,) if tag else ()), (holder,) if holder else ())


def test_layers_of_several_images_are_shared_and_count_once() -> None:
    entries = [entry("a", "base top", tag="a:1"), entry("b", "base base other", tag="b:1"), entry("c", "middle", tag="c:1")]
    assert usage.shares(entries) == {"a": usage.Share(100, 3), "b": usage.Share(100, 7), "c": usage.Share(0, 20)}
    assert usage.total(entries) == 130
    assert usage.shares([]) == {} and usage.total([]) == 0


def test_only_unnamed_parents_are_intermediate() -> None:
    entries = [
        entry("low", "base"),
        entry("named", "base middle", parent="low", tag="n:1"),
        entry("top", "base middle top", parent="named"),
        entry("alone", "other"),
    ]
    assert usage.intermediate(entries) == {"low"}


def test_build_cache_is_what_nothing_named_or_held_was_built_on() -> None:
    entries = [
        entry("base", "base", tag="base:1"),
        entry("step", "base middle", parent="base"),
        entry("image", "base middle top", parent="step", tag="image:1"),
        entry("stale", "base other", parent="base"),
        entry("run", "base top", parent="gone", holder="node/c"),
        entry("imported", "other"),
        entry("loop", "other", parent="loop"),
    ]
    assert [one.image.id for one in usage.build_cache(entries)] == ["stale", "loop"]
