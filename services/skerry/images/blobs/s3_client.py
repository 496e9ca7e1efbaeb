"""One bucket of an S3 service through boto3: what the blob store needs of it, errors in Skerry's classes. All calls block."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import boto3
import msgspec
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.exceptions import ConnectionError as LostConnection

from skerry.core.errors import Failed, InvalidArgument, NotFound, Unavailable

_ATTEMPTS = 6
_CONNECT_SECONDS = 10
_SILENCE_SECONDS = 60
# S3 copies up to 5 GB at once.
_COPY_AT_ONCE = 4 << 30
_GONE = {"404", "NoSuchKey", "NotFound", "NoSuchUpload"}
_BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "500", "502", "503", "504"}


class S3Settings(msgspec.Struct, frozen=True):
    """Where the bucket is. Empty strings: as boto3 finds it out itself (environment, profile, instance role)."""

    # s3://BUCKET[/PREFIX]
    url: str
    endpoint: str = ""
    region: str = ""
    access_key: str = ""
    secret_key: str = ""
    # Whether nodes get links to the bucket, under which address they reach it (empty: endpoint), and how long a link holds.
    links: bool = True
    links_endpoint: str = ""
    link_seconds: int = 3600
    threads: int = 8


class Object(msgspec.Struct, frozen=True):
    """One object of a listing. key is below the prefix."""

    key: str
    size: int
    # Unix seconds.
    modified: float


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raises NotFound, Unavailable or Failed for boto3's errors in the body."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        said = error.response.get("Error", {}).get("Message") or code
        if code in _GONE:
            raise NotFound(f"{what} is not in the blob store") from None
        kind = Unavailable if code in _BUSY else Failed
        raise kind(f"blob store: {error.operation_name} {what}: {said}") from None
    except LostConnection as error:
        raise Unavailable(f"the blob store is not reachable: {error}") from None
    except BotoCoreError as error:
        raise Failed(f"blob store: {error}") from None


class Bucket:
    """A bucket below a prefix. Made by `open_bucket`."""

    def __init__(self, client: Any, links: Any | None, bucket: str, prefix: str, link_seconds: int) -> None:
        self.client = client
        self.name = bucket
        self._links = links
        self._prefix = prefix
        self._link_seconds = link_seconds

    def where(self, key: str) -> dict[str, str]:
        """Returns the arguments that name an object in boto3's calls."""
        return {"Bucket": self.name, "Key": f"{self._prefix}{key}"}

    def size(self, key: str) -> int | None:
        """Returns the bytes of an object, None when it is not there."""
        try:
            with translated(key):
                return int(self.client.head_object(**self.where(key))["ContentLength"])
        except NotFound:
            return None

    def put(self, key: str, data: Any) -> None:
        """Stores an object whole: bytes, or what reads as a file does."""
        with translated(key):
            self.client.put_object(**self.where(key), Body=data)

    def copy(self, source: str, target: str) -> None:
        """Copies an object within the bucket."""
        with translated(target):
            config = TransferConfig(multipart_threshold=_COPY_AT_ONCE, multipart_chunksize=1 << 30, use_threads=False)
            self.client.copy(self.where(source), **self.where(target), Config=config)

    def remove(self, keys: Sequence[str]) -> None:
        """Removes objects; those that are not there are none the less removed."""
        for key in keys:
            with translated(key):
                self.client.delete_object(**self.where(key))

    def listed(self, start: str) -> Iterator[Object]:
        """Yields the objects whose key begins so."""
        with translated(start):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=f"{self._prefix}{start}")
            for page in pages:
                for one in page.get("Contents", ()):
                    yield Object(one["Key"][len(self._prefix) :], int(one["Size"]), one["LastModified"].timestamp())

    def link(self, key: str) -> str:
        """Returns a URL that gets an object without credentials; "" when nodes shall not have such."""
        if self._links is None:
            return ""
        with translated(key):
            return str(self._links.generate_presigned_url("get_object", Params=self.where(key), ExpiresIn=self._link_seconds))

    def abort_uploads(self, before: float) -> None:
        """Aborts uploads in parts that began before then: their writers are dead."""
        try:
            with translated(self._prefix):
                pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=self._prefix)
                stale = [
                    (one["Key"], one["UploadId"])
                    for page in pages
                    for one in page.get("Uploads", ())
                    if one["Initiated"].timestamp() < before
                ]
                for key, upload in stale:
                    self.client.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=upload)
        except (NotFound, Failed):
            return  # a service that lists no uploads has its own rule for those that were given up

    def close(self) -> None:
        """Closes the connections."""
        self.client.close()
        if self._links is not None:
            self._links.close()


def open_bucket(settings: S3Settings) -> Bucket:
    """Connects. Raises InvalidArgument, Failed (no such bucket, refused), Unavailable."""
    parts = urlsplit(settings.url)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise InvalidArgument(f"bad blob store {settings.url!r}: s3://BUCKET or s3://BUCKET/PREFIX is meant")
    prefix = f"{parts.path.strip('/')}/".lstrip("/")
    client = _client(settings, settings.endpoint)
    links = _client(settings, settings.links_endpoint or settings.endpoint) if settings.links else None
    bucket = Bucket(client, links, parts.netloc, prefix, settings.link_seconds)
    try:
        with translated(f"bucket {parts.netloc}"):
            client.head_bucket(Bucket=parts.netloc)
    except NotFound:
        raise Failed(f"the blob store has no bucket {parts.netloc}") from None
    return bucket


def _client(settings: S3Settings, endpoint: str) -> Any:
    config = Config(
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_SILENCE_SECONDS,
        max_pool_connections=64,
        signature_version="s3v4",
        # Services other than Amazon's are reached by path, and know no checksums behind the body.
        s3={"addressing_style": "path" if endpoint else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    with translated("endpoint"):
        try:
            return boto3.client(
                "s3",
                endpoint_url=endpoint or None,
                region_name=settings.region or ("us-east-1" if endpoint else None),
                aws_access_key_id=settings.access_key or None,
                aws_secret_access_key=settings.secret_key or None,
                config=config,
            )
        except ValueError as error:
            raise InvalidArgument(f"bad S3 endpoint {endpoint!r}: {error}") from None
