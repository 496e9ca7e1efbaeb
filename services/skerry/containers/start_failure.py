"""What crun and runc say when a process cannot be started, in Docker's words and exit codes."""

import re

import msgspec

NOT_FOUND = 127
NOT_EXECUTABLE = 126
OTHER = 128
_TEXT_LIMIT = 4096
# Tools match on these words; they are the same whichever runtime ran.
_CREATE = "failed to create shim task: OCI runtime create failed: "

_RUNC_LINE = re.compile(r'level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"')
_CRUN_PREFIX = re.compile(r"^(?:\d{4}-\d\d-\d\dT[\d:.]+Z?:? *)?(?:(?:crun|\[[a-z:]*\]):? +)?")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_RUNC_PREFIX = re.compile(r"^(?:runc (?:create|run) failed: |exec failed: |unable to start container process: )+")
# The second form: crun from 1.20 on.
_CRUN_NOT_FOUND = re.compile(r"executable file [`'\"]?(.*?)[`'\"]? not found|^cannot find [`'\"](?P<name>.*)[`'\"] in \$PATH")
_CRUN_CHDIR = re.compile(r"chdir(?: to)? [`'\"]([^`'\"]*)[`'\"]: (.+)")
_CRUN_OPEN = re.compile(r"^open executable: (?:Permission denied|Operation not permitted|Is a directory)")
# crun from 1.20 on.
_CRUN_NO_PROGRAM = re.compile(r"^the path [`'\"].*[`'\"] (?:exists but it is not executable|is not a regular file)")
# runc from 1.1.10 on.
_RUNC_DIRECTORY = re.compile(r'^(exec: ".*"): is a directory$')
_CRUN_ACCESS = re.compile(r"executable file [`'\"]?.*?[`'\"]?:? ?.*?(?:Permission denied|Is a directory)")
_CRUN_SYSCTL = re.compile(r"^(open|write)(?: to)? [`'\"]?(/proc/sys/[^`'\":]*)[`'\"]?: (.+)")
_DIRECTORY_HINT = (
    ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
)


class StartFailure(msgspec.Struct, frozen=True):
    """Why a process did not start. exit_code: 127 not found, 126 cannot be executed, 128 anything else."""

    exit_code: int
    # The whole text, as dockerd gives it.
    message: str

    @property
    def by_request(self) -> bool:
        """Tells whether the command or configuration is at fault (InvalidArgument), not the host (Failed)."""
        return self.exit_code != OTHER


def explain(text: str, argv0: str, *, additional: bool = False) -> StartFailure:
    """Turns the stderr of a failed create or start into what dockerd would answer; additional: of an exec."""
    cause = _cause(plain(text), argv0)
    if additional:
        message = f"OCI runtime exec failed: exec failed: unable to start container process: {cause}: unknown"
    elif cause.startswith(("exec: ", "chdir to cwd", "error during container init")):
        message = f"{_CREATE}runc create failed: unable to start container process: {cause}: unknown"
    else:
        message = f"{_CREATE}{cause}: unknown"
    return _classify(cause, message)


def plain(text: str) -> str:
    """Returns the words in a runtime's stderr: runc's last error line unquoted, or crun's last line without its time."""
    found = _RUNC_LINE.findall(text)
    if found:
        return re.sub(r"\\(.)", r"\1", found[-1])[:_TEXT_LIMIT]
    lines = [line for line in _COLOURS.sub("", text).strip().splitlines() if line.strip()]
    return _CRUN_PREFIX.sub("", lines[-1].strip())[:_TEXT_LIMIT] if lines else "the runtime said nothing"


def _cause(text: str, argv0: str) -> str:
    text = _RUNC_PREFIX.sub("", text)
    if text.startswith("exec: "):
        return _RUNC_DIRECTORY.sub(r"\1: permission denied", text)
    if match := _CRUN_NOT_FOUND.search(text):
        name = match.group(1) or match.group("name") or argv0
        if "/" in name:
            return f'exec: "{name}": stat {name}: no such file or directory'
        return f'exec: "{name}": executable file not found in $PATH'
    if _CRUN_OPEN.match(text) and not argv0:
        return 'exec: "": executable file not found in $PATH'
    if _CRUN_OPEN.match(text) or _CRUN_NO_PROGRAM.match(text) or _CRUN_ACCESS.search(text):
        return f'exec: "{argv0}": permission denied'
    if match := _CRUN_CHDIR.search(text):
        return f'chdir to cwd ("{match.group(1)}") set in config.json failed: {match.group(2).lower()}'
    if match := _CRUN_SYSCTL.search(text):
        return f"error during container init: {match.group(1)} {match.group(2)}: {match.group(3).lower()}"
    return text


def _classify(cause: str, message: str) -> StartFailure:
    lower = cause.lower()
    if lower.startswith("exec: ") and ("executable file not found" in lower or "no such file or directory" in lower):
        return StartFailure(NOT_FOUND, message)
    if "permission denied" in lower:
        return StartFailure(NOT_EXECUTABLE, message)
    if lower.startswith("chdir to cwd"):
        return StartFailure(NOT_EXECUTABLE if "not a directory" not in lower else NOT_FOUND, message)
    if "not a directory" in lower:
        return StartFailure(NOT_FOUND, message.removesuffix(": unknown") + _DIRECTORY_HINT + ": unknown")
    return StartFailure(OTHER, message)
