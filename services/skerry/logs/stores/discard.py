"""The store of driver none: remembers how far the node came, and nothing else."""

import os

import msgspec

from skerry.core.errors import InvalidArgument, NotSupported
from skerry.logs import frames
from skerry.logs.stores import Accepted, Cursor, Want
from skerry.logs.stores.state import StateFile


class Discard:
    """Implements Store. The offset is kept, because the node has forgotten what was acknowledged."""

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, mode=0o710, exist_ok=True)
        self._states = StateFile(os.path.join(folder, "router-state"))
        self._state = self._states.load()

    @property
    def offset(self) -> int:
        return self._state.offset

    @property
    def ended(self) -> bool:
        return self._state.ended

    def accept(self, offset: int, batch: bytes) -> Accepted:
        if offset > self._state.offset:
            raise InvalidArgument(f"batch begins at {offset}, accepted is {self._state.offset}")
        ended, dropped = self._state.ended, 0
        for frame in frames.decode(batch):
            ended = frame.stream == 0 and frame.flags == frames.END
            dropped += frames.dropped_lines(frame)
        position = offset + len(batch)
        if position <= self._state.offset:
            return Accepted(0, 0)
        new = msgspec.structs.replace(self._state, sequence=self._state.sequence + 1, offset=position, ended=ended)
        self._states.open()
        self._states.save(new)
        self._state = new
        return Accepted(0, dropped)

    def sync(self) -> None:
        """Nothing is worth it."""

    def rest(self) -> None:
        self._states.close()

    def open_cursor(self, want: Want) -> Cursor:
        raise NotSupported("configured logging driver does not support reading")

    def close(self) -> None:
        self._states.close()
