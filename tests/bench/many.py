"""Work with many containers: lists, statistics, a whole life by the API, and a start of the service beside all of them."""

import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from engines import Engine

CREATED = 500
WATCHED = 50
RUNNING = 200
_CLIENTS = 8
_CREATE = {"Image": "busybox", "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": "none"}}
_SECONDS = 120.0


def _create(engine: Engine, name: str, **more: object) -> str:
    status, body = engine.request("POST", f"/{engine.api}/containers/create?name={name}", {**_CREATE, **more})
    assert status == 201, body
    return str(body["Id"])


def _remove(engine: Engine, name: str) -> None:
    engine.request("DELETE", f"/{engine.api}/containers/{name}?force=1")


def _each(work: Callable[[str], object], names: list[str]) -> None:
    with ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(work, names))


def _names(engine: Engine, kind: str) -> list[str]:
    return engine.out("ps", "-a", "--filter", f"name={kind}-", "--format", "{{.Names}}").split()


def _timed(engine: Engine, *arguments: str) -> float:
    start = time.perf_counter()
    engine.docker(*arguments, timeout=_SECONDS)
    return time.perf_counter() - start


def list_many(engine: Engine) -> float:
    """docker ps -a with 500 containers that never ran."""
    there = set(_names(engine, "listed"))
    _each(lambda name: _create(engine, name), [name for name in (f"listed-{number}" for number in range(CREATED)) if name not in there])
    return _timed(engine, "ps", "-a", "-q")


def forget_listed(engine: Engine) -> None:
    """Removes them: other rows shall not have them."""
    _each(lambda name: _remove(engine, name), _names(engine, "listed"))


def life(engine: Engine) -> float:
    """Create, start, wait and remove by the API alone, on the bridge: what the engine takes without the docker command."""
    start = time.perf_counter()
    container = _create(engine, "bench-life", Cmd=["true"], HostConfig={"NetworkMode": "bridge"})
    assert engine.request("POST", f"/{engine.api}/containers/{container}/start")[0] == 204
    assert engine.request("POST", f"/{engine.api}/containers/{container}/wait")[0] == 200
    assert engine.request("DELETE", f"/{engine.api}/containers/{container}")[0] == 204
    return time.perf_counter() - start


def _started(engine: Engine, kind: str, count: int) -> None:
    there = set(_names(engine, kind))

    def one(name: str) -> None:
        assert engine.request("POST", f"/{engine.api}/containers/{_create(engine, name)}/start")[0] == 204

    _each(one, [name for name in (f"{kind}-{number}" for number in range(count)) if name not in there])


def statistics(engine: Engine) -> float:
    """docker stats --no-stream of 50 running containers."""
    _started(engine, "watched", WATCHED)
    return _timed(engine, "stats", "--no-stream")


def forget_watched(engine: Engine) -> None:
    """Removes them."""
    _each(lambda name: _remove(engine, name), _names(engine, "watched"))


def restart(engine: Engine) -> float:
    """Until 200 running containers are told of again, after a kill of the service that runs them; of dockerd, after its start."""
    _started(engine, "kept", RUNNING)
    if engine.name == "dockerd":
        engine.stop()  # not timed
        start = time.perf_counter()
        engine.start()
    else:
        (pid,) = [row["pid"] for row in engine.status() if row["service"] == "containers"]
        start = time.perf_counter()
        os.kill(pid, 9)
    while time.perf_counter() - start < _SECONDS:
        with contextlib.suppress(OSError):
            status, rows = engine.request("GET", f"/{engine.api}/containers/json", timeout=10)
            if status == 200 and sum(row["State"] == "running" for row in rows) >= RUNNING:
                return time.perf_counter() - start
        time.sleep(0.01)
    raise AssertionError(f"{engine.name} did not find its containers again")


def forget_kept(engine: Engine) -> None:
    """Removes them."""
    _each(lambda name: _remove(engine, name), _names(engine, "kept"))
