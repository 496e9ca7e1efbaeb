"""docker cp of 500 MB, in and out, that is timed; making and removing the files is not."""

import os
import time

from engines import Engine

_SIZE = 500 << 20
_NAME = "bench-cp"


def _file(engine: Engine) -> str:
    path = f"{engine.folder}/bench-cp"
    if not os.path.exists(path):
        with open(path, "wb") as file:
            file.writelines(os.urandom(1 << 20) for _ in range(_SIZE >> 20))
    return path


def _container(engine: Engine) -> None:
    if _NAME not in engine.out("ps", "--format", "{{.Names}}").split():
        engine.docker("run", "-d", "--name", _NAME, "busybox", "sleep", "100000")


def _timed(engine: Engine, source: str, target: str) -> float:
    start = time.perf_counter()
    engine.docker("cp", source, target, timeout=120)
    return time.perf_counter() - start


def copy_in(engine: Engine) -> float:
    """A file of 500 MB into a running container."""
    _container(engine)
    seconds = _timed(engine, _file(engine), f"{_NAME}:/big")
    engine.docker("exec", _NAME, "rm", "/big")
    return seconds


def copy_out(engine: Engine) -> float:
    """The same file out of it."""
    _container(engine)
    path = _file(engine)
    engine.docker("cp", path, f"{_NAME}:/out", timeout=120)
    seconds = _timed(engine, f"{_NAME}:/out", f"{path}-out")
    os.unlink(f"{path}-out")
    return seconds
