"""Health checks of a real node: what a kill of the service, a timeout and the container's end leave."""

import json
import os
import signal
from typing import Any

import pytest

from integration.containers_node import NodeUnderTest, containers_node, eventually
from skerry.api.containers.v1 import containers_pb2 as pb

pytestmark = pytest.mark.root


async def _checked(node: NodeUnderTest, *test: str, **more: Any) -> str:
    check = json.dumps({"Test": test, "Interval": 200_000_000, **more})
    container_id = await node.create("sleep", "100", healthcheck_json=check)
    await node.start_container(container_id)
    return container_id


def _running(word: str) -> list[int]:
    """Processes whose command line has exactly this word."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if word.encode() in file.read().split(b"\0"):
                    found.append(int(pid))
        except OSError:
            continue
    return found


async def test_health_survives_a_kill_of_the_service_and_checks_go_on() -> None:
    async with containers_node() as node:
        container_id = await _checked(node, "CMD-SHELL", "exit $(cat /code || echo 0)", Retries=1)

        async def health() -> pb.Health:
            return (await node.get(container_id)).state.health

        async def status(wanted: str) -> pb.Health | None:
            return found if (found := await health()).status == wanted else None

        before = await eventually(lambda: status("healthy"))
        await node.end(signal.SIGKILL)
        await node.start()
        after = await health()
        assert after.status == "healthy"
        assert before.log[0] in after.log or len(after.log) == 5
        await eventually(lambda: _changed(node, container_id, after.log[-1].start_ns))
        assert [event.action for event in await node.events() if event.action.startswith("health_status")] == ["health_status: healthy"]
        await node.remove(container_id)
        assert node.leftovers(container_id) == []


async def _changed(node: NodeUnderTest, container_id: str, start_ns: int) -> bool:
    return (await node.get(container_id)).state.health.log[-1].start_ns > start_ns


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_probe_of_an_ended_service_is_ended(number: signal.Signals) -> None:
    async with containers_node() as node:
        word = f"54{os.getpid()}.5"
        container_id = await _checked(node, "CMD", "sleep", word, Timeout=30_000_000_000)
        await eventually(lambda: len(_running(word)) == 1)
        first = _running(word)
        await node.end(number)
        await node.start()
        await eventually(lambda: len(_running(word)) == 1 and _running(word) != first)
        await node.remove(container_id)
        assert node.leftovers(container_id) == []


async def test_a_probe_is_killed_at_its_timeout_and_tells_what_it_had_said() -> None:
    async with containers_node() as node:
        word = f"55{os.getpid()}.5"
        container_id = await _checked(node, "CMD-SHELL", f"echo so far; exec sleep {word}", Timeout=500_000_000, Retries=1)

        async def unhealthy() -> Any:
            health = (await node.get(container_id)).state.health
            return health if health.status == "unhealthy" and health.log else None

        result = (await eventually(unhealthy)).log[0]
        assert (result.exit_code, result.output) == (-1, "Health check exceeded timeout (500ms): so far\n")
        assert result.end_ns - result.start_ns >= 500_000_000
        assert len(_running(word)) <= 1
        await node.remove(container_id)
        assert _running(word) == []
        assert node.leftovers(container_id) == []


async def test_a_probe_under_way_ends_with_a_pause_and_a_stop() -> None:
    async with containers_node() as node:
        word = f"56{os.getpid()}.5"
        container_id = await _checked(node, "CMD", "sleep", word)
        await eventually(lambda: len(_running(word)) == 1)
        await node.containers.Pause(pb.PauseRequest(id=container_id))
        await node.containers.Unpause(pb.UnpauseRequest(id=container_id))
        await eventually(lambda: len(_running(word)) == 1)
        await node.containers.Stop(pb.StopRequest(id=container_id, timeout_seconds=0))
        assert _running(word) == []
        health = (await node.get(container_id)).state.health
        assert health.status == "unhealthy"
        # Only the kill of all processes may have been seen before the container's end was.
        assert [result.exit_code for result in health.log] in ([], [137])
        await eventually(lambda: not os.path.exists(f"{node.root}/runtime/{container_id}/health"))
