"""System call filters: Docker's profile form, resolved for one set of capabilities, architecture and kernel into OCI's linux.seccomp."""

import functools
import os
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from skerry.core.errors import InvalidArgument

PROFILE_LIMIT = 1 << 20
_DEFAULT_PROFILE = os.path.join(os.path.dirname(__file__), "seccomp_default.json")
# Go's architecture names to libseccomp's.
_NATIVE = {
    "386": "SCMP_ARCH_X86",
    "amd64": "SCMP_ARCH_X86_64",
    "arm": "SCMP_ARCH_ARM",
    "arm64": "SCMP_ARCH_AARCH64",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X",
    "riscv64": "SCMP_ARCH_RISCV64",
    "loong64": "SCMP_ARCH_LOONGARCH64",
}


_ACTIONS = frozenset(
    f"SCMP_ACT_{word}" for word in ("KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY")
)
_OPERATORS = frozenset(f"SCMP_CMP_{word}" for word in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))


class Argument(msgspec.Struct, frozen=True, omit_defaults=True, rename={"value_two": "valueTwo"}):
    """A condition on one argument."""

    index: int
    value: int
    op: str
    value_two: int = 0


class Condition(msgspec.Struct, frozen=True, rename={"min_kernel": "minKernel"}):
    """When a rule counts: all capabilities, any architecture, at least this kernel."""

    caps: tuple[str, ...] | None = None
    arches: tuple[str, ...] | None = None
    min_kernel: str | None = None


class Rule(msgspec.Struct, frozen=True, rename={"errno_ret": "errnoRet"}):
    """One entry of a profile's `syscalls`."""

    action: str
    name: str = ""
    names: tuple[str, ...] | None = None
    errno_ret: int | None = None
    args: tuple[Argument, ...] | None = None
    includes: Condition | None = None
    excludes: Condition | None = None


class ArchitectureMap(msgspec.Struct, frozen=True, rename={"sub_architectures": "subArchitectures"}):
    """A native architecture and what else its kernels run."""

    architecture: str
    sub_architectures: tuple[str, ...] | None = None


class Profile(msgspec.Struct, frozen=True, rename="camel"):
    """Docker's seccomp profile document."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] | None = None
    arch_map: tuple[ArchitectureMap, ...] | None = None
    flags: tuple[str, ...] | None = None
    listener_path: str | None = None
    listener_metadata: str | None = None
    syscalls: tuple[Rule, ...] | None = None


def parse(text: str | bytes) -> Profile:
    """Reads a profile; raises InvalidArgument in Docker's words."""
    if len(text) > PROFILE_LIMIT:
        raise InvalidArgument(f"Decoding seccomp profile failed: larger than {PROFILE_LIMIT} bytes")
    try:
        profile = msgspec.json.decode(text, type=Profile)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from None
    if profile.architectures and profile.arch_map:
        raise InvalidArgument(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'"
        )
    _known(_ACTIONS, "action", (profile.default_action, *(rule.action for rule in profile.syscalls or ())))
    for rule in profile.syscalls or ():
        _known(_OPERATORS, "operator", [argument.op for argument in rule.args or ()])
        if rule.name and rule.names:
            raise InvalidArgument("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'")
    return profile


def _known(words: Collection[str], what: str, given: Iterable[str]) -> None:
    for word in given:
        if word not in words:
            raise InvalidArgument(f"string {word} is not a valid {what} for seccomp")


def resolve(profile: Profile, capabilities: Collection[str], architecture: str, kernel: tuple[int, int]) -> dict[str, Any]:
    """Returns OCI's linux.seccomp: the rules whose conditions hold, without them. architecture is Go's name."""
    optional = {
        "defaultErrnoRet": profile.default_errno_ret,
        "architectures": _architectures(profile, architecture),
        "flags": profile.flags,
        "listenerPath": profile.listener_path,
        "listenerMetadata": profile.listener_metadata,
    }
    result: dict[str, Any] = {"defaultAction": profile.default_action}
    result.update((key, value) for key, value in optional.items() if value is not None)
    result["syscalls"] = [
        _plain(rule)
        for rule in profile.syscalls or ()
        if _counts(rule, frozenset(capabilities), architecture, kernel) and (rule.names or rule.name)
    ]
    return result


def _architectures(profile: Profile, architecture: str) -> tuple[str, ...] | None:
    if profile.architectures:
        return profile.architectures
    native = _NATIVE.get(architecture)
    for entry in profile.arch_map or ():
        if entry.architecture == native:
            return (entry.architecture, *(entry.sub_architectures or ()))
    return None


def _counts(rule: Rule, capabilities: frozenset[str], architecture: str, kernel: tuple[int, int]) -> bool:
    if (no := rule.excludes) is not None:
        if architecture in (no.arches or ()) or not capabilities.isdisjoint(no.caps or ()):
            return False
        if no.min_kernel and kernel >= _version(no.min_kernel):
            return False
    if (yes := rule.includes) is not None:
        if yes.arches and architecture not in yes.arches:
            return False
        if not capabilities.issuperset(yes.caps or ()):
            return False
        if yes.min_kernel and kernel < _version(yes.min_kernel):
            return False
    return True


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise InvalidArgument(f"invalid kernel version: {text}")
    return int(major), int(minor)


def _plain(rule: Rule) -> dict[str, Any]:
    entry: dict[str, Any] = {"names": rule.names or (rule.name,), "action": rule.action}
    if rule.errno_ret is not None:
        entry["errnoRet"] = rule.errno_ret
    if rule.args:
        entry["args"] = rule.args
    return entry


@functools.lru_cache(maxsize=1)
def _default() -> Profile:
    with open(_DEFAULT_PROFILE, "rb") as file:
        return parse(file.read())


@functools.lru_cache(maxsize=64)
def serialised(text: str, capabilities: frozenset[str], architecture: str, kernel: tuple[int, int]) -> bytes:
    """Returns linux.seccomp as JSON, cached per capability set; text is a profile, "" the default one. Raises InvalidArgument."""
    profile = parse(text) if text else _default()
    return msgspec.json.encode(resolve(profile, capabilities, architecture, kernel))
