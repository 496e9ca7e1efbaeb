"""The query of POST /build: what a build is to be like. What the classic builder does not do is refused by name."""

import re
from typing import Any, TypeVar

import msgspec

from skerry.core.errors import Failed, InvalidArgument, NotSupported
from skerry.gateway import platforms
from skerry.gateway.call import Call
from skerry.gateway.docker.names import familiar
from skerry.gateway.errors import BadInput
from skerry.gateway.versions import BUILD_AUX

T = TypeVar("T")

BUILDKIT = (
    "BuildKit is not part of this engine: set DOCKER_BUILDKIT=0 to build with the classic builder, or build with `docker buildx` in a "
    "container of its own and load the result"
)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]+)?|\[[a-fA-F0-9:]+\](?::[0-9]+)?"
)
_TAG = re.compile(rf"(?:(?:{_HOST})/)?{_COMPONENT}(?:/{_COMPONENT})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?\Z")
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}\Z")


class Ulimit(msgspec.Struct, frozen=True, rename="pascal"):
    """One --ulimit."""

    name: str = ""
    hard: int = 0
    soft: int = 0


class Options(msgspec.Struct, frozen=True):
    """The options of one build."""

    dockerfile: str
    # As given, checked; without a tag: latest.
    tags: tuple[str, ...]
    remote: str
    quiet: bool
    no_cache: bool
    cache_from: tuple[str, ...]
    pull: bool
    remove: bool
    force_remove: bool
    args: dict[str, str | None]
    labels: dict[str, str]
    target: str
    platform: str
    # For the containers of RUN, COPY, ...: Docker's HostConfig.
    host: dict[str, Any]
    # The answer tells the ids of stages and image besides (API 1.30).
    aux: bool


def read(call: Call) -> Options:
    """Reads the query. Raises InvalidArgument, BadInput and NotSupported in Docker's words where it has some."""
    _refused(call)
    return Options(
        dockerfile=call.text("dockerfile") or "Dockerfile",
        tags=_tags(call.request.query.getall("t", [])),
        remote=call.text("remote"),
        quiet=call.flag("q"),
        no_cache=call.flag("nocache"),
        cache_from=tuple(_json(call, "cachefrom", list[str] | None, "") or ()),
        pull=call.flag("pull"),
        remove=call.flag("forcerm") or call.flag("rm", default=True),
        force_remove=call.flag("forcerm"),
        args=_json(call, "buildargs", dict[str, str | None] | None, "error reading build args") or {},
        labels=_json(call, "labels", dict[str, str] | None, "error reading labels") or {},
        target=call.text("target"),
        platform=_platform(call.text("platform")),
        host=_host(call),
        aux=call.version >= BUILD_AUX,
    )


def _refused(call: Call) -> None:
    version = call.text("version")
    if version not in ("", "1", "2"):
        raise BadInput(f'invalid version "{version}"')
    if version == "2" or call.text("session") or call.text("remote") == "client-session":
        raise NotSupported(BUILDKIT)
    if call.flag("squash"):
        raise InvalidArgument("squash is only supported with experimental mode")
    if call.text("isolation").lower() not in ("", "default"):
        raise InvalidArgument(f'Unsupported isolation: "{call.text("isolation")}"')
    if call.text("securityopt"):
        raise InvalidArgument("The daemon on this platform does not support setting security options on build")
    if _json(call, "outputs", list[dict[str, Any]] | None, ""):
        raise NotSupported("outputs of a build (--output) need BuildKit. " + BUILDKIT)


def _json(call: Call, name: str, kind: type[T] | Any, what: str) -> T | Any:
    text = call.text(name)
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeError) as error:
        if what:
            raise InvalidArgument(f"{what}: {error}") from None
        raise BadInput(f"invalid {name}: {error}") from None


def _number(call: Call, name: str) -> int:
    """Returns a number; what is none counts as 0, as in Docker."""
    text = call.text(name)
    return int(text) if _NUMBER.match(text) else 0


def _host(call: Call) -> dict[str, Any]:
    shm = call.text("shmsize")
    if shm and not _NUMBER.match(shm):
        raise BadInput(f'strconv.ParseInt: parsing "{shm}": invalid syntax')
    ulimits = _json(call, "ulimits", list[Ulimit] | None, "error reading ulimit settings")
    host: dict[str, Any] = {
        "LogConfig": {"Type": "none", "Config": {}},
        "NetworkMode": call.text("networkmode") or "default",
        "CpuShares": _number(call, "cpushares"),
        "Memory": _number(call, "memory"),
        "MemorySwap": _number(call, "memswap"),
        "CpuPeriod": _number(call, "cpuperiod"),
        "CpuQuota": _number(call, "cpuquota"),
        "CpusetCpus": call.text("cpusetcpus"),
        "CpusetMems": call.text("cpusetmems"),
        "CgroupParent": call.text("cgroupparent"),
        "ShmSize": int(shm or 0),
    }
    if ulimits:
        host["Ulimits"] = [{"Name": one.name, "Hard": one.hard, "Soft": one.soft} for one in ulimits]
    if hosts := call.request.query.getall("extrahosts", []):
        host["ExtraHosts"] = hosts
    return host


def _tags(given: list[str]) -> tuple[str, ...]:
    found: list[str] = []
    for text in given:
        if not text:
            continue
        if "@" in text:
            raise Failed("build tag cannot contain a digest")
        if not _TAG.match(text):
            # The image store says why in full; a build must not run first.
            upper = _TAG.match(text.lower())
            raise BadInput("invalid reference format" + (": repository name must be lowercase" if upper else ""))
        if text not in found:
            found.append(text)
    return tuple(found)


def _platform(text: str) -> str:
    """Checks a platform: os, arch, os/arch or os/arch/variant. What there is for it the image store knows."""
    parts = text.lower().split("/")
    if text and (
        not re.fullmatch(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+){0,2}", text)
        or (len(parts) == 1 and parts[0] not in platforms.SYSTEMS | platforms.MACHINES)
    ):
        raise InvalidArgument(f'"{text}": unknown operating system or architecture: invalid argument')
    return text


def shown(tag: str) -> str:
    """Returns a tag as people see it."""
    return familiar(tag)
