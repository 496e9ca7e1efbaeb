"""docker run: options about the process itself, and what is refused of them."""

import pytest

from engines import Engine

covers = pytest.mark.covers


def refusal(engine: Engine, *arguments: str) -> tuple[int, str]:
    """Returns exit code and stderr of a docker run that must fail before anything runs."""
    result = engine.docker("run", "--rm", *arguments, "busybox", "echo", "ran", check=False)
    assert result.returncode and "ran" not in result.stdout, (arguments, result.stdout)
    return result.returncode, result.stderr


@covers("run --group-add", "run -u")
def test_groups_by_name_and_number(engine: Engine) -> None:
    assert engine.out("run", "--rm", "--group-add", "users", "--group-add", "1234", "busybox", "id") == (
        "uid=0(root) gid=0(root) groups=0(root),100(users),1234"
    )
    assert (
        engine.out("run", "--rm", "-u", ":5", "--group-add", "users", "busybox", "id") == "uid=0(root) gid=5(tty) groups=5(tty),100(users)"
    )


@covers("run --group-add", "run -u")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-u", "1000:nosuch"), "unable to find group nosuch: no matching entries in group file"),
        (("-u", "a:b:c"), "unable to find user a: no matching entries in passwd file"),
        (("-u", "-1"), "uids and gids must be in range 0-2147483647"),
        (("-u", "9999999999"), "uids and gids must be in range 0-2147483647"),
        (("--group-add", "nosuch"), "Unable to find group nosuch: no matching entries in group file"),
        (("-w", "relative"), "the working directory 'relative' is invalid, it needs to be an absolute path"),
        (("-w", "/etc/passwd"), "Cannot mkdir: /etc/passwd is not a directory"),
        (("--stop-signal", "NOSUCH"), "Invalid signal: NOSUCH"),
        (("--oom-score-adj", "1001"), "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        (("--ulimit", "nosuch=1"), "invalid ulimit type: nosuch"),
        (("--ulimit", "nofile=3:2"), "ulimit soft limit must be less than or equal to hard limit: 3 > 2"),
        (("--shm-size", "-1"), "-1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_no_process_can_have(engine: Engine, options: tuple[str, ...], said: str) -> None:
    code, text = refusal(engine, *options)
    assert code in (125, 126, 127) and said in text


@covers("run --entrypoint")
def test_an_empty_entrypoint_takes_the_images_away(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "--entrypoint", "", "busybox", "echo", "plain")
    assert engine.out("start", "-a", name) == "plain"
    assert engine.out("inspect", "-f", "{{json .Config.Entrypoint}} {{.Path}}", name) in ("null echo", "[] echo", '[""] echo')
    assert "no command specified" in engine.docker("create", "--entrypoint", "", "busybox", check=False).stderr.lower()


@covers("run --oom-score-adj", "run --ulimit")
def test_limits_of_the_process(engine: Engine, name: str) -> None:
    script = "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj"
    options = ("--ulimit", "nofile=100:200", "--ulimit", "core=0", "--oom-score-adj", "500")
    assert engine.out("run", "--name", name, *options, "busybox", "sh", "-c", script).split() == ["100", "200", "0", "500"]
    shown = engine.out("inspect", "-f", "{{json .HostConfig.Ulimits}} {{.HostConfig.OomScoreAdj}}", name)
    assert '{"Name":"nofile","Hard":200,"Soft":100}' in shown and shown.endswith(" 500")


@covers("run --label-file", "run --label")
def test_labels_from_a_file(engine: Engine, name: str, tmp_path) -> None:
    (tmp_path / "labels").write_text("# comment\na=from file\nb=\nc=3\n")
    engine.docker("create", "--name", name, "--label-file", str(tmp_path / "labels"), "--label", "a=own", "busybox")
    assert engine.out("inspect", "-f", "{{json .Config.Labels}}", name) == '{"a":"own","b":"","c":"3"}'


@covers("run --init")
def test_init_only_in_an_own_pid_namespace(engine: Engine, name: str) -> None:
    """Without one it has no process 1 to be, and is left out."""
    said = engine.out("run", "--name", name, "--init", "--pid", "host", "busybox", "cat", "/proc/self/cmdline")
    assert said == "cat\0/proc/self/cmdline\0"
    assert engine.out("inspect", "-f", "{{.HostConfig.Init}}", name) == "true"


@covers("run --health-cmd", "run --health-interval", "run --health-retries", "run --health-timeout", "run --health-start-period")
def test_health_options_reach_the_container(engine: Engine, name: str) -> None:
    options = ("--health-cmd", "test -e /x", "--health-interval", "3s", "--health-retries", "4", "--health-timeout", "5s")
    engine.docker("create", "--name", name, *options, "--health-start-period", "6s", "busybox")
    shown = engine.request("GET", f"/containers/{name}/json")[1]["Config"]["Healthcheck"]
    assert shown == {
        "Test": ["CMD-SHELL", "test -e /x"],
        "Interval": 3_000_000_000,
        "Timeout": 5_000_000_000,
        "StartPeriod": 6_000_000_000,
        "Retries": 4,
    }


@covers("run --no-healthcheck")
def test_no_healthcheck(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "--no-healthcheck", "busybox")
    assert engine.out("inspect", "-f", "{{json .Config.Healthcheck.Test}}", name) == '["NONE"]'
