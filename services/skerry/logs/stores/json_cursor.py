"""Reading json-files: `docker logs` with tail, since, until, timestamps and following over rotations."""

import os
import struct
import threading
from gzip import GzipFile
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote_plus

import msgspec

from skerry.logs.lines import stamp
from skerry.logs.stores import Want
from skerry.logs.stores.json_seek import PATIENCE, last_lines, line_after, search
from skerry.logs.stores.packed import spread, unpacked

if TYPE_CHECKING:
    from skerry.logs.stores.json_file import JsonFile

_BLOCK = 128 << 10
_MAX_RECORD = 1 << 20
_FRAME = struct.Struct(">BxxxI")
# Headers of short records, by stream and length.
_HEADS = {number: [_FRAME.pack(number, length) for length in range(1024)] for number in (1, 2)}


class _Record(msgspec.Struct):
    stream: str
    time: str
    log: str = ""
    attrs: dict[str, str] | None = None


_decoder = msgspec.json.Decoder(_Record)


class JsonCursor:
    """One reader of a JsonFile. Implements Cursor. It sees whole records up to where the log's state counts them."""

    def __init__(self, log: "JsonFile", want: Want) -> None:
        self._log = log
        self._want = want
        self._since = _stamp(want.since_ns)
        self._until = _stamp(want.until_ns)
        self._rest = b""
        self._finished = False
        # Held while read runs: whoever gives up on it may close at any time.
        self._using = threading.Lock()
        with log.renaming:
            self._files = self._opened(log.files())
            state = log.state
        self._generation = state.generation
        try:
            if want.tail is not None:
                self._seek_tail(want.tail, state.size)
            elif want.since_ns:
                self._seek_since(state.size)
        except BaseException:
            self.close()
            raise

    def _opened(self, paths: list[str]) -> list[BinaryIO]:
        opened: list[BinaryIO] = []
        for path in paths:
            if path.endswith(".gz"):
                opened.append(unpacked(path))
            else:
                opened.append(open(path, "rb", buffering=0))  # noqa: SIM115 - close() ends them
        return opened

    def read(self) -> bytes | None:
        """See Cursor."""
        with self._using:
            while not self._finished:
                data = self._more()
                if not data:
                    return b""
                data = self._rest + data
                cut = data.rfind(b"\n") + 1
                self._rest = data[cut:]
                if len(self._rest) > _MAX_RECORD:
                    self._rest = b""  # no record is that long: somebody else wrote here
                if framed := self._framed(data[:cut]):
                    return framed
            return None

    def _more(self) -> bytes:
        while self._files:
            file, state = self._files[0], self._log.state
            last = len(self._files) == 1
            if last and self._generation == state.generation:
                room = state.size - file.tell()
                if room < 0:
                    room = state.size - file.seek(0)  # somebody emptied the file
                return file.read(min(_BLOCK, room)) if room > 0 else b""
            data = file.read(_BLOCK)
            if data:
                return data
            self._rest = b""
            if last and not self._next_generation():
                return b""
            self._files.pop(0).close()
        return b""

    def _next_generation(self) -> bool:
        """Opens the files that were begun since; those rotated away unread are lost to this reader, as in Docker."""
        with self._log.renaming:
            state = self._log.state
            behind = state.generation - self._generation
            paths = self._log.files()
            self._files += self._opened(paths[-behind:])
            self._generation = state.generation
        return behind > 0

    def _framed(self, data: bytes) -> bytes:
        want, out = self._want, []
        simple = not (want.details or want.timestamps)
        for record in _records(data):
            if self._since:
                if _pad(record.time) < self._since:
                    continue
                self._since = ""
            if self._until and _pad(record.time) > self._until:
                self._finished = True
                break
            number = 2 if record.stream == "stderr" else 1
            if not (want.stderr if number == 2 else want.stdout):
                continue
            body = record.log.encode()
            if not simple:
                body = self._decorated(record, body)
            if want.multiplexed:
                length = len(body)
                out.append(_HEADS[number][length] if length < 1024 else _FRAME.pack(number, length))
            out.append(body)
        return b"".join(out)

    def _decorated(self, record: _Record, body: bytes) -> bytes:
        if self._want.details:
            body = _details(record.attrs) + body
        return _pad(record.time).encode() + b" " + body if self._want.timestamps else body

    def _size(self, index: int, current: int) -> int:
        """Returns where a file ends: the last one where the log's state says."""
        return current if index == len(self._files) - 1 else self._files[index].seek(0, os.SEEK_END)

    def _seek_tail(self, count: int, current: int) -> None:
        """Drops files and moves in the first that is left, so that count records remain."""
        left = count
        for index in range(len(self._files) - 1, -1, -1):
            if isinstance(self._files[index], GzipFile):
                self._files[index] = spread(self._files[index])
            position, found = last_lines(self._files[index], self._size(index, current), left)
            if found >= left or index == 0:
                for old in self._files[:index]:
                    old.close()
                del self._files[:index]
                self._files[0].seek(position)
                for other in self._files[1:]:
                    other.seek(0)
                return
            left -= found

    def _seek_since(self, current: int) -> None:
        """Finds, by halving, a place a little before the first record that is wanted."""
        # A line of the next file is older than wanted: so are all before it. (Docker's lastTime may be that of a part of a long line.)
        while len(self._files) > 1 and (time := line_after(self._files[1], 0, PATIENCE, _keys)[1]) and time < self._since:
            self._files.pop(0).close()
        for file in self._files:
            file.seek(0)
        if not isinstance(self._files[0], GzipFile):
            size = self._size(0, current)
            self._files[0].seek(search(self._files[0], size, self._since, _keys))

    def close(self) -> None:
        """See Cursor."""
        with self._using:
            for file in self._files:
                file.close()
            self._files.clear()
            self._finished = True


def _records(data: bytes) -> list[_Record]:
    try:
        return _decoder.decode_lines(data)
    except msgspec.DecodeError:
        found = []
        for line in data.split(b"\n"):
            try:
                found.append(_decoder.decode(line))
            except msgspec.DecodeError:
                continue  # not ours: a line that somebody else wrote
        return found


def _keys(data: bytes) -> list[tuple[str, bool, str]]:
    """Returns of each record its stream, whether it ends a line, and its time."""
    return [(record.stream, record.log.endswith("\n"), _pad(record.time)) for record in _records(data)]


def _stamp(time_ns: int) -> str:
    return _pad(stamp(time_ns)) if time_ns else ""


def _pad(time: str) -> str:
    """Returns RFC 3339 with nine digits of fraction: what `docker logs -t` prints, and what compares as text."""
    if len(time) == 30:
        return time
    head, dot, tail = time.partition(".")
    if not dot:
        return f"{head.removesuffix('Z')}.000000000Z"
    return f"{head}.{tail.removesuffix('Z'):0<9}Z"


def _details(attrs: dict[str, str] | None) -> bytes:
    pairs = ",".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in sorted((attrs or {}).items()))
    return pairs.encode() + b" "
