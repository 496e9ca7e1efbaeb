"""Blobs on their way in that outlive this service: FOLDER/NAME has the bytes, FOLDER/NAME.note what the caller wants to know of them.

Nothing of it is believed: who goes on hashes it from its first byte, and what a power cut took is told by the digest at the end.
"""

import hashlib
import os
from collections.abc import Callable

from skerry.core import linux
from skerry.core.errors import Failed
from skerry.core.files import write_atomic

_NOTE = ".note"
_PIECE = 1 << 20
_WRITEBACK = 16 << 20


class FileUpload:
    """One of them. Its methods block."""

    def __init__(self, path: str, finish: Callable[[str, str], None], note: bytes) -> None:
        self._path = path
        self._finish = finish
        self.keep = False
        # The note first: bytes without one are nobody's.
        write_atomic(path + _NOTE, note, sync=False)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self.size = os.fstat(self._fd).st_size
        self._hash = hashlib.sha256()
        self._hashed = self._begun = 0

    def write(self, data: bytes | memoryview) -> None:
        self._catch_up()
        view = memoryview(data)
        try:
            while view:
                count = os.pwrite(self._fd, view, self.size)
                self._hash.update(view[:count])
                self.size = self._hashed = self.size + count
                view = view[count:]
            if self.size - self._begun >= _WRITEBACK:
                # While more comes the disk works: the sync at the end finds little left to do.
                linux.start_writeback(self._fd, self._begun, self.size - self._begun)
                self._begun = self.size
        except OSError as error:
            raise Failed(f"write {self._path}: {(error.strerror or str(error)).lower()}") from None

    def _catch_up(self) -> None:
        while self._hashed < self.size:
            data = os.pread(self._fd, min(_PIECE, self.size - self._hashed), self._hashed)
            if not data:
                raise Failed(f"read {self._path}: unexpected EOF")
            self._hash.update(data)
            self._hashed += len(data)

    def commit(self, expected: str = "") -> tuple[str, int]:
        self._catch_up()
        digest = f"sha256:{self._hash.hexdigest()}"
        if expected and digest != expected:
            raise Failed(f"filesystem layer verification failed for digest {expected}: content has {digest}")
        os.fdatasync(self._fd)
        self._finish(self._path, digest)
        return digest, self.size

    def close(self) -> None:
        """Ends the use; removes what is not to be kept."""
        os.close(self._fd)
        if not self.keep:
            forget(self._path)


def forget(path: str) -> None:
    """Removes bytes and note; what is not there is none the less removed."""
    for name in (path, path + _NOTE):
        try:
            os.unlink(name)
        except FileNotFoundError:
            pass  # committed, or never written


def found(folder: str) -> dict[str, bytes]:
    """Returns the notes by name; what is not whole is removed."""
    names = set(os.listdir(folder))
    notes: dict[str, bytes] = {}
    for name in {name.partition(".")[0] for name in names}:
        path = os.path.join(folder, name)
        if {name, name + _NOTE} <= names:
            with open(path + _NOTE, "rb") as file:
                notes[name] = file.read()
        else:
            forget(path)
    return notes
