"""Blobs in an S3 bucket, for image stores that several services and machines share. See docs/decisions/0007-shared-store.md.

    PREFIX/blobs/HEX                        a blob as it is
    PREFIX/layers/HEX.BLOB.KIND.SIZE        empty: layer HEX (its diff_id) is kept as blob BLOB, compressed by KIND, SIZE bytes as a tar
    PREFIX/taking/RANDOM                    a blob on its way in whose digest is not known yet

A plain layer is compressed on its way in, so that a layer is a layer's compressed size in the bucket and on the way to a node.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
from isal import isal_zlib

from skerry.core.errors import Failed, NotFound
from skerry.core.ids import new_id
from skerry.images.blobs import BlobReader, Link, Listed
from skerry.images.blobs.s3_client import Bucket, S3Settings, open_bucket
from skerry.images.blobs.s3_objects import ObjectReader, Spares, Upload
from skerry.images.layers import Rewound, plain

_ALGORITHM = "sha256:"
# zlib's number for a gzip frame. Without a time in it: all services make the same blob of the same tar.
_GZIP = 31
# isal's: 0 to 3. Measured in docs/decisions/0007.
_LEVEL = 2
_SKIP = 1 << 20


class _Form(msgspec.Struct, frozen=True):
    """How the bytes of a digest are kept."""

    key: str
    # Bytes of the object, and of what `open` gives.
    stored: int
    size: int
    compression: str = ""


class _Writer:
    def __init__(self, blobs: "S3Blobs", upload: Upload) -> None:
        self._blobs = blobs
        self._upload = upload
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        self._size += len(data)
        self._upload.write(data)

    @property
    def digest(self) -> str:
        """Of what was written until now."""
        return f"{_ALGORITHM}{self._hash.hexdigest()}"

    def commit(self, expected: str = "") -> tuple[str, int]:
        if expected and self.digest != expected:
            raise Failed(f"filesystem layer verification failed for digest {expected}: content has {self.digest}")
        self._upload.finish(self._blobs.key(self.digest))
        return self.digest, self._size


class _LayerWriter:
    def __init__(self, blobs: "S3Blobs", compression: str, out: _Writer) -> None:
        self._blobs = blobs
        self._kind = compression or "gzip"
        self._out = out
        self._compressor = None if compression else isal_zlib.compressobj(level=_LEVEL, wbits=_GZIP)
        self._hash = hashlib.sha256()
        self._size = 0

    def came(self, data: bytes | memoryview) -> None:
        self._out.write(data)

    def write(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        self._size += len(data)
        if self._compressor is not None:
            self._out.write(self._compressor.compress(data))

    def commit(self, expected_diff: str = "", expected: str = "") -> tuple[str, int, str]:
        diff_id = f"{_ALGORITHM}{self._hash.hexdigest()}"
        if expected_diff and diff_id != expected_diff:
            raise Failed(f"filesystem layer verification failed for digest {expected_diff}: content has {diff_id}")
        if self._compressor is not None:
            self._out.write(self._compressor.flush())
        blob, _ = self._out.commit(expected)
        self._blobs.mark(diff_id, blob, self._kind, self._size)
        return diff_id, self._size, blob


class S3Blobs:
    """Blobs in a bucket. Made by `open_s3_blobs`."""

    def __init__(self, bucket: Bucket, parts: ThreadPoolExecutor) -> None:
        self._bucket = bucket
        self._parts = parts
        self._spares = Spares()

    @contextmanager
    def writer(self) -> Iterator[_Writer]:
        with self._upload("") as one:
            yield one

    @contextmanager
    def layer(self, compression: str, *, keep: bool, expected: str = "") -> Iterator[_LayerWriter]:
        with self._upload(expected if compression else "") as one:
            yield _LayerWriter(self, compression, one)

    def by_path(self) -> None:
        return None

    @contextmanager
    def _upload(self, expected: str) -> Iterator[_Writer]:
        # Under its own name at once when that is known: an upload is seen only when it is finished, which is after its verification.
        upload = Upload(self._bucket, self._parts, self._spares, self.key(expected) if expected else f"taking/{new_id()}")
        try:
            yield _Writer(self, upload)
        finally:
            upload.close()

    def key(self, digest: str) -> str:
        """Returns where a blob lies, or would lie, below the prefix."""
        return f"blobs/{digest.removeprefix(_ALGORITHM)}"

    def mark(self, diff_id: str, blob: str, kind: str, size: int) -> None:
        """Says that a layer is kept as this blob, unless it is kept as another already."""
        name = f"layers/{diff_id.removeprefix(_ALGORITHM)}.{blob.removeprefix(_ALGORITHM)}.{kind}.{size}"
        form = self._layer(diff_id)
        if form is None or form.key == self.key(blob):
            self._bucket.put(name, b"")  # when it is there: as young as if it had come now

    def _marks(self, diff_id: str) -> list[tuple[str, str, str, int]]:
        found = []
        for listed in self._bucket.listed(f"layers/{diff_id.removeprefix(_ALGORITHM)}."):
            mark = _mark(listed.key)
            if mark is not None:
                found.append((listed.key, mark[1], mark[2], mark[3]))
        return found

    def _layer(self, diff_id: str) -> _Form | None:
        for _, blob, kind, size in self._marks(diff_id):
            stored = self._bucket.size(self.key(blob))
            if stored is not None:
                return _Form(self.key(blob), stored, size, kind)
        return None

    def _find(self, digest: str) -> _Form | None:
        stored = self._bucket.size(self.key(digest))
        return _Form(self.key(digest), stored, stored) if stored is not None else self._layer(digest)

    def _form(self, digest: str) -> _Form:
        form = self._find(digest)
        if form is None:
            raise NotFound(f"blob {digest} is not in the store")
        return form

    def has(self, digest: str) -> bool:
        return self._find(digest) is not None

    def size(self, digest: str) -> int:
        return self._form(digest).size

    @contextmanager
    def open(self, digest: str, offset: int = 0) -> Iterator[BlobReader]:
        form = self._form(digest)
        with ExitStack() as stack:
            source = ObjectReader(self._bucket, form.key, form.stored, 0 if form.compression else offset)
            stack.callback(source.close)
            reader: Any = plain(Rewound(source, b""), form.compression) if form.compression else source
            while form.compression and offset > 0 and (skipped := reader.read(min(offset, _SKIP))):
                offset -= len(skipped)
            yield reader

    def path(self, digest: str) -> str | None:
        self._form(digest)
        return None

    def link(self, diff_id: str) -> Link | None:
        form = self._form(diff_id)
        url = self._bucket.link(form.key)
        return Link(url, form.compression, form.stored) if url else None

    def read(self, digest: str, limit: int) -> bytes:
        size = self.size(digest)
        if size > limit:
            raise Failed(f"blob {digest} is larger than {limit} bytes")
        parts = []
        with self.open(digest) as reader:
            while part := reader.read(_SKIP):
                parts.append(part)
        return b"".join(parts)

    def remove(self, digest: str) -> int:
        freed = self._bucket.size(self.key(digest)) or 0
        keys = [name for name, *_ in self._marks(digest)]
        self._bucket.remove([*keys, self.key(digest)])
        return freed

    def all(self) -> Iterator[str]:
        yield from {one.digest for one in self.listed()}

    def listed(self) -> Iterator[Listed]:
        for one in self._bucket.listed("layers/"):
            mark = _mark(one.key)
            if mark is not None:
                yield Listed(mark[0], 0, one.modified, mark[1])
        for one in self._bucket.listed("blobs/"):
            yield Listed(f"{_ALGORITHM}{one.key.removeprefix('blobs/')}", one.size, one.modified)

    def tidy(self, before: float) -> None:
        self._bucket.remove([one.key for one in self._bucket.listed("taking/") if one.modified < before])
        self._bucket.abort_uploads(before)


def _mark(key: str) -> tuple[str, str, str, int] | None:
    """Takes a mark's name apart: diff_id, blob, compression, size of the tar."""
    parts = key.removeprefix("layers/").split(".")
    if len(parts) != 4 or not parts[3].isdecimal():
        return None  # not ours
    return f"{_ALGORITHM}{parts[0]}", f"{_ALGORITHM}{parts[1]}", parts[2], int(parts[3])


@contextmanager
def open_s3_blobs(settings: S3Settings) -> Iterator[S3Blobs]:
    """Connects, and checks that the bucket is there. Blocks. Raises InvalidArgument, Failed, Unavailable."""
    with ThreadPoolExecutor(settings.threads, thread_name_prefix="s3") as parts:
        bucket = open_bucket(settings)
        try:
            yield S3Blobs(bucket, parts)
        finally:
            bucket.close()
