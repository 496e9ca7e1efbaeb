"""Work with images that is timed: one layer of 250 MB, a registry on loopback in each engine's own network namespace.

What is timed is the docker command alone; putting things back is not. CPU and memory are read from /proc for the same pulls.
"""

import contextlib
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engines import Engine, UnixConnection, commands
from images import big
from tests.bench.work import pss

CACHE = os.environ.get("SKERRY_BENCH_CACHE", "/var/tmp/skerry-bench")
_PORT = 5000
NAME = f"127.0.0.1:{_PORT}/big:1"
_CONFIG = """version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_TICK = os.sysconf("SC_CLK_TCK")
_BUILD = """FROM busybox
ENV STEP=1
RUN echo one > /one
COPY data /data
RUN cat /one /data > /two
CMD ["cat", "/two"]
"""


def _folder(engine: Engine) -> str:
    folder = f"{engine.folder}/bench-images"
    os.makedirs(folder, exist_ok=True)
    return folder


@contextlib.contextmanager
def _registry(engine: Engine) -> Iterator[None]:
    """Runs a registry without any content."""
    root = f"{_folder(engine)}/registry-{secrets.token_hex(3)}"
    os.makedirs(root)
    config = Path(f"{root}.yml")
    config.write_text(_CONFIG.format(root=root, port=_PORT), encoding="ascii")
    argv = [*engine.nsenter(), "docker-registry", "serve", str(config)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{_PORT}/v2/"
        for _ in range(100):
            if engine.inside("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url, check=False) == "200":
                break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()
        subprocess.run(["rm", "-rf", root], check=False)


def _archive(engine: Engine, kind: str) -> str:
    """Returns a docker-archive: `same` is one for all rounds, `fresh` one whose layer nobody has seen."""
    path = f"{CACHE}/big.tar" if kind == "same" else f"{_folder(engine)}/fresh.tar"
    if kind == "same" and os.path.exists(path):
        return path
    layer = f"{_folder(engine)}/layer.tar"
    big.layer(big.base(CACHE), layer, "same" if kind == "same" else secrets.token_hex(16))
    big.archive(layer, f"{path}.part", [NAME])
    os.replace(f"{path}.part", path)
    os.unlink(layer)
    return path


def _timed(engine: Engine, *arguments: str) -> float:
    start = time.perf_counter()
    engine.docker(*arguments, timeout=300)
    return time.perf_counter() - start


def _forget(engine: Engine, *names: str) -> None:
    engine.docker("rmi", "-f", *names, check=False)


def _settle() -> None:
    """Lets the disk finish what went before: both engines are measured from the same calm."""
    os.sync()


def pull(engine: Engine) -> float:
    """docker pull."""
    return _pull(engine)[0]


def pull_cpu(engine: Engine) -> float:
    """CPU seconds of the engine (services, children included) for the same pull."""
    return _pull(engine)[1]


def pull_memory(engine: Engine) -> float:
    """Highest resident memory in bytes of the service that pulls, during it."""
    return _pull(engine)[2]


def _pull(engine: Engine) -> tuple[float, float, float]:
    with _registry(engine):
        source = f"docker-archive:{_archive(engine, 'same')}"
        engine.inside("skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", source, f"docker://{NAME}")
        _forget(engine, NAME)
        _settle()
        for pid in _taker(engine):
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
        cpu = _cpu(engine)
        seconds = _timed(engine, "pull", "-q", NAME)
        used = _cpu(engine) - cpu
        peak = max(_peak(pid) for pid in _taker(engine))
        _forget(engine, NAME)
    return seconds, used, peak


def _taker(engine: Engine) -> list[int]:
    if engine.name == "skerry":
        return [row["pid"] for row in engine.status() if row["service"] == "images"]
    return [pid for pid, command in commands() if engine.folder in command and os.path.basename(command.split("\0")[0]) == "dockerd"]


def _cpu(engine: Engine) -> float:
    total = 0
    for pid in engine.pids():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            # utime, stime, and those of children that were waited for.
            total += sum(int(one) for one in file.read().rpartition(")")[2].split()[11:15])
    return total / _TICK


def _peak(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024


def load(engine: Engine) -> float:
    """docker load of an archive whose layer is new."""
    path = _archive(engine, "same")
    _forget(engine, NAME)
    _settle()
    seconds = _timed(engine, "load", "-q", "-i", path)
    _forget(engine, NAME)
    return seconds


def _loaded(work: Callable[[Engine], float]) -> Callable[[Engine], float]:
    def timed(engine: Engine) -> float:
        engine.docker("load", "-q", "-i", _archive(engine, "same"), timeout=300)
        _settle()
        return work(engine)

    timed.__doc__ = work.__doc__
    return timed


@_loaded
def save(engine: Engine) -> float:
    """docker save into a file."""
    target = f"{_folder(engine)}/saved.tar"
    seconds = _timed(engine, "save", "-o", target, NAME)
    os.unlink(target)
    return seconds


@_loaded
def save_unwritten(engine: Engine) -> float:
    """docker save whose output nobody keeps: the engine and the command, without the file and its fsync."""
    with open(os.devnull, "wb") as nowhere:
        start = time.perf_counter()
        subprocess.run(["docker", "save", NAME], env=engine.environ(), stdout=nowhere, check=True)
        return time.perf_counter() - start


@_loaded
def save_api(engine: Engine) -> float:
    """The same answer read and thrown away by a reader that does nothing else: the engine alone."""
    connection = UnixConnection(engine.socket, 120)
    buffer = bytearray(1 << 20)
    with contextlib.closing(connection):
        start = time.perf_counter()
        connection.request("GET", f"/{engine.api}/images/get?names={NAME}")
        response = connection.getresponse()
        assert response.status == 200
        while response.readinto(buffer):
            pass
        return time.perf_counter() - start


def push_cold(engine: Engine) -> float:
    """docker push of a layer that neither registry nor engine has compressed before."""
    _forget(engine, NAME)
    engine.docker("load", "-q", "-i", _archive(engine, "fresh"), timeout=300)
    with _registry(engine):
        _settle()
        seconds = _timed(engine, "push", "-q", NAME)
    _forget(engine, NAME)
    return seconds


@_loaded
def rmi(engine: Engine) -> float:
    """docker rmi."""
    return _timed(engine, "rmi", NAME)


def commit_small(engine: Engine) -> float:
    """docker commit of a container in which one small file was written."""
    return _commit(engine, "echo small > /etc/small")


def commit_large(engine: Engine) -> float:
    """docker commit of a container in which 200 MB were written."""
    return _commit(engine, "dd if=/dev/urandom of=/var/large bs=1M count=200 2>/dev/null")


def _commit(engine: Engine, script: str) -> float:
    engine.docker("run", "--name", "bench-commit", "--net", "none", "busybox", "sh", "-c", script, timeout=120)
    _settle()
    seconds = _timed(engine, "commit", "bench-commit", "bench-committed")
    engine.docker("rm", "-f", "bench-commit")
    _forget(engine, "bench-committed")
    return seconds


def import_(engine: Engine) -> float:
    """docker import of a root file system."""
    layer = f"{CACHE}/big-base.tar"
    big.base(CACHE)
    _settle()
    seconds = _timed(engine, "import", layer, "bench-imported")
    _forget(engine, "bench-imported")
    return seconds


@_loaded
def export(engine: Engine) -> float:
    """docker export into a file."""
    engine.docker("create", "--name", "bench-export", NAME, "/bin/sh")
    target = f"{_folder(engine)}/exported.tar"
    seconds = _timed(engine, "export", "-o", target, "bench-export")
    os.unlink(target)
    engine.docker("rm", "-f", "bench-export")
    return seconds


def build(engine: Engine) -> float:
    """docker build of five steps without the cache."""
    return _timed(engine, "build", "-q", "--no-cache", "-t", "bench-built", _context(engine))


def build_cached(engine: Engine) -> float:
    """The same with everything in the cache."""
    engine.docker("build", "-q", "-t", "bench-built", _context(engine))
    return _timed(engine, "build", "-q", "-t", "bench-built", _context(engine))


def _context(engine: Engine) -> str:
    folder = f"{_folder(engine)}/context"
    os.makedirs(folder, exist_ok=True)
    Path(f"{folder}/Dockerfile").write_text(_BUILD, encoding="ascii")
    Path(f"{folder}/data").write_text("data\n", encoding="ascii")
    return folder


def images_list(engine: Engine) -> float:
    """docker images with 1,000 images."""
    names = engine.out("images", "-q", "many").split()
    if len(names) < 1000:
        from images import busybox

        layer = f"{_folder(engine)}/busybox-layer.tar"
        Path(layer).write_bytes(busybox.layer())
        target = f"{_folder(engine)}/many.tar"
        big.archive(layer, target, [], configs=1000)
        engine.docker("load", "-q", "-i", target, timeout=600)
        os.unlink(target)
    return _timed(engine, "images", "-q")


def memory(engine: Engine) -> float:
    """PSS in bytes of the whole engine after all this."""
    return pss(engine.pids())
