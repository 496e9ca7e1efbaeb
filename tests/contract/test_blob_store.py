"""What every blob store owes: files, and S3 on two servers (moto as Amazon does, rclone as simpler servers do)."""

import gzip
import hashlib
import io
import os
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zstandard

from shared_store.servers import BUCKET, S3Server, s3
from skerry.core.errors import Failed, InvalidArgument, NotFound
from skerry.images.blobs import Blobs
from skerry.images.blobs.files import FileBlobs
from skerry.images.blobs.s3 import open_s3_blobs
from skerry.images.layers import take

DATA = b"content"
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("noise")
        entry.size = 6 << 20
        tar.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    return out.getvalue()


# Larger than one part of an upload, compressed too.
TAR = _tar()
DIFF = "sha256:" + hashlib.sha256(TAR).hexdigest()
Make = Callable[[], Blobs]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], S3Server]]:
    with ExitStack() as stack:
        running: dict[str, S3Server] = {}

        def start(kind: str) -> S3Server:
            if kind not in running:
                running[kind] = stack.enter_context(s3(kind, tmp_path_factory.mktemp(kind)))
            return running[kind]

        yield start


@pytest.fixture(params=["files", "moto", "rclone"])
def make(request: pytest.FixtureRequest, tmp_path: Path, servers: Callable[[str], S3Server]) -> Iterator[Make]:
    with ExitStack() as stack:
        if request.param == "files":
            yield lambda: FileBlobs(str(tmp_path))
        else:
            settings = servers(request.param).settings(tmp_path.name)
            yield lambda: stack.enter_context(open_s3_blobs(settings))


def put(blobs: Blobs, data: bytes = DATA) -> str:
    with blobs.writer() as out:
        out.write(data)
        return out.commit()[0]


def content(blobs: Blobs, digest: str, offset: int = 0) -> bytes:
    parts = []
    with blobs.open(digest, offset) as reader:
        while part := reader.read(1 << 20):
            parts.append(part)
    return b"".join(parts)


def test_a_blob_is_found_under_its_digest(make: Make) -> None:
    blobs = make()
    assert put(blobs) == DIGEST
    assert blobs.has(DIGEST)
    assert (blobs.size(DIGEST), blobs.read(DIGEST, 100)) == (len(DATA), DATA)
    path = blobs.path(DIGEST)
    assert path is None or Path(path).read_bytes() == DATA
    assert list(blobs.all()) == [DIGEST]
    assert put(blobs) == DIGEST
    assert blobs.remove(DIGEST) == len(DATA)
    assert blobs.remove(DIGEST) == 0
    assert not blobs.has(DIGEST)


def test_what_is_not_there_is_not_found(make: Make) -> None:
    blobs = make()
    for ask in (blobs.size, blobs.path, blobs.link, lambda digest: blobs.read(digest, 1), lambda digest: content(blobs, digest)):
        with pytest.raises(NotFound):
            ask(DIGEST)


def test_a_wrong_digest_leaves_nothing(make: Make) -> None:
    blobs = make()
    for data in (b"other", TAR):
        with pytest.raises(Failed), blobs.writer() as out:
            out.write(data)
            out.commit(DIGEST)
    assert list(make().all()) == []


def test_a_blob_without_commit_leaves_nothing(make: Make, tmp_path: Path) -> None:
    with make().writer() as out:
        out.write(TAR)
    assert list(make().all()) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_large_blob_is_not_read_whole(make: Make) -> None:
    blobs = make()
    put(blobs)
    with pytest.raises(Failed):
        blobs.read(DIGEST, 3)


def test_a_blob_is_read_from_any_offset(make: Make) -> None:
    blobs = make()
    digest = put(blobs, TAR)
    assert digest == DIFF
    for offset in (0, 1, 5 << 20, len(TAR)):
        assert content(blobs, digest, offset) == TAR[offset:]


def test_a_listing_tells_size_and_age(make: Make) -> None:
    blobs = make()
    put(blobs)
    (one,) = blobs.listed()
    assert (one.digest, one.size, one.kept_as) == (DIGEST, len(DATA), "")
    assert abs(one.stored_at - time.time()) < 60


@pytest.mark.parametrize("kind", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not kept"])
def test_a_layer_is_read_back_as_the_plain_tar_however_it_came(make: Make, kind: str, keep: bool) -> None:
    blobs = make()
    came = {"plain": lambda: TAR, "gzip": lambda: gzip.compress(TAR, 1, mtime=0), "zstd": lambda: zstandard.compress(TAR)}[kind]()
    came_digest = "sha256:" + hashlib.sha256(came).hexdigest()
    stored = take(io.BytesIO(came), blobs, keep_compressed=keep, limit=1 << 30, expected_diff=DIFF, expected=came_digest)
    assert (stored.diff_id, stored.size, stored.came) == (DIFF, len(TAR), came_digest)
    assert blobs.has(DIFF)
    assert blobs.size(DIFF) == len(TAR)
    for offset in (0, 5 << 20, len(TAR)):
        assert content(blobs, DIFF, offset) == TAR[offset:]
    if kind != "plain" and keep:
        assert stored.compressed == came_digest
    if stored.compressed:
        assert blobs.has(stored.compressed)
        needed = {one.digest: one.kept_as for one in blobs.listed()}
        assert needed[DIFF] in ("", stored.compressed)
    again = take(io.BytesIO(came), blobs, keep_compressed=keep, limit=1 << 30)
    assert again == stored
    assert len(list(blobs.listed())) == len({DIFF, stored.compressed} - {""})


def test_a_layer_that_is_not_what_was_expected_leaves_nothing(make: Make) -> None:
    blobs = make()
    came = gzip.compress(TAR, 1)
    for expected in ({"expected_diff": DIGEST}, {"expected": DIGEST}):
        with pytest.raises(Failed):
            take(io.BytesIO(came), blobs, keep_compressed=True, limit=1 << 30, **expected)
    assert list(blobs.all()) == []


def test_a_layer_in_two_forms_is_there_as_long_as_one_is_needed(make: Make) -> None:
    blobs = make()
    first = take(io.BytesIO(gzip.compress(TAR, 1)), blobs, keep_compressed=True, limit=1 << 30)
    second = take(io.BytesIO(zstandard.compress(TAR)), blobs, keep_compressed=True, limit=1 << 30)
    assert first.compressed != second.compressed
    listed = list(blobs.listed())
    needed = {one.kept_as for one in listed if one.digest == DIFF} | {DIFF, second.compressed}
    for one in listed:
        if one.digest not in needed:
            blobs.remove(one.digest)
    assert content(blobs, DIFF) == TAR
    blobs.remove(DIFF)
    assert not blobs.has(DIFF)


@pytest.mark.parametrize("make", ["files"], indirect=True)
def test_what_a_killed_process_left_is_removed_at_opening(make: Make, tmp_path: Path) -> None:
    put(make())
    (tmp_path / "tmp" / "left").write_bytes(b"half")
    blobs = make()
    assert not (tmp_path / "tmp" / "left").exists()
    assert blobs.has(DIGEST)


@pytest.mark.parametrize("make", ["moto", "rclone"], indirect=True)
def test_a_link_gives_a_layer_without_credentials(make: Make) -> None:
    import urllib.request

    blobs = make()
    take(io.BytesIO(TAR), blobs, keep_compressed=False, limit=1 << 30)
    link = blobs.link(DIFF)
    assert link is not None and link.compression == "gzip"
    with urllib.request.urlopen(link.url, timeout=30) as answer:
        data = answer.read()
    assert len(data) == link.size
    assert zlib.decompress(data, 31) == TAR


@pytest.mark.parametrize("kind", ["moto", "rclone"])
def test_what_a_killed_service_left_in_a_bucket_is_tidied(servers: Callable[[str], S3Server], kind: str, tmp_path: Path) -> None:
    server = servers(kind)
    with open_s3_blobs(server.settings(tmp_path.name)) as blobs:
        client, where = server.client(), {"Bucket": BUCKET}
        key = f"{tmp_path.name}/blobs/{DIFF[7:]}"
        upload = client.create_multipart_upload(**where, Key=key)["UploadId"]
        client.upload_part(**where, Key=key, UploadId=upload, PartNumber=1, Body=TAR)
        client.put_object(**where, Key=f"{tmp_path.name}/taking/half", Body=b"half")
        blobs.tidy(0.0)
        assert client.list_objects_v2(**where, Prefix=f"{tmp_path.name}/taking/")["Contents"]
        blobs.tidy(2e10)
        assert not client.list_objects_v2(**where, Prefix=f"{tmp_path.name}/").get("Contents")
        if kind == "moto":
            assert not client.list_multipart_uploads(**where, Prefix=f"{tmp_path.name}/").get("Uploads")


def test_a_blob_may_be_written_by_somebody_else(make: Make, tmp_path: Path) -> None:
    blobs = make()
    begun = blobs.by_path()
    if begun is None:
        return  # a store without files
    with begun as writer:
        Path(writer.path).write_bytes(DATA)
        # As a node does: its own name for the same file.
        (tmp_path / "own").hardlink_to(writer.path)
        assert writer.take(100) == (DIGEST, len(DATA))
    assert blobs.read(DIGEST, 100) == DATA
    assert (tmp_path / "own").samefile(blobs.path(DIGEST) or "")
    with blobs.by_path() or begun as writer:
        Path(writer.path).write_bytes(DATA)
        with pytest.raises(InvalidArgument):
            writer.take(len(DATA) - 1)
    with blobs.by_path() or begun as writer:
        left = writer.path
    assert not Path(left).exists()
    assert list(blobs.all()) == [DIGEST]
