"""The map from failures to HTTP."""

import json

import pytest

from skerry.core import errors
from skerry.core.rpc.errors import CODES
from skerry.gateway.errors import HTTP, BadInput, TooLarge, message, response, status_of


def test_every_error_class_has_a_status_on_both_sides() -> None:
    # The gateway's own two are InvalidArgument and never leave it.
    classes = set(errors.SkerryError.__subclasses__())
    assert classes == set(HTTP) == set(CODES)
    own = {one for one in errors.InvalidArgument.__subclasses__() if one.__module__.startswith("skerry.gateway")}
    assert own == {BadInput, TooLarge}


@pytest.mark.parametrize(("cls", "status"), HTTP.items())
def test_an_error_is_answered_with_its_status_and_text(cls: type[errors.SkerryError], status: int) -> None:
    answer = response(cls("why <not>"))
    assert answer.status == status
    if status == 304:
        assert answer.body is None
    else:
        assert isinstance(answer.body, bytes)
        assert answer.content_type == "application/json"
        assert json.loads(answer.body) == {"message": "why <not>"}
        assert answer.body.endswith(b"\n")


def test_unreadable_input_is_500_in_old_versions() -> None:
    assert status_of(BadInput("x")) == (400, "x")
    assert status_of(BadInput("x"), bad_input=500) == (500, "x")
    assert status_of(errors.InvalidArgument("x"), bad_input=500) == (400, "x")
    assert status_of(TooLarge("x")) == (413, "x")


def test_a_bug_is_500_and_head_has_no_body() -> None:
    assert status_of(KeyError("x"))[0] == 500
    assert response(errors.NotFound("x"), head=True).body == b""


def test_messages_are_dockers_json() -> None:
    assert message('a "b"') == b'{"message":"a \\"b\\""}\n'
