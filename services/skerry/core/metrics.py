"""Metrics of one process in Prometheus' text format, answered on a small socket of their own.

Not the official client: with what it imports (an HTTP server, WSGI, mail headers) it takes 2 MiB in each service.
"""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

from skerry.core.errors import InvalidArgument

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_started = time.time()
_page = os.sysconf("SC_PAGE_SIZE")


class _Family(ABC):
    """One metric with all its label values. Used by the event loop's thread alone."""

    kind = ""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self.name = name
        self.text = text
        self._labels = tuple(labels)
        if name in _families:
            raise ValueError(f"there is a metric {name} already")
        _families[name] = self

    @abstractmethod
    def lines(self) -> Iterator[str]:
        """Yields the samples."""

    def _values(self, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(values) != len(self._labels):
            raise ValueError(f"{self.name} has the labels {self._labels}, not {len(values)}")
        return values

    def _sample(self, suffix: str, values: tuple[str, ...], value: float, *more: tuple[str, str]) -> str:
        pairs = [*sorted(zip(self._labels, values, strict=True)), *more]
        labels = ",".join(f'{name}="{_escaped(text)}"' for name, text in pairs)
        return f"{self.name}{suffix}{f'{{{labels}}}' if labels else ''} {_number(value)}"


class Count:
    """One counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Adds an amount, which is not negative."""
        if amount < 0:
            raise ValueError("a counter only grows")
        self.value += amount


class Counter(_Family):
    """Counts, by label values; without labels it is a counter itself."""

    kind = "counter"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name.removesuffix("_total"), text, labels)
        self._counts: dict[tuple[str, ...], Count] = {}
        if not labels:
            self.labels()

    def labels(self, *values: str) -> Count:
        """Returns the counter of these values, made when new."""
        found = self._counts.get(values)
        if found is None:
            found = self._counts[self._values(values)] = Count()
        return found

    def inc(self, amount: float = 1) -> None:
        """Adds to the counter of a metric without labels."""
        self.labels().inc(amount)

    def lines(self) -> Iterator[str]:
        for values, count in self._counts.items():
            yield self._sample("_total", values, count.value)


class Observations:
    """How often values fell into each bucket, and their sum."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Adds one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class Histogram(_Family):
    """Distributions, by label values. buckets are upper bounds, ascending; one without end comes behind them."""

    kind = "histogram"

    def __init__(self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]) -> None:
        super().__init__(name, text, labels)
        self._bounds = tuple(float(bound) for bound in buckets)
        self._observations: dict[tuple[str, ...], Observations] = {}

    def labels(self, *values: str) -> Observations:
        """Returns the distribution of these values, made when new."""
        found = self._observations.get(values)
        if found is None:
            found = self._observations[self._values(values)] = Observations(self._bounds)
        return found

    def lines(self) -> Iterator[str]:
        for values, seen in self._observations.items():
            total = 0
            for bound, count in zip((*map(_number, self._bounds), "+Inf"), seen.counts, strict=True):
                total += count
                yield self._sample("_bucket", values, total, ("le", bound))
            yield self._sample("_count", values, total)
            yield self._sample("_sum", values, seen.sum)


_families: dict[str, _Family] = {}


def text() -> str:
    """Returns all metrics of the process."""
    lines = []
    for family in _families.values():
        name = family.name + ("_total" if family.kind == "counter" else "")
        lines += [f"# HELP {name} {family.text}", f"# TYPE {name} {family.kind}", *family.lines()]
    for name, kind, meaning, value in _process():
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", f"{name} {_number(value)}"]
    return "\n".join(lines) + "\n"


def _process() -> Iterator[tuple[str, str, str, float]]:
    used = os.times()
    with open("/proc/self/statm", encoding="ascii") as file:
        virtual, resident = (int(word) * _page for word in file.read().split()[:2])
    yield "process_cpu_seconds_total", "counter", "User and system CPU time spent.", used.user + used.system
    yield "process_resident_memory_bytes", "gauge", "Resident memory.", resident
    yield "process_virtual_memory_bytes", "gauge", "Virtual memory.", virtual
    yield "process_open_fds", "gauge", "Open file descriptors.", len(os.listdir("/proc/self/fd"))
    yield "process_start_time_seconds", "gauge", "Start in Unix time.", _started


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return repr(float(value))


@asynccontextmanager
async def serving_metrics(address: str) -> AsyncIterator[None]:
    """Answers GET /metrics at "unix:PATH" or "HOST:PORT"; empty: nowhere. Any other path is 404."""
    if not address:
        yield
        return
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.exists(path):
            os.unlink(path)
        server = await asyncio.start_unix_server(_answer, path)
        os.chmod(path, 0o660)
    else:
        host, _, port = address.rpartition(":")
        if not port.isdigit():
            raise InvalidArgument(f"metrics address {address!r}: want unix:PATH or HOST:PORT")
        server = await asyncio.start_server(_answer, host or "127.0.0.1", int(port))
    async with server:
        yield


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.split(b" ", 2)[1].partition(b"?")[0] == b"/metrics":
                body = text().encode()
                status = f"200 OK\r\nContent-Type: {CONTENT_TYPE}"
            else:
                body, status = b"404 page not found\n", "404 Not Found\r\nContent-Type: text/plain"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
    except (OSError, TimeoutError, IndexError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # a scraper that went away or sent nonsense
    finally:
        writer.close()
