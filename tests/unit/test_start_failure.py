"""What crun 1.8.1 and 1.21, and runc 1.1.5 print, recorded, and what Docker says then."""

import pytest

from skerry.containers.start_failure import explain, plain

CREATE = "failed to create shim task: OCI runtime create failed: "
START = CREATE + "runc create failed: unable to start container process: "
EXEC = "OCI runtime exec failed: exec failed: unable to start container process: "
CRUN_MISSING = "executable file `nosuch` not found in $PATH: No such file or directory\n"
MISSING = START + 'exec: "nosuch": executable file not found in $PATH: unknown'
NOWHERE = START + 'chdir to cwd ("/nosuch") set in config.json failed: no such file or directory: unknown'
NO_X = START + 'exec: "/no/x": stat /no/x: no such file or directory: unknown'
RUNC = 'time="2026-11-24T11:34:49Z" level=error msg="runc create failed: unable to start container process: '


@pytest.mark.parametrize(
    ("text", "argv0", "code", "message"),
    [
        (
            CRUN_MISSING,
            "nosuch",
            127,
            MISSING,
        ),
        (
            "open /proc/sys/net/nosuch: No such file or directory",
            "x",
            127,
            f"{START}error during container init: open /proc/sys/net/nosuch: no such file or directory: unknown",
        ),
        (
            "write to /proc/sys/net/ipv4/ip_forward: Invalid argument",
            "x",
            128,
            f"{START}error during container init: write /proc/sys/net/ipv4/ip_forward: invalid argument: unknown",
        ),
        (
            "2026-11-24T11:33:09.471813Z: " + CRUN_MISSING,
            "nosuch",
            127,
            MISSING,
        ),
        (
            "executable file `/no/x` not found in $PATH: No such file or directory",
            "/no/x",
            127,
            NO_X,
        ),
        ("open executable: Permission denied", "/etc/passwd", 126, START + 'exec: "/etc/passwd": permission denied: unknown'),
        (
            "the path `/etc/plain` exists but it is not executable: Operation not permitted",
            "/etc/plain",
            126,
            START + 'exec: "/etc/plain": permission denied: unknown',
        ),
        ("cannot find `` in $PATH: No such file or directory", "", 127, START + 'exec: "": executable file not found in $PATH: unknown'),
        ("cannot find `x` in $PATH: No such file or directory", "x", 127, START + 'exec: "x": executable file not found in $PATH: unknown'),
        ("the path `/etc` is not a regular file: Operation not permitted", "/etc", 126, START + 'exec: "/etc": permission denied: unknown'),
        (RUNC + 'exec: \\"/etc\\": is a directory"', "/etc", 126, START + 'exec: "/etc": permission denied: unknown'),
        ("open executable: Operation not permitted", "/etc", 126, START + 'exec: "/etc": permission denied: unknown'),
        ("open executable: Operation not permitted", "", 127, START + 'exec: "": executable file not found in $PATH: unknown'),
        (
            "chdir `/nosuch`: No such file or directory",
            "x",
            126,
            NOWHERE,
        ),
        (
            RUNC + 'exec: \\"nosuch\\": executable file not found in $PATH"',
            "nosuch",
            127,
            MISSING,
        ),
        (RUNC + 'exec: \\"/etc\\": permission denied"', "/etc", 126, START + 'exec: "/etc": permission denied: unknown'),
        ("cannot stat `/gone`: No such file or directory", "true", 128, CREATE + "cannot stat `/gone`: No such file or directory: unknown"),
        ("", "true", 128, CREATE + "the runtime said nothing: unknown"),
    ],
)
def test_failures_get_dockers_words_and_codes(text: str, argv0: str, code: int, message: str) -> None:
    failure = explain(text, argv0)
    assert (failure.exit_code, failure.message) == (code, message)
    assert failure.by_request is (code != 128)


def test_a_mount_of_the_wrong_type_gets_dockers_hint() -> None:
    failure = explain('time="t" level=error msg="runc create failed: error mounting \\"/a\\" to rootfs at \\"/b\\": not a directory"', "x")
    assert failure.exit_code == 127
    assert "Are you trying to mount a directory onto a file (or vice-versa)?" in failure.message


def test_an_execs_failure_is_told_as_one() -> None:
    failure = explain("executable file `nosuch` not found in $PATH: No such file or directory", "nosuch", additional=True)
    assert (failure.exit_code, failure.message) == (127, EXEC + 'exec: "nosuch": executable file not found in $PATH: unknown')


def test_what_a_runtime_says_is_bounded() -> None:
    assert len(plain("x" * 1_000_000)) == 4096
