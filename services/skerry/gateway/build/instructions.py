"""Instructions with their meaning: typed, checked, sorted into stages.

Source: BuildKit's frontend/dockerfile/instructions at the version in dockerd 20.10.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from skerry.core.errors import InvalidArgument
from skerry.gateway.build.dockerfile import Dockerfile, Line
from skerry.gateway.build.notation import parse_duration, quoted
from skerry.gateway.build.syntax import (
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Pairs,
    Plan,
    Run,
    Shell,
    Stage,
    Step,
    StopSignal,
    User,
    Volume,
    Workdir,
)

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*\Z")
_ONBUILD = re.compile(r"\s*ONBUILD\s*", re.IGNORECASE)
_HEREDOC = re.compile(r"(?:^|\s)[0-9]*<<-?\s*(['\"]?)[A-Za-z_][A-Za-z0-9_]*\1(?:\s|$)")
_DURATIONS = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod"}
_LEAST = 10**6


class _Wrong(Exception):
    pass


def understand(file: Dockerfile) -> Plan:
    """Types every instruction. Raises InvalidArgument in Docker's words, with the line."""
    meta: list[Arg] = []
    stages: list[tuple[From, list[Step]]] = []
    heredoc = 0
    for line in file.lines:
        try:
            step = _typed(line)
        except _Wrong as error:
            hint = f": the heredoc in line {heredoc} requires BuildKit" if heredoc else ""
            raise InvalidArgument(f"dockerfile parse error line {line.number}: {error}{hint}") from None
        if isinstance(step, Run | Copy) and _HEREDOC.search(line.original):
            heredoc = line.number
        if isinstance(step, From):
            stages.append((step, []))
        elif stages:
            stages[-1][1].append(step)
        elif isinstance(step, Arg):
            meta.append(step)
        else:
            raise InvalidArgument("no build stage in current context")
    return Plan(tuple(meta), tuple(Stage(start, tuple(steps)) for start, steps in stages), file.escape, file.warnings)


def trigger(line: Line) -> Step:
    """Types an ONBUILD trigger that runs now. Raises InvalidArgument."""
    try:
        step = _typed(line)
    except _Wrong as error:
        raise InvalidArgument(str(error)) from None
    if isinstance(step, From):
        raise InvalidArgument("FROM isn't allowed as an ONBUILD trigger")
    return step


def targeted(plan: Plan, target: str) -> Plan:
    """Returns the plan up to the stage of that name. Raises InvalidArgument."""
    if not target:
        return plan
    for number, stage in enumerate(plan.stages):
        if stage.start.name and stage.start.name == target.lower():
            return msgspec.structs.replace(plan, stages=plan.stages[: number + 1])
    raise InvalidArgument(f"failed to reach build target {target} in Dockerfile")


def labelled(plan: Plan, labels: dict[str, str]) -> Plan:
    """Returns the plan with --label's labels at its end."""
    if not plan.stages:
        return plan
    more = tuple(Label(f"LABEL {key}={labels[key]}", ((key, labels[key]),), verbatim=True) for key in sorted(labels))
    last = plan.stages[-1]
    return msgspec.structs.replace(plan, stages=(*plan.stages[:-1], Stage(last.start, last.steps + more)))


def _typed(line: Line) -> From | Step:
    reader = _READERS.get(line.word.lower())
    if reader is None:
        raise _Wrong(f"unknown instruction: {line.word.upper()}")
    return reader(line)


def _flags(line: Line, *known: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for flag in line.flags:
        if flag == "--":
            break
        name, equals, value = flag[2:].partition("=")
        if name not in known:
            raise _Wrong(f"Unknown flag: {name}")
        if name in given:
            raise _Wrong(f"Duplicate flag specified: {name}")
        if not equals:
            raise _Wrong(f"Missing a value on flag: {name}")
        given[name] = value
    return given


def _some(line: Line) -> tuple[str, ...]:
    if not line.args:
        raise _Wrong(f"{line.word.upper()} requires at least one argument")
    return line.args


def _one(line: Line) -> str:
    if len(line.args) != 1:
        raise _Wrong(f"{line.word.upper()} requires exactly one argument")
    return line.args[0]


def _from(line: Line) -> From:
    args, name = line.args, ""
    if len(args) == 3 and args[1].lower() == "as":
        name = args[2].lower()
        if not _STAGE_NAME.match(name):
            raise _Wrong(f"invalid name for build stage: {quoted(name)}, name can't start with a number or contain symbols")
    elif len(args) != 1:
        raise _Wrong("FROM requires either one or three arguments")
    flags = _flags(line, "platform")
    return From(line.original, args[0], name, flags.get("platform", ""))


def _pairs(line: Line) -> Pairs:
    args = _some(line)
    _flags(line)
    if any(not name for name in args[::2]):
        raise _Wrong(f"{line.word.upper()} names can not be blank")
    return tuple(zip(args[::2], args[1::2], strict=True))


def _copy(line: Line) -> Copy:
    name = line.word.upper()
    if len(line.args) < 2:
        raise _Wrong(f"{name} requires at least two arguments, but only one was provided. Destination could not be determined")
    flags = _flags(line, "chown", "chmod", *(("from",) if name == "COPY" else ()))
    return Copy(line.original, name, line.args[:-1], line.args[-1], flags.get("chown", ""), flags.get("chmod", ""), flags.get("from", ""))


def _run(line: Line) -> Run:
    return Run(line.original, _command(line), tuple(_flags(line, "mount")))


def _command(line: Line) -> Command:
    words = line.args if line.json or not line.args else (" ".join(line.args),)
    return Command(words, not line.json)


def _plain_command(line: Line) -> Command:
    _flags(line)
    return _command(line)


def _volume(line: Line) -> Volume:
    args = _some(line)
    _flags(line)
    paths = tuple(path.strip() for path in args)
    if "" in paths:
        raise _Wrong("VOLUME specified can not be an empty string")
    return Volume(line.original, paths)


def _expose(line: Line) -> Expose:
    args = _some(line)
    _flags(line)
    return Expose(line.original, tuple(sorted(args)))


def _arg(line: Line) -> Arg:
    found: list[tuple[str, str | None]] = []
    for word in _some(line):
        name, equals, value = word.partition("=")
        if equals and not name:
            raise _Wrong("ARG names can not be blank")
        found.append((name, value if equals else None))
    _flags(line)
    return Arg(line.original, tuple(found))


def _onbuild(line: Line) -> Onbuild:
    word = _some(line)[0].strip().upper()
    _flags(line)
    if word == "ONBUILD":
        raise _Wrong("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if word in ("MAINTAINER", "FROM"):
        raise _Wrong(f"{word} isn't allowed as an ONBUILD trigger")
    return Onbuild(line.original, _ONBUILD.sub("", line.original, count=1))


def _shell(line: Line) -> Shell:
    args = _some(line)
    _flags(line)
    if not line.json:
        raise _Wrong("SHELL requires the arguments to be in JSON form")
    return Shell(line.original, args)


def _healthcheck(line: Line) -> Healthcheck:
    kind, *words = _some(line)
    kind = kind.upper()
    if kind == "NONE":
        if words:
            raise _Wrong("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(line.original, {"Test": ["NONE"]})
    flags = _flags(line, *_DURATIONS, "retries")
    if kind != "CMD":
        raise _Wrong(f"Unknown type {quoted(kind)} in HEALTHCHECK (try CMD)")
    if not any(words):
        raise _Wrong("Missing command after HEALTHCHECK CMD")
    check: dict[str, Any] = {"Test": ["CMD", *words] if line.json else ["CMD-SHELL", " ".join(words)]}
    for name, field in _DURATIONS.items():
        if value := _interval(name, flags.get(name, "")):
            check[field] = value
    if text := flags.get("retries"):
        if not re.fullmatch(r"[+-]?[0-9]{1,10}", text):
            raise _Wrong(f"strconv.ParseInt: parsing {quoted(text)}: invalid syntax")
        if int(text) < 1:
            raise _Wrong(f"--retries must be at least 1 (not {int(text)})")
        if int(text) >= 1 << 31:
            raise _Wrong(f"strconv.ParseInt: parsing {quoted(text)}: value out of range")
        check["Retries"] = int(text)
    return Healthcheck(line.original, check)


def _interval(name: str, text: str) -> int:
    if not text:
        return 0
    try:
        value = parse_duration(text)
    except ValueError as error:
        raise _Wrong(str(error)) from None
    if value and value < _LEAST:
        raise _Wrong(f"Interval {quoted(name)} cannot be less than 1ms")
    return value


def _text(make: Callable[[str, str], Step]) -> Callable[[Line], Step]:
    def read(line: Line) -> Step:
        text = _one(line)
        _flags(line)
        return make(line.original, text)

    return read


_READERS: dict[str, Callable[[Line], From | Step]] = {
    "add": _copy,
    "arg": _arg,
    "cmd": lambda line: Cmd(line.original, _plain_command(line)),
    "copy": _copy,
    "entrypoint": lambda line: Entrypoint(line.original, _plain_command(line)),
    "env": lambda line: Env(line.original, _pairs(line)),
    "expose": _expose,
    "from": _from,
    "healthcheck": _healthcheck,
    "label": lambda line: Label(line.original, _pairs(line)),
    "maintainer": _text(Maintainer),
    "onbuild": _onbuild,
    "run": _run,
    "shell": _shell,
    "stopsignal": _text(StopSignal),
    "user": _text(User),
    "volume": _volume,
    "workdir": _text(Workdir),
}


def expanded(step: Step, expand: Callable[[str], str]) -> Step:
    """Returns the step with the variables of its own words replaced (EXPOSE and what is never expanded: as it is)."""
    match step:
        case Env() | Label():
            if isinstance(step, Label) and step.verbatim:
                return step
            return msgspec.structs.replace(step, pairs=tuple((expand(name), expand(value)) for name, value in step.pairs))
        case Copy():
            chown = expand(step.chown)
            words = _each(expand, (*step.sources, step.target))
            return msgspec.structs.replace(step, sources=words[:-1], target=words[-1], chown=chown)
        case Volume():
            return msgspec.structs.replace(step, paths=_each(expand, step.paths))
        case User():
            return msgspec.structs.replace(step, text=expand(step.text))
        case Workdir():
            return msgspec.structs.replace(step, path=expand(step.path))
        case StopSignal():
            return msgspec.structs.replace(step, signal=expand(step.signal))
        case Arg():
            return msgspec.structs.replace(
                step, args=tuple((expand(name), None if value is None else expand(value)) for name, value in step.args)
            )
        case _:
            return step


def _each(expand: Callable[[str], str], words: Sequence[str]) -> tuple[str, ...]:
    return tuple(expand(word) for word in words)
