"""The OCI runtime on this host: crun, or runc where crun does not work. Found by trying, driven by argument lists."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from skerry.containers.cgroup import cgroups_path
from skerry.containers.host import host_facts
from skerry.containers.oci_mounts import mount
from skerry.containers.start_failure import StartFailure, explain, plain
from skerry.core.errors import Failed
from skerry.core.files import write_atomic
from skerry.core.ids import new_id
from skerry.core.process import Result, run

# The first that works is the default.
KNOWN = ("crun", "runc")
_QUICK = 20.0
# Tells the runtime that a program on a read-only file system is safe from its containers; one that is not on such still sees to itself.
PROTECTED = {"_LIBCONTAINER_CLONED_BINARY": "1"}


class Runtime(msgspec.Struct, frozen=True):
    """One runtime program with the directory of its records. Methods named after its commands either return argv or run it.

    Commands that start a container's process are run by monitors, with the container's stdio, and so only built here.
    """

    # crun or runc.
    name: str
    path: str
    # "1.8.1"
    version: str
    # --root: the runtime's records, lost at reboot as they should be.
    directory: str
    # Containers' cgroups are asked of systemd.
    systemd: bool = False
    # What is run instead of path; "": path itself. See runtime_program.
    program: str = ""

    def create(self, identifier: str, bundle: str, pid_file: str, console_socket: str | None = None) -> list[str]:
        """Returns argv that sets a container up and leaves it waiting for start."""
        console = ["--console-socket", console_socket] if console_socket else []
        return [*self._base(), "create", "--bundle", bundle, "--pid-file", pid_file, *console, identifier]

    def start(self, identifier: str) -> list[str]:
        """Returns argv that lets the created process go."""
        return [*self._base(), "start", identifier]

    def exec(self, identifier: str, process_file: str, pid_file: str, console_socket: str | None = None) -> list[str]:
        """Returns argv that starts one more process and leaves it to whoever is the subreaper."""
        console = ["--console-socket", console_socket] if console_socket else []
        return [*self._base(), "exec", "--detach", "--process", process_file, "--pid-file", pid_file, *console, identifier]

    async def kill(self, identifier: str, signal: int, *, every: bool = False) -> None:
        """Sends a signal to the first process, or to every one. Raises Failed; a process that ended already is none."""
        result = await self._run([*self._base(), "kill", *(["--all"] if every else []), identifier, str(signal)])
        gone = ("process already finished", "no such process", "container not running")
        if result.status != 0 and not any(text in _said(result).lower() for text in gone):
            raise Failed(f"Cannot kill container: {identifier}: {_said(result)}")

    async def pause(self, identifier: str) -> None:
        """Freezes all processes. Raises Failed."""
        await self._simple("pause", identifier, f"Cannot pause container {identifier}")

    async def resume(self, identifier: str) -> None:
        """Thaws them. Raises Failed."""
        await self._simple("resume", identifier, f"Cannot unpause container {identifier}")

    async def delete(self, identifier: str) -> None:
        """Removes the runtime's record, the cgroup and, by force, what still runs. One that is unknown is fine. Raises Failed."""
        result = await self._run([*self._base(), "delete", "--force", identifier])
        if result.status != 0 and not _unknown(result):
            raise Failed(f"cannot delete container {identifier}: {_said(result)}")

    async def state(self, identifier: str) -> dict[str, Any] | None:
        """Returns OCI's state document (status, pid, bundle, ...); None when the runtime does not know it."""
        result = await self._run([*self._base(), "state", identifier])
        if result.status == 0:
            document: dict[str, Any] = msgspec.json.decode(result.stdout)
            return document
        if _unknown(result):
            return None
        raise Failed(f"state of container {identifier}: {_said(result)}")

    async def pids(self, identifier: str) -> list[int]:
        """Returns the processes in the container's cgroup, in the host's numbers. Raises Failed."""
        result = await self._run([*self._base(), "ps", "--format", "json", identifier])
        if result.status != 0:
            raise Failed(f"processes of container {identifier}: {_said(result)}")
        return msgspec.json.decode(result.stdout, type=list[int] | None) or []

    async def update(self, identifier: str, resources: dict[str, Any]) -> None:
        """Changes limits; resources is OCI's linux.resources, as oci_resources.limits makes it. Raises Failed."""
        argv = [*self._base(), "update", "--resources", "/dev/stdin", identifier]
        result = await self._run(argv, stdin=msgspec.json.encode(resources))
        if result.status != 0:
            raise Failed(f"Cannot update container {identifier}: {_said(result)}")

    def _base(self) -> list[str]:
        return [self.program or self.path, *(["--systemd-cgroup"] if self.systemd else []), "--root", self.directory]

    async def _run(self, argv: list[str], stdin: bytes = b"") -> Result:
        return await run(argv, stdin=stdin, env={**os.environ, **PROTECTED}, timeout=_QUICK, check=False)

    async def _simple(self, command: str, identifier: str, lament: str) -> None:
        result = await self._run([*self._base(), command, identifier])
        if result.status != 0:
            raise Failed(f"{lament}: {_said(result)}")


async def probe(directory: str, only: str = "", *, cgroup_driver: str = "cgroupfs") -> Runtime:
    """Returns the first runtime that really sets a container up in this mount namespace; `only` names the one to try.

    directory (RUN) is where its records will be, below its name. Raises Failed that says why none works.
    """
    laments = []
    for name in (only,) if only else KNOWN:
        path = shutil.which(name)
        if path is None:
            laments.append(f"{name} is not installed")
            continue
        runtime = Runtime(
            os.path.basename(name), path, await _version(path), os.path.join(directory, os.path.basename(name)), cgroup_driver == "systemd"
        )
        os.makedirs(runtime.directory, mode=0o700, exist_ok=True)
        lament = await _try(runtime)
        if not lament:
            return runtime
        laments.append(f"{name}: {lament}")
    raise Failed(f"no OCI runtime works on this host: {'; '.join(laments)}")


async def _version(path: str) -> str:
    words = (await run([path, "--version"], timeout=_QUICK)).stdout.decode("utf-8", "replace").split()
    return words[2] if len(words) > 2 else "unknown"


async def _try(runtime: Runtime) -> str:
    async with trial(runtime) as (_, lament):
        return lament


@asynccontextmanager
async def trial(runtime: Runtime, **linux: Any) -> AsyncIterator[tuple[str, str]]:
    """Creates a throwaway container of host directories that would sleep; yields its id and why it failed ("" when it did not).

    linux are further parts of that section; `annotations` goes beside it. It is created, not started; gone at the end.
    """
    identifier = f"probe-{new_id()[:12]}"
    with tempfile.TemporaryDirectory(dir=runtime.directory, prefix=".probe-") as bundle:
        os.mkdir(f"{bundle}/rootfs")
        config = _probe_config(f"{bundle}/rootfs", identifier, "systemd" if runtime.systemd else "cgroupfs")
        config["annotations"] = linux.pop("annotations", {})
        config["linux"].update(linux)
        write_atomic(f"{bundle}/config.json", msgspec.json.encode(config), sync=False)
        # The created process inherits stdio and would keep pipes open; so it gets a file.
        argv = ["sh", "-c", 'exec "$@" </dev/null >"$0" 2>&1', f"{bundle}/said", *runtime.create(identifier, bundle, f"{bundle}/pid")]
        try:
            result = await run(argv, timeout=_QUICK, check=False)
            with open(f"{bundle}/said", "rb") as file:  # noqa: ASYNC230 - a few bytes, just written
                said = plain(file.read().decode("utf-8", "replace"))
            yield identifier, said if result.status else ""
        finally:
            await runtime.delete(identifier)


def _probe_config(rootfs: str, identifier: str, cgroup_driver: str) -> dict[str, Any]:
    """A container of host directories with all that matters: namespaces, cgroup, mounts."""
    granted = sorted(host_facts().capabilities & {"CAP_CHOWN", "CAP_KILL"})
    host = [
        mount(path, "bind", os.path.realpath(path), ["rbind", "ro"]) for path in ("/usr", "/bin", "/lib", "/lib64") if os.path.isdir(path)
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sleep", "60"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), granted),
        },
        "root": {"path": rootfs},
        "mounts": [mount("/proc", "proc", "proc", []), mount("/dev", "tmpfs", "tmpfs", ["mode=755"]), *host],
        "linux": {
            "cgroupsPath": cgroups_path(identifier, "", cgroup_driver),
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc", "uts", "network")],
        },
    }


def _said(result: Result) -> str:
    """The runtime's own words, without the wrapping of its log lines."""
    return plain(result.stderr.decode("utf-8", "replace"))


def _unknown(result: Result) -> bool:
    text = _said(result).lower()
    return "does not exist" in text or ("status" in text and "no such file" in text) or "cannot open directory" in text


__all__ = ["KNOWN", "Runtime", "StartFailure", "explain", "probe", "trial"]
