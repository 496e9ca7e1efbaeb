"""The attributes that log options add to records: labels, env, their patterns, and the tag."""

import re
from collections.abc import Mapping

from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.core.errors import InvalidArgument
from skerry.logs import tags


def check(options: Mapping[str, str]) -> None:
    """Raises InvalidArgument when a pattern or the tag is not as it should be."""
    for key in ("labels-regex", "env-regex"):
        _pattern(options.get(key, ""))
    tags.render(options.get("tag", ""), pb.Open(container_id="0" * 64))


def of(request: pb.Open) -> dict[str, str]:
    """Returns what the options of a container select (moby loggerutils ExtraAttributes). Raises InvalidArgument."""
    options, labels = request.options, request.labels
    extra: dict[str, str] = {}
    extra |= {name: labels[name] for name in _names(options.get("labels", "")) if name in labels}
    if options.get("labels-regex"):
        extra |= _matching(options["labels-regex"], labels)
    variables = dict(one.split("=", 1) for one in request.env if "=" in one)
    extra |= {name: variables[name] for name in _names(options.get("env", "")) if name in variables}
    if options.get("env-regex"):
        extra |= _matching(options["env-regex"], variables)
    if tag := tags.render(options.get("tag", ""), request):
        extra["tag"] = tag
    return extra


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _matching(text: str, values: Mapping[str, str]) -> dict[str, str]:
    pattern = _pattern(text)
    return {name: value for name, value in values.items() if pattern.search(name)}


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidArgument(f"error parsing regexp: {error}") from None
