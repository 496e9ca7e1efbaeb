"""The user's wishes laid over an image's configuration, by Docker's rules. Pure."""

from collections.abc import Iterable
from typing import Any

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.core.errors import InvalidArgument


def merge(spec: pb.ContainerSpec, image: images_pb2.ImageConfig) -> pb.ContainerSpec:
    """Returns spec with what the image says where the user said nothing.

    Raises InvalidArgument "No command specified" when neither names one.
    """
    merged = pb.ContainerSpec()
    merged.CopyFrom(spec)
    merged.user = spec.user or image.user
    merged.working_dir = spec.working_dir or image.working_dir
    merged.stop_signal = spec.stop_signal or image.stop_signal
    _replace(merged.env, _environment(spec.env, image.env))
    _replace(merged.exposed_ports, _union(spec.exposed_ports, image.exposed_ports))
    _replace(merged.volumes, _union(spec.volumes, image.volumes))
    for key, value in image.labels.items():
        if key not in spec.labels:
            merged.labels[key] = value
    merged.healthcheck_json = _healthcheck(spec.healthcheck_json, image.healthcheck_json)
    _replace(merged.shell, list(spec.shell or image.shell))
    _command(merged, spec, image)
    return merged


def command_of(spec: pb.ContainerSpec) -> list[str]:
    """Returns the whole command line of a merged spec."""
    return [*spec.entrypoint.values, *spec.cmd.values]


def _command(merged: pb.ContainerSpec, spec: pb.ContainerSpec, image: images_pb2.ImageConfig) -> None:
    entrypoint = list(spec.entrypoint.values)
    cmd = list(spec.cmd.values)
    if not entrypoint:
        if not cmd:
            cmd = list(image.cmd.values)
        if not spec.HasField("entrypoint"):
            entrypoint = list(image.entrypoint.values)
    if entrypoint == [""]:  # docker run --entrypoint ""
        entrypoint = []
    if not entrypoint and not cmd:
        raise InvalidArgument("No command specified")
    merged.ClearField("entrypoint")
    merged.ClearField("cmd")
    if entrypoint:
        merged.entrypoint.values.extend(entrypoint)
    if cmd:
        merged.cmd.values.extend(cmd)


def _environment(user: Iterable[str], image: Iterable[str]) -> list[str]:
    mine = list(user)
    names = {entry.partition("=")[0] for entry in mine}
    return mine + [entry for entry in image if entry.partition("=")[0] not in names]


def _union(first: Iterable[str], second: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))


def _replace(field: Any, values: list[str]) -> None:
    del field[:]
    field.extend(values)


def _healthcheck(user: str, image: str) -> str:
    if not user or not image:
        return user or image
    mine, theirs = _document(user), _document(image)
    for key, value in theirs.items():
        if not mine.get(key):
            mine[key] = value
    return msgspec.json.encode(mine).decode()


def _document(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"invalid healthcheck: {error}") from None
