"""docker run: namespaces shared with the host or with another container."""

import os

import pytest

from engines import Engine

covers = pytest.mark.covers


def _own(engine: Engine, kind: str, *options: str) -> str:
    return engine.out("run", "--rm", *options, "busybox", "readlink", f"/proc/self/ns/{kind}")


@covers("run --pid", "run --uts", "run --ipc")
def test_the_hosts_namespaces(engine: Engine) -> None:
    script = "for kind in pid uts ipc; do readlink /proc/self/ns/$kind; done"
    said = engine.out("run", "--rm", "--pid", "host", "--uts", "host", "--ipc", "host", "busybox", "sh", "-c", script)
    assert said.split() == [os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "uts", "ipc")]


@covers("run --pid", "run --uts", "run --ipc")
def test_inspect_of_the_hosts_namespaces(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "--pid", "host", "--uts", "host", "--ipc", "host", "busybox")
    shown = engine.request("GET", f"/containers/{name}/json")[1]["HostConfig"]
    assert (shown["PidMode"], shown["UTSMode"], shown["IpcMode"], shown["SecurityOpt"]) == ("host", "host", "host", ["label=disable"])


@covers("run --pid", "run --init")
def test_the_processes_of_another_container(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "300")
    said = engine.out("run", "--rm", "--pid", f"container:{name}", "--init", "busybox", "ps")
    assert said.splitlines()[1].split() == ["1", "root", "sleep", "300"]
    identity = engine.out("create", "--pid", f"container:{name}", "busybox")
    assert engine.out("inspect", "-f", "{{.HostConfig.PidMode}}", identity) == "container:" + engine.out("inspect", "-f", "{{.Id}}", name)
    engine.docker("kill", name)
    assert f"{engine.out('inspect', '-f', '{{.Id}}', name)}" in engine.docker("start", identity, check=False).stderr


@covers("run --ipc", "run --shm-size")
def test_shared_memory_of_another_container(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--ipc", "shareable", "--shm-size", "3m", "busybox", "sh", "-c",
                  "echo common > /dev/shm/file; exec sleep 300")  # fmt: skip
    script = "cat /dev/shm/file; mount | grep ' /dev/shm '; readlink /proc/self/ns/ipc"
    content, mounted, namespace = engine.out("run", "--rm", "--ipc", f"container:{name}", "busybox", "sh", "-c", script).splitlines()
    assert content == "common"
    assert mounted == "shm on /dev/shm type tmpfs (rw,nosuid,nodev,noexec,relatime,size=3072k)"
    assert namespace == engine.out("exec", name, "readlink", "/proc/self/ns/ipc")


@covers("run --ipc")
def test_private_memory_is_not_shared(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "300")
    result = engine.docker("run", "--rm", "--ipc", f"container:{name}", "busybox", "true", check=False)
    assert result.returncode == 125
    assert "non-shareable IPC (hint: use IpcMode:shareable for the donor container)" in result.stderr


@covers("run --pid", "run --ipc")
def test_a_stopped_container_shares_nothing(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "--ipc", "shareable", "busybox")
    for option in ("--pid", "--ipc", "--net"):
        result = engine.docker("run", "--rm", option, f"container:{name}", "busybox", "true", check=False)
        assert result.returncode == 125
        assert "running" in result.stderr and engine.out("inspect", "-f", "{{.Id}}", name) in result.stderr


@covers("run --ipc", "run --shm-size")
def test_no_shared_memory_and_a_size_of_it(engine: Engine) -> None:
    assert engine.docker("run", "--rm", "--ipc", "none", "busybox", "ls", "/dev/shm", check=False).returncode == 1
    said = engine.out("run", "--rm", "--shm-size", "10m", "busybox", "sh", "-c", "mount | grep ' /dev/shm '")
    assert said == "shm on /dev/shm type tmpfs (rw,nosuid,nodev,noexec,relatime,size=10240k)"


@covers("run --cgroupns")
def test_cgroup_namespaces(engine: Engine, name: str) -> None:
    mine = os.readlink("/proc/self/ns/cgroup")
    assert _own(engine, "cgroup", "--cgroupns", "private") != mine
    assert _own(engine, "cgroup", "--cgroupns", "host") == mine
    engine.docker("create", "--name", name, "busybox")
    default = "private" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "host"
    assert engine.out("inspect", "-f", "{{.HostConfig.CgroupnsMode}}", name) == default


@covers("run --userns")
def test_the_hosts_users(engine: Engine) -> None:
    assert _own(engine, "user", "--userns", "host") == os.readlink("/proc/self/ns/user")


@covers("run --pid", "run --ipc", "run --uts", "run --userns", "run --cgroupns")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pid", "nosuch"), "--pid: invalid PID mode"),
        (("--pid", "container:nosuch"), "No such container: nosuch"),
        (("--ipc", "container:nosuch"), "No such container: nosuch"),
        (("--ipc", "nosuch"), "nvalid IPC mode: nosuch"),
        (("--uts", "nosuch"), "--uts: invalid UTS mode"),
        (("--uts", "host", "--hostname", "x"), "conflicting options: hostname and the UTS mode"),
        (("--uts", "host", "--domainname", "x"), 'sysctl "kernel.domainname" is not in a separate kernel namespace'),
        (("--userns", "nosuch"), "--userns: invalid USER mode"),
        (("--cgroupns", "nosuch"), "--cgroupns: invalid CGROUP mode"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_no_mode(engine: Engine, options: tuple[str, ...], said: str) -> None:
    result = engine.docker("run", "--rm", *options, "busybox", "echo", "ran", check=False)
    assert result.returncode == 125 and said in result.stderr


def test_cgroup_namespace_mode_of_the_api(engine: Engine) -> None:
    body = {"Image": "busybox", "HostConfig": {"CgroupnsMode": "nosuch"}}
    assert engine.request("POST", "/containers/create", body) == (400, {"message": "invalid cgroup namespace mode: nosuch"})
