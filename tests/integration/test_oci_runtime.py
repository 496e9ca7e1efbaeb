"""Specifications really run by crun and runc, and their failures in Docker's words."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from integration.mntns import new_netns, private_mounts
from skerry.api.containers.v1 import containers_pb2
from skerry.api.images.v1 import images_pb2
from skerry.api.networks.v1 import networks_pb2
from skerry.containers import devices, oci, oci_resources, users
from skerry.containers.filters import compiled_filters
from skerry.containers.host import host_facts
from skerry.containers.oci_mounts import ResolvedMount
from skerry.containers.runtime import Runtime, StartFailure, explain, probe
from skerry.core import process
from skerry.core.errors import Failed
from skerry.core.ids import new_id

RUNTIMES = ("crun", "runc")
_PROGRAMS = "sh cat id sleep true grep ls env mount wc stat test touch hostname head mkdir unshare"
_DEVICES = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
_EXEC = "OCI runtime exec failed: exec failed: unable to start container process: "


def make_root(place: Path) -> str:
    root = place / "rootfs"
    for name in ("bin", "etc", "tmp", "root", "work"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in _PROGRAMS.split():
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nstaff:x:50:bob\nbob:x:1000:\n")
    return str(root)


class Ran(msgspec.Struct):
    status: int
    output: str
    failure: StartFailure | None = None


class Bench:
    """Creates, starts and waits for containers by the runtime alone, without a monitor."""

    def __init__(self, runtime: Runtime, place: Path) -> None:
        self.runtime = runtime
        self.place = place
        self.rootfs = make_root(place)
        self.netns = new_netns(f"{place}/netns")
        self.rewrite: Callable[[bytes], bytes] = bytes
        for name in ("hosts", "hostname", "resolv.conf"):
            (place / name).write_text(f"{name} of the sandbox\n")

    def config(
        self, identifier: str, args: list[str], *, env: list[str] | None = None, mounts: list[ResolvedMount] | None = None, **spec: Any
    ) -> bytes:
        asked = containers_pb2.ContainerSpec(**spec)
        sandbox = networks_pb2.Sandbox(
            mode=networks_pb2.NETWORK_MODE_NONE,
            netns_path=self.netns,
            hosts_path=f"{self.place}/hosts",
            hostname_path=f"{self.place}/hostname",
            resolv_conf_path=f"{self.place}/resolv.conf",
            hostname=asked.hostname or identifier[:12],
        )
        return oci.build(
            oci.SpecInputs(
                id=identifier,
                spec=asked,
                rootfs=self.rootfs,
                args=args,
                env=env or [],
                user=users.resolve(self.rootfs, asked.user, list(asked.group_add)),
                sandbox=sandbox,
                host=host_facts(),
                mounts=mounts or [],
                devices=devices.resolve(asked.devices, privileged=asked.privileged),
            )
        )

    async def run(self, args: list[str], **spec: Any) -> Ran:
        async with self.created(args, **spec) as (identifier, failure):
            if failure is not None:
                return Ran(failure.exit_code, "", failure)
            pid = int((self.place / f"{identifier}.pid").read_text())
            pidfd = os.pidfd_open(pid)
            await process.run(self.runtime.start(identifier), timeout=20)
            loop = asyncio.get_running_loop()
            ended = asyncio.Event()
            loop.add_reader(pidfd, ended.set)
            await asyncio.wait_for(ended.wait(), 20)
            loop.remove_reader(pidfd)
            os.close(pidfd)
            _, status = os.waitpid(pid, 0)
            return Ran(os.waitstatus_to_exitcode(status), (self.place / f"{identifier}.out").read_text())

    @asynccontextmanager
    async def created(self, args: list[str], **spec: Any) -> AsyncIterator[tuple[str, StartFailure | None]]:
        identifier = new_id()
        bundle = self.place / identifier
        bundle.mkdir()
        (bundle / "config.json").write_bytes(self.rewrite(self.config(identifier, args, **spec)))
        argv = self.runtime.create(identifier, str(bundle), f"{self.place}/{identifier}.pid")
        out = f"{self.place}/{identifier}.out"
        # The container inherits these; the runtime's own words are told apart by a failed create.
        shell = ["sh", "-c", 'exec "$@" </dev/null >"$0" 2>&1', out, *argv]
        result = await process.run(shell, timeout=20, check=False)
        failure = explain(Path(out).read_text(), args[0]) if result.status else None
        try:
            yield identifier, failure
        finally:
            await self.runtime.delete(identifier)
            await self.runtime.delete(identifier)


@asynccontextmanager
async def bench(name: str, place: Path) -> AsyncIterator[Bench]:
    from skerry.core import linux

    # PR_SET_CHILD_SUBREAPER: the container's process becomes ours when the runtime ends.
    linux._libc.prctl(36, 1, 0, 0, 0)
    yield Bench(await probe(f"{place}/run", name), place)


@pytest.mark.root
@pytest.mark.parametrize("name", RUNTIMES)
@private_mounts
async def test_a_container_is_what_docker_would_make_it(tmp_path: Path, name: str) -> None:
    async with bench(name, tmp_path) as b:
        script = (
            "grep -E 'Cap|Seccomp:|NoNew' /proc/self/status; id; env; cat /etc/hosts; hostname; "
            "cat /proc/keys | wc -c; ls /sys/firmware | wc -l; echo == dev; ls /dev; exit 7"
        )
        ran = await b.run(["sh", "-c", script], hostname="box", domainname="example.org", env=["A=b"])
        assert ran.status == 7
        lines = ran.output.splitlines()
        assert "CapEff:\t00000000a80425fb" in lines
        assert "CapBnd:\t00000000a80425fb" in lines
        assert "CapInh:\t0000000000000000" in lines
        assert "Seccomp:\t2" in lines
        assert "NoNewPrivs:\t0" in lines
        assert "uid=0(root) gid=0(root) groups=0(root)" in lines
        for expected in ("PATH=" + oci.DEFAULT_PATH, "HOSTNAME=box", "A=b", "HOME=/root", "hosts of the sandbox", "box"):
            assert expected in lines
        assert lines[lines.index("box", lines.index("hosts of the sandbox")) + 1 :][:2] == ["0", "0"]
        listed = set(lines[lines.index("== dev") + 1 :])
        assert listed - {"core", "console"} == set(_DEVICES.split())


@pytest.mark.root
@pytest.mark.parametrize("name", RUNTIMES)
@private_mounts
async def test_options_take_effect(tmp_path: Path, name: str) -> None:
    async with bench(name, tmp_path) as b:
        (tmp_path / "data").mkdir()
        script = (
            "id; grep CapEff /proc/self/status; ulimit -n; pwd; touch /x; touch /ro/x; touch /t/x && echo tmp; "
            "cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj; stat -c %n /dev/extra"
        )
        ran = await b.run(
            ["sh", "-c", script],
            user="bob",
            group_add=["777"],
            cap_drop=["ALL"],
            ulimits=[containers_pb2.Ulimit(name="nofile", soft=100, hard=200)],
            working_dir="/work",
            readonly_rootfs=True,
            mounts=[
                ResolvedMount("bind", f"{tmp_path}/data", "/ro", read_only=True),
                ResolvedMount("tmpfs", "", "/t", options=("size=1m", "mode=1777")),
            ],
            sysctls={"net.ipv4.ip_forward": "1"},
            oom_score_adj=500,
            init=True,
            devices=[containers_pb2.Device(path_on_host="/dev/null", path_in_container="/dev/extra")],
            resources=containers_pb2.Resources(memory=64 << 20, pids_limit=50, nano_cpus=500_000_000, cpu_shares=512),
            security_opt=["no-new-privileges"],
            masked_paths=images_pb2.StringList(),
        )
        assert ran.output.splitlines() == [
            "uid=1000(bob) gid=1000(bob) groups=50(staff),777,1000(bob)",
            "CapEff:\t0000000000000000",
            "100",
            "/work",
            "touch: /x: Read-only file system",
            "touch: /ro/x: Read-only file system",
            "tmp",
            "1",
            "500",
            "/dev/extra",
        ]


@pytest.mark.root
@pytest.mark.parametrize("name", RUNTIMES)
@private_mounts
async def test_privileged_gets_all_that_this_host_has(tmp_path: Path, name: str) -> None:
    async with bench(name, tmp_path) as b:
        script = (
            "grep -E 'CapEff|Seccomp:' /proc/self/status; ls /sys/firmware | wc -l; "
            "mount -t tmpfs x /work && echo mounted; test -e /dev/kmsg && echo kmsg"
        )
        ran = await b.run(
            ["sh", "-c", script],
            privileged=True,
        )
        own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
        assert ran.output.splitlines()[:2] == [own, "Seccomp:\t0"]
        assert ran.output.splitlines()[3:] == ["mounted", "kmsg"]


@pytest.mark.root
@pytest.mark.parametrize("name", RUNTIMES)
@private_mounts
async def test_the_seccomp_profile_is_enforced(tmp_path: Path, name: str) -> None:
    async with bench(name, tmp_path) as b:
        # The kernel itself would let anybody make a user namespace.
        denied = await b.run(["unshare", "-U", "true"])
        assert denied.status != 0
        assert "Operation not permitted" in denied.output
        allowed = await b.run(["unshare", "-U", "true"], security_opt=["seccomp=unconfined"])
        assert allowed.status == 0
        profile = json.dumps(
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}
        )
        full = await b.run(["mkdir", "/new"], security_opt=[f"seccomp={profile}"])
        assert "No space left on device" in full.output


FAILURES = [
    # args, working directory, exit code, cause
    (["nosuch"], "", 127, 'exec: "nosuch": executable file not found in $PATH'),
    (["/no/such"], "", 127, 'exec: "/no/such": stat /no/such: no such file or directory'),
    (["/etc/passwd"], "", 126, 'exec: "/etc/passwd": permission denied'),
    (["/etc"], "", 126, 'exec: "/etc": permission denied'),
    ([""], "", 127, 'exec: "": executable file not found in $PATH'),
]


@pytest.mark.root
@pytest.mark.parametrize("name", RUNTIMES)
@private_mounts
async def test_failed_starts_are_told_in_dockers_words(tmp_path: Path, name: str) -> None:
    async with bench(name, tmp_path) as b:
        for args, directory, code, cause in FAILURES:
            ran = await b.run(args, working_dir=directory)
            prefix = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "
            assert ran.failure == StartFailure(code, f"{prefix}{cause}: unknown"), ran.failure
        # Docker refuses this one before the runtime sees it; here for callers that did not make the directory.
        ran = await b.run(["true"], working_dir="/etc/passwd")
        assert ran.failure is not None
        assert "ot a directory" in ran.failure.message
        assert ran.failure.by_request
        gone = await b.run(["true"], mounts=[ResolvedMount("bind", f"{tmp_path}/gone", "/gone")])
        assert gone.failure is not None
        assert gone.failure.exit_code == 128
        assert "no such file or directory" in gone.failure.message.lower()


@pytest.mark.root
@pytest.mark.parametrize("name", RUNTIMES)
@private_mounts
async def test_a_running_container_is_driven(tmp_path: Path, name: str) -> None:
    async with bench(name, tmp_path) as b, b.created(["sleep", "100"]) as (identifier, failure):
        assert failure is None
        await process.run(b.runtime.start(identifier), timeout=20)
        state = await b.runtime.state(identifier)
        assert state is not None
        assert state["status"] == "running"
        pid = state["pid"]
        assert await b.runtime.pids(identifier) == [pid]
        config = (tmp_path / identifier / "config.json").read_bytes()
        for user, expected in ((None, "CapEff:\t00000000a80425fb"), (users.resolve(b.rootfs, "bob"), "CapEff:\t0000000000000000")):
            document = oci.exec_process(
                config=config, args=["sh", "-c", "cat /proc/self/status; env; id -u; exit 3"], host=host_facts(), env=["X=y"], user=user
            )
            ran = await exec_in(b, identifier, document)
            assert ran.status == 3
            assert expected in ran.output.splitlines()
            assert "Seccomp:\t2" in ran.output.splitlines()
            assert {"X=y", f"HOME={user.home if user else '/root'}"} <= set(ran.output.splitlines())
        nowhere = (["true"], "/nowhere", 126, 'chdir to cwd ("/nowhere") set in config.json failed: no such file or directory')
        for args, directory, code, cause in [*FAILURES[:4], nowhere]:
            ran = await exec_in(b, identifier, oci.exec_process(config=config, args=args, cwd=directory, host=host_facts()))
            assert ran.failure == StartFailure(code, f"{_EXEC}{cause}: unknown"), ran.failure
        await b.runtime.pause(identifier)
        assert (await b.runtime.state(identifier) or {})["status"] == "paused"
        await b.runtime.resume(identifier)
        await b.runtime.update(identifier, oci_resources.limits(containers_pb2.Resources(memory=96 << 20, pids_limit=33), host_facts()))
        await b.runtime.kill(identifier, 9)
        # crun leaves the processes of failed execs to the subreaper; they are in the container's PID namespace, whose first process
        # only ends when they were reaped.
        while os.waitpid(-1, 0)[0] != pid:
            pass
        await b.runtime.kill(identifier, 9)
        await b.runtime.delete(identifier)
        assert await b.runtime.state(identifier) is None
        with pytest.raises(Failed, match="Cannot pause container"):
            await b.runtime.pause(identifier)


async def exec_in(b: Bench, identifier: str, document: bytes) -> Ran:
    (b.place / "process.json").write_bytes(document)
    out = f"{b.place}/exec.out"
    pid_file = b.place / "exec.pid"
    pid_file.unlink(missing_ok=True)
    argv = b.runtime.exec(identifier, f"{b.place}/process.json", str(pid_file))
    result = await process.run(["sh", "-c", 'exec "$@" </dev/null >"$0" 2>&1', out, *argv], timeout=20, check=False)
    if result.status != 0:
        failure = explain(Path(out).read_text(), json.loads(document)["args"][0], additional=True)
        return Ran(failure.exit_code, "", failure)
    _, status = os.waitpid(int(pid_file.read_text()), 0)
    return Ran(os.waitstatus_to_exitcode(status), Path(out).read_text())


@pytest.mark.root
@private_mounts
async def test_the_probe_prefers_crun_and_says_why_none_works(tmp_path: Path) -> None:
    runtime = await probe(f"{tmp_path}/run")
    assert runtime.name == "crun"
    assert runtime.version[0].isdigit()
    assert os.listdir(runtime.directory) == []
    with pytest.raises(Failed, match="no OCI runtime works on this host: nosuch is not installed"):
        await probe(f"{tmp_path}/run", "nosuch")


@pytest.mark.root
@private_mounts
async def test_compiled_filters_are_the_ones_that_crun_made_itself(tmp_path: Path) -> None:
    async with bench("crun", tmp_path) as b:
        filters = await compiled_filters(b.runtime)
        assert filters.honoured
        config = b.config(new_id(), ["x"])
        assert filters.apply(config) == config
        async with b.created(["sleep", "50"]) as (first, _):
            filters.learn((tmp_path / first / "config.json").read_bytes(), first)
            compiled = Path(b.runtime.directory, first, "seccomp.bpf").read_bytes()
        b.rewrite = filters.apply
        async with b.created(["sh", "-c", "grep Seccomp: /proc/self/status; unshare -U true; sleep 50"]) as (second, failure):
            assert failure is None
            document = json.loads((tmp_path / second / "config.json").read_bytes())
            assert "seccomp" not in document["linux"]
            assert Path(b.runtime.directory, second, "seccomp.bpf").read_bytes() == compiled
            await process.run(b.runtime.start(second), timeout=20)
            for args in (["grep", "Seccomp:", "/proc/self/status"], ["unshare", "-U", "true"]):
                additional = oci.exec_process(config=(tmp_path / second / "config.json").read_bytes(), args=args, host=host_facts())
                ran = await exec_in(b, second, additional)
                assert ran.output.strip() in ("Seccomp:\t2", "unshare: unshare(0x10000000): Operation not permitted")
        # Another profile does not get this program.
        other = json.loads(b.config(new_id(), ["x"], cap_add=["SYS_ADMIN"]))
        assert "seccomp" in json.loads(filters.apply(json.dumps(other).encode()))["linux"]


@pytest.mark.root
@private_mounts
async def test_runc_gets_profiles_as_they_are(tmp_path: Path) -> None:
    async with bench("runc", tmp_path) as b:
        filters = await compiled_filters(b.runtime)
        assert not filters.honoured
        config = b.config(new_id(), ["x"])
        filters.learn(config, "x")
        assert filters.apply(config) == config
