"""The tutorial's section 2.2.9: each line as it stands, but detached."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from engines import PROJECT, Engine
from images.tutorial import cached

from .registry import Registry
from .test_limits import M, host_config, kernel

# The first case may have to make the images.
pytestmark = pytest.mark.timeout(600)
_GIB = 1024 * M
_CPUS = os.cpu_count() or 1


@pytest.fixture(scope="module", autouse=True)
def _images(hub: Registry) -> Iterator[None]:
    hub.push(cached(str(PROJECT / ".cache/images")), "library/nginx", "nginx")
    yield


def _shell(engine: Engine, line: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("docker run", "docker run -d", 1)
    return subprocess.run(["sh", "-ec", line], env=engine.environ(), check=False, capture_output=True, text=True, timeout=60)


_LINES = [
    ("docker run --memory 512m nginx", {"Memory": 512 * M, "MemorySwap": 1024 * M}, {"memory": str(512 * M)}),
    ("docker run --memory 1g --memory-swap 2g nginx", {"Memory": _GIB, "MemorySwap": 2 * _GIB}, {"memory": str(_GIB)}),
    ("docker run --memory 1g --memory-swap 1g nginx", {"Memory": _GIB, "MemorySwap": _GIB}, {"memory": str(_GIB)}),
    ("docker run --cpu-shares 1024 nginx", {"CpuShares": 1024}, {}),
    ("docker run --cpu-shares 512 nginx", {"CpuShares": 512}, {}),
    ("docker run --cpu-shares 2048 nginx", {"CpuShares": 2048}, {}),
    ("docker run --cpuset-cpus 0 nginx", {"CpusetCpus": "0"}, {"cpus": "0"}),
    ("docker run --cpuset-cpus 0,1 nginx", {"CpusetCpus": "0,1"}, {"cpus": "0-1"}),
    ("docker run --cpu-period 100000 --cpu-quota 50000 nginx", {"CpuPeriod": 100000, "CpuQuota": 50000}, {"quota": "50000"}),
    ("docker run --cpu-period 100000 --cpu-quota 200000 nginx", {"CpuPeriod": 100000, "CpuQuota": 200000}, {"quota": "200000"}),
    ("docker run --cpus 1.5 nginx", {"NanoCpus": 1_500_000_000}, {"quota": "150000", "period": "100000"}),
    ("docker run --cpus 0.5 nginx", {"NanoCpus": 500_000_000}, {"quota": "50000", "period": "100000"}),
    ("docker run --cpus 2 nginx", {"NanoCpus": 2_000_000_000}, {"quota": "200000", "period": "100000"}),
    ("docker run --memory 1g --cpus 1.0 --name limited-container nginx", {"Memory": _GIB, "NanoCpus": 10**9}, {"quota": "100000"}),
    (
        "docker run \\\n  --memory 512m \\\n  --memory-swap 1g \\\n  --cpus 0.5 \\\n  --cpuset-cpus 0,1 \\\n"
        "  --name resource-limited \\\n  nginx",
        {"Memory": 512 * M, "MemorySwap": _GIB, "NanoCpus": 500_000_000, "CpusetCpus": "0,1"},
        {"memory": str(512 * M), "quota": "50000", "cpus": "0-1"},
    ),
]


@pytest.mark.parametrize(("line", "shown", "told"), _LINES, ids=[line for line, _, _ in _LINES])
def test_2_2_9_each_line_sets_what_the_text_says(engine: Engine, line: str, shown: dict[str, object], told: dict[str, str]) -> None:
    done = _shell(engine, line)
    if _CPUS < 2 and ("0,1" in line or "--cpus 1.5" in line or "--cpus 2" in line):
        assert done.returncode == 125  # a machine of one processor
        return
    assert done.returncode == 0, done.stderr
    container = done.stdout.strip()
    found = host_config(engine, container)
    assert {key: found[key] for key in shown} == shown
    now = kernel(engine, container)
    assert {key: now[key] for key in told} == told


def test_2_2_9_processors_that_there_are_not(engine: Engine) -> None:
    done = _shell(engine, "docker run --cpuset-cpus 0-3 nginx")
    if _CPUS >= 4:
        assert done.returncode == 0
        return
    available = f"0-{_CPUS - 1}" if _CPUS > 1 else "0"
    assert done.returncode == 125
    assert f"Requested CPUs are not available - requested 0-3, available: {available}" in done.stderr


def test_2_2_9_less_than_6_mb_is_refused(engine: Engine) -> None:
    assert "Minimum memory limit allowed is 6MB" in _shell(engine, "docker run --memory 5m nginx").stderr


def test_2_2_9_inspect_update_stats(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--memory", "512m", "nginx")
    assert engine.out("inspect", "-f", "{{.HostConfig.Memory}}", name) == str(512 * M)
    assert engine.out("update", "--memory", "1g", "--memory-swap", "2g", "--cpus", "0.5", name) == name
    assert engine.out("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}", name) == f"{_GIB} 500000000"
    shown = engine.out("stats", "--no-stream", "--format", "{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.NetIO}}|{{.BlockIO}}").split("|")
    assert shown[0] == name and shown[1].endswith("%") and shown[2].endswith(" / 1GiB") and "B / " in shown[3] and "B / " in shown[4]
