"""ps and inspect are right at every moment: each document agrees with itself, and the states come in an order that can be."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engines import Engine

# Status -> Running, Paused, Restarting, whether it has a process.
SHAPES = {
    "created": (False, False, False, False),
    "running": (True, False, False, True),
    "paused": (True, True, False, True),
    "restarting": (True, False, True, False),
    "exited": (False, False, False, False),
}


@contextmanager
def _watched(engine: Engine, name: str) -> Iterator[list[dict[str, Any]]]:
    """Asks inspect and ps again and again; gives what inspect said."""
    seen: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            status, document = engine.request("GET", f"/containers/{name}/json")
            if status == 200:
                seen.append(document)
            rows.extend(row for row in engine.request("GET", "/containers/json?all=1")[1] if row["Names"] == [f"/{name}"])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(20)
    assert len(seen) > 10
    for document in seen:
        _agrees(document["State"])
    words = {"created": "Created", "running": "Up ", "paused": "Up ", "restarting": "Restarting (", "exited": "Exited ("}
    for row in rows:
        assert row["Status"].startswith(words[row["State"]]), row
        assert row["Status"].endswith(" (Paused)") == (row["State"] == "paused"), row


def _agrees(state: dict[str, Any]) -> None:
    running, paused, restarting, process = SHAPES[state["Status"]]
    assert (state["Running"], state["Paused"], state["Restarting"], state["Pid"] > 0) == (running, paused, restarting, process), state
    assert not state["Dead"] and not state["OOMKilled"]
    never = "0001-01-01T00:00:00Z"
    if state["Status"] == "created":
        assert state["StartedAt"] == state["FinishedAt"] == never, state
    elif state["Status"] in ("running", "paused"):
        assert state["ExitCode"] == 0 and state["StartedAt"] != never, state
    else:
        assert state["FinishedAt"] >= state["StartedAt"] != never, state


def _order(seen: list[dict[str, Any]]) -> list[str]:
    """The statuses as they followed each other."""
    statuses = [document["State"]["Status"] for document in seen]
    return [one for at, one in enumerate(statuses) if at == 0 or statuses[at - 1] != one]


def test_through_a_whole_life(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox", "sleep", "100")
    with _watched(engine, name) as seen:
        for what in ("start", "pause", "unpause", "restart?t=0", "stop?t=0", "start", "kill"):
            status, _ = engine.request("POST", f"/containers/{name}/{what}")
            assert status == 204
            wanted = {"pause": "paused", "stop?t=0": "exited", "kill": "exited"}.get(what, "running")
            # Right as soon as the command has answered.
            assert engine.request("GET", f"/containers/{name}/json")[1]["State"]["Status"] == wanted
            time.sleep(0.2)
    order = _order(seen)
    assert order[0] == "created" and order[-1] == "exited"
    assert order.count("created") == 1 and "paused" in order
    addresses = {(d["State"]["Status"], bool(d["NetworkSettings"]["IPAddress"])) for d in seen}
    assert ("exited", True) not in addresses and ("created", True) not in addresses
    assert ("running", True) in addresses


def test_through_restarts_by_policy(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "--restart", "on-failure:3", "busybox", "sh", "-c", "sleep 0.1; exit 3")
    with _watched(engine, name) as seen:
        engine.docker("start", name)
        deadline = time.monotonic() + 15
        while engine.request("GET", f"/containers/{name}/json")[1]["State"]["Status"] != "exited" and time.monotonic() < deadline:
            time.sleep(0.05)
    counts = [document["RestartCount"] for document in seen]
    assert counts == sorted(counts) and counts[-1] == 3
    assert {document["State"]["ExitCode"] for document in seen if document["State"]["Status"] in ("restarting", "exited")} == {3}
    assert _order(seen)[-1] == "exited"
    assert "exited" not in _order(seen)[:-1]
