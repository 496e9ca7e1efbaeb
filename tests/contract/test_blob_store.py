"""What every blob store owes; files are the first."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.core.errors import Failed, NotFound
from skerry.images.blobs import Blobs
from skerry.images.blobs.files import FileBlobs

DATA = b"content"
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["files"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Blobs]:
    return lambda: FileBlobs(str(tmp_path))


def put(blobs: Blobs, data: bytes = DATA) -> str:
    with blobs.writer() as out:
        out.write(data)
        return out.commit()[0]


def test_a_blob_is_found_under_its_digest(make: Callable[[], Blobs]) -> None:
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


def test_what_is_not_there_is_not_found(make: Callable[[], Blobs]) -> None:
    blobs = make()
    for ask in (blobs.size, blobs.path, lambda digest: blobs.read(digest, 1)):
        with pytest.raises(NotFound):
            ask(DIGEST)


def test_a_wrong_digest_leaves_nothing(make: Callable[[], Blobs], tmp_path: Path) -> None:
    blobs = make()
    with pytest.raises(Failed), blobs.writer() as out:
        out.write(b"other")
        out.commit(DIGEST)
    assert list(blobs.all()) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_blob_without_commit_leaves_nothing(make: Callable[[], Blobs], tmp_path: Path) -> None:
    with make().writer() as out:
        out.write(DATA)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_a_killed_process_left_is_removed_at_opening(make: Callable[[], Blobs], tmp_path: Path) -> None:
    put(make())
    (tmp_path / "tmp" / "left").write_bytes(b"half")
    blobs = make()
    assert not (tmp_path / "tmp" / "left").exists()
    assert blobs.has(DIGEST)


def test_a_large_blob_is_not_read_whole(make: Callable[[], Blobs]) -> None:
    blobs = make()
    put(blobs)
    with pytest.raises(Failed):
        blobs.read(DIGEST, 3)
