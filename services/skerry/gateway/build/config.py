"""The configuration that a build changes step by step: Docker's container.Config as a dictionary with every field, in its order."""

import copy
from typing import Any

import msgspec

from skerry.api.images.v1 import images_pb2

Config = dict[str, Any]

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ZERO: Config = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "ExposedPorts": None,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Healthcheck": None,
    "ArgsEscaped": False,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
    "StopSignal": "",
    "StopTimeout": None,
    "Shell": None,
}
# Go's omitempty.
_OMITTED = frozenset({"ExposedPorts", "Healthcheck", "ArgsEscaped", "StopSignal", "StopTimeout", "Shell"})


def of_image(image: images_pb2.Image | None) -> Config:
    """Returns the configuration that a stage begins with; None: FROM scratch."""
    given: Any = {}
    if image is not None:
        document = msgspec.json.decode(image.config_json)
        given = document.get("config") or {}
    config = {key: copy.deepcopy(given.get(key)) or zero for key, zero in _ZERO.items()}
    env = list(config["Env"] or [])
    if not any(one.partition("=")[0] == "PATH" for one in env):
        env.append(DEFAULT_PATH)
    return config | {"Env": env, "OpenStdin": False, "StdinOnce": False}


def encoded(config: Config) -> str:
    """Returns it as JSON, as Go writes it."""
    return msgspec.json.encode({key: value for key, value in config.items() if value or key not in _OMITTED}).decode()


def with_command(config: Config, command: list[str], **more: Any) -> Config:
    """Returns a copy with another command."""
    return {**config, "Cmd": command, **more}


def shell(config: Config) -> list[str]:
    """Returns the words before a command that is not a JSON array."""
    return list(config["Shell"] or ["/bin/sh", "-c"])


def comment(config: Config, text: str, *, one_word: bool = False) -> Config:
    """Returns the configuration of a step that runs nothing: the instruction stands in its command, for cache and history.

    COPY, ADD and WORKDIR put it into one word (one_word), all others into two.
    """
    words = ["#(nop) " + text] if one_word else ["#(nop) ", text]
    return with_command(config, shell(config) + words)


def environment(config: Config) -> dict[str, str]:
    """Returns the variables; of a name that is there twice, the first."""
    found: dict[str, str] = {}
    for one in config["Env"] or []:
        name, _, value = one.partition("=")
        found.setdefault(name, value)
    return found


def set_variable(config: Config, name: str, value: str) -> None:
    """Sets one variable in its place, or at the end."""
    env = list(config["Env"] or [])
    for number, one in enumerate(env):
        if one.partition("=")[0] == name:
            env[number] = f"{name}={value}"
            break
    else:
        env.append(f"{name}={value}")
    config["Env"] = env
