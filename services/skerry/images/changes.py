"""Dockerfile instructions that change an image's configuration: `import --change`, later `commit --change`."""

import json
import re
import shlex
from typing import Any

from skerry.core.errors import InvalidArgument

_KNOWN = ("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?\Z")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)")
_UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def applied(config: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """Returns config (Docker's image Config object) with the instructions applied in order. Raises InvalidArgument in Docker's words."""
    config = dict(config)
    for line in changes:
        word, _, rest = line.strip().partition(" ")
        instruction, rest = word.upper(), rest.strip()
        if not instruction:
            continue
        if instruction not in _KNOWN:
            raise InvalidArgument(
                f"{word.lower()} is not a valid change command" if instruction.isalpha() else f"unknown instruction: {word}"
            )
        if not rest:
            raise InvalidArgument(f"{instruction} requires at least one argument")
        _apply(config, instruction, rest)
    return config


def _apply(config: dict[str, Any], instruction: str, rest: str) -> None:
    match instruction:
        case "CMD":
            config["Cmd"] = _command(rest, config)
        case "ENTRYPOINT":
            config["Entrypoint"] = _command(rest, config)
        case "ENV":
            env = dict(one.split("=", 1) for one in config.get("Env") or [])
            env.update(_pairs(rest, instruction))
            config["Env"] = [f"{key}={value}" for key, value in env.items()]
        case "LABEL":
            config["Labels"] = {**(config.get("Labels") or {}), **_pairs(rest, instruction)}
        case "EXPOSE":
            config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **{port: {} for text in rest.split() for port in _ports(text)}}
        case "VOLUME":
            paths = _json_list(rest)
            config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in (rest.split() if paths is None else paths)}}
        case "WORKDIR":
            base = config.get("WorkingDir") or "/"
            config["WorkingDir"] = rest if rest.startswith("/") else f"{base.rstrip('/')}/{rest}"
        case "USER":
            config["User"] = rest
        case "STOPSIGNAL":
            config["StopSignal"] = rest
        case "ONBUILD":
            config["OnBuild"] = [*(config.get("OnBuild") or []), rest]
        case "SHELL":
            shell = _json_list(rest)
            if shell is None:
                raise InvalidArgument("SHELL requires the arguments to be in JSON form")
            config["Shell"] = shell
        case "HEALTHCHECK":
            config["Healthcheck"] = _healthcheck(rest, config)


def _json_list(text: str) -> list[str] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list) and all(isinstance(one, str) for one in value) else None


def _command(text: str, config: dict[str, Any]) -> list[str]:
    words = _json_list(text)
    return words if words is not None else [*(config.get("Shell") or ["/bin/sh", "-c"]), text]


def _pairs(text: str, instruction: str) -> dict[str, str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidArgument(f"{instruction}: {error}") from None
    if words and "=" not in words[0]:
        # The old form: one name, the rest of the line is its value.
        name, _, value = text.partition(" ")
        if not value:
            raise InvalidArgument(f"{instruction} must have two arguments")
        return {name: value.strip()}
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InvalidArgument(f"Syntax error - can't find = in {word!r}. Must be of the form: name=value")
        if not name:
            raise InvalidArgument(f"{instruction} names can not be blank")
        pairs[name] = value
    return pairs


def _ports(text: str) -> list[str]:
    match = _PORT.match(text)
    if match is None:
        raise InvalidArgument(f"Invalid containerPort: {text}")
    first, last, protocol = int(match[1]), int(match[2] or match[1]), match[3] or "tcp"
    if not first <= last <= 65535:
        raise InvalidArgument(f"Invalid containerPort: {text}")
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _healthcheck(text: str, config: dict[str, Any]) -> dict[str, Any]:
    if text.upper() == "NONE":
        return {"Test": ["NONE"]}
    check: dict[str, Any] = {}
    names = {
        "interval": "Interval",
        "timeout": "Timeout",
        "start-period": "StartPeriod",
        "start-interval": "StartInterval",
        "retries": "Retries",
    }
    while text.startswith("--"):
        flag, _, text = text.partition(" ")
        name, _, value = flag[2:].partition("=")
        if name not in names:
            raise InvalidArgument(f"unknown flag: {name}")
        check[names[name]] = _number(value, name) if name == "retries" else _duration(value, name)
        text = text.strip()
    word, _, rest = text.partition(" ")
    if word.upper() != "CMD" or not rest.strip():
        raise InvalidArgument(f"Unknown type {word!r} in HEALTHCHECK (try CMD)")
    words = _json_list(rest.strip())
    check["Test"] = ["CMD", *words] if words is not None else ["CMD-SHELL", rest.strip()]
    return check


def _number(text: str, name: str) -> int:
    if not text.isdigit():
        raise InvalidArgument(f"invalid value {text!r} for --{name}")
    return int(text)


def _duration(text: str, name: str) -> int:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidArgument(f"invalid duration {text!r} for --{name}")
    return sum(int(float(number) * _UNITS[unit]) for number, unit in parts)
