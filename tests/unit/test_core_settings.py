import msgspec
import pytest

from skerry.core.errors import InvalidArgument
from skerry.core.settings import Common, from_env


class Example(Common, frozen=True, kw_only=True):
    count: int = 1
    ratio: float = 0.5
    flag: bool = False
    names: list[str] = []
    where: str = "x"


def read(**environ: str) -> Example:
    return from_env(Example, "SKERRY_EXAMPLE_", {f"SKERRY_EXAMPLE_{key}": value for key, value in environ.items()})


def test_values_are_converted_to_their_types() -> None:
    settings = read(COUNT="3", RATIO="2", FLAG="true", NAMES="a, b,", WHERE="y")
    assert (settings.count, settings.ratio, settings.flag, settings.names, settings.where) == (3, 2.0, True, ["a", "b"], "y")


def test_defaults_hold_when_nothing_is_set() -> None:
    assert from_env(Example, "SKERRY_EXAMPLE_", {}) == Example()


@pytest.mark.parametrize(("name", "value"), [("COUNT", "many"), ("FLAG", "maybe"), ("RATIO", "")])
def test_an_ill_typed_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match=f"SKERRY_EXAMPLE_{name}"):
        read(**{name: value})


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(InvalidArgument, match="SKERRY_EXAMPLE_COUNTT"):
        read(COUNTT="1")


def test_other_services_settings_are_not_ours() -> None:
    assert from_env(Example, "SKERRY_EXAMPLE_", {"SKERRY_OTHER_COUNT": "7"}) == Example()


def test_root_and_run_may_be_given_for_all_services_and_overridden_for_one() -> None:
    environ = {"SKERRY_ROOT": "/a", "SKERRY_RUN": "/b", "SKERRY_EXAMPLE_RUN": "/c"}
    settings = from_env(Example, "SKERRY_EXAMPLE_", environ)
    assert (settings.root, settings.run) == ("/a", "/c")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Example().count = 2  # type: ignore[misc]
    assert issubclass(Example, msgspec.Struct)
