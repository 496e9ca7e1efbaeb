"""Dockerfile instructions that change an image's configuration: `import --change` and `commit --change`. Docker has no others."""

import json
import posixpath
import re
from typing import Any

from skerry.core.errors import InvalidArgument
from skerry.images import words

_KNOWN = ("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")
_MAX_TEXT = 1 << 20
_CONTINUED = re.compile(r"\\[ \t]*\r?\n")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?\Z", re.ASCII)
_DURATION = re.compile(r"(\d{1,19}(?:\.\d{1,19})?)(h|ms|m|s|us|ns)", re.ASCII)
_FLAGS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
    "retries": "Retries",
}
_UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def applied(config: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """Returns config (Docker's image Config object) with the instructions applied in order. Raises InvalidArgument in Docker's words.

    Each change may have several lines, continued by a backslash at a line's end.
    """
    if sum(map(len, changes)) > _MAX_TEXT:
        raise InvalidArgument(f"changes have more than {_MAX_TEXT} characters")
    config = dict(config)
    lines = [line.strip() for change in changes for line in _CONTINUED.sub("", change).splitlines()]
    instructions = [line for line in lines if line and not line.startswith("#")]
    if changes and not instructions:
        raise InvalidArgument("file with no instructions")
    has_command = False
    for line in instructions:
        word, *more = line.split(maxsplit=1)
        instruction, rest = word.upper(), (more or [""])[0].strip()
        if instruction not in _KNOWN:
            raise InvalidArgument(f"{word.lower()[:100]} is not a valid change command")
        if not rest and instruction not in ("CMD", "ENTRYPOINT"):
            exactly = "exactly" if instruction in ("USER", "WORKDIR", "STOPSIGNAL") else "at least"
            raise InvalidArgument(f"{instruction} requires {exactly} one argument")
        _apply(config, instruction, rest)
        has_command |= instruction == "CMD"
        if instruction == "ENTRYPOINT" and not has_command:
            config.pop("Cmd", None)  # it was meant for the old one
    return config


def _apply(config: dict[str, Any], instruction: str, rest: str) -> None:
    env = dict(one.split("=", 1) for one in config.get("Env") or [])
    match instruction:
        case "CMD":
            config["Cmd"] = _command(rest, config)
        case "ENTRYPOINT":
            config["Entrypoint"] = _command(rest, config) or None
        case "ENV":
            config["Env"] = [f"{key}={value}" for key, value in {**env, **_pairs(rest, instruction, env)}.items()]
        case "LABEL":
            config["Labels"] = {**(config.get("Labels") or {}), **_pairs(rest, instruction, env)}
        case "EXPOSE":
            ports: dict[str, Any] = {port: {} for text in rest.split() for port in _ports(words.expand(text, env))}
            config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **ports}
        case "VOLUME":
            paths = [words.expand(path, env).strip() for path in _json_list(rest) or rest.split()]
            if "" in paths:
                raise InvalidArgument("VOLUME specified can not be an empty string")
            config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}
        case "WORKDIR":
            path = words.expand(rest, env)
            config["WorkingDir"] = path if path.startswith("/") else _below(config.get("WorkingDir") or "", path)
        case "USER":
            config["User"] = words.expand(rest, env)
        case "STOPSIGNAL":
            config["StopSignal"] = words.expand(rest, env)
        case "ONBUILD":
            config["OnBuild"] = [*(config.get("OnBuild") or []), _trigger(rest)]
        case "HEALTHCHECK":
            config["Healthcheck"] = _healthcheck(rest)


def _below(base: str, path: str) -> str:
    # normpath would leave two slashes at the begin, which POSIX lets mean something.
    return "/" + posixpath.normpath(f"/{base}/{path}").lstrip("/")


def _trigger(rest: str) -> str:
    word = rest.split(maxsplit=1)[0].upper()
    if word == "ONBUILD":
        raise InvalidArgument("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if word in ("MAINTAINER", "FROM"):
        raise InvalidArgument(f"{word} isn't allowed as an ONBUILD trigger")
    return rest


def _json_list(text: str) -> list[str] | None:
    try:
        value = json.loads(text) if text.startswith("[") else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) and all(isinstance(one, str) for one in value) else None


def _command(text: str, config: dict[str, Any]) -> list[str]:
    given = _json_list(text)
    if given is not None:
        return given
    return [*(config.get("Shell") or ["/bin/sh", "-c"]), *([text] if text else [])]


def _pairs(text: str, instruction: str, env: dict[str, str]) -> dict[str, str]:
    split = words.split(text)
    if "=" not in split[0]:
        # The old form: one name, the rest of the line is its value.
        name, *value = text.split(maxsplit=1)
        if not value:
            raise InvalidArgument(f"{instruction} must have two arguments")
        return {words.expand(name, env): words.expand(value[0], env)}
    pairs = {}
    for word in split:
        name, equals, rest = word.partition("=")
        if not equals:
            raise InvalidArgument(f'Syntax error - can\'t find = in "{word[:100]}". Must be of the form: name=value')
        if not name:
            raise InvalidArgument(f"{instruction} names can not be blank")
        pairs[words.expand(name, env)] = words.expand(rest, env)
    return pairs


def _ports(text: str) -> list[str]:
    """Reads PORT[-PORT][/PROTOCOL]; of HOST:PORT only the container's part counts, as in Docker."""
    ports, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise InvalidArgument(f"Invalid proto: {protocol[:100]}")
    match = _PORT.match(ports.rpartition(":")[2])
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not first <= last <= 65535:
        raise InvalidArgument(f"Invalid containerPort: {ports[:100]}")
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _healthcheck(text: str) -> dict[str, Any]:
    check: dict[str, Any] = {}
    while text.startswith("--"):
        flag, _, text = text.partition(" ")
        name, _, value = flag[2:].partition("=")
        if name not in _FLAGS:
            raise InvalidArgument(f"Unknown flag: {name[:100]}")
        check[_FLAGS[name]] = _retries(value) if name == "retries" else _duration(value, name)
        text = text.strip()
    word, _, rest = text.partition(" ")
    if word.upper() == "NONE":
        if rest.strip():
            raise InvalidArgument("HEALTHCHECK NONE takes no arguments")
        return {"Test": ["NONE"]}
    if word.upper() != "CMD":
        raise InvalidArgument(f'Unknown type "{word.upper()[:100]}" in HEALTHCHECK (try CMD)')
    if not rest.strip():
        raise InvalidArgument("Missing command after HEALTHCHECK CMD")
    given = _json_list(rest.strip())
    check["Test"] = ["CMD", *given] if given is not None else ["CMD-SHELL", rest.strip()]
    return check


def _retries(text: str) -> int:
    try:
        number = int(text[:10])
    except ValueError:
        raise InvalidArgument(f'strconv.ParseInt: parsing "{text[:100]}": invalid syntax') from None
    if number < 1:
        raise InvalidArgument(f"--retries must be at least 1 (not {number})")
    return number


def _duration(text: str, name: str) -> int:
    parts = _DURATION.findall(text)
    if text != "0" and (not parts or "".join(number + unit for number, unit in parts) != text):
        raise InvalidArgument(f'time: invalid duration "{text[:100]}"')
    value = sum(int(float(number) * _UNITS[unit]) for number, unit in parts)
    if value < _UNITS["ms"]:
        raise InvalidArgument(f'Interval "{name}" cannot be less than 1ms')
    if value >= 1 << 63:
        raise InvalidArgument(f'time: invalid duration "{text[:100]}"')
    return value
