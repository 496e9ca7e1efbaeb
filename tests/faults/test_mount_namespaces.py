"""What others do to mounts and namespaces of the machine does not stop containers from starting."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engines import PROJECT, skerry_engine
from images.busybox import make_busybox

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

_PREPARE = """
import ctypes, os, sys
from skerry.containers.monitor import mounts
first, second, run = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
every = os.sched_getaffinity(0)
libc = ctypes.CDLL(None, use_errno=True)
os.sched_setaffinity(0, {first})
assert libc.unshare(0x20000) == 0
assert libc.mount(b"none", b"/", None, ctypes.c_ulong(1 << 18 | 0x4000), None) == 0
os.sched_setaffinity(0, {second})
os.sched_setaffinity(0, every)
print(mounts.prepare(run), os.sched_getaffinity(0) == every)
"""


def test_mounts_made_private_meanwhile_do_not_hide_a_containers_network(tmp_path: Path) -> None:
    with skerry_engine() as engine:
        make_busybox(f"{tmp_path}/busybox.tar")
        engine.docker("load", "-q", "-i", f"{tmp_path}/busybox.tar")
        engine.docker("run", "--rm", "busybox", "true")
        # mmdebstrap 1.5 does so with all mounts of the machine.
        subprocess.run(["mount", "--make-private", f"{engine.folder}/run/netns"], check=True)
        engine.docker("run", "-d", "--name", "private", "busybox", "sleep", "100")
        assert "172.17.0." in engine.out("exec", "private", "ip", "-4", "addr", "show", "eth0")
        engine.docker("restart", "-t", "0", "private")
        engine.docker("rm", "-f", "private")
        assert os.listdir(f"{engine.folder}/run/netns") == []
        pinned = f"{engine.folder}/run/ns/mnt"
        if os.path.exists(pinned):
            argv = ["nsenter", f"--mount={pinned}", "cat", "/proc/self/mountinfo"]
            table = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
            assert f"{engine.folder}/run/netns/" not in table


@pytest.mark.parametrize("first", sorted(os.sched_getaffinity(0))[:2])
@pytest.mark.parametrize("second", sorted(os.sched_getaffinity(0))[:2])
def test_the_mount_namespace_is_pinned_whichever_cpu_numbered_it(first: int, second: int) -> None:
    with tempfile.TemporaryDirectory(prefix="sk-", dir="/var/tmp") as run:
        environ = {**os.environ, "PYTHONPATH": str(PROJECT / "services")}
        argv = [sys.executable, "-c", _PREPARE, str(first), str(second), run]
        result = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=30, check=False)
        assert result.stdout.split() in (["made", "True"], ["host", "True"]), result.stderr
