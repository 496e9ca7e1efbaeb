"""Named places where a test can make a step fail, kill the process or wait.

SKERRY_FAILPOINTS="containers.start.mounted=fail;networks.create.address=kill" is read once. `reached(name)` costs a dictionary
look-up when nothing is set. Names are declared, so that a test can enumerate them and notice a step without one.
"""

import asyncio
import os
import signal
import time

from skerry.core.errors import Failed

declared: dict[str, str] = {}


def declare(prefix: str, *names: str) -> None:
    """Makes names known, for the test that enumerates them."""
    for name in names:
        declared[f"{prefix}.{name}"] = prefix


def parse(text: str) -> dict[str, str]:
    """Reads "name=action;name=action"; actions are fail, kill and sleep:SECONDS. "name=fail:2" acts on the second visit only."""
    return dict(part.split("=", 1) for part in text.split(";") if part)


_active = parse(os.environ.get("SKERRY_FAILPOINTS", ""))
_visits: dict[str, int] = {}


def activate(actions: dict[str, str]) -> None:
    """Replaces what is active; for tests that run a service in their own process."""
    _active.clear()
    _active.update(actions)
    _visits.clear()


async def reached(name: str) -> None:
    """Acts when name is active. Raises Failed for fail."""
    if pause := _act(name):
        await asyncio.sleep(pause)


def passed(name: str) -> None:
    """Like reached, for a worker's thread: sleeping blocks it."""
    if pause := _act(name):
        time.sleep(pause)


def _act(name: str) -> float:
    """Returns the seconds to sleep, mostly 0."""
    if name not in declared:
        raise AssertionError(f"failpoint {name} is not declared")
    action = _active.get(name)
    if action is None:
        return 0
    verb, _, argument = action.partition(":")
    _visits[name] = _visits.get(name, 0) + 1
    if verb == "sleep":
        return float(argument)
    if argument and _visits[name] != int(argument):
        return 0
    if verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise Failed(f"failpoint {name}")
