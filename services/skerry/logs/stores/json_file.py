"""Docker's json-file: external tailers see what dockerd would have written, and kill -9 loses and doubles nothing."""

import contextlib
import gzip
import os
import shutil
import threading

import msgspec

from skerry.core.errors import InvalidArgument
from skerry.logs import frames, lines
from skerry.logs.drivers import JsonFileOptions
from skerry.logs.stores import Want
from skerry.logs.stores.json_cursor import JsonCursor
from skerry.logs.stores.state import State, StateFile

_MODE = 0o640


class JsonFile:
    """The log of one container in folder/ID-json.log and its rotated files. Implements Store."""

    def __init__(self, folder: str, name: str, options: JsonFileOptions, attrs: bytes = b"") -> None:
        os.makedirs(folder, mode=0o710, exist_ok=True)
        self.path = os.path.join(folder, f"{name}-json.log")
        self._options = options
        self._encoder = lines.Encoder(attrs)
        self._compressing: threading.Thread | None = None
        # Held while files change their names, and by readers while they open them.
        self.renaming = threading.RLock()
        self._states = StateFile(os.path.join(folder, "router-state"))
        self._state = self._states.load()
        self._encoder.pending.update(_copy(self._state.pending))
        self._finish_rotation()
        self._fd = self._open_current()
        os.ftruncate(self._fd, self._state.size)
        os.lseek(self._fd, 0, os.SEEK_END)

    @property
    def offset(self) -> int:
        return self._state.offset

    @property
    def ended(self) -> bool:
        return self._state.ended

    @property
    def generation(self) -> int:
        """How often the file was rotated."""
        return self._state.generation

    @property
    def size(self) -> int:
        """Bytes of the current file that are whole records."""
        return self._state.size

    def accept(self, offset: int, frames_: bytes) -> None:
        state = self._state
        if offset > state.offset:
            raise InvalidArgument(f"batch begins at {offset}, accepted is {state.offset}")
        position, out, count = offset, [], 0
        ended = state.ended
        for frame in frames.decode(frames_):
            start, position = position, position + frames.HEADER.size + len(frame.payload)
            if start < state.offset:
                continue
            records = self._records(frame)
            ended = frame.stream == 0 and frame.flags == frames.END
            skip = min(max(state.done - count, 0), len(records))
            count += len(records)
            out += records[skip:]
        if position <= state.offset:
            return
        self._write(out)
        state.offset, state.done, state.ended = position, 0, ended
        state.pending = _copy(self._encoder.pending)
        self._states.save(state)

    def _records(self, frame: frames.Frame) -> list[bytes]:
        if frame.stream == 0:
            return self._encoder.flush() if frame.flags == frames.END else []
        if frame.stream > 2 or not frame.payload:
            return []
        return self._encoder.records(frame.stream, frame.payload, frame.time_ns)

    def _write(self, records: list[bytes]) -> None:
        limit = self._options.max_size
        if not limit:
            self._append(b"".join(records))
            return
        batch: list[bytes] = []
        size = self._state.size
        for record in records:
            # Checked before a write, as Docker does: a file overshoots by one record.
            if size >= limit:
                self._append(b"".join(batch))
                self._state.done += len(batch)
                self._rotate()
                batch, size = [], 0
            batch.append(record)
            size += len(record)
        self._append(b"".join(batch))

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            # Half a record must not stay: the batch comes again.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._state.size)
                os.lseek(self._fd, 0, os.SEEK_END)
            self._encoder.pending.update(_copy(self._state.pending))
            raise
        self._state.size += len(data)

    def _rotate(self) -> None:
        if self._compressing is not None:
            self._compressing.join()
        state = self._state
        state.rotating = os.fstat(self._fd).st_ino
        self._states.save(state)
        with self.renaming:
            self._shift(whole=True)
            os.close(self._fd)
            self._fd = self._open_current()
            state.rotating, state.size, state.generation = 0, 0, state.generation + 1
            self._states.save(state)
        if self._options.compress:
            self._compressing = threading.Thread(target=self._compress, daemon=True)
            self._compressing.start()

    def _rotated(self, number: int) -> str | None:
        for path in (f"{self.path}.{number}", f"{self.path}.{number}.gz"):
            if os.path.exists(path):
                return path
        return None

    def _shift(self, *, whole: bool) -> None:
        """Renames .N-1 to .N down to the current file to .1; from the first gap on when a killed router had begun it."""
        last = self._options.max_file - 1
        if last == 0:
            os.unlink(self.path)
            return
        top = last
        if not whole:
            # Renames run from the top down: a missing number is where it stopped; everything above it was moved already.
            top = next((number for number in range(1, last + 1) if self._rotated(number) is None), last)
        for number in range(top, 1, -1):
            source = self._rotated(number - 1)
            if source is not None:
                for old in (f"{self.path}.{number}", f"{self.path}.{number}.gz"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(old)
                os.rename(source, f"{self.path}.{number}{'.gz' if source.endswith('.gz') else ''}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.path}.1.gz")
        os.rename(self.path, f"{self.path}.1")

    def _finish_rotation(self) -> None:
        state = self._state
        if self._options.compress:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.path}.1.gz.tmp")
            if os.path.exists(f"{self.path}.1") and not state.rotating:
                self._compress()
        if not state.rotating:
            return
        try:
            done = os.stat(self.path).st_ino != state.rotating
        except FileNotFoundError:
            done = True
        if not done:
            self._shift(whole=False)
        state.rotating, state.size, state.generation = 0, 0, state.generation + 1
        self._states.save(state)

    def _compress(self) -> None:
        source, target = f"{self.path}.1", f"{self.path}.1.gz"
        try:
            with open(source, "rb") as plain, gzip.open(f"{target}.tmp", "wb", compresslevel=6) as packed:
                shutil.copyfileobj(plain, packed, 1 << 20)
            with self.renaming:
                os.rename(f"{target}.tmp", target)
                os.unlink(source)
        except FileNotFoundError:
            pass  # the log was removed meanwhile

    def _open_current(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)

    def files(self) -> list[str]:
        """Returns the files that hold the log, oldest first. Call it with `renaming` held."""
        found = [path for number in range(self._options.max_file - 1, 0, -1) if (path := self._rotated(number))]
        return [*found, self.path]

    def sync(self) -> None:
        os.fdatasync(self._fd)
        self._states.sync()

    def open_cursor(self, want: Want) -> JsonCursor:
        return JsonCursor(self, want)

    def close(self) -> None:
        if self._compressing is not None:
            self._compressing.join()
        os.close(self._fd)
        self._states.close()


def _copy(pending: dict[int, lines.Pending]) -> dict[int, lines.Pending]:
    return {stream: msgspec.structs.replace(one) for stream, one in pending.items()}


__all__ = ["JsonFile", "State"]
