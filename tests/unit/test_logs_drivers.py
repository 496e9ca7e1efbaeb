import pytest

from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.logs import attributes, tags
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
        ("json-file", {"max-size": "-1"}, "invalid size: '-1'"),
        ("json-file", {"max-size": ""}, "invalid size: ''"),
        ("json-file", {"max-file": ""}, 'strconv.Atoi: parsing "": invalid syntax'),
        ("json-file", {"max-size": "1k", "max-file": "2", "compress": "x"}, 'strconv.ParseBool: parsing "x": invalid syntax'),
        (
            "json-file",
            {"mode": "blocking", "max-buffer-size": "1m"},
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        ("json-file", {"mode": "non-blocking", "max-buffer-size": "x"}, "error parsing option max-buffer-size: invalid size: 'x'"),
        ("json-file", {"cache-disabled": "x"}, "invalid value for option cache-disabled: x"),
        ("json-file", {"tag": "{{"}, "template: log-tag:1: unclosed action"),
        (
            "json-file",
            {"tag": "{{.Foo}}"},
            'template: log-tag:1:2: executing "log-tag" at <.Foo>: can\'t evaluate field Foo in type *logger.Info',
        ),
        ("json-file", {"tag": "{{if .Name}}x{{end}}"}, "template: log-tag:1: can't give argument to non-function if"),
        ("nope", {}, "logger: no log driver named 'nope' is registered"),
    ],
)
def test_wrong_options_are_refused_in_dockers_words(driver: str, options: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        checked(driver, options)
    assert str(caught.value) == text


def test_right_options_are_read() -> None:
    assert json_file_options({"max-size": "10k", "max-file": "3", "compress": "true"}) == JsonFileOptions(10_000, 3, True)
    assert json_file_options({"max-size": "1.5k"}).max_size == 1500
    assert json_file_options({"max-size": "10 k"}).max_size == json_file_options({"max-size": "10kib"}).max_size == 10_000
    assert json_file_options({}) == JsonFileOptions()
    assert checked("json-file", {"cache-disabled": "true", "cache-max-size": "x"}).stored
    assert checked("json-file", {"mode": "non-blocking", "max-buffer-size": "4m", "tag": "x"}).stored
    assert not checked("none", {"anything": "goes"}).stored


ABOUT = pb.Open(
    container_id="4718b93ee2b5" + "e" * 52,
    container_name="/zen_beaver",
    image_id="sha256:bf0d9b470eb9" + "b" * 52,
    image_name="bb",
    command="/bin/echo hi",
    labels={"x": "1", "y.z": "2"},
    env=["A=1", "B=2=3", "C"],
)


@pytest.mark.parametrize(
    ("template", "tag"),
    [
        ("", ""),
        ("plain", "plain"),
        ("{{.Name}}/{{.ID}}/{{.ImageName}}", "zen_beaver/4718b93ee2b5/bb"),
        ("{{upper .Name}} {{.Name|lower}} {{json .Name}}", 'ZEN_BEAVER zen_beaver "zen_beaver"'),
        ("{{.DaemonName}} {{.Command}} {{.ImageID}} {{truncate .Name 2}}", "docker /bin/echo hi sha256:bf0d9 ze"),
        ("{{pad .Name 1 2}}|", " zen_beaver  |"),
    ],
)
def test_tags_are_rendered_as_docker_does(template: str, tag: str) -> None:
    assert tags.render(template, ABOUT) == tag


def test_options_choose_attributes() -> None:
    about = pb.Open()
    about.CopyFrom(ABOUT)
    about.options.update({"labels": "x,nosuch", "env": "B,C", "tag": "{{.ID}}"})
    assert attributes.of(about) == {"x": "1", "B": "2=3", "tag": "4718b93ee2b5"}
    about.options.update({"labels": "", "env": "", "tag": "", "labels-regex": "^y", "env-regex": "A"})
    assert attributes.of(about) == {"y.z": "2", "A": "1"}
