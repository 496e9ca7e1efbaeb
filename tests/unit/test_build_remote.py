"""Where builds fetch from: git repositories, registries and their credentials."""

import base64
import json

import pytest

from skerry.core.errors import InvalidArgument
from skerry.gateway.build.git import git_parts, submodule_url
from skerry.gateway.build.library import credentials, registry_config
from skerry.gateway.build.remote import is_git, is_url


@pytest.mark.parametrize(
    ("text", "git"),
    [
        ("git://host/x", True),
        ("git@host:x", True),
        ("github.com/a/b", True),
        ("https://host/x.git", True),
        ("https://host/x.git#ref:dir", True),
        ("http://host/x", False),
        ("https://host/x.git/file.tar", False),
        ("ext::sh -c true", False),
        ("/tmp/x.git", False),
        ("file:///x.git", False),
        ("ssh://host/x.git", False),
    ],
)
def test_what_counts_as_a_git_repository(text: str, git: bool) -> None:
    assert is_git(text) is git
    assert not is_url("ext::https://x")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://h/x.git", ("https://h/x.git", "", "")),
        ("https://h/x.git#main", ("https://h/x.git", "main", "")),
        ("https://h/x.git#:a/b/", ("https://h/x.git", "", "a/b")),
        ("https://h/x.git#v1:./a/../b", ("https://h/x.git", "v1", "b")),
        ("https://h/x.git#v1:.", ("https://h/x.git", "v1", "")),
        ("github.com/a/b", ("https://github.com/a/b", "", "")),
        ("git@h:x#main", ("git@h:x", "main", "")),
    ],
)
def test_parts_of_a_git_url(text: str, parts: tuple[str, str, str]) -> None:
    assert git_parts(text) == parts


@pytest.mark.parametrize(
    "text",
    ["https://h/x.git#--upload-pack=x", "https://h/x.git#a b", "git@-oProxyCommand=x y", "https://h/x.git#:../up", "https://h/x.git#m:-x"],
)
def test_git_urls_that_could_be_options_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        git_parts(text)


def _header(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def test_credentials_go_to_the_registry_that_they_are_for() -> None:
    registries = registry_config(
        _header(
            {
                "https://index.docker.io/v1/": {"Username": "hub", "password": "p"},
                "127.0.0.1:5000": {"username": "local", "identitytoken": "t"},
                "https://old.example/v2/": {"username": "old"},
                "broken": 5,
            }
        )
    )
    names = {name: credentials(registries, name).username for name in (
        "busybox", "a/b:1", "docker.io/a/b", "127.0.0.1:5000/x", "old.example/x/y", "other.example/x", "localhost/x", "127.0.0.1:5001/x",
    )}  # fmt: skip
    assert names == {
        "busybox": "hub", "a/b:1": "hub", "docker.io/a/b": "hub", "127.0.0.1:5000/x": "local", "old.example/x/y": "old",
        "other.example/x": "", "localhost/x": "", "127.0.0.1:5001/x": "",
    }  # fmt: skip
    assert credentials(registries, "127.0.0.1:5000/x").identity_token == "t"


@pytest.mark.parametrize("header", ["", "!!!", _header([]), _header("text"), "bm8ganNvbg"])
def test_an_unreadable_registry_configuration_counts_as_none(header: str) -> None:
    assert registry_config(header) == {}


@pytest.mark.parametrize(
    ("parent", "url", "expected"),
    [
        ("https://h/a/b.git", "https://other/x.git", "https://other/x.git"),
        ("https://h/a/b.git", "../c.git", "https://h/a/c.git"),
        ("https://h/a/b.git/", "../../d/c.git", "https://h/d/c.git"),
        ("https://h/a/b.git", "./c.git", "https://h/a/b.git/c.git"),
        ("git@h:a/b.git", "../c.git", "git@h:a/c.git"),
        ("git@h:b.git", "../c.git", "git@h:c.git"),
    ],
)
def test_a_submodules_url_counts_from_its_parents(parent: str, url: str, expected: str) -> None:
    """As git 2.39 resolves them."""
    assert submodule_url(parent, url) == expected
