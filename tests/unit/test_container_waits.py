"""Waits, settling, and the rows of top."""

import asyncio

import pytest

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers import settle, top
from skerry.containers.state import Answer, Phase, State
from skerry.containers.wait import Waiters, responses
from skerry.core.errors import Failed
from skerry.core.lifecycle import Tasks

ID = "ab" * 32


def state(phase: Phase, **fields: int) -> State:
    return State(id=ID, phase=phase, **fields)


@pytest.mark.parametrize(
    ("condition", "now", "after", "known"),
    [
        (pb.WAIT_CONDITION_NOT_RUNNING, state(Phase.CREATED), None, 0),
        (pb.WAIT_CONDITION_NOT_RUNNING, state(Phase.EXITED, run=2, settled_run=2, exit_code=7), None, 7),
        (pb.WAIT_CONDITION_NOT_RUNNING, state(Phase.EXITED, run=2, settled_run=1, exit_code=7), None, None),
        (pb.WAIT_CONDITION_NOT_RUNNING, state(Phase.RUNNING, run=2), None, None),
        (pb.WAIT_CONDITION_NEXT_EXIT, state(Phase.EXITED, run=2, settled_run=2), None, None),
        (pb.WAIT_CONDITION_NEXT_EXIT, state(Phase.RUNNING, run=3, answered_run=2, answered_code=5), 1, 5),
        (pb.WAIT_CONDITION_NEXT_EXIT, state(Phase.RUNNING, run=3, answered_run=2, answered_code=5), 2, None),
        (pb.WAIT_CONDITION_REMOVED, state(Phase.EXITED, run=2, settled_run=2), None, None),
    ],
)
async def test_what_a_wait_is_answered_with_at_once(condition: pb.WaitCondition, now: State, after: int | None, known: int | None) -> None:
    future = Waiters().register(condition, now, after)
    assert (future.result().code if future.done() else None) == known


async def test_all_waits_get_the_exit_and_removal_answers_the_rest() -> None:
    waiters = Waiters()
    exits = [waiters.register(pb.WAIT_CONDITION_NEXT_EXIT, state(Phase.RUNNING, run=1), None) for _ in range(3)]
    removed = waiters.register(pb.WAIT_CONDITION_REMOVED, state(Phase.RUNNING, run=1), None)
    waiters.answer(Answer(1, 4))
    assert [future.result().code for future in exits] == [4, 4, 4] and not removed.done()
    late = waiters.register(pb.WAIT_CONDITION_NEXT_EXIT, state(Phase.EXITED, run=1, settled_run=1), None)
    waiters.removed(Answer(1, 4))
    assert removed.result().code == late.result().code == 4


async def test_a_wait_registers_first_and_ends_without_an_exit_when_the_service_stops() -> None:
    stopping = asyncio.Event()
    stream = responses(Waiters(), pb.WAIT_CONDITION_NEXT_EXIT, state(Phase.RUNNING, run=6), None, stopping)
    assert (await anext(stream)).registered.run == 6
    stopping.set()
    assert await anext(stream, None) is None


async def test_an_end_nobody_watches_is_settled_by_the_node_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "_ABSENT_SECONDS", 0.05)
    settled: list[tuple[str, int]] = []

    async def note(container_id: str, run: int) -> None:
        settled.append((container_id, run))

    async with Tasks() as tasks:
        settlement = settle.Settlement(tasks, note)
        watch = settlement.watch([], stopping := asyncio.Event())
        assert (await anext(watch)).HasField("live")
        settlement.ended(pb.Ended(id=ID, run=3))
        assert (await anext(watch)).ended.run == 3
        await asyncio.sleep(0.2)
        assert settled == []
        stopping.set()
        assert await anext(watch, None) is None
        async with asyncio.timeout(2):
            while not settled:
                await asyncio.sleep(0.02)
    assert settled == [(ID, 3)]


def test_top_keeps_the_containers_rows_and_joins_the_last_column() -> None:
    table = top.parse("UID PID CMD\nroot 1 init x\nroot 22 sh -c  y\n", {22})
    assert list(table.titles) == ["UID", "PID", "CMD"]
    assert [list(row.columns) for row in table.processes] == [["root", "22", "sh -c y"]]


def test_top_without_a_pid_column_fails_in_dockers_words() -> None:
    with pytest.raises(Failed, match=r"^Couldn't find PID field in ps output$"):
        top.parse("UID CMD\nroot x\n", {1})
