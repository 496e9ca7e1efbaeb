"""What runs in the guest, by systemd, at each of its two boots. Each result is one line on the serial console."""

import json
import os
import re
import subprocess
import sys
import time
import traceback
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

_CASES = ("test_limits.py", "test_update.py", "test_stats.py")
_PHASE = Path("/var/lib/skerry-guest-phase")
_ENVIRON = {**os.environ, "DOCKER_HOST": "unix:///run/skerry/docker.sock", "DOCKER_CLI_HINTS": "false", "DOCKER_BUILDKIT": "0"}
_READY_SECONDS = 300
_LONG = 300.0
# What the kernel has no part in is not tried again here.
_ELSEWHERE = "refused or makes_no_sense or errors or the_table or the_command"


def tell(what: str, good: bool, detail: str) -> None:
    with open("/dev/ttyS0", "w", encoding="utf-8") as console:
        console.write("\nRESULT " + json.dumps([what, good, detail]) + "\n")


def run(*argv: str, check: bool = True, seconds: float = _LONG) -> str:
    done = subprocess.run(argv, env=_ENVIRON, capture_output=True, text=True, timeout=seconds, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)} failed ({done.returncode}): {done.stderr.strip()[-800:]}")
    return done.stdout.strip()


def step(what: str, work: Callable[[], tuple[bool, str]]) -> None:
    try:
        good, detail = work()
    except Exception as error:  # told, and the others are tried
        good, detail = False, f"{type(error).__name__}: {error}"[:1500]
        traceback.print_exc(file=sys.stderr)
    tell(what, good, detail)


def engine(**settings: str) -> None:
    """Starts the engine anew by its unit, with these settings."""
    Path("/etc/skerry.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    run("systemctl", "restart", "skerry")
    answers()


def answers() -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        argv = ["timeout", "60", "docker", "info", "-f", "{{.ServerVersion}} {{.CgroupDriver}}"]
        done = subprocess.run(argv, env=_ENVIRON, capture_output=True, text=True, check=False)
        if done.returncode == 0 and len(done.stdout.split()) == 2:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"the engine does not answer: {done.stderr} {run('journalctl', '-u', 'skerry', '-n', '20', check=False)}")
        time.sleep(1)


def host() -> tuple[bool, str]:
    kind = run("stat", "-f", "-c", "%T", "/sys/fs/cgroup")
    controllers = Path("/sys/fs/cgroup/cgroup.controllers").read_text().strip()
    return (
        kind == "cgroup2fs" and "memory" in controllers,
        f"{kind}, {controllers}; kernel {os.uname().release}, {run('crun', '--version').splitlines()[0]}",
    )


def started() -> tuple[bool, str]:
    engine()
    said = run("docker", "info", "-f", "{{.CgroupDriver}} {{.CgroupVersion}}")
    return said == "systemd 2", f"docker info says {said}"


def cases() -> tuple[bool, str]:
    """Runs the conformance cases of limits, update and stats on the engine that runs."""
    report = "/var/tmp/report.xml"
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--timeout",
        "600",
        "-k",
        f"not ({_ELSEWHERE})",
        f"--junitxml={report}",
    ]
    argv += ["--docker-host", _ENVIRON["DOCKER_HOST"], *(f"tests/conformance/{name}" for name in _CASES)]
    done = subprocess.run(
        argv, cwd="/opt/skerry", env={**_ENVIRON, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, timeout=3600, check=False
    )
    Path("/var/tmp/pytest.log").write_text(done.stdout + done.stderr)
    if done.returncode not in (0, 1):
        raise AssertionError(f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-1200:]}")
    every = list(ElementTree.parse(report).getroot().iter("testcase"))
    failed = [case for case in every if any(case.find(what) is not None for what in ("failure", "error"))]
    slowest = sorted(every, key=lambda case: float(case.get("time", "0")), reverse=True)[:5]
    sys.stderr.write("\nthe longest: " + ", ".join(f"{case.get('name')} {float(case.get('time', '0')):.0f} s" for case in slowest) + "\n")
    for case in failed:
        found = case.find("failure") if case.find("failure") is not None else case.find("error")
        sys.stderr.write(f"\n{case.get('name')}: {(found.get('message') if found is not None else '') or ''}"[:700] + "\n")
    return bool(every) and not failed, f"{len(every) - len(failed)} of {len(every)} pass" + "".join(
        f"; failed: {case.get('name')}" for case in failed
    )


def limited() -> tuple[bool, str]:
    """One container with limits, changed while it runs: what the kernel was told, and what stats count."""
    options = ["-m", "64m", "--cpus", "0.5", "--cpuset-cpus", "0", "--pids-limit", "50", "--cpu-shares", "512"]
    container = run("docker", "run", "-d", *options, "busybox", "sh", "-c", "dd if=/dev/zero of=/f bs=1M count=8 conv=fsync; sleep 1000")
    before = _told(container)
    run("docker", "update", "-m", "48m", "--memory-swap", "96m", "--cpus", "1", "--pids-limit", "20", container)
    after = _told(container)
    run("docker", "update", "--pids-limit", "-1", container)
    counted = run(
        "docker", "stats", "--no-stream", "--format", "{{.CPUPerc}}, {{.MemUsage}}, {{.NetIO}}, {{.BlockIO}}, {{.PIDs}}", container
    )
    killed = subprocess.run(
        ["docker", "run", "--name", "oom", "-m", "8m", "busybox", "tail", "/dev/zero"], env=_ENVIRON, check=False, timeout=_LONG
    )
    oom = run("docker", "inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", "oom")
    good = (
        before
        == {"memory.max": str(64 << 20), "memory.swap.max": str(64 << 20), "cpu.max": "50000 100000", "cpuset.cpus": "0", "pids.max": "50"}
        and after == {**before, "memory.max": str(48 << 20), "memory.swap.max": str(48 << 20), "cpu.max": "100000 100000", "pids.max": "20"}
        and _told(container)["pids.max"] == "max"
        and " / 48MiB, " in counted
        and (killed.returncode, oom) == (137, "true 137")
    )
    return good, f"{before}; after update {after}; stats {counted}; killed for memory: {oom}"


def _told(container: str) -> dict[str, str]:
    process = run("docker", "inspect", "-f", "{{.State.Pid}}", container)
    own = Path(f"/proc/{process}/cgroup").read_text().strip().removeprefix("0::")
    names = ("memory.max", "memory.swap.max", "cpu.max", "cpuset.cpus", "pids.max")
    return {name: Path(f"/sys/fs/cgroup{own}/{name}").read_text().strip() for name in names}


def scope() -> tuple[bool, str]:
    """systemd knows the container as a unit, in the slice that was asked for; its limits outlive a reload of systemd."""
    container = run(
        "docker", "run", "-d", "--net", "none", "-m", "64m", "--cpus", "0.5", "--cgroup-parent", "one-two.slice", "busybox", "sleep", "1000"
    )
    unit = f"skerry-{container}.scope"
    shown = run("systemctl", "show", "-p", "ControlGroup,ActiveState", unit)
    run("docker", "update", "-m", "48m", "--memory-swap", "96m", container)
    run("systemctl", "daemon-reload")
    process = run("docker", "inspect", "-f", "{{.State.Pid}}", container)
    own = Path(f"/proc/{process}/cgroup").read_text().strip().removeprefix("0::")
    limit, swap, cpu = (Path(f"/sys/fs/cgroup{own}/{name}").read_text().strip() for name in ("memory.max", "memory.swap.max", "cpu.max"))
    counted = run("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", container)
    argv = ["docker", "create", "--cgroup-parent", "/x", "busybox"]
    refused = subprocess.run(argv, env=_ENVIRON, capture_output=True, text=True, timeout=120, check=False).stderr
    run("docker", "rm", "-f", container)
    gone = run("systemctl", "show", "-p", "ActiveState", unit)
    good = (
        f"ControlGroup=/one.slice/one-two.slice/{unit}" in shown
        and own.startswith(f"/one.slice/one-two.slice/{unit}")
        and (limit, swap, cpu) == (str(48 << 20), str(48 << 20), "50000 100000")
        and counted.endswith(" / 48MiB")
        and 'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"' in refused
        and gone == "ActiveState=inactive"
    )
    place = own.replace(container, "ID")
    return good, f"{place}: after update and daemon-reload {limit}, {swap}, {cpu}; stats {counted}; removed: {gone}; {refused.strip()}"


def layers() -> tuple[bool, str]:
    """A kernel that cannot mount layers from their tars unpacks them; what containers see and change is the same."""
    shown = json.loads(run("docker", "info", "-f", "{{json .DriverStatus}}"))
    form = dict(shown).get("Layer Form", "")
    name = "layers"
    run("docker", "rm", "-f", name, check=False)
    said = run(
        "docker",
        "run",
        "--name",
        name,
        "busybox",
        "sh",
        "-c",
        "echo changed > /etc/x && rm /etc/group && cat /etc/passwd | head -1; ls /bin | wc -l",
    )
    changes = run("docker", "diff", name)
    run("docker", "commit", name, "changed")
    again = run("docker", "run", "--rm", "changed", "sh", "-c", "cat /etc/x; ls /etc/group 2>&1 | grep -c No")
    run("docker", "rm", name)
    good = "root" in said and "A /etc/x" in changes and "D /etc/group" in changes and again.split() == ["changed", "1"]
    return good, f"layer form {form}; diff {changes.split()}; committed and run: {again.split()}"


def other_driver() -> tuple[bool, str]:
    """What runs goes on while the engine's unit is restarted, and an engine with the other driver still knows where it is."""
    container = run(
        "docker", "run", "-d", "--name", "kept", "-m", "64m", "busybox", "sh", "-c", "trap 'echo told; exit 3' TERM; sleep 1000 & wait"
    )
    process = run("docker", "inspect", "-f", "{{.State.Pid}}", "kept")
    engine(SKERRY_CONTAINERS_CGROUP_DRIVER="cgroupfs")
    said = run("docker", "info", "-f", "{{.CgroupDriver}} {{.CgroupVersion}}")
    again = run("docker", "inspect", "-f", "{{.State.Pid}}", "kept")
    run("docker", "update", "-m", "48m", "--memory-swap", "96m", "kept")
    told = _told(container)["memory.max"]
    counted = run("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", "kept")
    run("docker", "exec", "kept", "true")
    run("docker", "stop", "kept")
    ended = run("docker", "inspect", "-f", "{{.State.ExitCode}}", "kept"), run("docker", "logs", "kept")
    run("docker", "start", "kept")
    place = Path(f"/proc/{run('docker', 'inspect', '-f', '{{.State.Pid}}', 'kept')}/cgroup").read_text().strip().removeprefix("0::")
    good = (
        (said, again, told, ended) == ("cgroupfs 2", process, str(48 << 20), ("3", "told"))
        and counted.endswith(" / 48MiB")
        and place == f"/skerry/{container}"
        and _told(container)["memory.max"] == str(48 << 20)
    )
    place = place.replace(container, "ID")
    return (
        good,
        f"docker info says {said}; goes on: {again == process}; updated to {told}, stats {counted}; ended {ended}; started anew in {place}",
    )


def unpacked() -> tuple[bool, str]:
    """Layers unpacked because they must be, by an engine with another ROOT in the same RUN, and the other cgroup driver."""
    engine(SKERRY_CONTAINERS_LAYERS="directories", SKERRY_CONTAINERS_CGROUP_DRIVER="cgroupfs", SKERRY_ROOT="/var/lib/skerry-unpacked")
    run("docker", "load", "-i", "/var/tmp/busybox.tar")
    said = run("docker", "info", "-f", "{{.CgroupDriver}} {{.CgroupVersion}}")
    good, detail = layers()
    return good and said == "cgroupfs 2" and detail.startswith("layer form directories"), f"docker info says {said}; {detail}"


_WANTED = {
    "always": "running",
    "unless-stopped": "running",
    "stopped-unless": "exited",
    "stopped-always": "running",
    "on-failure": "running",
    "succeeded": "exited",
    "no": "exited",
}


def before_reboot() -> tuple[bool, str]:
    served = ["busybox", "sh", "-c", "echo run; echo hello > /tmp/index.html; httpd -f -p 80 -h /tmp"]
    run("docker", "run", "-d", "--name", "always", "--restart", "always", "-m", "32m", "-p", "127.0.0.1:8080:80", *served)
    run("docker", "run", "-d", "--name", "unless-stopped", "--restart", "unless-stopped", "busybox", "sleep", "100000")
    for name, policy in (("stopped-unless", "unless-stopped"), ("stopped-always", "always")):
        run("docker", "run", "-d", "--name", name, "--restart", policy, "busybox", "sleep", "100000")
        run("docker", "stop", "-t", "0", name)
    run("docker", "run", "-d", "--name", "on-failure", "--restart", "on-failure", "busybox", "sleep", "100000")
    run("docker", "run", "-d", "--name", "succeeded", "--restart", "on-failure", "busybox", "true")
    run("docker", "run", "-d", "--name", "no", "busybox", "sleep", "100000")
    states = _states()
    run("systemctl", "enable", "-q", "skerry")
    _PHASE.write_text(run("cat", "/proc/sys/kernel/random/boot_id"))
    return states["always"] == "running" and states["stopped-always"] == "exited" and _page() == "hello", str(states)


def _states() -> dict[str, str]:
    return dict(line.split() for line in run("docker", "ps", "-a", "--format", "{{.Names}} {{.State}}").splitlines())


def after_reboot() -> tuple[bool, str]:
    answers()
    deadline = time.monotonic() + 180
    while (states := _states()) != _WANTED and time.monotonic() < deadline:
        time.sleep(1)
    other = run("cat", "/proc/sys/kernel/random/boot_id") != _PHASE.read_text()
    told = _told("always")["memory.max"] if states.get("always") == "running" else ""
    shown = run("docker", "inspect", "-f", "{{.HostConfig.Memory}} {{.RestartCount}} {{.NetworkSettings.IPAddress}}", "always")
    lines = run("docker", "logs", "always").split()
    code = run("docker", "inspect", "-f", "{{.State.ExitCode}}", "no")
    page = _page()
    good = states == _WANTED and other and told == str(32 << 20) and code == "255" and page == "hello" and lines == ["run", "run"]
    return good, f"{states}; always: {shown}, the kernel's limit {told}, logs {lines}, its port says {page}; exit code of `no`: {code}"


def _page() -> str:
    """What the container `always` serves on this machine's port."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=10) as answer:
                return str(answer.read().decode().strip())
        except OSError as error:
            if time.monotonic() > deadline:
                return str(error)
        time.sleep(0.5)


def _remove_all() -> None:
    run("sh", "-c", "docker ps -aq | xargs -r docker rm -f", check=False)


def first_boot() -> None:
    step("cgroup v2, no v1 hierarchy", host)
    sys.path.insert(0, "/opt/skerry/tests")
    from images.busybox import make_busybox

    make_busybox("/var/tmp/busybox.tar")
    step("systemd driver, the default here: the engine starts", started)
    run("docker", "load", "-i", "/var/tmp/busybox.tar", check=False)
    step("systemd driver: a container with limits", limited)
    step("systemd driver: scope, slice, update, daemon-reload", scope)
    step("layers on this kernel", layers)
    _remove_all()
    step("before the reboot", before_reboot)
    run("systemctl", "reboot", check=False)


def main() -> None:
    if not re.search(r"\bguest\b", Path("/etc/hostname").read_text()):
        raise SystemExit("this is for the guest only")
    if not _PHASE.exists():
        first_boot()
        return
    step("after a real reboot", after_reboot)
    _remove_all()
    step("systemd driver: limits, update, stats", cases)
    _remove_all()
    step("the unit restarted with the cgroupfs driver while a container runs", other_driver)
    _remove_all()
    step("cgroupfs driver: another ROOT in the same RUN, layers unpacked", unpacked)
    _remove_all()
    step("cgroupfs driver: a container with limits", limited)
    _remove_all()
    step("cgroupfs driver: limits, update, stats", cases)
    tell("end", True, "")
    run("systemctl", "poweroff", check=False)


if __name__ == "__main__":
    main()
