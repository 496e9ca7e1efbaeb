"""Docker's json-file: external tailers see what dockerd would have written, and kill -9 loses and doubles nothing.

What counts is the state file, written after the records: whatever the files hold beyond it is cut off and comes again from the spool.
"""

import contextlib
import logging
import os
import threading

import msgspec

from skerry.core.errors import InvalidArgument
from skerry.core.files import sync_directory
from skerry.logs import frames, lines
from skerry.logs.drivers import JsonFileOptions
from skerry.logs.stores import Accepted, Sync, Want
from skerry.logs.stores.json_cursor import JsonCursor
from skerry.logs.stores.packed import pack
from skerry.logs.stores.state import State, StateFile

_log = logging.getLogger(__name__)
_MODE = 0o640
_CLOSED = -1


class JsonFile:
    """The log of one container in folder/ID-json.log and its rotated files. Implements Store.

    `state` is what was saved last, and all that readers look at; a batch that fails leaves it as it was.
    """

    def __init__(self, folder: str, name: str, options: JsonFileOptions, attrs: bytes = b"", sync: Sync = "interval") -> None:
        os.makedirs(folder, mode=0o710, exist_ok=True)
        self.path = os.path.join(folder, f"{name}-json.log")
        self._folder = folder
        self._options = options
        self._sync = sync
        self._encoder = lines.Encoder(attrs)
        self._packing: threading.Thread | None = None
        # Held while files change their names, and by readers while they open them.
        self.renaming = threading.RLock()
        self._states = StateFile(os.path.join(folder, "router-state"))
        self.state = self._states.load()
        self._fd = _CLOSED
        self._ready()
        if self._sync != "off":
            sync_directory(folder)
        if options.compress and os.path.exists(f"{self.path}.1"):
            self._pack()

    @property
    def offset(self) -> int:
        return self.state.offset

    @property
    def ended(self) -> bool:
        return self.state.ended

    def accept(self, offset: int, batch: bytes) -> Accepted:
        try:
            self._ready()
            return self._accept(offset, batch)
        except BaseException:
            self._encoder.pending = lines.pending(self.state.pending)
            raise

    def _accept(self, offset: int, batch: bytes) -> Accepted:
        if offset > self.state.offset:
            raise InvalidArgument(f"batch begins at {offset}, accepted is {self.state.offset}")
        position, out, ended, dropped = offset, [], self.state.ended, 0
        for frame in frames.decode(batch):
            start, position = position, position + frames.HEADER.size + len(frame.payload)
            if start < self.state.offset:
                if position > self.state.offset:
                    raise InvalidArgument(f"batch has a frame over {self.state.offset}, up to where all was accepted")
                continue
            ended = frame.stream == 0 and frame.flags == frames.END
            if frame.stream == 0:
                out += [self._encoder.flush(frame.time_ns)] if ended else []
                dropped += frames.dropped_lines(frame)
            elif frame.payload:
                out.append(self._encoder.records(frame.stream, frame.payload, frame.time_ns))
        if position <= self.state.offset:
            return Accepted(0, 0)
        records = b"".join(out)
        count = records.count(b"\n")
        new = self._write(records, count)
        self._commit(
            msgspec.structs.replace(new, offset=position, done=max(0, new.done - count), ended=ended, pending=dict(self._encoder.pending)),
            sync=self._sync == "batch",
        )
        return Accepted(count, dropped)

    def _write(self, records: bytes, count: int) -> State:
        """Writes records, but those that a rotation had kept for good already; returns the state with size and done beyond them."""
        new, limit, position = self.state, self._options.max_size, 0
        for _ in range(min(new.done, count)):
            position = records.index(b"\n", position) + 1
        while position < len(records):
            # Checked before a write, as Docker does: a file overshoots by one record.
            if limit and new.size >= limit:
                new = self._rotate(new)
            cut = records.find(b"\n", position + max(0, limit - new.size - 1)) + 1 if limit else 0
            piece = records[position : cut or len(records)]
            self._append(piece)
            new = msgspec.structs.replace(new, size=new.size + len(piece), done=new.done + (piece.count(b"\n") if limit else 0))
            position += len(piece)
        return msgspec.structs.replace(new, done=max(new.done, count))

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _commit(self, new: State, *, sync: bool) -> None:
        """Makes new what counts. With sync the records are durable before it, so that a crash of the host loses none that it claims."""
        if sync:
            os.fdatasync(self._fd)
        new.sequence = self.state.sequence + 1
        self._states.save(new)
        if sync:
            self._states.sync()
        self.state = new

    def _ready(self) -> None:
        """Opens what `rest` closed, ends a rotation that was cut short, and brings the file to the size that counts."""
        if self._fd == _CLOSED:
            self._encoder.pending = lines.pending(self.state.pending)
            self._states.open()
            self._fd = self._open_current()
        if self.state.rotating:
            self._finish_rotation()
        size = os.fstat(self._fd).st_size
        if size > self.state.size:
            os.ftruncate(self._fd, self.state.size)
        elif size < self.state.size:
            # Somebody emptied the file, or the host crashed before it was durable: never fill it up with zeros.
            _log.warning("log file is shorter than it was", extra={"path": self.path, "was": self.state.size, "size": size})
            os.ftruncate(self._fd, whole := _whole(self._fd, size))
            self._commit(msgspec.structs.replace(self.state, size=whole), sync=False)

    def _rotate(self, full: State) -> State:
        if self._packing is not None:
            self._packing.join()
        inode = os.fstat(self._fd).st_ino
        self._commit(msgspec.structs.replace(full, rotating=inode), sync=self._sync != "off")
        self._finish_rotation()
        if self._options.compress:
            self._pack()
        return self.state

    def _finish_rotation(self) -> None:
        with self.renaming:
            try:
                begun = os.stat(self.path).st_ino != self.state.rotating
            except FileNotFoundError:
                begun = True
            if not begun:
                self._shift()
            fresh = self._open_current()
            os.close(self._fd)
            self._fd = fresh
            os.ftruncate(fresh, 0)
            generation = self.state.generation + 1
            self._commit(msgspec.structs.replace(self.state, rotating=0, size=0, generation=generation), sync=False)
        if self._sync != "off":
            sync_directory(self._folder)

    def _rotated(self) -> dict[int, str]:
        """Returns the rotated files by number. Lists the directory: max-file may be any number that a user thinks of."""
        found: dict[int, str] = {}
        prefix = f"{os.path.basename(self.path)}."
        for name in os.listdir(self._folder):
            number = name.removeprefix(prefix).removesuffix(".gz")
            if name.startswith(prefix) and number.isascii() and number.isdigit() and 0 < int(number) < self._options.max_file:
                # Where a kill left both, the plain one is whole for certain.
                if name.endswith(".gz"):
                    found.setdefault(int(number), os.path.join(self._folder, name))
                else:
                    found[int(number)] = os.path.join(self._folder, name)
        return found

    def _shift(self) -> None:
        """Renames .N-1 to .N down to the current file to .1. Begun again after a kill it goes on where it stopped.

        Renames run from the top down: a missing number is where it stopped; everything above it was moved already.
        """
        if self._options.max_file == 1:
            os.unlink(self.path)
            return
        rotated = self._rotated()
        top = 1
        while top in rotated and top < self._options.max_file - 1:
            top += 1
        for number in range(top, 1, -1):
            source = rotated[number - 1]
            self._unlink(f"{self.path}.{number}", f"{self.path}.{number}.gz")
            os.rename(source, f"{self.path}.{number}{'.gz' if source.endswith('.gz') else ''}")
        self._unlink(f"{self.path}.1.gz")
        os.rename(self.path, f"{self.path}.1")

    def _unlink(self, *paths: str) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _pack(self) -> None:
        self._packing = threading.Thread(target=self._compress, daemon=True, name="compress")
        self._packing.start()

    def _compress(self) -> None:
        source, target = f"{self.path}.1", f"{self.path}.1.gz"
        try:
            pack(source, f"{target}.tmp", _MODE)
            with self.renaming:
                os.rename(f"{target}.tmp", target)
                os.unlink(source)
        except OSError as error:
            # The disk is full, or the log was removed meanwhile: the plain file serves as well.
            self._unlink(f"{target}.tmp")
            if os.path.exists(source):
                _log.warning("rotated log stays uncompressed", extra={"path": source, "reason": str(error)})

    def _open_current(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)

    def files(self) -> list[str]:
        """Returns the files that hold the log, oldest first. Call it with `renaming` held."""
        rotated = self._rotated()
        return [*(rotated[number] for number in sorted(rotated, reverse=True)), self.path]

    def sync(self) -> None:
        if self._fd != _CLOSED:
            os.fdatasync(self._fd)
            self._states.sync()

    def rest(self) -> None:
        if self._fd != _CLOSED:
            os.close(self._fd)
            self._fd = _CLOSED
            self._states.close()

    def open_cursor(self, want: Want) -> JsonCursor:
        return JsonCursor(self, want)

    def close(self) -> None:
        if self._packing is not None:
            self._packing.join()
        self.rest()


def _whole(fd: int, size: int) -> int:
    """Returns where the last whole record before size ends."""
    position = size
    while position > 0:
        start = max(0, position - (64 << 10))
        newline = os.pread(fd, position - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0
