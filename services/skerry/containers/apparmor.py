"""AppArmor: the profile that containers get where the kernel has it, with Docker's rules, loaded by apparmor_parser."""

import logging
import shutil

from skerry.containers.host import HostFacts
from skerry.containers.security import SecurityOptions
from skerry.core.errors import SkerryError
from skerry.core.process import run

_log = logging.getLogger(__name__)

DEFAULT = "skerry-default"
_LOADED = "/sys/kernel/security/apparmor/profiles"
_PARSER = "apparmor_parser"
_LOAD_SECONDS = 30.0

# Everything that namespaces, capabilities and cgroups do not already decide is allowed; what reaches the host's kernel is not:
# files of /proc but those of processes and of /proc/sys/kernel/shm*, all of /sys but cgroups, and mounting. Signals and ptrace stay among
# containers, but for those that the engine and its runtime send. No include: it must load where no AppArmor package's files are.
PROFILE = f"""
@{{PROC}}=/proc/

profile {DEFAULT} flags=(attach_disconnected,mediate_deleted) {{
  network,
  capability,
  file,
  umount,
  signal (receive) peer=unconfined,
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  signal (send,receive) peer={DEFAULT},
  ptrace (trace,read,tracedby,readby) peer={DEFAULT},

  deny @{{PROC}}/* w,
  deny @{{PROC}}/{{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9]*}}/** w,
  deny @{{PROC}}/sys/[^k]** w,
  deny @{{PROC}}/sys/kernel/{{?,??,[^s][^h][^m]**}} w,
  deny @{{PROC}}/sysrq-trigger rwklx,
  deny @{{PROC}}/kcore rwklx,

  deny mount,

  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}}
"""


def profile_of(options: SecurityOptions, host: HostFacts, *, privileged: bool) -> str:
    """Returns the profile that a container runs under; empty: none, as where the kernel has no AppArmor."""
    if not host.apparmor:
        return ""
    return options.apparmor or ("unconfined" if privileged else host.apparmor_default)


async def load_default() -> str:
    """Loads the default profile unless the kernel has it. Returns its name; empty, with a warning, when it cannot be loaded."""
    if _is_loaded():
        return DEFAULT
    parser = shutil.which(_PARSER) or shutil.which(_PARSER, path="/usr/sbin:/sbin")
    if parser is None:
        _log.warning("the kernel has AppArmor but apparmor_parser is not installed: containers run without a profile")
        return ""
    try:
        await run([parser, "--skip-cache", "--replace"], stdin=PROFILE.encode(), timeout=_LOAD_SECONDS)
    except SkerryError as error:
        _log.warning("the AppArmor profile cannot be loaded: containers run without one", extra={"error": str(error)})
        return ""
    return DEFAULT


def _is_loaded() -> bool:
    try:
        with open(_LOADED, encoding="utf-8", errors="replace") as file:
            return any(line.startswith(f"{DEFAULT} ") for line in file)
    except OSError:
        return False
