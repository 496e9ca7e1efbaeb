"""Objects of a bucket as streams: an upload in parts that is seen only when it is finished, a download that goes on where it broke."""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from botocore.exceptions import BotoCoreError, ReadTimeoutError
from urllib3.exceptions import HTTPError

from skerry.core.errors import Failed, Unavailable
from skerry.images.blobs.s3_client import Bucket, translated

# S3's least size; its most parts are 10,000: a blob has 52 GB at most. Every upload takes the memory of one part.
_PART = 5 << 20
_READ_ATTEMPTS = 5
_CHUNK = 1 << 20


class _Body:
    """Bytes that are sent where they lie: of a bytearray boto3 would make a copy."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def __len__(self) -> int:
        return len(self._view)

    def read(self, size: int | None = -1) -> bytes:
        end = len(self._view) if size is None or size < 0 else self._at + size
        data = bytes(self._view[self._at : end])
        self._at += len(data)
        return data

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._view)}[whence]
        self._at = min(max(0, begin + offset), len(self._view))
        return self._at


class Spares:
    """A few buffers more than one for each upload, shared by all: who gets one fills it while its last part is being sent."""

    def __init__(self, count: int = 1) -> None:
        self._free = [bytearray() for _ in range(count)]

    def take(self) -> bytearray | None:
        """Returns one, or None: all are in use."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def give(self, buffer: bytearray) -> None:
        """Takes one back, whichever."""
        self._free.append(buffer)


class Upload:
    """Bytes on their way to one object, in the memory of one part or two, however large the object."""

    def __init__(self, bucket: Bucket, parts: ThreadPoolExecutor, spares: Spares, key: str) -> None:
        self._bucket = bucket
        self._threads = parts
        self._spares = spares
        self._key = key
        # Filled up to _filled.
        self._buffer = bytearray()
        self._filled = 0
        # Whose content is being sent.
        self._lent: bytearray | None = None
        self._id = ""
        self._etags: list[str] = []
        self._sending: Future[str] | None = None
        self._finished = False

    def write(self, data: bytes | memoryview) -> None:
        """Appends. Raises Failed, Unavailable."""
        view = memoryview(data)
        while view:
            taken = min(len(view), _PART - self._filled)
            self._buffer[self._filled : self._filled + taken] = view[:taken]
            self._filled += taken
            view = view[taken:]
            if self._filled == _PART:
                self._send()

    def _send(self) -> None:
        if not self._id:
            with translated(self._key):
                self._id = self._bucket.client.create_multipart_upload(**self._bucket.where(self._key))["UploadId"]
        self._sent()
        del self._buffer[self._filled :]
        self._filled = 0
        spare = self._spares.take()
        if spare is None:
            self._etags.append(self._put(len(self._etags) + 1, self._buffer))
            return
        self._lent, self._buffer = self._buffer, spare
        self._sending = self._threads.submit(self._put, len(self._etags) + 1, self._lent)

    def _put(self, number: int, part: bytearray) -> str:
        with translated(self._key), memoryview(part) as view:
            where = self._bucket.where(self._key)
            return str(self._bucket.client.upload_part(**where, UploadId=self._id, PartNumber=number, Body=_Body(view))["ETag"])

    def _sent(self) -> None:
        if self._sending is not None:
            sending, self._sending = self._sending, None
            try:
                self._etags.append(sending.result())
            finally:
                self._give_back()

    def _give_back(self) -> None:
        if self._lent is not None:
            self._spares.give(self._lent)
            self._lent = None

    def finish(self, key: str) -> None:
        """Makes all that was written the object `key`. Raises Failed, Unavailable."""
        if not self._id:
            with memoryview(self._buffer) as whole, whole[: self._filled] as view:
                self._bucket.put(key, _Body(view))
            self._finished = True
            return
        if self._filled:
            self._send()
        self._sent()
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(self._etags, 1)]
        with translated(self._key):
            where = self._bucket.where(self._key)
            self._bucket.client.complete_multipart_upload(**where, UploadId=self._id, MultipartUpload={"Parts": parts})
        self._finished = True
        if key != self._key:
            self._bucket.copy(self._key, key)
            self._bucket.remove([self._key])

    def close(self) -> None:
        """Drops what was not finished."""
        if self._sending is not None:
            self._sending.exception()  # waited for: a part that comes behind the abort would stay
            self._sending = None
            self._give_back()
        if not self._id or self._finished:
            return
        try:
            with translated(self._key):
                self._bucket.client.abort_multipart_upload(**self._bucket.where(self._key), UploadId=self._id)
        except (Failed, Unavailable):
            return  # a sweep's tidying finds it


class ObjectReader:
    """Reads one object from an offset on; a lost connection is taken up where it broke."""

    def __init__(self, bucket: Bucket, key: str, size: int, offset: int) -> None:
        self._bucket = bucket
        self._key = key
        self._size = size
        self._at = offset
        self._body: Any = None

    def read(self, size: int = -1, /) -> bytes:
        """Returns up to size bytes; b"" at the end. Raises NotFound, Failed, Unavailable."""
        wanted = _CHUNK if size is None or size < 0 else size
        for attempt in range(1, _READ_ATTEMPTS + 1):
            if self._at >= self._size:
                return b""
            try:
                if self._body is None:
                    self._open()
                data: bytes = self._body.read(wanted)
            except (BotoCoreError, ReadTimeoutError, HTTPError, OSError) as error:
                data, lost = b"", str(error)
            else:
                lost = "the object ended early"
            if data:
                self._at += len(data)
                return data
            self.close()
            if attempt == _READ_ATTEMPTS:
                raise Unavailable(f"blob store: reading {self._key}: {lost}")
        raise AssertionError  # the loop returns or raises

    def _open(self) -> None:
        with translated(self._key):
            ranged = {"Range": f"bytes={self._at}-"} if self._at else {}
            self._body = self._bucket.client.get_object(**self._bucket.where(self._key), **ranged)["Body"]

    def close(self) -> None:
        """Closes the connection."""
        if self._body is not None:
            self._body.close()
            self._body = None
