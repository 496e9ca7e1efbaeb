"""The monitor with real runtimes, in a mount namespace of the keeper's own."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile

import msgspec
import pytest

from monitor_kit import Node, keeper_pid, output, until
from skerry.containers.monitors import CreateFailed, Job, ensure_keeper
from skerry.containers.spool import SpoolReader
from skerry.core import linux

pytestmark = [pytest.mark.root, pytest.mark.skipif(shutil.which("crun") is None, reason="crun is not installed")]

HYBRID = os.path.ismount("/sys/fs/cgroup/unified")


class Host(Node):
    """A node whose monitors run crun; rootfs is busybox."""

    def __init__(self, run: str) -> None:
        super().__init__(run, "auto")
        self.rootfs = f"{run}/rootfs"
        for name in ("bin", "proc", "dev", "sys", "tmp"):
            os.makedirs(f"{self.rootfs}/{name}")
        shutil.copy("/bin/busybox", f"{self.rootfs}/bin/busybox")
        for name in ("sh", "cat", "stty", "yes", "head", "sleep", "seq"):
            os.symlink("busybox", f"{self.rootfs}/bin/{name}")
        self.ids: list[str] = []

    def container(self, *command: str, tty: bool = False, **changes: object) -> Job:
        identity = f"skm-{secrets.token_hex(6)}"
        self.ids.append(identity)
        directory = self.directory(identity)
        config = {
            "ociVersion": "1.0.2",
            "root": {"path": self.rootfs},
            "process": {"args": list(command), "cwd": "/", "env": ["PATH=/bin"], "terminal": tty, "user": {"uid": 0, "gid": 0}},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]},
        }
        with open(f"{directory}/config.json", "w") as file:
            json.dump(config, file)
        create = self.crun("create", "--bundle", directory, "--pid-file", f"{directory}/pid")
        if tty:
            create += ["--console-socket", f"{directory}/console.sock"]
        fields = {
            "directory": directory,
            "create": [*create, identity],
            "start": self.crun("start", identity),
            "pid_file": f"{directory}/pid",
            "spool": f"{directory}/spool",
            "tty": tty,
            **changes,
        }
        return msgspec.convert(fields, Job)

    def crun(self, *arguments: str) -> list[str]:
        return ["crun", "--root", f"{self.run}/crun", "--cgroup-manager", "cgroupfs", *arguments]

    def inside(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        """Runs argv in the containers' mount namespace."""
        pin = f"{self.run}/ns/mnt"
        enter = ["nsenter", f"--mount={pin}"] if os.path.exists(pin) else []
        return subprocess.run([*enter, *argv], check=False, capture_output=True, text=True, timeout=20)


@pytest.fixture
async def host():
    run = tempfile.mkdtemp(prefix="skr-", dir="/tmp")
    await ensure_keeper(run)
    host = Host(run)
    try:
        yield host
    finally:
        for identity in host.ids:
            host.inside(*host.crun("delete", "--force", identity))
        os.kill(keeper_pid(run), signal.SIGTERM)
        await until(lambda: keeper_pid(run) == 0)
        for path in (f"{run}/ns/mnt", f"{run}/ns", f"{run}/netns"):
            if linux.is_mount_point(path):
                linux.unmount(path)
            assert not linux.is_mount_point(path)
        shutil.rmtree(run)


async def started(host: Host, job: Job):
    monitor = await host.monitors.launch(job)
    await monitor.create()
    await monitor.start()
    return monitor


@pytest.mark.parametrize(("script", "code"), [("echo hi; exit 7", 7), ("echo hi; kill -15 $$", 143)])
async def test_output_and_exit_of_a_container(host, script, code):
    # The init of a pid namespace cannot kill itself; a shell below it can, and its parent says nothing of it with stderr closed.
    job = host.container("sh", "-c", f"sh -c '{script}' 2>&-; exit $?")
    monitor = await started(host, job)
    assert (await monitor.wait()).code == code
    await monitor.close()
    assert await output(job.spool, streams=(1,)) == b"hi\n"
    assert host.inside(*host.crun("delete", job.start[-1])).returncode == 0


async def test_container_killed_from_outside_has_the_signals_code(host):
    job = host.container("sleep", "60")
    monitor = await started(host, job)
    assert host.inside(*host.crun("kill", job.start[-1], "KILL")).returncode == 0
    assert (await monitor.wait()).code == 137
    await monitor.close()


async def test_missing_command_is_refused_in_the_runtimes_words_and_leaves_nothing(host):
    job = host.container("nosuch")
    monitor = await host.monitors.launch(job)
    with pytest.raises(CreateFailed) as caught:
        await monitor.create()
        await monitor.start()
    assert "nosuch" in caught.value.text
    await monitor.close()
    assert job.start[-1] not in host.inside(*host.crun("list")).stdout


async def test_terminal_of_a_container(host):
    job = host.container("sh", "-c", "stty size; cat; stty size", tty=True, stdin=True, rows=40, columns=123)
    monitor = await started(host, job)
    seen = bytearray()
    async with SpoolReader(job.spool, 0) as reader:
        async for batch in reader.batches(until_run=1):
            seen += b"".join(bytes(frame.payload) for frame in batch.frames() if frame.stream == 1)
            if seen == b"40 123\r\n":
                await monitor.write_stdin(b"hello\n")
            elif seen.endswith(b"hello\r\nhello\r\n"):
                await monitor.resize(50, 99)
                await monitor.write_stdin(b"\x04")
    assert seen == b"40 123\r\nhello\r\nhello\r\n50 99\r\n"
    assert (await monitor.wait()).code == 0
    await monitor.close()


async def test_many_lines_and_stdin_of_a_container_are_exact(host):
    job = host.container("sh", "-c", "cat; seq 1 100000", stdin=True)
    monitor = await started(host, job)
    data = os.urandom(200_000)
    await monitor.write_stdin(data)
    await monitor.close_stdin()
    assert (await monitor.wait()).code == 0
    await monitor.close()
    assert await output(job.spool) == data + b"".join(b"%d\n" % n for n in range(1, 100_001))


@pytest.mark.parametrize("tty", [False, True])
async def test_exec_in_a_container_has_a_monitor_of_its_own(host, tty):
    job = host.container("sleep", "60")
    monitor = await started(host, job)
    directory = host.directory("exec")
    with open(f"{directory}/process.json", "w") as file:
        json.dump(
            {"args": ["sh", "-c", "echo in; cat; exit 5"], "cwd": "/", "env": ["PATH=/bin"], "terminal": tty, "user": {"uid": 0, "gid": 0}},
            file,
        )
    create = host.crun("exec", "--detach", "--process", f"{directory}/process.json", "--pid-file", f"{directory}/pid")
    if tty:
        create += ["--console-socket", f"{directory}/console.sock"]
    exec_job = Job(
        directory=directory, create=[*create, job.start[-1]], pid_file=f"{directory}/pid", spool=f"{directory}/spool", stdin=True, tty=tty
    )
    exec_monitor = await started(host, exec_job)
    await exec_monitor.write_stdin(b"x\n")
    if tty:
        await exec_monitor.write_stdin(b"\x04")
    await exec_monitor.close_stdin()
    assert (await exec_monitor.wait()).code == 5
    await exec_monitor.close()
    said = await output(exec_job.spool)
    if tty:
        # The terminal's echo may come before the program's first words.
        assert sorted(said.split()) == [b"in", b"x", b"x"]
        assert said.count(b"\r\n") == 3
    else:
        assert said == b"in\nx\n"
    assert host.inside(*host.crun("kill", job.start[-1], "KILL")).returncode == 0
    await monitor.wait()
    await monitor.close()


async def test_new_keeper_enters_the_pinned_namespace(host):
    job = host.container("sh", "-c", "echo a; exit 3")
    old = keeper_pid(host.run)
    namespace = os.readlink(f"/proc/{old}/ns/mnt")
    assert (namespace != os.readlink("/proc/self/ns/mnt")) == HYBRID
    os.kill(old, signal.SIGKILL)
    await until(lambda: keeper_pid(host.run) == 0)
    monitor = await started(host, job)
    assert os.readlink(f"/proc/{keeper_pid(host.run)}/ns/mnt") == namespace
    assert (await monitor.wait()).code == 3
    await monitor.close()


async def test_network_namespace_bound_later_is_seen_in_the_pinned_namespace(host):
    path = f"{host.run}/netns/late"
    with open(path, "w"):
        pass
    process = await asyncio.create_subprocess_exec("unshare", "--net", "sleep", "30")
    try:
        await until(lambda: os.readlink(f"/proc/{process.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        linux.mount(f"/proc/{process.pid}/ns/net", path, flags=linux.MS_BIND)
        assert host.inside("stat", "-f", "-c", "%T", path).stdout.strip() == "nsfs"
    finally:
        linux.unmount(path)
        process.kill()
        await process.wait()
