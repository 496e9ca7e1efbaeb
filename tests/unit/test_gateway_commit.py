"""POST /commit: the changes that each version of the API takes."""

import pytest

from skerry.core.errors import InvalidArgument
from skerry.gateway.docker.commit import check_changes, parse_config
from skerry.gateway.errors import BadInput
from skerry.gateway.versions import Version

OLD, NEW = Version(1, 41), Version(1, 42)


@pytest.mark.parametrize(
    "change", ["CMD a", "cmd a", " ENV a=b \\\n SHELL=c", "# RUN x\nUSER 1", "WORKDIR /\r\nVOLUME /v", "", "ONBUILD RUN x"]
)
def test_known_changes_pass(change: str) -> None:
    check_changes([change], OLD)
    check_changes([change], NEW)


@pytest.mark.parametrize("word", ["run", "COPY", "Shell", "arg", "from", "maintainer", "add"])
def test_other_instructions_are_refused(word: str) -> None:
    for version in (OLD, NEW):
        with pytest.raises(InvalidArgument, match=f"^{word.lower()} is not a valid change command$"):
            check_changes(["CMD a", f"{word} x"], version)


def test_stopsignal_is_a_change_since_1_42() -> None:
    check_changes(["STOPSIGNAL 9"], NEW)
    with pytest.raises(InvalidArgument, match="stopsignal is not a valid change command"):
        check_changes(["STOPSIGNAL 9"], OLD)


def test_a_body_without_a_config_is_none() -> None:
    for body in (b"", b" ", b"null", b"{}", b'{"HostConfig": {}}'):
        assert parse_config(body) == {}
    assert parse_config(b'{"cmd": "x", "Tty": true}') == {"Cmd": ["x"], "Tty": True}
    for body in (b"{", b"[]", b'{"Env": 5}'):
        with pytest.raises(BadInput):
            parse_config(body)
