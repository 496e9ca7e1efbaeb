"""Blobs as files: ROOT/blobs/sha256/<hex>, written as ROOT/tmp/<random> first."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from skerry.core.errors import Failed, NotFound
from skerry.core.files import sync_directory

_ALGORITHM = "sha256:"


class _Writer:
    def __init__(self, blobs: "FileBlobs", path: str) -> None:
        self._blobs = blobs
        self._path = path
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - closed by writer()
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        view = memoryview(data)
        self._size += len(view)
        while view:
            view = view[self._file.write(view) :]

    def commit(self, expected: str = "") -> tuple[str, int]:
        digest = f"{_ALGORITHM}{self._hash.hexdigest()}"
        if expected and digest != expected:
            raise Failed(f"filesystem layer verification failed for digest {expected}: content has {digest}")
        os.fdatasync(self._file.fileno())
        os.rename(self._path, self._blobs.where(digest))
        sync_directory(self._blobs.folder)
        return digest, self._size

    def close(self) -> None:
        self._file.close()
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass  # committed


class FileBlobs:
    """Blobs below one directory. Left-over temporary files of a killed process are removed when it is opened."""

    def __init__(self, root: str) -> None:
        self.folder = os.path.join(root, "blobs", "sha256")
        self._temporary = os.path.join(root, "tmp")
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        os.makedirs(self._temporary, mode=0o700, exist_ok=True)
        for name in os.listdir(self._temporary):
            os.unlink(os.path.join(self._temporary, name))

    @contextmanager
    def writer(self) -> Iterator[_Writer]:
        one = _Writer(self, os.path.join(self._temporary, os.urandom(16).hex()))
        try:
            yield one
        finally:
            one.close()

    def where(self, digest: str) -> str:
        """Returns where the blob lies, or would lie."""
        return os.path.join(self.folder, digest.removeprefix(_ALGORITHM))

    def has(self, digest: str) -> bool:
        return os.path.exists(self.where(digest))

    def size(self, digest: str) -> int:
        return os.stat(self.path(digest)).st_size

    def path(self, digest: str) -> str:
        path = self.where(digest)
        if not os.path.exists(path):
            raise NotFound(f"blob {digest} is not in the store")
        return path

    def read(self, digest: str, limit: int) -> bytes:
        with open(self.path(digest), "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise Failed(f"blob {digest} is larger than {limit} bytes")
        return data

    def remove(self, digest: str) -> int:
        path = self.where(digest)
        try:
            freed = os.stat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            return 0
        return freed

    def all(self) -> Iterator[str]:
        for name in os.listdir(self.folder):
            yield f"{_ALGORITHM}{name}"
