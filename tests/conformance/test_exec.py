"""docker exec."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from engines import Engine, UnixConnection

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


def api(engine: Engine, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    return engine.request(method, f"/{engine.api}{path}", body)


def made(engine: Engine, box: str, *cmd: str, **config: Any) -> str:
    status, answer = api(engine, "POST", f"/containers/{box}/exec", {"Cmd": cmd, **config})
    assert status == 201, answer
    return answer["Id"]


@pytest.mark.parametrize(
    ("options", "command", "text"),
    [
        ((), "nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        (("-t",), "nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ((), "/nosuch", 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        (("-t",), "/nosuch", 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        ((), "/etc/passwd", 'exec: "/etc/passwd": permission denied'),
        (("-t",), "/etc/passwd", 'exec: "/etc/passwd": permission denied'),
        (("-w", "/nosuch"), "true", 'chdir to cwd ("/nosuch") set in config.json failed: no such file or directory'),
    ],
)
def test_what_cannot_run(engine: Engine, box: str, options: tuple[str, ...], command: str, text: str) -> None:
    result = engine.docker("exec", *options, box, command, check=False)
    whole = f"OCI runtime exec failed: exec failed: unable to start container process: {text}: unknown\r\n"
    # docker 20.10 has 126 for all of them, newer ones 127 for what is not there.
    assert result.returncode in ((126, 127) if "nosuch" in command else (126,))
    assert result.stdout == whole


@pytest.mark.parametrize(
    ("user", "text"), [("nosuch", "user nosuch: no matching entries in passwd file"), ("1:x", "group x: no matching entries in group file")]
)
def test_users_that_are_not_there(engine: Engine, box: str, user: str, text: str) -> None:
    result = engine.docker("exec", "-u", user, box, "true", check=False)
    assert (result.returncode, result.stdout) == (126, f"unable to find {text}\r\n")
    detached = engine.docker("exec", "-d", "-u", user, box, "true", check=False)
    assert detached.returncode == 1 and detached.stderr == f"Error response from daemon: unable to find {text}\n"


def test_a_user_without_an_entry_has_the_root_as_home(engine: Engine, box: str) -> None:
    assert "HOME=/" in engine.out("exec", "-u", "5555:6", box, "env").splitlines()
    assert "HOME=/root" in engine.out("exec", box, "env").splitlines()
    assert "HOME=/h" in engine.out("exec", "-u", "5555", "-e", "HOME=/h", box, "env").splitlines()


def test_inspect_at_each_moment(engine: Engine, box: str) -> None:
    exec_id = made(engine, box, "sh", "-c", "read x; exit 3", AttachStdin=True, AttachStdout=True, User="1", DetachKeys="ctrl-x")
    wanted = {
        "ID": exec_id,
        "Running": False,
        "ExitCode": None,
        "ProcessConfig": {"tty": False, "entrypoint": "sh", "arguments": ["-c", "read x; exit 3"], "privileged": False, "user": "1"},
        "OpenStdin": True,
        "OpenStderr": False,
        "OpenStdout": True,
        "CanRemove": False,
        "ContainerID": engine.out("inspect", "-f", "{{.Id}}", box),
        "DetachKeys": base64.b64encode(b"\x18").decode(),
        "Pid": 0,
    }
    assert api(engine, "GET", f"/exec/{exec_id}/json") == (200, wanted)
    assert json.loads(engine.out("inspect", "-f", "{{json .ExecIDs}}", box)) == [exec_id]
    connection = UnixConnection(engine.socket, 20)
    try:
        connection.request("POST", f"/{engine.api}/exec/{exec_id}/start", b"{}", {"Content-Type": "application/json"})
        wait_until(lambda: api(engine, "GET", f"/exec/{exec_id}/json")[1]["Pid"], "it runs")
        now = api(engine, "GET", f"/exec/{exec_id}/json")[1]
        assert now["Pid"] > 0 and now == {**wanted, "Running": True, "Pid": now["Pid"]}
        connection.sock.sendall(b"x\n")
        wait_until(lambda: not api(engine, "GET", f"/exec/{exec_id}/json")[1]["Running"], "it has ended")
    finally:
        connection.close()
    ended = api(engine, "GET", f"/exec/{exec_id}/json")[1]
    assert {**ended, "Pid": 0} == {**wanted, "ExitCode": 3}
    assert engine.out("inspect", "-f", "{{json .ExecIDs}}", box) == "null"


def test_execs_end_with_the_container(engine: Engine, box: str) -> None:
    waiting = made(engine, box, "true")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(engine.docker, "exec", box, "sleep", "1000", check=False)
        wait_until(lambda: "sleep 1000" in engine.out("top", box).partition("\n")[2].partition("\n")[2], "it runs")
        engine.docker("kill", box)
        assert running.result(20).returncode != 0
    assert api(engine, "GET", f"/exec/{waiting}/json") == (404, {"message": f"No such exec instance: {waiting}"})
    assert api(engine, "POST", f"/exec/{waiting}/start", {})[0] == 404
    engine.docker("start", box)
    assert engine.out("exec", box, "echo", "again") == "again"


def _exec_runs(engine: Engine, exec_id: str) -> bool:
    return bool(api(engine, "GET", f"/exec/{exec_id}/json")[1]["Running"])


@covers("exec -t")
def test_each_terminal_has_a_size_of_its_own(engine: Engine, box: str) -> None:
    script = "while [ ! -e /go ]; do sleep 0.05; done; stty size"
    execs = [made(engine, box, "sh", "-c", script, Tty=True, AttachStdout=True) for _ in range(2)]

    def output(exec_id: str) -> bytes:
        connection = UnixConnection(engine.socket, 20)
        try:
            connection.request("POST", f"/{engine.api}/exec/{exec_id}/start", b'{"Tty": true}', {"Content-Type": "application/json"})
            return connection.getresponse().read()
        finally:
            connection.close()

    with ThreadPoolExecutor() as pool:
        outputs = [pool.submit(output, exec_id) for exec_id in execs]
        for number, exec_id in enumerate(execs):
            wait_until(partial(_exec_runs, engine, exec_id), "it runs")
            assert api(engine, "POST", f"/exec/{exec_id}/resize?h={20 + number}&w={70 + number}")[0] == 200
        engine.docker("exec", box, "touch", "/go")
        assert [one.result(20) for one in outputs] == [b"20 70\r\n", b"21 71\r\n"]
    assert api(engine, "POST", f"/exec/{execs[0]}/resize?h=1&w=1") == (404, {"message": "no such exec"})
    assert api(engine, "POST", "/exec/nosuch/resize?h=1&w=1") == (404, {"message": "No such exec instance: nosuch"})


def test_fifty_at_once(engine: Engine, box: str) -> None:
    def run(number: int) -> tuple[int, str, str]:
        result = engine.docker(
            "exec", "-i", box, "sh", "-c", f"cat; echo e{number} >&2; exit {number}", stdin=b"in%d\n" % number, check=False
        )
        return result.returncode, result.stdout, result.stderr

    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(run, range(50)))
    assert results == [(number, f"in{number}\n", f"e{number}\n") for number in range(50)]


@covers("exec --privileged")
def test_privileged(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--cap-drop", "ALL", "busybox", "sleep", "1000")
    plain = engine.out("exec", name, "grep", "CapBnd", "/proc/self/status").split()[1]
    assert int(plain, 16) == 0
    result = engine.docker("exec", "--privileged", name, "grep", "CapEff", "/proc/self/status", check=False)
    if result.returncode:  # runc does not do with less than every capability, where the host itself lacks some
        assert "unable to apply caps" in result.stdout
    else:
        assert int(result.stdout.split()[1], 16) > 0xFFFFFFFF
