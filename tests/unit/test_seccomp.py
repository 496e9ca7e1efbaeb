"""Profiles resolved for capabilities, architecture and kernel."""

import json

import pytest

from skerry.containers import capabilities, seccomp
from skerry.core.errors import InvalidArgument

KERNEL = (6, 1)


def allowed(text: str = "", caps: set[str] | None = None, architecture: str = "amd64", kernel: tuple[int, int] = KERNEL) -> set[str]:
    """The calls that are allowed whatever their arguments."""
    chosen = frozenset(capabilities.DEFAULT if caps is None else caps)
    document = json.loads(seccomp.serialised(text, chosen, architecture, kernel))
    return {name for rule in document["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule for name in rule["names"]}


@pytest.mark.parametrize(
    ("caps", "call", "expected"),
    [
        (set(), "read", True),
        (set(), "mount", False),
        ({"CAP_SYS_ADMIN"}, "mount", True),
        (set(), "clone", False),
        ({"CAP_SYS_ADMIN"}, "clone", True),
        (set(), "chroot", False),
        ({"CAP_SYS_CHROOT"}, "chroot", True),
        (set(), "open_by_handle_at", False),
        ({"CAP_DAC_READ_SEARCH"}, "open_by_handle_at", True),
        (set(), "settimeofday", False),
        ({"CAP_SYS_TIME"}, "settimeofday", True),
        (set(), "bpf", False),
        ({"CAP_BPF"}, "bpf", True),
        ({"CAP_SYS_MODULE"}, "init_module", True),
        (set(), "keyctl", False),
    ],
)
def test_capabilities_open_calls_of_the_default_profile(caps: set[str], call: str, expected: bool) -> None:
    assert (call in allowed(caps=caps)) is expected


@pytest.mark.parametrize(
    ("architecture", "call", "expected"),
    [("amd64", "arch_prctl", True), ("arm64", "arch_prctl", False), ("arm64", "breakpoint", True), ("amd64", "breakpoint", False)],
)
def test_architectures_choose_rules(architecture: str, call: str, expected: bool) -> None:
    assert (call in allowed(architecture=architecture)) is expected


def test_ptrace_needs_a_kernel_where_it_cannot_go_round_the_filter() -> None:
    assert "ptrace" in allowed(kernel=(4, 8))
    assert "ptrace" not in allowed(kernel=(4, 7))


def test_clone3_is_answered_as_if_unknown_so_that_libraries_fall_back() -> None:
    document = json.loads(seccomp.serialised("", frozenset(capabilities.DEFAULT), "amd64", KERNEL))
    assert {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38} in document["syscalls"]
    assert document["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert document["defaultAction"] == "SCMP_ACT_ERRNO"
    masked = [rule for rule in document["syscalls"] if rule["names"] == ["clone"]]
    assert masked == [
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}]}
    ]


def test_conditions_do_not_reach_the_runtime() -> None:
    document = json.loads(seccomp.serialised("", frozenset(), "amd64", KERNEL))
    assert {key for rule in document["syscalls"] for key in rule} <= {"names", "action", "errnoRet", "args"}
    assert "archMap" not in document


def test_a_profile_of_the_users_own_counts() -> None:
    rules = [{"name": "chmod", "action": "SCMP_ACT_ERRNO"}]
    text = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules})
    assert json.loads(seccomp.serialised(text, frozenset(), "amd64", KERNEL)) == {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO"}],
    }


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("{", "Decoding seccomp profile failed"),
        ('{"syscalls": []}', "Decoding seccomp profile failed"),
        ('{"defaultAction": "A", "architectures": ["X"], "archMap": [{"architecture": "Y"}]}', "use either 'architectures' or 'archMap'"),
        (
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_LOG"}]}',
            "use either 'name' or 'names'",
        ),
        ('{"defaultAction": "SCMP_ACT_A"}', "string SCMP_ACT_A is not a valid action for seccomp"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "action": "B"}]}', "string B is not a valid action for seccomp"),
        (
            '{"defaultAction": "SCMP_ACT_ALLOW",'
            '"syscalls": [{"name": "a", "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": "X"}]}]}',
            "string X is not a valid operator for seccomp",
        ),
        (" " * (seccomp.PROFILE_LIMIT + 1), "larger than"),
    ],
)
def test_bad_profiles_are_refused(document: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        seccomp.parse(document)
