"""A move to where the process is already changes nothing, and is done without asking where it cannot be."""

import asyncio
import os
from pathlib import Path

from skerry.containers.cgroup_moves import CgroupMoves, move_to_where_it_is, own_processes_file
from skerry.core.lifecycle import Tasks


def test_the_own_cgroup_is_found_and_stays() -> None:
    before = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    file = own_processes_file()
    assert file == "" or str(os.getpid()) in Path(file).read_text(encoding="ascii").split()
    move_to_where_it_is(file)
    assert Path("/proc/self/cgroup").read_text(encoding="utf-8") == before


def test_where_nothing_can_be_written_nothing_happens(tmp_path: Path) -> None:
    move_to_where_it_is(str(tmp_path / "missing"))
    move_to_where_it_is("/proc/self/cmdline")


async def test_expected_moves_do_not_pile_up() -> None:
    async with Tasks() as tasks:
        moves = CgroupMoves(tasks)
        for _ in range(1000):
            moves.expect()
        await asyncio.sleep(0.05)
        moves.expect()
