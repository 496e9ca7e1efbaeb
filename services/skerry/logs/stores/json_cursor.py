"""Reading json-files: `docker logs` with tail, since, until, timestamps and following over rotations."""

import gzip
import os
import struct
from typing import TYPE_CHECKING, BinaryIO

import orjson

from skerry.logs.lines import stamp
from skerry.logs.stores import Want

if TYPE_CHECKING:
    from skerry.logs.stores.json_file import JsonFile

_BLOCK = 256 << 10
_MAX_RECORD = 1 << 20
_FRAME = struct.Struct(">BxxxI")
# Times of the two streams may interleave a little: the search stops this much before what it looks for.
_SLACK = 64 << 10


class JsonCursor:
    """One reader of a JsonFile. Implements Cursor."""

    def __init__(self, log: "JsonFile", want: Want) -> None:
        self._log = log
        self._want = want
        self._since = _stamp(want.since_ns)
        self._until = _stamp(want.until_ns)
        self._rest = b""
        self._finished = False
        with log.renaming:
            self._files: list[BinaryIO] = [_open(path) for path in log.files()]
            self._generation = log.generation
        if want.tail is not None:
            self._seek_tail(want.tail)
        elif want.since_ns:
            self._seek_since()

    def read(self) -> bytes | None:
        """See Cursor. Reads no further than the last whole record that was accepted."""
        while not self._finished:
            data = self._more()
            if not data:
                return b""
            data = self._rest + data
            cut = data.rfind(b"\n") + 1
            self._rest = data[cut:]
            if len(self._rest) > _MAX_RECORD:
                self._rest = b""  # no record is that long: somebody else wrote here
            framed = self._framed(data[:cut])
            if framed:
                return framed
        return None

    def _more(self) -> bytes:
        while True:
            file = self._files[0]
            last = len(self._files) == 1
            if last and self._generation == self._log.generation:
                room = self._log.size - file.tell()
                return file.read(min(_BLOCK, room)) if room > 0 else b""
            data = file.read(_BLOCK)
            if data:
                return data
            self._rest = b""
            if last and not self._next_generation():
                return b""
            self._files.pop(0).close()

    def _next_generation(self) -> bool:
        """Opens the files that were begun since; those rotated away unread are lost to this reader, as in Docker."""
        with self._log.renaming:
            behind = self._log.generation - self._generation
            paths = self._log.files()
            self._files += [_open(path) for path in paths[-behind:]]
            self._generation = self._log.generation
        return behind > 0

    def _framed(self, data: bytes) -> bytes:
        want, out = self._want, []
        for line in data.splitlines():
            try:
                record = orjson.loads(line)
                text, stream, time = record.get("log", ""), record["stream"], record["time"]
            except (orjson.JSONDecodeError, KeyError, AttributeError):
                continue  # not ours: a line that somebody else wrote
            if self._since:
                if _pad(time) < self._since:
                    continue
                self._since = ""
            if self._until and _pad(time) > self._until:
                self._finished = True
                break
            number = 2 if stream == "stderr" else 1
            if not (want.stderr if number == 2 else want.stdout):
                continue
            body = text.encode()
            if want.details:
                body = _details(record.get("attrs")) + body
            if want.timestamps:
                body = _pad(time).encode() + b" " + body
            if want.multiplexed:
                out.append(_FRAME.pack(number, len(body)))
            out.append(body)
        return b"".join(out)

    def _seek_tail(self, count: int) -> None:
        """Drops files and moves in the first that is left, so that count records remain."""
        if count == 0:
            while len(self._files) > 1:
                self._files.pop(0).close()
            self._files[0].seek(self._log.size)
            return
        left = count
        for index in range(len(self._files) - 1, -1, -1):
            file = self._files[index]
            end = self._log.size if index == len(self._files) - 1 else file.seek(0, os.SEEK_END)
            position, found = _back(file, end, left)
            if found >= left or index == 0:
                for old in self._files[:index]:
                    old.close()
                self._files = self._files[index:]
                self._files[0].seek(position)
                for other in self._files[1:]:
                    other.seek(0)
                return
            left -= found

    def _seek_since(self) -> None:
        """Finds, by halving, a place a little before the first record that is wanted."""
        while len(self._files) > 1 and _first_time(self._files[1]) < self._since and _first_time(self._files[1]):
            self._files.pop(0).close()
        for file in self._files[1:]:
            file.seek(0)
        file = self._files[0]
        if isinstance(file, gzip.GzipFile):
            file.seek(0)
            return
        low, high = 0, self._log.size if len(self._files) == 1 else file.seek(0, os.SEEK_END)
        while high - low > _SLACK:
            middle = (low + high) // 2
            if _time_after(file, middle) < self._since:
                low = middle
            else:
                high = middle
        file.seek(max(0, low - _SLACK))
        if low > _SLACK:
            file.readline(_MAX_RECORD)

    def close(self) -> None:
        """See Cursor."""
        for file in self._files:
            file.close()


def _open(path: str) -> BinaryIO:
    if path.endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]  # a GzipFile reads, seeks and closes
    return open(path, "rb", buffering=0)


def _stamp(time_ns: int) -> str:
    if not time_ns:
        return ""
    return _pad(stamp(time_ns))


def _pad(time: str) -> str:
    """Returns RFC 3339 with nine digits of fraction: what `docker logs -t` prints, and what compares as text."""
    head, dot, tail = time.partition(".")
    if not dot:
        return f"{head.removesuffix('Z')}.000000000Z"
    return f"{head}.{tail.removesuffix('Z'):0<9}Z"


def _details(attrs: dict[str, str] | None) -> bytes:
    pairs = ",".join(f"{key}={value}" for key, value in sorted((attrs or {}).items()))
    return pairs.encode() + b" "


def _back(file: BinaryIO, end: int, wanted: int) -> tuple[int, int]:
    """Returns where the last `wanted` lines before end begin, and how many there were (fewer: all, from 0)."""
    found, position = 0, end
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        block = file.read(position - start)
        if position == end and block.endswith(b"\n"):
            block = block[:-1]  # the newline that ends the last line
        newlines = block.count(b"\n")
        if found + newlines >= wanted:
            for _ in range(wanted - found):
                block = block[: block.rfind(b"\n")]
            return start + len(block) + 1, wanted
        found += newlines
        position = start
    return 0, found + (1 if end else 0)


def _first_time(file: BinaryIO) -> str:
    file.seek(0)
    return _time_of(file.readline(_MAX_RECORD))


def _time_after(file: BinaryIO, position: int) -> str:
    """Returns the time of the first whole record after position; "~", later than any, at the end."""
    file.seek(position)
    data = file.read(_SLACK)
    _, newline, rest = data.partition(b"\n")
    line, end, _ = rest.partition(b"\n")
    return (_time_of(line) or "~") if newline and end else "~"


def _time_of(line: bytes) -> str:
    try:
        return _pad(orjson.loads(line)["time"])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return ""
