import pytest

from skerry.core.errors import InvalidArgument
from skerry.logs.drivers import JsonFileOptions, checked, json_file_options


@pytest.mark.parametrize(
    ("driver", "options", "text"),
    [
        ("json-file", {"foo": "1"}, "unknown log opt 'foo' for json-file log driver"),
        ("json-file", {"max-size": "0"}, "max-size must be a positive number"),
        ("json-file", {"max-size": "x"}, "invalid size: 'x'"),
        ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
        ("json-file", {"max-file": "x"}, 'strconv.Atoi: parsing "x": invalid syntax'),
        ("json-file", {"compress": "true"}, "compress cannot be true when max-file is less than 2 or max-size is not set"),
        ("json-file", {"mode": "x"}, "logger: logging mode not supported: x"),
        ("json-file", {"max-buffer-size": "1m"}, "logger: max-buffer-size option is only supported with 'mode=non-blocking'"),
        ("nope", {}, "logger: no log driver named 'nope' is registered"),
    ],
)
def test_wrong_options_are_refused_in_dockers_words(driver: str, options: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        checked(driver, options)
    assert str(caught.value) == text


def test_right_options_are_read() -> None:
    assert json_file_options({"max-size": "10k", "max-file": "3", "compress": "true"}) == JsonFileOptions(10_000, 3, True)
    assert json_file_options({"max-size": "-1"}) == JsonFileOptions()
    assert checked("json-file", {"mode": "non-blocking", "max-buffer-size": "4m", "tag": "x"}).stored
    assert not checked("none", {"anything": "goes"}).stored
