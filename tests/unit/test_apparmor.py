"""Which AppArmor profile a container gets, and that the specification names it."""

import pytest

from skerry.containers import apparmor
from skerry.containers.host import HostFacts
from skerry.containers.security import parse

_ON = HostFacts(capabilities=frozenset(), apparmor=True, apparmor_default=apparmor.DEFAULT)
_UNLOADED = HostFacts(capabilities=frozenset(), apparmor=True)
_OFF = HostFacts(capabilities=frozenset())


@pytest.mark.parametrize(
    ("options", "privileged", "host", "profile"),
    [
        ([], False, _ON, "skerry-default"),
        ([], True, _ON, "unconfined"),
        (["apparmor=unconfined"], False, _ON, "unconfined"),
        (["apparmor=own"], False, _ON, "own"),
        # As in Docker, what is asked for by name holds for privileged ones too.
        (["apparmor=own"], True, _ON, "own"),
        ([], False, _UNLOADED, ""),
        (["apparmor=own"], False, _OFF, ""),
    ],
)
def test_the_profile(options: list[str], privileged: bool, host: HostFacts, profile: str) -> None:
    assert apparmor.profile_of(parse(options), host, privileged=privileged) == profile


def test_the_profiles_text_names_itself_as_peer() -> None:
    lines = [line.strip() for line in apparmor.PROFILE.splitlines()]
    assert f"profile {apparmor.DEFAULT} flags=(attach_disconnected,mediate_deleted) {{" in lines
    assert f"ptrace (trace,read,tracedby,readby) peer={apparmor.DEFAULT}," in lines
    # Every rule ends with a comma, every brace is closed: what a stray edit would break.
    assert all(line.endswith((",", "{", "}")) or line in ("", "@{PROC}=/proc/") for line in lines)
    assert apparmor.PROFILE.count("{") == apparmor.PROFILE.count("}")
