"""How far a json-file came, written after each batch: a killed router goes on exactly there."""

import os
import zlib

import msgspec

from skerry.logs.lines import Pending

_SLOT = 64 << 10
_LIMIT = _SLOT - 8


class State(msgspec.Struct):
    """All a successor needs. size is the current file's; generation counts rotations."""

    sequence: int = 0
    # Spool offset of the first frame that is not wholly in the files.
    offset: int = 0
    # Records of the frames from offset on that are in the files already (a rotation came between).
    done: int = 0
    size: int = 0
    generation: int = 0
    ended: bool = False
    # Unfinished lines as they were at offset.
    pending: dict[int, Pending] = {}
    # The inode of the current file while it is being rotated away; 0: no rotation is under way.
    rotating: int = 0


class StateFile:
    """Two slots written in turn: a write that a kill tore leaves the other one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self.open()

    def open(self) -> None:
        """Opens, or makes, the file; nothing when it is open."""
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def load(self) -> State:
        """Returns the newer whole slot; a fresh state when there is none."""
        found = [state for slot in (0, 1) if (state := self._slot(slot)) is not None]
        return max(found, key=lambda state: state.sequence, default=State())

    def _slot(self, slot: int) -> State | None:
        raw = os.pread(self._fd, _SLOT, slot * _SLOT)
        length, check = int.from_bytes(raw[:4], "little"), int.from_bytes(raw[4:8], "little")
        body = raw[8 : 8 + length]
        if not length or len(body) != length or zlib.crc32(body) != check:
            return None
        return msgspec.msgpack.decode(body, type=State)

    def save(self, state: State) -> None:
        """Writes state, whose sequence is one more than that of the newest slot, into the older one. Raises OSError."""
        body = msgspec.msgpack.encode(state)
        assert len(body) <= _LIMIT  # two unfinished lines of less than 16 KiB and a few numbers
        data = len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little") + body
        written = os.pwrite(self._fd, data, state.sequence % 2 * _SLOT)
        if written != len(data):
            raise OSError(28, "No space left on device")

    def sync(self) -> None:
        """Makes the last save durable."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Closes the file; `open` opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
