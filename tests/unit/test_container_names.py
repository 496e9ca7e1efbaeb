"""Names, signals and what create refuses."""

import re

import pytest

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers.names import check_name, propose_name
from skerry.containers.validate import validate_spec
from skerry.core.errors import InvalidArgument
from skerry.core.signals import parse_signal, supported


@pytest.mark.parametrize("name", ["d1", "A.b-c_d", "00"])
def test_dockers_names_are_allowed(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["!!", "a", "-ab", "a/b", "ab\n", "ä1", "x" * 300])
def test_other_names_are_refused_in_dockers_words(name: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")):
        check_name(name)


def test_proposed_names_are_adjective_noun_and_allowed() -> None:
    for attempt in range(200):
        name = propose_name(attempt % 3)
        check_name(name)
        assert re.fullmatch(r"[a-z]+_[a-z]+\d*", name)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("TERM", 15),
        ("sigkill", 9),
        ("9", 9),
        ("SIGRTMIN", 34),
        ("RTMIN+3", 37),
        ("RTMAX-1", 63),
        ("USR1", 10),
        ("64", 64),
        ("CLD", 17),
        ("+9", 9),
        ("rtmin+15", 49),
    ],
)
def test_signals(text: str, number: int) -> None:
    assert supported(parse_signal(text)) == number


@pytest.mark.parametrize("text", ["FOO", "", "0", "RTMIN+16", "RTMAX-15", "RTMIN+99", "RTMIN3", "²", "9 ", "SIG9"])
def test_unknown_signals_are_refused_in_dockers_words(text: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^Invalid signal: {re.escape(text)}$"):
        parse_signal(text)


@pytest.mark.parametrize(("number", "shown"), [(65, "65"), (32, "32"), (-1, "18446744073709551615"), (99999999999, "99999999999")])
def test_numbers_that_linux_does_not_have(number: int, shown: str) -> None:
    assert parse_signal(str(number)) == number
    with pytest.raises(InvalidArgument, match=f"^The linux daemon does not support signal {shown}$"):
        supported(number)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (pb.ContainerSpec(working_dir="x"), "The working directory 'x' is invalid. It needs to be an absolute path"),
        (pb.ContainerSpec(env=["=x"]), "invalid environment variable: =x"),
        (pb.ContainerSpec(stop_signal="FOO"), "Invalid signal: FOO"),
        (pb.ContainerSpec(restart_policy=pb.RestartPolicy(name="x")), "invalid restart policy 'x'"),
        (pb.ContainerSpec(restart_policy=pb.RestartPolicy(name="always", maximum_retry_count=1)), "maximum retry count cannot be used"),
        (pb.ContainerSpec(auto_remove=True, restart_policy=pb.RestartPolicy(name="always")), "can't create 'AutoRemove' container with"),
        (pb.ContainerSpec(mounts=[pb.Mount(type="bind", source="/a", target="x")]), "mount path must be absolute"),
        (pb.ContainerSpec(mounts=[pb.Mount(type="bind", source="/a", target="/")]), "destination can't be '/'"),
        (
            pb.ContainerSpec(mounts=[pb.Mount(type="volume", target="/x"), pb.Mount(type="tmpfs", target="/x/")]),
            "Duplicate mount point: /x",
        ),
        (pb.ContainerSpec(pid_mode="nonsense"), "invalid PID mode: nonsense"),
    ],
)
def test_create_refuses_in_dockers_words(spec: pb.ContainerSpec, text: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(text)):
        validate_spec(spec)


def test_an_ordinary_spec_passes() -> None:
    validate_spec(pb.ContainerSpec(env=["A=b", "C"], restart_policy=pb.RestartPolicy(name="on-failure", maximum_retry_count=3)))
