"""docker exec."""

import pytest

from engines import Engine

from .waiting import wait_until

covers = pytest.mark.covers


@pytest.fixture
def box(engine: Engine, name: str) -> str:
    engine.docker("run", "-d", "--name", name, "-e", "OF_RUN=1", "-w", "/tmp", "busybox", "sleep", "1000")
    return name


@covers("exec")
def test_output_and_exit_code(engine: Engine, box: str) -> None:
    result = engine.docker("exec", box, "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (result.stdout, result.stderr, result.returncode) == ("out\n", "err\n", 7)


@covers("exec -i")
def test_stdin(engine: Engine, box: str) -> None:
    data = b"0123456789abcde\n" * 65536
    assert engine.docker("exec", "-i", box, "cat", stdin=data).stdout.encode() == data
    assert engine.out("exec", box, "cat", stdin=b"ignored") == ""


@covers("exec -t")
def test_terminal(engine: Engine, box: str) -> None:
    assert engine.docker("exec", "-t", box, "sh", "-c", "tty; echo err >&2").stdout == "/dev/pts/0\r\nerr\r\n"


@covers("exec -d")
def test_detached(engine: Engine, box: str) -> None:
    assert engine.out("exec", "-d", box, "sh", "-c", "sleep 0.2; echo done > /tmp/done") == ""
    wait_until(lambda: engine.docker("exec", box, "cat", "/tmp/done", check=False).stdout == "done\n", "the program ran")


@covers("exec -e", "exec --env-file")
def test_environment(engine: Engine, box: str, tmp_path) -> None:
    (tmp_path / "env").write_text("FROM_FILE=f\n")
    lines = engine.out("exec", "-e", "A=1", "--env-file", str(tmp_path / "env"), box, "env").splitlines()
    assert {"A=1", "FROM_FILE=f", "OF_RUN=1", "HOME=/root"} <= set(lines)


@covers("exec -w")
def test_working_directory(engine: Engine, box: str) -> None:
    assert engine.out("exec", box, "pwd") == "/tmp"
    assert engine.out("exec", "-w", "/etc", box, "pwd") == "/etc"


@covers("exec -u")
def test_user(engine: Engine, box: str) -> None:
    assert engine.out("exec", "-u", "www-data", box, "id", "-un") == "www-data"
    assert engine.out("exec", "-u", "5:6", box, "id").startswith("uid=5 gid=6")


def test_a_missing_command(engine: Engine, box: str) -> None:
    result = engine.docker("exec", box, "nosuchcmd", check=False)
    assert result.returncode in (126, 127)
    assert '"nosuchcmd": executable file not found in $PATH' in result.stdout + result.stderr


def test_the_same_namespaces(engine: Engine, box: str) -> None:
    script = "for i in pid net mnt ipc uts; do readlink /proc/self/ns/$i; done"
    theirs = engine.out("exec", box, "sh", "-c", script.replace("self", "1"))
    assert engine.out("exec", box, "sh", "-c", script) == theirs


def test_exit_of_an_exec_leaves_the_container_running(engine: Engine, box: str) -> None:
    engine.docker("exec", box, "sh", "-c", "exit 1", check=False)
    assert engine.out("inspect", "-f", "{{.State.Running}}", box) == "true"


def test_not_in_a_stopped_one(engine: Engine, box: str) -> None:
    engine.docker("kill", box)
    result = engine.docker("exec", box, "true", check=False)
    assert result.returncode == 1
    assert "is not running" in result.stderr


def test_a_signal_death_is_told(engine: Engine, box: str) -> None:
    assert engine.docker("exec", box, "sh", "-c", "kill -9 $$", check=False).returncode == 137


def test_many_one_after_the_other(engine: Engine, box: str) -> None:
    assert [engine.out("exec", box, "echo", str(number)) for number in range(20)] == [str(number) for number in range(20)]
