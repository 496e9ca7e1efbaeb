"""--security-opt, parsed."""

from collections.abc import Iterable

import msgspec

from skerry.core.errors import InvalidArgument


class SecurityOptions(msgspec.Struct, frozen=True):
    """What the options say. seccomp: "" for the default profile, "unconfined", or a profile's JSON text. apparmor: "" when not given."""

    seccomp: str = ""
    apparmor: str = ""
    no_new_privileges: bool = False


def parse(options: Iterable[str]) -> SecurityOptions:
    """Parses KEY=VALUE and the older KEY:VALUE; raises InvalidArgument in Docker's words.

    `label` is accepted and without effect, as in Docker unless its daemon runs with SELinux support. `systempaths=unconfined` is refused
    here as in Docker: clients send it as empty lists of masked and read-only paths.
    """
    seccomp = apparmor = ""
    no_new_privileges = False
    for option in options:
        if option == "no-new-privileges":
            no_new_privileges = True
            continue
        if option == "disable":
            continue
        key, separator, value = option.partition("=")
        if not separator:
            key, separator, value = option.partition(":")
        if not separator:
            raise InvalidArgument(f'invalid --security-opt 1: "{option}"')
        match key:
            case "seccomp":
                # "builtin" is how clients of API 1.42 and later name the default.
                seccomp = "" if value == "builtin" else value
            case "apparmor":
                apparmor = value
            case "no-new-privileges":
                if value not in ("true", "false", "1", "0"):
                    raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
                no_new_privileges = value in ("true", "1")
            case "label":
                pass
            case _:
                raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
    return SecurityOptions(seccomp, apparmor, no_new_privileges)
