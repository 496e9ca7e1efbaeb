"""API versions as the path says them."""

import pytest

from skerry.core.errors import InvalidArgument
from skerry.gateway.versions import CURRENT, OLDEST, Version, negotiate


@pytest.mark.parametrize(
    ("text", "version"), [("1.50", CURRENT), ("1.41", Version(1, 41)), ("1.24", OLDEST), ("1.12", OLDEST), ("1.23", OLDEST)]
)
def test_versions_are_answered_in_themselves_or_in_the_oldest(text: str, version: Version) -> None:
    assert negotiate(text) == version


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.51", "client version 1.51 is too new. Maximum supported API version is 1.50"),
        ("2.0", "client version 2.0 is too new. Maximum supported API version is 1.50"),
        ("1.11", "client version 1.11 is too old. Minimum supported API version is 1.12, please upgrade your client to a newer version"),
        ("1", "invalid version format: 1"),
        ("1.2.3", "invalid version format: 1.2.3"),
    ],
)
def test_other_versions_are_refused_in_dockers_words(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message.replace(".", r"\.")):
        negotiate(text)


def test_versions_compare_as_numbers() -> None:
    assert Version(1, 9) < Version(1, 10)
