"""python -m tests.bench.trace [--runs N] [--net none]: where the time of one `docker run --rm busybox true` goes.

Three views without a tracer: the client's requests (a small proxy in front of docker.sock), the processes (the kernel's process
connector), and the time of the services' unary calls (their own metrics). The run of median length is printed.
"""

import argparse
import contextlib
import http.client
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from engines import Engine, UnixConnection, commands, skerry_engine
from images.busybox import make_busybox
from tests.bench.process_events import Process, watching

_SERVICES = ("gateway", "images", "containers", "networks", "logs")
_METHODS = (b"GET ", b"POST ", b"HEAD ", b"DELETE ", b"PUT ")
_ID = re.compile(r"[0-9a-f]{64}")


class Request(msgspec.Struct):
    """One request of the client; times in seconds of CLOCK_MONOTONIC, 0 when not seen."""

    line: str
    sent: float
    status: str = ""
    answered: float = 0.0
    closed: float = 0.0


class Span(msgspec.Struct, frozen=True):
    """One line of the table."""

    start: float
    seconds: float
    text: str


class Proxy:
    """Passes bytes between clients and docker.sock and notes when requests and heads of answers pass."""

    def __init__(self, path: str, engine_socket: str) -> None:
        self.requests: list[Request] = []
        self._upstream = engine_socket
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen(16)

    def serve(self) -> None:
        """Accepts until `close`."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                upstream = socket.socket(socket.AF_UNIX)
                upstream.connect(self._upstream)
                pending: list[Request] = []
                threading.Thread(target=self._up, args=(client, upstream, pending), daemon=True).start()
                threading.Thread(target=self._down, args=(upstream, client, pending), daemon=True).start()

    def close(self) -> None:
        """Ends `serve`."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _up(self, client: socket.socket, upstream: socket.socket, pending: list[Request]) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if data.startswith(_METHODS):
                    request = Request(data.split(b" HTTP/", 1)[0].decode(), time.monotonic())
                    self.requests.append(request)
                    pending.append(request)
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_WR)

    def _down(self, upstream: socket.socket, client: socket.socket, pending: list[Request]) -> None:
        with contextlib.suppress(OSError):
            while data := upstream.recv(65536):
                now = time.monotonic()
                for request in pending:
                    if not request.answered and data.startswith(b"HTTP/1."):
                        request.status, request.answered = data[9:12].decode(), now
                        break
                if pending:
                    pending[-1].closed = now
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def proxied(engine: Engine) -> Iterator[Proxy]:
    """Puts a Proxy in front of the engine at FOLDER/proxy.sock."""
    path = f"{engine.folder}/proxy.sock"
    proxy = Proxy(path, engine.socket)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(5)
        os.unlink(path)


def call_times(engine: Engine) -> dict[str, tuple[float, float]]:
    """Returns seconds and number of calls, by "service method", since the services started."""
    found: dict[str, tuple[float, float]] = {}
    for service in _SERVICES:
        connection = UnixConnection(f"{engine.folder}/run/{service}.metrics.sock", 10)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            sums = dict(re.findall(r'^skerry_rpc_seconds_sum\{method="([^"]+)"\} (\S+)', text, re.MULTILINE))
            counts = dict(re.findall(r'^skerry_rpc_seconds_count\{method="([^"]+)"\} (\S+)', text, re.MULTILINE))
            found.update({f"{service} {method.rsplit('/', 1)[-1]}": (float(sums[method]), float(counts[method])) for method in sums})
    return found


def one_run(engine: Engine, network: str) -> tuple[float, list[Span]]:
    """Makes one run; returns its seconds and its spans, with times from its start."""
    roots = {*engine.pids(), *(pid for pid, command in commands() if engine.folder in command and "monitor" in command)}
    environ = {**engine.environ(), "DOCKER_HOST": f"unix://{engine.folder}/proxy.sock"}
    with watching() as events, proxied(engine) as proxy:
        begin = time.monotonic()
        with subprocess.Popen(["docker", "run", "--rm", "--net", network, "busybox", "true"], env=environ) as process:
            assert process.wait() == 0  # with a timeout it would look every 50 ms only
        seconds = time.monotonic() - begin
        time.sleep(0.2)
        spans = [Span(0.0, seconds, "docker run (the client, whole)")]
        spans += [_request_span(one, begin) for one in proxy.requests]
        for one in events.descendants(roots - {os.getpid()}):
            spans += _process_spans(one, begin)
    return seconds, sorted(spans, key=lambda one: one.start)


def _request_span(request: Request, begin: float) -> Span:
    method, _, path = request.line.partition(" ")
    path = _ID.sub("ID", path.split("?")[0])
    path = re.sub(r"^/v1\.\d+", "", path)
    # A stream's answer has two times: its head at once, its end when the container's.
    late = request.closed - request.answered
    text = f"{method} {path} {request.status}" + (f" (stream ended {(request.closed - begin) * 1000:.1f})" if late > 0.002 else "")
    return Span(request.sent - begin, request.answered - request.sent, text)


def _process_spans(process: Process, begin: float) -> list[Span]:
    steps = [(process.forked, "fork"), *process.programs]
    ends = [*(at for at, _ in steps[1:]), process.ended or steps[-1][0]]
    spans = []
    for (at, program), end in zip(steps, ends, strict=True):
        if at and (program != "fork" or len(steps) == 1 or end - at > 0.001):
            words = _ID.sub("ID", program).split()
            name = " ".join([os.path.basename(words[0]), *words[1:]])[:70]
            spans.append(Span(at - begin, end - at, f"process {process.pid} (of {process.parent}): {name}"))
    return spans


def main() -> int:
    """Prints the time line and the calls."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.trace", description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--net", default="bridge")
    options = parser.parse_args()
    with skerry_engine() as engine, tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        make_busybox(archive.name)
        engine.docker("load", "-q", "-i", archive.name)
        plain = []
        for _ in range(options.runs + 3):
            begin = time.monotonic()
            engine.docker("run", "--rm", "--net", options.net, "busybox", "true")
            plain.append(time.monotonic() - begin)
        before = call_times(engine)
        runs = sorted((one_run(engine, options.net) for _ in range(options.runs)), key=lambda one: one[0])
        after = call_times(engine)
    seconds, spans = runs[len(runs) // 2]
    print(f"docker run --rm --net {options.net} busybox true: {statistics.median(plain[3:]) * 1000:.1f} ms (median of {options.runs});")
    print(f"the traced run below: {seconds * 1000:.1f} ms; load {os.getloadavg()[0]:.2f}\n")
    print("| at ms | took ms | what |\n|---:|---:|---|")
    for span in spans:
        print(f"| {span.start * 1000:.1f} | {span.seconds * 1000:.1f} | {span.text} |")
    print("\n| unary call | per run | ms each |\n|---|---:|---:|")
    calls = {key: (after[key][0] - before.get(key, (0, 0))[0], after[key][1] - before.get(key, (0, 0))[1]) for key in after}
    for key, (total, count) in sorted(calls.items(), key=lambda one: -one[1][0]):
        if count >= options.runs / 2:
            print(f"| {key} | {count / options.runs:.1f} | {total / count * 1000:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
