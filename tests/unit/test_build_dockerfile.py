"""Dockerfiles as dockerd 20.10 reads them: every expected result here is one that dockerd 20.10.24 gave
(for heredocs, with a word more)."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import Failed, InvalidArgument
from skerry.gateway.build import notation
from skerry.gateway.build.args import BuildArgs
from skerry.gateway.build.dockerfile import Dockerfile, parse
from skerry.gateway.build.expansion import expand, expand_words
from skerry.gateway.build.instructions import expanded, labelled, targeted, understand
from skerry.gateway.build.syntax import Cmd, Copy, Env, Expose, Plan, Run

_ENV = {"X": "1", "Y": "2", "E": ""}
_TWO = "requires at least two arguments, but only one was provided. Destination could not be determined"
_WORDS = [
    ("plain", "plain"),
    ("$X", "1"),
    ("${X}", "1"),
    ("${X}y", "1y"),
    ("$Xy", ""),
    ("a$X", "a1"),
    ("'$X'", "$X"),
    ('"$X"', "1"),
    ('"a b"', "a b"),
    ("a\\ b", "a b"),
    ("\\$X", "$X"),
    ('"\\$X"', "$X"),
    ('"\\a"', "\\a"),
    ("\\a", "a"),
    ("'\\a'", "\\a"),
    ("${N:-d}", "d"),
    ("${X:-d}", "1"),
    ("${N:+p}", ""),
    ("${X:+p}", "p"),
    ("${X:+$Y}", "2"),
    ("${N:-${Y}}", "2"),
    ("${N:-'q q'}", "q q"),
    ('${N:-"q q"}', "q q"),
    ("${E:-d}", "d"),
    ("${E:+p}", ""),
    ("$", "$"),
    ("a$", "a$"),
    ("$$", ""),
    ("$1", ""),
    ("$12", ""),
    ("${12}x", "x"),
    ("$@", ""),
    ("$*", ""),
    ("$#", ""),
    ("$?", ""),
    ("$-", ""),
    ("$!", ""),
    ("$0", ""),
    ("${X:?m}", "1"),
    ("it\\'s", "it's"),
    ('""', ""),
    ("''", ""),
    ('"\'"', "'"),
    ("'\"'", '"'),
    ('a"b"c', "abc"),
    ("x\\\\y", "x\\y"),
    ('"x\\\\y"', "x\\y"),
    ("${X}${Y}", "12"),
    ("$X$Y", "12"),
    ("$X.$Y", "1.2"),
    ("$X-$Y", "1-2"),
    ("{X}", "{X}"),
    ("$X{", "1{"),
    ("a=b", "a=b"),
    ("${N:-a:b}", "a:b"),
    ("\\", ""),
    ("é$X", "é1"),
    ("$é", ""),
    ("${N:-a\\}b}", "a}b"),
    ("${N:-\\$X}", "$X"),
    ('"${X}"', "1"),
    ('"${N:-"in"}"', "in"),
    ("a'b'\"c\"", "abc"),
    ("$X\\ b", "1 b"),
    ("#x", "#x"),
    ("`$X`", "`1`"),
    ("${X:-}", "1"),
    ("${N:-}", ""),
]
_BAD_WORDS = [
    ("${X", "missing ':' in substitution"),
    ("${", "syntax error: missing '}'"),
    ("${}", "syntax error: bad substitution"),
    ("${:}", "syntax error: bad substitution"),
    ("${:x}", "syntax error: bad substitution"),
    ("${{X}", "syntax error: bad substitution"),
    ("${X:", "syntax error: missing '}'"),
    ("${X:-", "syntax error: missing '}'"),
    ("${X:-a", "syntax error: missing '}'"),
    ("${X-a}", "missing ':' in substitution"),
    ("${X+a}", "missing ':' in substitution"),
    ("${X:a}", "unsupported modifier (a) in substitution"),
    ("'x", "unexpected end of statement while looking for matching single-quote"),
    ('"x', "unexpected end of statement while looking for matching double-quote"),
    ("${N:?}", "N: is not allowed to be unset"),
    ("${N:?m}", "N: m"),
    ("${X!}", "missing ':' in substitution"),
    ("a${", "syntax error: missing '}'"),
]
_REFUSED = [
    ("FROM busybox\nBOGUS x", "dockerfile parse error line 2: unknown instruction: BOGUS"),
    ("RUN x\n", "no build stage in current context"),
    ("# only comment\n", "failed to parse Dockerfile: file with no instructions"),
    ("FROM\n", "dockerfile parse error line 1: FROM requires either one or three arguments"),
    ("FROM busybox AS\n", "dockerfile parse error line 1: FROM requires either one or three arguments"),
    (
        "FROM busybox AS 1x",
        'dockerfile parse error line 1: invalid name for build stage: "1x", name can\'t start with a number or contain symbols',
    ),
    ("FROM busybox foo bar baz", "dockerfile parse error line 1: FROM requires either one or three arguments"),
    (
        "FROM busybox\nCOPY a.txt",
        f"dockerfile parse error line 2: COPY {_TWO}",
    ),
    (
        "FROM busybox\nCOPY",
        f"dockerfile parse error line 2: COPY {_TWO}",
    ),
    ("FROM busybox\nCOPY --bogus=1 a.txt /x", "dockerfile parse error line 2: Unknown flag: bogus"),
    (
        "FROM busybox\nRUN <<EOF\necho hi\nEOF\n",
        "dockerfile parse error line 3: unknown instruction: ECHO: the heredoc in line 2 requires BuildKit",
    ),
    (
        "FROM busybox\nCOPY <<EOF /x\nhi\nEOF\n",
        "dockerfile parse error line 3: unknown instruction: HI: the heredoc in line 2 requires BuildKit",
    ),
    ("FROM busybox\nENV A", "failed to parse Dockerfile: ENV must have two arguments"),
    ("FROM busybox\nENV", "dockerfile parse error line 2: ENV requires at least one argument"),
    ("FROM busybox\nENV =x", "dockerfile parse error line 2: ENV names can not be blank"),
    ("FROM busybox\nENV A=1 B", 'failed to parse Dockerfile: Syntax error - can\'t find = in "B". Must be of the form: name=value'),
    ("FROM busybox\nLABEL x", "failed to parse Dockerfile: LABEL must have two arguments"),
    ("FROM busybox\nLABEL =1", "dockerfile parse error line 2: LABEL names can not be blank"),
    ("FROM busybox\nEXPOSE", "dockerfile parse error line 2: EXPOSE requires at least one argument"),
    ("FROM busybox\nVOLUME", "dockerfile parse error line 2: VOLUME requires at least one argument"),
    ('FROM busybox\nVOLUME [""]', "dockerfile parse error line 2: VOLUME specified can not be an empty string"),
    ("FROM busybox\nUSER", "dockerfile parse error line 2: USER requires exactly one argument"),
    ("FROM busybox\nWORKDIR", "dockerfile parse error line 2: WORKDIR requires exactly one argument"),
    ("FROM busybox\nSTOPSIGNAL", "dockerfile parse error line 2: STOPSIGNAL requires exactly one argument"),
    ("FROM busybox\nHEALTHCHECK", "dockerfile parse error line 2: HEALTHCHECK requires at least one argument"),
    ("FROM busybox\nHEALTHCHECK FOO", 'dockerfile parse error line 2: Unknown type "FOO" in HEALTHCHECK (try CMD)'),
    ("FROM busybox\nHEALTHCHECK CMD", "dockerfile parse error line 2: Missing command after HEALTHCHECK CMD"),
    ("FROM busybox\nHEALTHCHECK NONE x", "dockerfile parse error line 2: HEALTHCHECK NONE takes no arguments"),
    ("FROM busybox\nHEALTHCHECK --interval=x CMD a", 'dockerfile parse error line 2: time: invalid duration "x"'),
    ("FROM busybox\nHEALTHCHECK --interval=1us CMD a", 'dockerfile parse error line 2: Interval "interval" cannot be less than 1ms'),
    ("FROM busybox\nHEALTHCHECK --retries=0 CMD a", "dockerfile parse error line 2: --retries must be at least 1 (not 0)"),
    ("FROM busybox\nHEALTHCHECK --retries=x CMD a", 'dockerfile parse error line 2: strconv.ParseInt: parsing "x": invalid syntax'),
    ("FROM busybox\nSHELL foo", "dockerfile parse error line 2: SHELL requires the arguments to be in JSON form"),
    ("FROM busybox\nSHELL []", "dockerfile parse error line 2: SHELL requires at least one argument"),
    ("FROM busybox\nSHELL", "dockerfile parse error line 2: SHELL requires at least one argument"),
    ("FROM busybox\nONBUILD", "dockerfile parse error line 2: ONBUILD requires at least one argument"),
    ("FROM busybox\nONBUILD ONBUILD RUN x", "dockerfile parse error line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
    ("FROM busybox\nONBUILD FROM x", "dockerfile parse error line 2: FROM isn't allowed as an ONBUILD trigger"),
    ("FROM busybox\nONBUILD MAINTAINER x", "dockerfile parse error line 2: MAINTAINER isn't allowed as an ONBUILD trigger"),
    ("FROM busybox\nARG", "dockerfile parse error line 2: ARG requires at least one argument"),
    ("FROM busybox\nARG =1", "dockerfile parse error line 2: ARG names can not be blank"),
    ("FROM busybox\nMAINTAINER", "dockerfile parse error line 2: MAINTAINER requires exactly one argument"),
    ("FROM --foo=1 busybox", "dockerfile parse error line 1: Unknown flag: foo"),
    ("# escape=x\nFROM busybox", "failed to parse Dockerfile: invalid escape token 'x' does not match ` or \\"),
    ("# escape=`\n# escape=`\nFROM busybox", "failed to parse Dockerfile: only one escape parser directive can be used"),
    ("ARG A\nRUN x", "no build stage in current context"),
    ("ARG\nFROM busybox", "dockerfile parse error line 1: ARG requires at least one argument"),
    ("ENV A=1\nFROM busybox", "no build stage in current context"),
    ("# foo=bar\n# escape=`\nFROM busybox\nRUN echo `\n hi", "dockerfile parse error line 5: unknown instruction: HI"),
    ("# hello\n# escape=`\nFROM busybox\nRUN echo `\n hi", "dockerfile parse error line 5: unknown instruction: HI"),
    ("\n# escape=`\nFROM busybox\nRUN echo `\n hi", "dockerfile parse error line 5: unknown instruction: HI"),
    ("FROM busybox\nRUN --network=none true", "dockerfile parse error line 2: Unknown flag: network"),
    ("FROM busybox\nRUN --security=insecure true", "dockerfile parse error line 2: Unknown flag: security"),
    ("FROM busybox\nRUN --foo true", "dockerfile parse error line 2: Unknown flag: foo"),
    ("FROM busybox\nRUN --mount true", "dockerfile parse error line 2: Missing a value on flag: mount"),
    ("FROM busybox\nCOPY --chown a.txt /x", "dockerfile parse error line 2: Missing a value on flag: chown"),
    ("FROM busybox\nCOPY --chown=1 --chown=2 a.txt /x", "dockerfile parse error line 2: Duplicate flag specified: chown"),
    ('FROM busybox\nCMD ["a",1]', "failed to parse Dockerfile: when using JSON array syntax, arrays must be comprised of strings only"),
    ("FROM busybox\nENV --x A=1", "dockerfile parse error line 2: Unknown flag: x"),
    ("FROM busybox\nWORKDIR --x /a", "dockerfile parse error line 2: Unknown flag: x"),
    ("FROM busybox\nENTRYPOINT --x a", "dockerfile parse error line 2: Unknown flag: x"),
    ("FROM busybox\nHEALTHCHECK --bogus=1 CMD a", "dockerfile parse error line 2: Unknown flag: bogus"),
    ("FROM busybox\nHEALTHCHECK --start-interval=1s CMD a", "dockerfile parse error line 2: Unknown flag: start-interval"),
    ("FROM busybox\nFROM", "dockerfile parse error line 2: FROM requires either one or three arguments"),
]


def _plan(text: str) -> Plan:
    return understand(parse(text.encode()))


def _lines(text: str) -> Dockerfile:
    return parse(text.encode())


@pytest.mark.parametrize(("word", "expected"), _WORDS)
def test_words_expand_as_in_docker(word: str, expected: str) -> None:
    step = _plan(f"FROM x\nENV R={word}\n").stages[0].steps[0]
    assert isinstance(step, Env)
    assert expand(step.pairs[0][1], _ENV) == expected


@pytest.mark.parametrize(("word", "text"), _BAD_WORDS)
def test_bad_words_are_refused_in_docker_s_words(word: str, text: str) -> None:
    step = _plan(f"FROM x\nENV R={word}\n").stages[0].steps[0]
    assert isinstance(step, Env)
    with pytest.raises(Failed) as caught:
        expand(step.pairs[0][1], _ENV)
    assert str(caught.value) == f"failed to process {notation.quoted(step.pairs[0][1])}: {text}"


@pytest.mark.parametrize(("text", "message"), _REFUSED)
def test_wrong_dockerfiles_are_refused_in_docker_s_words(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        _plan(text)
    assert str(caught.value) == message


def test_expose_splits_what_an_unquoted_variable_holds() -> None:
    assert expand_words("$P", {"P": "1 2"}) == ["1", "2"]
    assert expand_words('"$P"', {"P": "1 2"}) == ["1 2"]
    assert expand_words("a$P", {"P": "1 2"}) == ["a1", "2"]
    step = _plan("FROM x\nEXPOSE 80 90/udp 100-102").stages[0].steps[0]
    assert isinstance(step, Expose) and step.ports == ("100-102", "80", "90/udp")


def test_a_word_that_grows_without_end_is_refused() -> None:
    with pytest.raises(Failed, match="longer than"):
        expand("$A" * 2000, {"A": "x" * 1000})
    with pytest.raises(Failed, match="too many substitutions"):
        expand("${N:-" * 100 + "}" * 100, {})


def test_continuations_comments_and_empty_lines() -> None:
    file = _lines("FROM busybox\nRUN echo a \\\n   # c\n b\n\n# comment\n  RUN x \\\n\n y\n")
    assert [(line.number, line.original) for line in file.lines] == [(1, "FROM busybox"), (2, "RUN echo a  b"), (7, "RUN x  y")]
    assert file.warnings == (
        "[WARNING]: Empty continuation line found in:\n    RUN x  y",
        "[WARNING]: Empty continuation lines will become errors in a future release.",
    )
    assert [line.original for line in _lines("FROM x\nRUN echo a \\\\\nRUN b").lines][1:] == ["RUN echo a \\\\", "RUN b"]


@pytest.mark.parametrize(
    ("head", "escape"),
    [
        ("# escape=`\n", "`"),
        ("# syntax=x\n# escape=`\n", "`"),
        ("# foo=bar\n# escape=`\n", "\\"),
        ("# hello\n# escape=`\n", "\\"),
        ("\n# escape=`\n", "\\"),
        ("#ESCAPE = `  \n", "`"),
        ("\ufeff# escape=`\n", "`"),
    ],
)
def test_directives_stand_above_all(head: str, escape: str) -> None:
    assert _lines(f"{head}FROM x\n").escape == escape


def test_json_arrays_and_what_only_looks_like_one() -> None:
    def cmd(text: str) -> Cmd:
        step = _plan(f"FROM x\nCMD {text}").stages[0].steps[0]
        assert isinstance(step, Cmd)
        return step

    assert (cmd('["a", "b"]').command.words, cmd('["a", "b"]').command.shell) == (("a", "b"), False)
    assert cmd('["a"] b').command.words == ("a",)
    assert (cmd('["a", "b"').command.words, cmd('["a", "b"').command.shell) == (('["a", "b"',), True)
    assert cmd("['a']").command.shell
    assert cmd("[]").command.words == () and not cmd("[]").command.shell
    assert cmd("").command.words == () and cmd("").command.shell
    step = _plan('FROM x\nCOPY ["a b", "/c d"]').stages[0].steps[0]
    assert isinstance(step, Copy) and (step.sources, step.target) == (("a b",), "/c d")


def test_flags_are_cut_off_the_front() -> None:
    step = _plan("FROM x\nCOPY --from=b --chown='1 2':3 -- --a /c").stages[0].steps[0]
    assert isinstance(step, Copy)
    assert (step.source_stage, step.chown, step.sources) == ("b", "1 2:3", ("--a",))
    step = _plan("FROM x\nRUN --mount=type=cache,target=/x true").stages[0].steps[0]
    assert isinstance(step, Run) and step.flags == ("mount",) and step.command.words == ("true",)


def test_targets_by_name() -> None:
    plan = _plan("FROM a AS One\nRUN x\nFROM b\nRUN y\nFROM c AS three\n")
    assert plan.total() == 5
    assert [stage.start.base for stage in targeted(plan, "one").stages] == ["a"]
    assert [stage.start.base for stage in targeted(plan, "ONE").stages] == ["a"]
    assert [stage.start.base for stage in targeted(plan, "three").stages] == ["a", "b", "c"]
    for target in ("two", "1", "-1", "b"):
        with pytest.raises(InvalidArgument, match=f"failed to reach build target {target} in Dockerfile"):
            targeted(plan, target)


def test_label_options_come_last_and_verbatim() -> None:
    steps = labelled(_plan("FROM a\nRUN x"), {"b": "$X", "a": "1"}).stages[0].steps
    assert [step.code for step in steps] == ["RUN x", "LABEL a=1", "LABEL b=$X"]


def test_scopes_of_arguments() -> None:
    args = BuildArgs({"GIVEN": "g", "UNUSED": "u", "HTTP_PROXY": "p", "EMPTY": None})
    args.declare_meta("BEFORE", "b")
    assert args.meta() == {"BEFORE": "b", "HTTP_PROXY": "p"}
    stage = args.stage()
    assert stage.allowed() == {"HTTP_PROXY": "p"}
    stage.declare("BEFORE", None)
    stage.declare("GIVEN", "default")
    stage.declare("EMPTY", None)
    assert stage.allowed() == {"BEFORE": "b", "GIVEN": "g", "HTTP_PROXY": "p"}
    assert stage.beside({"GIVEN": "by ENV"}) == {"BEFORE": "b", "HTTP_PROXY": "p"}
    assert not stage.in_history("HTTP_PROXY") and stage.in_history("GIVEN")
    stage.declare("HTTP_PROXY", None)
    assert stage.in_history("HTTP_PROXY")
    args.seen_in(stage)
    assert args.unused() == ["UNUSED"]
    assert args.stage().allowed() == {"HTTP_PROXY": "p"}


def test_go_s_notations() -> None:
    assert notation.quoted('a"\n\x01\u00e9\u200b') == '"a\\"\\n\\x01\u00e9\\u200b"'
    assert notation.quoted_list(["/bin/sh", "-c", "a b"]) == '["/bin/sh" "-c" "a b"]'
    assert [notation.quoted_rune(number) for number in (0, 3, 39, 65)] == ["'\\x00'", "'\\x03'", "'\\''", "'A'"]
    for text, shown in (
        ("90m", "1h30m0s"),
        ("1500ms", "1.5s"),
        ("1h1us", "1h0m0.000001s"),
        ("5ms", "5ms"),
        ("1.5us", "1.5\u00b5s"),
        ("0", "0s"),
    ):
        assert notation.duration(notation.parse_duration(text)) == shown
    for text in ("x", "5", "", "1.2.3s", "5 s"):
        with pytest.raises(ValueError, match="duration"):
            notation.parse_duration(text)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "FROM a",
                "RUN ",
                "ENV ",
                '["a"',
                "]",
                "\\",
                "\n",
                "'",
                '"',
                "$",
                "${",
                "}",
                " ",
                "=",
                "#",
                "--x",
                "\0",
                "é",
                "COPY a b",
                "ONBUILD ",
            ]
        )
    )
)
def test_whatever_is_written_is_understood_or_refused(parts: list[str]) -> None:
    try:
        plan = understand(parse("".join(parts).encode()))
    except InvalidArgument:
        return
    for stage in plan.stages:
        for step in stage.steps:
            with contextlib.suppress(Failed):
                expanded(step, lambda word: expand(word, _ENV, plan.escape))
