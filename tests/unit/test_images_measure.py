"""Docker's size of a layer, from its tar's headers: the same however the tar is cut into pieces, and whoever wrote it."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from skerry.images.blobs.files import FileBlobs
from skerry.images.measure import FileSizes, measured

LONG = "l" * 300


def _tar(kind: int) -> tuple[bytes, int]:
    """Returns a tar and the bytes of its files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as target:
        for path, size in (("a", 0), ("b", 1), ("c", 511), ("d", 512), (f"{LONG}/e", 513), ("f", 300_000)):
            info = tarfile.TarInfo(path)
            info.size = size
            target.addfile(info, io.BytesIO(b"x" * size))
        for path, form, to in (("s", tarfile.SYMTYPE, "abc"), ("t", tarfile.SYMTYPE, LONG), ("h", tarfile.LNKTYPE, "f")):
            info = tarfile.TarInfo(path)
            info.type, info.linkname = form, to
            target.addfile(info)
        folder = tarfile.TarInfo("folder")
        folder.type, folder.size = tarfile.DIRTYPE, 0
        target.addfile(folder)
        device = tarfile.TarInfo("null")
        device.type = tarfile.CHRTYPE
        target.addfile(device)
    return out.getvalue(), 1 + 511 + 512 + 513 + (300_000) + len("abc") + len(LONG)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("piece", [1000, 512, 7, 1 << 20])
def test_files_and_targets_are_added_up(kind: int, piece: int) -> None:
    data, expected = _tar(kind)
    sizes = FileSizes()
    for start in range(0, len(data), piece):
        sizes.feed(memoryview(data)[start : start + piece])
    assert sizes.total == expected


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_sparse_files_count_whole(form: str, tmp_path: Path) -> None:
    with open(tmp_path / "holes", "wb") as file:
        for number in range(40):  # more pieces than the first header has room for
            file.seek(number * 100_000)
            file.write(b"x" * 4096)
        file.truncate(5_000_000)
    (tmp_path / "next").write_bytes(b"y" * 77)
    data = subprocess.run(
        ["tar", "-C", tmp_path, "--sparse", f"--format={form}", "-c", "holes", "next"], capture_output=True, check=True, timeout=20
    ).stdout
    assert len(data) < 1_000_000
    sizes = FileSizes()
    sizes.feed(data)
    assert sizes.total == 5_000_077


def test_what_is_not_understood_is_not_counted() -> None:
    sizes = FileSizes()
    sizes.feed(b"\1" * 1024)
    assert sizes.total == -1
    data, _ = _tar(tarfile.PAX_FORMAT)
    header = tarfile.TarInfo("x")
    header.type, header.size = b"x", 1 << 30
    sizes = FileSizes()
    sizes.feed(header.tobuf(tarfile.USTAR_FORMAT) + data)
    assert sizes.total == -1


def test_what_comes_behind_the_end_counts_nothing() -> None:
    data, expected = _tar(tarfile.GNU_FORMAT)
    sizes = FileSizes()
    sizes.feed(data + data)
    assert sizes.total == expected


def test_a_stored_layer_is_measured(tmp_path: Path) -> None:
    blobs = FileBlobs(str(tmp_path))
    data, expected = _tar(tarfile.GNU_FORMAT)
    with blobs.writer() as out:
        out.write(data)
        digest, _ = out.commit()
    assert measured(blobs, digest) == expected
