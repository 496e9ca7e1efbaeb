"""docker run: storage, runtimes, platforms, pulling, and options that need what this host does not have."""

import os

import pytest

from engines import Engine

covers = pytest.mark.covers


@covers("run --runtime")
def test_runc_by_name_and_by_its_shims_name(engine: Engine, name: str) -> None:
    assert engine.out("run", "--name", name, "--runtime", "runc", "busybox", "echo", "ran") == "ran"
    assert engine.out("inspect", "-f", "{{.HostConfig.Runtime}}", name) == "runc"
    assert engine.out("run", "--rm", "--runtime", "io.containerd.runc.v2", "busybox", "echo", "ran") == "ran"


@covers("run --cgroup-parent")
def test_cgroup_parent(engine: Engine, name: str) -> None:
    said = engine.out("run", "--name", name, "--cgroup-parent", "/sk-options", "busybox", "grep", ":pids:\\|^0::", "/proc/self/cgroup")
    identity = engine.out("inspect", "-f", "{{.Id}}", name)
    assert f"/sk-options/{identity}" in said
    for hierarchy in os.listdir("/sys/fs/cgroup"):
        for folder in (f"/sys/fs/cgroup/{hierarchy}/sk-options", "/sys/fs/cgroup/sk-options"):
            if os.path.isdir(folder):
                os.rmdir(folder)


@covers("run --tmpfs")
def test_tmpfs_options(engine: Engine, name: str) -> None:
    script = "mount | grep ' /t '; ls -ldn /t; touch /r/x 2>&1"
    options = ("--tmpfs", "/t:size=1m,mode=700,uid=5,exec", "--tmpfs", "/r:ro")
    said = engine.docker("run", "--name", name, *options, "busybox", "sh", "-c", script, check=False).stdout
    assert "tmpfs on /t type tmpfs (rw,nosuid,nodev,relatime,size=1024k,mode=700,uid=5)" in said
    assert "drwx------    2 5        0" in said and "Read-only file system" in said
    shown = engine.request("GET", f"/containers/{name}/json")[1]
    assert shown["HostConfig"]["Tmpfs"] == {"/t": "size=1m,mode=700,uid=5,exec", "/r": "ro"}
    assert shown["Mounts"] == []


@covers("run --mount")
def test_labels_of_a_mounts_new_volume(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "--mount", f"type=volume,src={name},dst=/v,volume-label=a=b", "busybox")
    assert engine.out("volume", "inspect", "-f", "{{json .Labels}}", name) == '{"a":"b"}'
    engine.docker("rm", name)
    engine.docker("volume", "rm", name)


@covers("run --platform", "run --pull", "run -q")
def test_platform_of_a_present_image(engine: Engine) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    assert engine.out("run", "--rm", "-q", "--pull", "never", "--platform", f"linux/{machine}", "busybox", "echo", "ran") == "ran"


@covers("run --use-api-socket")
def test_without_credentials_the_api_socket_needs_its_place_on_the_host(engine: Engine) -> None:
    """The command makes it a bind mount of /var/run/docker.sock."""
    result = engine.docker("create", "--use-api-socket", "busybox", check=False)
    binds = engine.request("GET", f"/containers/{result.stdout.strip()}/json")[1]["HostConfig"]["Mounts"] if not result.returncode else []
    assert result.returncode or binds[0]["Target"] == "/var/run/docker.sock"


@covers(
    "run --storage-opt", "run --runtime", "run --isolation", "run --gpus", "run --platform", "run --pull", "run --tmpfs", "run --log-driver"
)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--storage-opt", "size=10G"), "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"),
        (("--storage-opt", "nosuch=1"), "Unknown option nosuch"),
        (("--runtime", "nosuch"), "nosuch"),
        (("--isolation", "hyperv"), "Invalid isolation: \"hyperv\" - linux only supports 'default'"),
        (("--gpus", "all"), 'could not select device driver "" with capabilities: [[gpu]]'),
        (("--gpus", 'driver=made-up,"capabilities=a,b"'), 'could not select device driver "made-up" with capabilities: [[a b gpu]]'),
        (("--platform", "nosuch"), "unknown operating system or architecture"),
        (("--pull", "nosuch"), "invalid pull option: 'nosuch'"),
        (("--tmpfs", "/t:nosuch"), 'invalid tmpfs option ["nosuch"]'),
        (("--tmpfs", "/t:nosuch=1"), 'invalid tmpfs option ["nosuch" "1"]'),
        (("--tmpfs", "relative"), "invalid mount path: 'relative' mount path must be absolute"),
        (("--log-driver", "nosuch"), "nosuch"),
        (("--log-opt", "nosuch=1"), "unknown log opt 'nosuch' for json-file log driver"),
        (("--cpu-count", "1"), "is only supported on a Docker daemon running on windows"),
        (("--cpu-percent", "1"), "is only supported on a Docker daemon running on windows"),
        (("--io-maxiops", "1"), "is only supported on a Docker daemon running on windows"),
        (("--io-maxbandwidth", "1"), "is only supported on a Docker daemon running on windows"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_refused(engine: Engine, options: tuple[str, ...], said: str) -> None:
    result = engine.docker("run", "--rm", *options, "busybox", "echo", "ran", check=False)
    assert result.returncode in (1, 125) and "ran\n" not in result.stdout and said in result.stderr


@covers("run --gpus")
def test_gpus_are_missed_at_the_start_only(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "--gpus", "all", "busybox")
    shown = engine.request("GET", f"/containers/{name}/json")[1]["HostConfig"]["DeviceRequests"]
    assert shown == [{"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}]


@covers("run --kernel-memory")
def test_kernel_memory_is_deprecated_below_api_1_42(engine: Engine) -> None:
    body = {"Image": "busybox", "HostConfig": {"KernelMemory": 10 << 20}}
    status, answer = engine.request("POST", "/v1.41/containers/create", body)
    deprecated = "Specifying a kernel memory limit is deprecated and will be removed in a future release."
    assert status == 201 and deprecated in answer["Warnings"]
    body["HostConfig"]["KernelMemory"] = 1000
    assert engine.request("POST", "/v1.41/containers/create", body) == (400, {"message": "Minimum kernel memory limit allowed is 6MB"})


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ({"IOMaximumIOps": 1}, "Invalid QoS settings: linux does not support configuration of maximum IOPs"),
        ({"IOMaximumBandwidth": 1}, "Invalid QoS settings: linux does not support configuration of maximum bandwidth"),
        ({"SecurityOpt": ["systempaths=unconfined"]}, 'invalid --security-opt 2: "systempaths=unconfined"'),
    ],
)
def test_what_the_api_refuses(engine: Engine, host: dict[str, object], said: str) -> None:
    """dockerd 20.10 answers some of them with 500."""
    status, answer = engine.request("POST", "/containers/create", {"Image": "busybox", "HostConfig": host})
    assert (status in (400, 500), answer) == (True, {"message": said})


def test_windows_cpu_percent_is_discarded_with_a_warning(engine: Engine) -> None:
    status, answer = engine.request("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"CpuPercent": 10}})
    assert (status, answer["Warnings"]) == (201, ["linux does not support CPU percent. Percent discarded."])
    assert engine.request("GET", f"/containers/{answer['Id']}/json")[1]["HostConfig"]["CpuPercent"] == 0
