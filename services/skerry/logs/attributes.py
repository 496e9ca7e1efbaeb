"""The attributes that log options add to records: labels, env, and their patterns."""

import re
from collections.abc import Mapping, Sequence


def extra_attributes(options: Mapping[str, str], labels: Mapping[str, str], env: Sequence[str]) -> dict[str, str]:
    """Returns what `labels`, `labels-regex`, `env`, `env-regex` and `tag` select (moby loggerutils ExtraAttributes)."""
    extra: dict[str, str] = {}
    for name in _names(options.get("labels", "")):
        if name in labels:
            extra[name] = labels[name]
    if options.get("labels-regex"):
        pattern = re.compile(options["labels-regex"])
        extra.update({name: value for name, value in labels.items() if pattern.search(name)})
    variables = dict(one.split("=", 1) for one in env if "=" in one)
    for name in _names(options.get("env", "")):
        if name in variables:
            extra[name] = variables[name]
    if options.get("env-regex"):
        pattern = re.compile(options["env-regex"])
        extra.update({name: value for name, value in variables.items() if pattern.search(name)})
    return extra


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]
