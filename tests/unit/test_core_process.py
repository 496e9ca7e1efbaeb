import asyncio
import os
import time

import pytest

from skerry.core.errors import Failed
from skerry.core.process import run


async def test_output_input_and_status_come_back() -> None:
    result = await run(["sh", "-c", "cat; echo oops >&2; exit 3"], stdin=b"in", check=False)
    assert (result.status, result.stdout, result.stderr, result.last_line()) == (3, b"in", b"oops\n", "oops")


async def test_a_failure_rises_with_the_last_line() -> None:
    with pytest.raises(Failed, match=r"sh failed \(1\): second"):
        await run(["sh", "-c", "echo first >&2; echo second >&2; exit 1"])


async def test_a_missing_program_is_a_failure() -> None:
    with pytest.raises(Failed, match="cannot run no-such-program-here"):
        await run(["no-such-program-here"])


async def test_a_program_that_takes_too_long_is_killed_with_its_children(tmp_path: os.PathLike[str]) -> None:
    mark = os.path.join(tmp_path, "pid")
    start = time.monotonic()
    with pytest.raises(Failed, match=r"did not end within 0\.3 s"):
        await run(["sh", "-c", f"sleep 60 & echo $! > {mark}; wait"], timeout=0.3)
    assert time.monotonic() - start < 5
    with open(mark) as file:
        child = int(file.read())
    for _ in range(100):
        if not os.path.exists(f"/proc/{child}") or _zombie(child):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the child lives on")


def _zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_much_output_and_input_do_not_deadlock() -> None:
    data = os.urandom(3_000_000)
    result = await run(["cat"], stdin=data)
    assert result.stdout == data


async def test_children_may_be_ended_by_a_broken_pipe() -> None:
    result = await run(["sh", "-c", "yes | head -n 1; echo done"])
    assert result.stdout == b"y\ndone\n"
