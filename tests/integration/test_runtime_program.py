"""The runtime's program is behind a read-only mount: no container can write to it, an upgrade is seen, and calls do without copying it."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.containers.runtime import PROTECTED, Runtime
from skerry.containers.runtime_program import mounted
from skerry.core import linux

pytestmark = pytest.mark.root


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    program = str(tmp_path / "run/program/crun")
    while linux.is_mount_point(program):
        linux.unmount(program)


def runtime(path: Path) -> Runtime:
    return Runtime("crun", str(path), "1", "/nowhere")


def test_what_is_opened_through_it_cannot_be_written(place: Path) -> None:
    (place / "crun").write_bytes(b"program")
    program = mounted(runtime(place / "crun"), f"{place}/run").program
    fd = os.open(program, os.O_PATH)  # as /proc/PID/exe is
    try:
        with pytest.raises(OSError, match="Read-only") as refused:
            os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
        assert refused.value.errno == errno.EROFS
    finally:
        os.close(fd)


def test_it_stays_until_the_program_is_another(place: Path) -> None:
    path = place / "crun"
    path.write_bytes(b"old")
    first = mounted(runtime(path), f"{place}/run")
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8").count(first.program)
    assert mounted(runtime(path), f"{place}/run") == first
    assert Path("/proc/self/mountinfo").read_text(encoding="utf-8").count(first.program) == table == 1
    (place / "new").write_bytes(b"new")
    os.replace(place / "new", path)
    assert Path(mounted(runtime(path), f"{place}/run").program).read_bytes() == b"new"


def test_without_a_place_the_runtime_stays_as_it_was(place: Path) -> None:
    (place / "run").write_bytes(b"no directory")
    assert mounted(runtime(place / "crun"), f"{place}/run") == runtime(place / "crun")


def test_the_runtime_does_not_copy_or_mount_itself_again(place: Path) -> None:
    found = shutil.which("crun") or shutil.which("runc")
    assert found is not None
    scratch = place / "scratch"
    scratch.mkdir()
    os.utime(scratch, (1, 1))
    program = mounted(runtime(Path(found)), f"{place}/run").program
    # Where it would make a file for that.
    environ = {**os.environ, **PROTECTED, "_LIBCONTAINER_STATEDIR": str(scratch)}
    subprocess.run([program, "--version"], env=environ, capture_output=True, check=True)
    assert scratch.stat().st_mtime == 1
