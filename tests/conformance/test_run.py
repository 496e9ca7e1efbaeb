"""docker run and docker create: what the flags do to the process inside."""

import hashlib
import re

import pytest

from engines import Engine

covers = pytest.mark.covers


@covers("run", "run --rm")
def test_run_shows_the_output_and_removes_the_container(engine: Engine) -> None:
    result = engine.docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert engine.out("ps", "-aq") == ""


@covers("run -d", "run --name")
def test_run_detached_prints_the_id(engine: Engine, name: str) -> None:
    printed = engine.out("run", "-d", "--name", name, "busybox", "sleep", "100")
    assert re.fullmatch("[0-9a-f]{64}", printed)
    assert engine.out("inspect", "-f", "{{.Id}} {{.State.Running}}", name) == f"{printed} true"


@covers("run -i")
def test_stdin_is_passed_and_its_end_ends_the_program(engine: Engine) -> None:
    data = bytes(range(256)) * 4096
    result = engine.docker("run", "-i", "--rm", "busybox", "md5sum", stdin=data)

    assert result.stdout.split()[0] == hashlib.md5(data).hexdigest()


@covers("run -i")
def test_one_megabyte_goes_through_cat(engine: Engine) -> None:
    data = b"".join(b"%015d\n" % number for number in range(65536))
    result = engine.docker("run", "-i", "--rm", "busybox", "cat", stdin=data)
    assert result.stdout.encode() == data


def test_without_i_stdin_is_empty(engine: Engine) -> None:
    assert engine.out("run", "--rm", "busybox", "cat", stdin=b"ignored") == ""


def test_own_exit_code(engine: Engine) -> None:
    assert engine.docker("run", "--rm", "busybox", "sh", "-c", "exit 42", check=False).returncode == 42


def test_exit_code_of_a_signal(engine: Engine) -> None:
    assert engine.docker("run", "--rm", "--init", "busybox", "sh", "-c", "kill -9 $$", check=False).returncode == 137


def test_a_command_that_does_not_exist_is_127(engine: Engine, name: str) -> None:
    result = engine.docker("run", "--name", name, "busybox", "nosuchcmd", check=False)
    assert result.returncode == 127
    assert '"nosuchcmd": executable file not found in $PATH' in result.stderr
    assert engine.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name) == "created 127"


def test_a_command_that_is_no_program_is_126(engine: Engine) -> None:
    result = engine.docker("run", "--rm", "busybox", "/etc/passwd", check=False)
    assert result.returncode == 126
    assert "permission denied" in result.stderr
    assert engine.out("ps", "-aq") == ""


def test_an_engine_error_is_125(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox")
    result = engine.docker("run", "--name", name, "busybox", "true", check=False)
    assert result.returncode == 125
    assert f'Conflict. The container name "/{name}" is already in use by container' in result.stderr


@covers("run -e")
def test_environment(engine: Engine) -> None:
    lines = engine.out("run", "--rm", "-e", "A=1", "-e", "B=two words", "-e", "A=3", "busybox", "env").splitlines()
    assert {"A=3", "B=two words", "HOME=/root"} <= set(lines)
    assert "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" in lines
    assert sum(line.startswith("HOSTNAME=") for line in lines) == 1


@covers("run --env-file")
def test_environment_from_a_file(engine: Engine, tmp_path) -> None:
    (tmp_path / "env").write_text("# comment\nFROM_FILE=yes\nOTHER=a=b\n")
    lines = engine.out("run", "--rm", "--env-file", str(tmp_path / "env"), "busybox", "env").splitlines()
    assert {"FROM_FILE=yes", "OTHER=a=b"} <= set(lines)


@covers("run -w")
def test_working_directory_is_made(engine: Engine) -> None:
    assert engine.out("run", "--rm", "-w", "/new/place", "busybox", "pwd") == "/new/place"


@covers("run -u")
@pytest.mark.parametrize(
    ("user", "said"),
    [("1234", "uid=1234 gid=0(root)"), ("1234:99", "uid=1234 gid=99"), ("www-data", "uid=33(www-data) gid=33(www-data)"),
     ("daemon:users", "uid=1(daemon) gid=100(users)")],
)  # fmt: skip
def test_user(engine: Engine, user: str, said: str) -> None:
    assert engine.out("run", "--rm", "-u", user, "busybox", "id").startswith(said)


def test_an_unknown_user_is_refused(engine: Engine) -> None:
    result = engine.docker("run", "--rm", "-u", "nosuch", "busybox", "id", check=False)
    assert result.returncode in (125, 126)
    assert "unable to find user nosuch: no matching entries in passwd file" in result.stderr


@covers("run --entrypoint")
def test_entrypoint(engine: Engine) -> None:
    assert engine.out("run", "--rm", "--entrypoint", "echo", "busybox", "a", "b") == "a b"


@covers("run --read-only", "run --tmpfs")
def test_read_only_root_with_a_writable_tmpfs(engine: Engine) -> None:
    script = "touch /x 2>&1; touch /t/x && echo fine; mount | grep ' /t '"
    said = engine.out("run", "--rm", "--read-only", "--tmpfs", "/t:size=1m", "busybox", "sh", "-c", script)
    assert "Read-only file system" in said
    assert "fine" in said
    assert "tmpfs" in said and "size=1024k" in said and "noexec" in said


@covers("run --init")
def test_init_is_process_one(engine: Engine) -> None:
    said = engine.out("run", "--rm", "--init", "busybox", "cat", "/proc/1/cmdline")
    assert "cat" in said and not said.startswith("cat")


@covers("run --hostname")
def test_hostname(engine: Engine) -> None:
    said = engine.out("run", "--rm", "--hostname", "box.example", "busybox", "sh", "-c", "hostname; cat /etc/hostname; cat /etc/hosts")
    assert said.splitlines()[:2] == ["box.example", "box.example"]
    assert re.search(r"^172\.17\.0\.\d+\tbox\.example box$", said, re.MULTILINE)


def test_hostname_is_the_short_id(engine: Engine, name: str) -> None:
    said = engine.out("run", "--name", name, "busybox", "hostname")
    assert said == engine.out("inspect", "-f", "{{.Id}}", name)[:12]


@covers("run -v")
def test_bind_mounts(engine: Engine, tmp_path) -> None:
    (tmp_path / "in").write_text("from the host\n")
    script = "cat /a/in; echo back > /a/out; touch /b/x 2>&1; true"
    said = engine.out("run", "--rm", "-v", f"{tmp_path}:/a", "-v", f"{tmp_path}:/b:ro", "busybox", "sh", "-c", script)
    assert "from the host" in said
    assert "Read-only file system" in said
    assert (tmp_path / "out").read_text() == "back\n"


@covers("run -v")
def test_a_missing_host_directory_is_made(engine: Engine, tmp_path) -> None:
    engine.docker("run", "--rm", "-v", f"{tmp_path}/new/place:/a", "busybox", "touch", "/a/x")
    assert (tmp_path / "new/place/x").exists()


@covers("run --label")
def test_labels(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "--label", "a=1", "--label", "b", "busybox")
    assert engine.out("inspect", "-f", "{{json .Config.Labels}}", name) == '{"a":"1","b":""}'


@covers("run --cidfile")
def test_cidfile(engine: Engine, tmp_path) -> None:
    engine.docker("run", "-d", "--cidfile", str(tmp_path / "cid"), "busybox", "true")
    assert re.fullmatch("[0-9a-f]{64}", (tmp_path / "cid").read_text())


@covers("run -a")
def test_attach_only_stderr(engine: Engine) -> None:
    result = engine.docker("run", "--rm", "-a", "stderr", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == ("", "err\n")


@covers("create", "create --name", "create -i", "create -t")
def test_create_does_not_start(engine: Engine, name: str) -> None:
    printed = engine.out("create", "-it", "--name", name, "busybox")
    assert re.fullmatch("[0-9a-f]{64}", printed)
    said = engine.out("inspect", "-f", "{{.State.Status}} {{.Config.Tty}} {{.Config.OpenStdin}} {{.Config.StdinOnce}}", name)
    assert said == "created true true true"


@covers("run -t")
def test_a_terminal_joins_the_streams(engine: Engine) -> None:
    result = engine.docker("run", "--rm", "-t", "busybox", "sh", "-c", "tty; echo err >&2")
    assert result.stdout == "/dev/pts/0\r\nerr\r\n"
    assert result.stderr == ""


def test_containers_do_not_see_each_other(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", "touch /mine; exec sleep 100")
    said = engine.out("run", "--rm", "busybox", "sh", "-c", "ls /mine 2>&1; ps | grep -c sleep")
    assert "No such file" in said


def test_the_image_is_not_changed(engine: Engine) -> None:
    engine.docker("run", "--rm", "busybox", "rm", "/etc/passwd")
    assert engine.out("run", "--rm", "busybox", "head", "-n1", "/etc/passwd").startswith("root:")


def test_default_capabilities_and_seccomp(engine: Engine) -> None:
    said = engine.out("run", "--rm", "busybox", "grep", "-E", "^(CapEff|CapBnd|Seccomp|NoNewPrivs):", "/proc/self/status")
    values = dict(line.split(":\t") for line in said.splitlines())
    assert values == {"CapEff": "00000000a80425fb", "CapBnd": "00000000a80425fb", "Seccomp": "2", "NoNewPrivs": "0"}
