"""docker run: capabilities, system call filters, devices, sysctls and the rest of what a container may do."""

import json
import os
import subprocess

import pytest

from engines import Engine

covers = pytest.mark.covers
_DEFAULT = 0xA80425FB
_CHOWN, _NET_ADMIN = 1 << 0, 1 << 12


def _effective(engine: Engine, *options: str) -> int:
    return int(engine.out("run", "--rm", *options, "busybox", "grep", "CapEff", "/proc/self/status").split()[1], 16)


@covers("run --cap-add", "run --cap-drop")
@pytest.mark.parametrize(
    ("options", "mask"),
    [
        (("--cap-add", "NET_ADMIN", "--cap-drop", "chown"), _DEFAULT | _NET_ADMIN & ~_CHOWN),
        (("--cap-add", "cap_net_admin"), _DEFAULT | _NET_ADMIN),
        (("--cap-drop", "ALL"), 0),
        (("--cap-drop", "all", "--cap-add", "CHOWN"), _CHOWN),
        (("-u", "1000", "--cap-add", "NET_ADMIN"), 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_capabilities(engine: Engine, options: tuple[str, ...], mask: int) -> None:
    wanted = mask & ~_CHOWN if "chown" in options else mask
    assert _effective(engine, *options) == wanted


@covers("run --cap-add", "run --cap-drop")
def test_capabilities_are_shown_as_one_set_of_names(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "--cap-add", "net_admin", "--cap-add", "CAP_NET_ADMIN", "--cap-drop", "all", "busybox")
    shown = engine.request("GET", f"/containers/{name}/json")[1]["HostConfig"]
    assert (shown["CapAdd"], shown["CapDrop"]) == (["CAP_NET_ADMIN"], ["ALL"])


@covers("run --security-opt")
def test_seccomp_unconfined_own_profile_and_default(engine: Engine, tmp_path) -> None:
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}
    (tmp_path / "own.json").write_text(json.dumps(profile))
    script = "grep Seccomp: /proc/self/status; mkdir /made 2>&1; unshare -U true 2>&1"
    said = {
        option: engine.docker(
            "run", "--rm", *(("--security-opt", option) if option else ()), "busybox", "sh", "-c", script, check=False
        ).stdout
        for option in ("seccomp=unconfined", f"seccomp={tmp_path}/own.json", "")
    }
    assert said["seccomp=unconfined"] == "Seccomp:\t0\n"
    assert "Seccomp:\t2\n" in said[""] and "unshare" in said[""] and "mkdir" not in said[""]
    own = said[f"seccomp={tmp_path}/own.json"]
    assert "Seccomp:\t2\n" in own and "mkdir: can't create directory '/made': Operation not permitted" in own and "unshare" not in own


@covers("run --security-opt")
def test_no_new_privileges(engine: Engine) -> None:
    for option, value in (("no-new-privileges", "1"), ("no-new-privileges=true", "1"), ("no-new-privileges:false", "0")):
        said = engine.out("run", "--rm", "--security-opt", option, "busybox", "grep", "NoNewPrivs", "/proc/self/status")
        assert said.split()[1] == value


@covers("run --security-opt")
def test_masked_paths_and_their_absence(engine: Engine, name: str) -> None:
    script = "mount | grep -c ' /proc/'; cat /proc/timer_list | head -c1 | wc -c; test -w /proc/sysrq-trigger && echo writable"
    masked = engine.docker("run", "--rm", "busybox", "sh", "-c", script, check=False).stdout.split()
    assert int(masked[0]) > 5 and "writable" not in masked
    options = ("--name", name, "--security-opt", "systempaths=unconfined")
    assert engine.docker("run", *options, "busybox", "sh", "-c", script, check=False).stdout.split()[0] == "0"
    shown = engine.request("GET", f"/containers/{name}/json")[1]["HostConfig"]
    assert (shown["MaskedPaths"], shown["ReadonlyPaths"]) == ([], [])


@covers("run --security-opt")
@pytest.mark.parametrize("option", ["label=disable", "label=type:any_t", "label:user:any", "apparmor=unconfined"])
def test_options_of_modules_that_are_off_change_nothing(engine: Engine, option: str) -> None:
    """SELinux only counts where the daemon is told so; AppArmor where the kernel has it."""
    assert engine.out("run", "--rm", "--security-opt", option, "busybox", "echo", "ran") == "ran"


@covers("run --device", "run --device-cgroup-rule")
def test_devices(engine: Engine, name: str) -> None:
    script = "ls -l /dev/other /dev/folder/tun; echo > /dev/reader && echo written; mknod /x c 1 9 && head -c 3 /x | wc -c"
    options = ("--device", "/dev/null:/dev/other", "--device", "/dev/net:/dev/folder", "--device", "/dev/null:/dev/reader:r",
               "--device-cgroup-rule", "c 42:* rmw")  # fmt: skip
    said = engine.docker("run", "--name", name, *options, "busybox", "sh", "-c", script, check=False).stdout
    assert " 1,   3 " in said and " 10, 200 " in said and said.endswith("3\n")
    shown = engine.request("GET", f"/containers/{name}/json")[1]["HostConfig"]
    assert shown["Devices"][2] == {"PathOnHost": "/dev/null", "PathInContainer": "/dev/reader", "CgroupPermissions": "r"}
    assert shown["DeviceCgroupRules"] == ["c 42:* rmw"]


@covers("run --device-cgroup-rule")
def test_other_devices_are_denied(engine: Engine) -> None:
    """The kernel's answer: not permitted without a rule, no such device with one."""
    script = "mknod /x c 42 1; cat /x"
    without = engine.docker("run", "--rm", "busybox", "sh", "-c", script, check=False).stderr
    allowed = engine.docker("run", "--rm", "--device-cgroup-rule", "c 42:* r", "busybox", "sh", "-c", script, check=False).stderr
    assert "Operation not permitted" in without
    assert "No such device" in allowed


@covers("run --sysctl")
def test_sysctls(engine: Engine, name: str) -> None:
    options = ("--sysctl", "net.ipv4.ip_forward=0", "--sysctl", "kernel.msgmax=65000", "--sysctl", "fs.mqueue.msg_max=20")
    files = ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax", "/proc/sys/fs/mqueue/msg_max")
    assert engine.out("run", "--name", name, *options, "busybox", "cat", *files).split() == ["0", "65000", "20"]
    assert engine.request("GET", f"/containers/{name}/json")[1]["HostConfig"]["Sysctls"]["kernel.msgmax"] == "65000"


@covers("run --sysctl", "run --ipc")
def test_sysctls_of_a_namespace_shared_with_a_container(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--ipc", "shareable", "busybox", "sleep", "300")
    engine.docker("run", "--rm", "--ipc", f"container:{name}", "--sysctl", "kernel.msgmax=5000", "busybox", "true")
    assert engine.out("exec", name, "cat", "/proc/sys/kernel/msgmax") == "5000"


@covers("run --read-only")
def test_what_stays_writable(engine: Engine) -> None:
    script = "for path in /dev/shm/x /dev/x /x /tmp/x /etc/hosts /var/x; do touch $path 2>/dev/null && echo $path; done; true"
    assert engine.out("run", "--rm", "--read-only", "busybox", "sh", "-c", script).split() == ["/dev/shm/x", "/dev/x"]


@covers("run --security-opt", "run --cap-add", "run --cap-drop", "run --device", "run --device-cgroup-rule", "run --sysctl")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cap-add", "NOSUCH"), 'invalid CapAdd: unknown capability: "CAP_NOSUCH"'),
        (("--cap-drop", "NOSUCH"), 'invalid CapDrop: unknown capability: "CAP_NOSUCH"'),
        (("--security-opt", "nosuch"), '"nosuch"'),
        (("--security-opt", "nosuch=1"), 'invalid --security-opt 2: "nosuch=1"'),
        (("--security-opt", "no-new-privileges=maybe"), 'invalid --security-opt 2: "no-new-privileges=maybe"'),
        (("--security-opt", "seccomp=/nosuch"), "opening seccomp profile (/nosuch) failed"),
        (
            ("--device", "/dev/nosuch"),
            'error gathering device information while adding custom device "/dev/nosuch": no such file or directory',
        ),
        (("--device", "/etc/passwd:/dev/x"), 'while adding custom device "/etc/passwd": not a device node'),
        (("--device", "/dev/null:/dev/x:q"), "bad mode specified: q"),
        (("--device-cgroup-rule", "nosuch"), "invalid device cgroup format 'nosuch'"),
        (("--sysctl", "kernel.pid_max=1"), "sysctl 'kernel.pid_max=1' is not allowed"),
        (("--sysctl", "net.nosuch.x=1"), "open /proc/sys/net/nosuch/x: no such file or directory"),
        (("--sysctl", "net.ipv4.ip_forward=1", "--net", "host"), 'sysctl "net.ipv4.ip_forward" not allowed in host network namespace'),
        (("--sysctl", "kernel.msgmax=1000", "--ipc", "host"), 'sysctl "kernel.msgmax" is not allowed in the hosts ipc namespace'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_refused(engine: Engine, options: tuple[str, ...], said: str) -> None:
    result = engine.docker("run", "--rm", *options, "busybox", "echo", "ran", check=False)
    assert result.returncode in (125, 126, 127) and said in result.stderr


@covers("run --security-opt")
@pytest.mark.parametrize(
    ("profile", "said"),
    [('{"defaultAction": "SCMP_ACT_NOSUCH"}', "SCMP_ACT_NOSUCH is not a valid action for seccomp"), ("{", "seccomp")],
)
def test_wrong_profiles(engine: Engine, profile: str, said: str, tmp_path) -> None:
    (tmp_path / "own.json").write_text(profile)
    result = engine.docker("run", "--rm", "--security-opt", f"seccomp={tmp_path}/own.json", "busybox", "echo", "ran", check=False)
    assert result.returncode == 125 and said in result.stderr


@covers("run --privileged")
def test_privileged(engine: Engine, name: str) -> None:
    """All that the engine has itself; a real dockerd asks for all that there is, and cannot start it where something is missing."""
    script = "grep -E 'CapEff|Seccomp:' /proc/self/status; ls /dev/vda /dev/null; mount | grep ' /sys '; mount | grep -c ' /proc/'"
    engine.docker("create", "--name", name, "--privileged", "busybox", "sh", "-c", script)
    shown = engine.request("GET", f"/containers/{name}/json")[1]["HostConfig"]
    assert (shown["Privileged"], shown["SecurityOpt"], shown["MaskedPaths"], shown["ReadonlyPaths"]) == (
        True,
        ["label=disable"],
        None,
        None,
    )
    result = engine.docker("start", "-a", name, check=False)
    bounding = subprocess.run(["grep", "CapBnd", f"/proc/{os.getpid()}/status"], capture_output=True, text=True, check=True).stdout.split()[
        1
    ]
    if bounding == "000001ffffffffff" or engine.name == "skerry":
        assert f"CapEff:\t{bounding}\nSeccomp:\t0\n" in result.stdout and "/dev/vda" in result.stdout
        assert "sysfs (rw," in result.stdout and result.stdout.endswith("\n0\n")
    else:
        assert "unable to apply caps: operation not permitted" in result.stderr
