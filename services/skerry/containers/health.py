"""Health checks as pure functions: what is checked how often, and what a container's health is after each probe.

Docker's rules (daemon/health.go): a probe's exit code 0 is healthy; so many failures in a row make unhealthy; failures within the start
period do not count while the container was never healthy; one whose checks have stopped (paused, ended) is unhealthy.
"""

from typing import Any

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers.state import Phase, State
from skerry.core.errors import InvalidArgument

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
# The last results that are kept, and the most bytes of output in each.
KEPT = 5
LONGEST_OUTPUT = 4096

_SECOND = 10**9
_INTERVAL, _TIMEOUT, _START_INTERVAL = 30 * _SECOND, 30 * _SECOND, 5 * _SECOND
_RETRIES = 3
_SHORTEST = 10**6
_SHELL = ("/bin/sh", "-c")


class Check(msgspec.Struct, frozen=True):
    """What is run, and when. Times in nanoseconds, defaults filled in."""

    command: tuple[str, ...]
    interval_ns: int = _INTERVAL
    timeout_ns: int = _TIMEOUT
    start_period_ns: int = 0
    start_interval_ns: int = _START_INTERVAL
    retries: int = _RETRIES


class Result(msgspec.Struct, frozen=True):
    """One probe. exit_code -1: it could not be run, or was ended at the timeout."""

    start_ns: int
    end_ns: int
    exit_code: int
    output: str


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the checks say; log has the last five results, oldest first."""

    status: str = STARTING
    failing_streak: int = 0
    log: tuple[Result, ...] = ()


def validate(healthcheck_json: str) -> None:
    """Raises InvalidArgument in Docker's words for times and numbers that cannot be."""
    document = _document(healthcheck_json)
    for name in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        if 0 != document.get(name, 0) < _SHORTEST:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
        if name == "Timeout" and document.get("Retries", 0) < 0:
            raise InvalidArgument("Retries in Healthcheck cannot be negative")


def check_of(spec: pb.ContainerSpec) -> Check | None:
    """Returns how a merged spec wants to be checked; None: not at all (nothing said, NONE, or a kind that Docker does not know)."""
    document = _document(spec.healthcheck_json)
    match document.get("Test") or []:
        case ["CMD", *command] if command:
            pass
        case ["CMD-SHELL", *command]:
            command = [*(spec.shell or _SHELL), *command]
        case _:
            return None
    return Check(
        tuple(command),
        document.get("Interval") or _INTERVAL,
        document.get("Timeout") or _TIMEOUT,
        document.get("StartPeriod") or 0,
        document.get("StartInterval") or _START_INTERVAL,
        document.get("Retries") or _RETRIES,
    )


def follow(health: Health | None, before: State, after: State) -> Health | None:
    """Returns the health of a checked container whose state changes; None: it never ran."""
    began = after.started_ns != before.started_ns
    if began:
        health = msgspec.structs.replace(health or Health(), status=STARTING, failing_streak=0)
    if health is not None and after.phase is not Phase.RUNNING and (began or before.phase is Phase.RUNNING):
        health = msgspec.structs.replace(health, status=UNHEALTHY)
    return health


def after_probe(health: Health, check: Check, result: Result, started_ns: int) -> Health:
    """Returns the health after a probe of the run that began at started_ns."""
    log = (*health.log, result)[-KEPT:]
    if result.exit_code == 0:
        return Health(HEALTHY, 0, log)
    if health.status == STARTING and result.start_ns - started_ns < check.start_period_ns:
        return msgspec.structs.replace(health, log=log)
    streak = health.failing_streak + 1
    return Health(UNHEALTHY if streak >= check.retries else health.status, streak, log)


def pause_ns(health: Health, check: Check, started_ns: int, now_ns: int) -> int:
    """Returns how long after the last probe (or the start) the next one is due: API 1.44's start interval holds in the start period."""
    if health.status == STARTING and now_ns - started_ns < check.start_period_ns:
        return check.start_interval_ns
    return check.interval_ns


def cut(output: bytes) -> str:
    """Returns a probe's output as it is kept."""
    kept = output[:LONGEST_OUTPUT].decode("utf-8", "replace")
    return kept if len(output) <= LONGEST_OUTPUT else f"{kept}..."


def go_duration(ns: int) -> str:
    """Writes a duration as Go does ("1.5s", "1m30s", "500ms")."""
    for unit, name in ((1, "ns"), (10**3, "µs"), (10**6, "ms")):
        if ns < unit * 1000:
            return f"{ns / unit:.6f}".rstrip("0").rstrip(".") + name
    minutes, rest = divmod(ns, 60 * _SECOND)
    seconds = f"{rest / _SECOND:.9f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}" if minutes else seconds


def message(health: Health) -> pb.Health:
    """Returns the wire's view."""
    log = [pb.HealthResult(start_ns=r.start_ns, end_ns=r.end_ns, exit_code=r.exit_code, output=r.output) for r in health.log]
    return pb.Health(status=health.status, failing_streak=health.failing_streak, log=log)


def _document(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"invalid healthcheck: {error}") from None
