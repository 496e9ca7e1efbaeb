"""`import --change`: results and refusals as dockerd 20.10 gave them for these very lines (STOPSIGNAL as newer ones)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import InvalidArgument
from skerry.images.changes import applied

CHECK = {"Test": ["CMD-SHELL", "a"], "Interval": 90 * 10**9, "Timeout": 3 * 10**9, "StartPeriod": 10**6, "Retries": 2}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('CMD ["a", "b"]', {"Cmd": ["a", "b"]}),
        ("CMD a b", {"Cmd": ["/bin/sh", "-c", "a b"]}),
        ("CMD []", {"Cmd": []}),
        ("CMD", {"Cmd": ["/bin/sh", "-c"]}),
        ("cmd a", {"Cmd": ["/bin/sh", "-c", "a"]}),
        ("  CMD   a   b  ", {"Cmd": ["/bin/sh", "-c", "a   b"]}),
        ("CMD a \\\n b", {"Cmd": ["/bin/sh", "-c", "a  b"]}),
        ('ENTRYPOINT ["a"]', {"Entrypoint": ["a"]}),
        ("ENTRYPOINT a b", {"Entrypoint": ["/bin/sh", "-c", "a b"]}),
        ("ENTRYPOINT []", {"Entrypoint": None}),
        ("ENV A=b", {"Env": ["A=b"]}),
        ("ENV A b c", {"Env": ["A=b c"]}),
        ("ENV A='b c' D=\"e f\"", {"Env": ["A=b c", "D=e f"]}),
        ("ENV A=b\\ c", {"Env": ["A=b c"]}),
        ("ENV A=$PATH", {"Env": ["A="]}),
        ("ENV A=${Q:-dflt}", {"Env": ["A=dflt"]}),
        ('ENV A="x\\"y"', {"Env": ['A=x"y']}),
        ("ENV A='$Q'", {"Env": ["A=$Q"]}),
        ("ENV A=1\nENV B=2", {"Env": ["A=1", "B=2"]}),
        ("EXPOSE 80", {"ExposedPorts": {"80/tcp": {}}}),
        ("EXPOSE 80/udp 90-91", {"ExposedPorts": {"80/udp": {}, "90/tcp": {}, "91/tcp": {}}}),
        ("EXPOSE 8080:80", {"ExposedPorts": {"80/tcp": {}}}),
        ("LABEL k=v", {"Labels": {"k": "v"}}),
        ("LABEL k v w", {"Labels": {"k": "v w"}}),
        ('LABEL "a b"="c d"', {"Labels": {"a b": "c d"}}),
        ("ONBUILD RUN x", {"OnBuild": ["RUN x"]}),
        ("STOPSIGNAL SIGINT", {"StopSignal": "SIGINT"}),
        ("USER u:g", {"User": "u:g"}),
        ("USER $Q", {"User": ""}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ('VOLUME ["/a","/b"]', {"Volumes": {"/a": {}, "/b": {}}}),
        ("WORKDIR /a/../b", {"WorkingDir": "/a/../b"}),
        ("WORKDIR rel", {"WorkingDir": "/rel"}),
        ("WORKDIR /a//b/", {"WorkingDir": "/a//b/"}),
        ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
        ("HEALTHCHECK CMD a b", {"Healthcheck": {"Test": ["CMD-SHELL", "a b"]}}),
        ('HEALTHCHECK CMD ["a"]', {"Healthcheck": {"Test": ["CMD", "a"]}}),
        ("HEALTHCHECK --interval=1m30s --timeout=3s --retries=2 --start-period=1ms CMD a", {"Healthcheck": CHECK}),
    ],
)
def test_a_change(line: str, expected: dict[str, Any]) -> None:
    assert applied({}, [line]) == expected


def test_changes_build_on_one_another() -> None:
    lines = ["ENV A=1 B=2", "ENV C=$A A=3 D=$A", "WORKDIR /x", "WORKDIR y", "VOLUME $A", "LABEL l=$A", "USER ${B}x"]
    assert applied({}, lines) == {
        "Env": ["A=3", "B=2", "C=1", "D=1"],
        "WorkingDir": "/x/y",
        "Volumes": {"3": {}},
        "Labels": {"l": "3"},
        "User": "2x",
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ENV A", "ENV must have two arguments"),
        ("ENV =x", "ENV names can not be blank"),
        ("EXPOSE x", "Invalid containerPort: x"),
        ("EXPOSE 70000", "Invalid containerPort: 70000"),
        ("EXPOSE 80/foo", "Invalid proto: foo"),
        ("LABEL k", "LABEL must have two arguments"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("USER", "USER requires exactly one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("HEALTHCHECK --interval=0 CMD a", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK --interval=1us CMD a", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK --retries=-1 CMD a", "--retries must be at least 1 (not -1)"),
        ("HEALTHCHECK --foo=1 CMD a", "Unknown flag: foo"),
        ("HEALTHCHECK foo", 'Unknown type "FOO" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("RUN x", "run is not a valid change command"),
        ("FROM x", "from is not a valid change command"),
        ("COPY a b", "copy is not a valid change command"),
        ("nonsense x", "nonsense is not a valid change command"),
        ("#comment", "file with no instructions"),
        ('SHELL ["sh"]', "shell is not a valid change command"),
        ("ENV A='b", "unexpected end of statement while looking for matching single-quote"),
        ("ENV A=${B", "syntax error: missing '}'"),
    ],
)
def test_what_is_refused_and_how(line: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        applied({}, [line])
    assert str(caught.value) == message


WORDS = st.sampled_from(
    ["CMD ", "ENV ", "LABEL ", "EXPOSE ", "HEALTHCHECK ", "VOLUME ", "USER ", "A", "=", "$", "{", "}", ":-", "'", '"', "\\", " "]
)


@given(st.lists(WORDS | st.text(max_size=3), max_size=20).map("".join))
def test_any_line_is_applied_or_refused(line: str) -> None:
    try:
        applied({"Env": ["A=1"]}, [line])
    except InvalidArgument:
        pass


@pytest.mark.parametrize("line", ["ENV A=" + "${B:-" * 5000, "CMD " + "[" * 100_000, "ENV A=" + "x" * (2 << 20)])
def test_deep_and_long_lines_are_harmless(line: str) -> None:
    try:
        applied({}, [line])
    except InvalidArgument:
        pass
