"""Whole engines for tests and benches: Skerry and Debian's dockerd, each in a network namespace and directories of its own."""

import contextlib
import glob
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
READY_SECONDS = 60


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float = 60) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """A running engine. docker() runs the stock command against it."""

    def __init__(self, name: str, folder: str, netns: str, command: Sequence[str], environ: dict[str, str], socket_path: str) -> None:
        self.name = name
        self.folder = folder
        self.netns = netns
        self.socket = socket_path
        self.log = f"{folder}/engine.log"
        self.api = "v1.41" if name == "dockerd" else "v1.50"
        self._command = [*self.nsenter(), *command]
        self._environ = environ
        self.process: subprocess.Popen[bytes] | None = None

    def nsenter(self) -> list[str]:
        """Returns the words that put a program into the engine's namespace."""
        return ["nsenter", f"--net=/run/netns/{self.netns}"]

    def start(self) -> None:
        """Starts the engine and waits until it answers."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.name} does not start: {Path(self.log).read_text()[-3000:]}")
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends the engine's main process and waits for it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def answers(self) -> bool:
        """Tells whether GET /_ping is answered."""
        try:
            return self.request("GET", "/_ping", timeout=2)[0] == 200
        except OSError:
            return False

    def request(
        self, method: str, path: str, body: Any = None, timeout: float = 60, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Makes one API request; returns status and the decoded (or raw) body."""
        connection = UnixConnection(self.socket, timeout)
        try:
            data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(
                method, path, data, {"Content-Type": "application/json", **(headers or {})} if data is not None else headers or {}
            )
            response = connection.getresponse()
            raw = response.read()
            try:
                return response.status, json.loads(raw)
            except ValueError:
                return response.status, raw
        finally:
            connection.close()

    def environ(self) -> dict[str, str]:
        """Returns the environment in which docker talks to this engine."""
        environ = {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0", "DOCKER_CLI_HINTS": "false"}
        if self.name == "dockerd":
            environ["DOCKER_API_VERSION"] = "1.41"
        return environ

    def docker(self, *arguments: str, stdin: bytes = b"", check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs docker; raises AssertionError with what it said when it fails and check is set."""
        result = subprocess.run(["docker", *arguments], env=self.environ(), input=stdin, capture_output=True, timeout=timeout, check=False)
        text = subprocess.CompletedProcess(
            result.args, result.returncode, result.stdout.decode("utf-8", "replace"), result.stderr.decode("utf-8", "replace")
        )
        if check and text.returncode:
            raise AssertionError(f"docker {' '.join(arguments)} failed ({text.returncode}): {text.stderr}")
        return text

    def out(self, *arguments: str, **more: Any) -> str:
        """Returns docker's stdout without the last newline."""
        return self.docker(*arguments, **more).stdout.removesuffix("\n")

    def inside(self, *argv: str, check: bool = True) -> str:
        """Runs a program in the engine's network namespace; returns its stdout."""
        result = subprocess.run([*self.nsenter(), *argv], capture_output=True, text=True, timeout=60, check=False)
        if check and result.returncode:
            raise AssertionError(f"{argv} failed: {result.stderr}")
        return result.stdout

    def pids(self) -> list[int]:
        """Returns the processes of the engine itself: services, or dockerd and containerd. No container's process."""
        found = []
        for pid, command in commands():
            if self.folder not in command:
                continue
            program = os.path.basename(command.split("\0")[0])
            if self.name == "dockerd" and program in ("dockerd", "containerd"):
                found.append(pid)
        if self.name == "skerry":
            found = [row["pid"] for row in self.status() if row["pid"]]
        return found

    def status(self) -> list[dict[str, Any]]:
        """Returns `skerry status --json`."""
        argv = [sys.executable, "-m", "skerry.cli", "status", "--json", "--run", f"{self.folder}/run"]
        result = subprocess.run(argv, env=self._environ, capture_output=True, text=True, timeout=30, check=False)
        rows: list[dict[str, Any]] = json.loads(result.stdout)
        return rows


def commands() -> list[tuple[int, str]]:
    """Returns pid and command line (words separated by NUL) of every process."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", encoding="utf-8", errors="replace") as file:
                found.append((int(name), file.read()))
    return found


def _mentions(pid: int, folder: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return folder.encode() in file.read()
    except OSError:
        return False


def end_processes(folder: str) -> None:
    """Kills every process whose command line or environment names the engine's folder, and what runs in its containers."""
    for _ in range(50):
        left = [
            pid
            for pid, command in commands()
            if pid != os.getpid() and (folder in command or _mentions(pid, folder) or rooted(pid, folder))
        ]
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def rooted(pid: int, folder: str) -> bool:
    """Tells whether a process's root file system is one of the engine's containers."""
    try:
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as file:
            first = file.readline() + file.readline()
        return folder in first and pid != os.getpid()
    except OSError:
        return False


def unmount_below(folder: str) -> None:
    """Unmounts what is mounted below folder in our mount namespace, deepest first."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        points = [line.split()[4] for line in file]
    for point in sorted((one for one in points if one.startswith(folder)), key=len, reverse=True):
        subprocess.run(["umount", "-l", point], capture_output=True, check=False)


def cgroups(engine: str) -> dict[str, list[str]]:
    """Returns the cgroups of an engine's containers by container id, in every hierarchy of the host (v1, v2, hybrid).

    The kernel's tree is one for all: those of other engines of the same kind are among them.
    """
    found: dict[str, list[str]] = {}
    parent = "docker" if engine == "dockerd" else "skerry"
    for hierarchy in ("/sys/fs/cgroup", *glob.glob("/sys/fs/cgroup/*/")):
        for path in glob.glob(f"{hierarchy.rstrip('/')}/{parent}/*/"):
            identity = os.path.basename(path.rstrip("/"))
            if re.fullmatch("[0-9a-f]{64}", identity):
                found.setdefault(identity, []).append(path)
        # Where systemd makes them.
        for path in glob.glob(f"{hierarchy.rstrip('/')}/system.slice/{parent}-*.scope/"):
            found.setdefault(os.path.basename(path.rstrip("/")).removeprefix(f"{parent}-").removesuffix(".scope"), []).append(path)
    return found


def _remove_cgroups(name: str, folder: str) -> None:
    """Removes the cgroups of containers that the engine still had; only ids found in its own folder."""
    kept = {identity for place in ("containers", "runtime") for identity in _names(f"{folder}/root/{place}")}
    for identity, paths in cgroups(name).items():
        if identity in kept:
            for path in paths:
                for inner, _, _ in os.walk(path, topdown=False):
                    with contextlib.suppress(OSError):  # a process that just ends: it is gone with the namespace
                        os.rmdir(inner)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def _place(name: str) -> Iterator[tuple[str, str]]:
    token = secrets.token_hex(3)
    folder, netns = tempfile.mkdtemp(prefix="sk-", dir="/var/tmp"), f"sk-{name}-{token}"
    subprocess.run(["ip", "netns", "add", netns], check=True)
    try:
        subprocess.run(["ip", "-n", netns, "link", "set", "lo", "up"], check=True)
        yield folder, netns
    finally:
        end_processes(folder)
        _remove_cgroups(name, folder)
        unmount_below(folder)
        subprocess.run(["ip", "netns", "del", netns], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def skerry_engine(**settings: str) -> Iterator[Engine]:
    """Runs Skerry from this checkout."""
    with _place("skerry") as (folder, netns):
        environ = {
            **os.environ,
            "PYTHONPATH": str(PROJECT / "services"),
            "SKERRY_ROOT": f"{folder}/root",
            "SKERRY_RUN": f"{folder}/run",
            **settings,
        }
        engine = Engine("skerry", folder, netns, [sys.executable, "-m", "skerry.cli", "up"], environ, f"{folder}/run/docker.sock")
        try:
            engine.start()
            yield engine
        finally:
            engine.stop()


@contextlib.contextmanager
def dockerd_engine(*options: str) -> Iterator[Engine]:
    """Runs Debian's dockerd, with a containerd that it starts itself."""
    program = shutil.which("dockerd")
    assert program, "dockerd is missing: make setup-test unpacks it"
    with _place("dockerd") as (folder, netns):
        command = [program, "--data-root", f"{folder}/root", "--exec-root", f"{folder}/exec", "-H", f"unix://{folder}/docker.sock",
                   "--pidfile", f"{folder}/pid", *options]  # fmt: skip
        engine = Engine("dockerd", folder, netns, command, dict(os.environ), f"{folder}/docker.sock")
        try:
            engine.start()
            yield engine
        finally:
            engine.stop()
