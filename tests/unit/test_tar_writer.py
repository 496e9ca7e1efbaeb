"""Headers that are written are read back as they were meant, by us and by others; odd files do not spoil a tar."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from skerry.containers.layers import tar
from skerry.containers.layers.writer import END, FileSink, PipeSink, content, head, record

LONG = b"/".join([b"d" * 120] * 3)


def read_back(path: Path, *pieces: bytes) -> list[tar.Entry]:
    path.write_bytes(b"".join(pieces) + END)
    with open(path, "rb") as file:
        return list(tar.read(file.fileno()))


@pytest.mark.parametrize(
    ("path", "kind", "mode", "owner", "seconds", "more"),
    [
        (b"plain", tar.REGULAR, 0o100644, (0, 0), 1_700_000_000, {}),
        (b"directory", tar.DIRECTORY, 0o42755, (1, 2), 0, {}),
        (b"large numbers", tar.REGULAR, 0o100600, (1 << 21, (1 << 32) - 2), 1 << 33, {}),
        (b"before 1970", tar.REGULAR, 0o100644, (0, 0), -5, {}),
        (b"x" * 100, tar.REGULAR, 0o100644, (0, 0), 1, {}),
        (b"x" * 101, tar.REGULAR, 0o100644, (0, 0), 1, {}),
        (LONG, tar.DIRECTORY, 0o40755, (0, 0), 1, {}),
        (b"\xff\xfe raw \n", tar.REGULAR, 0o100644, (0, 0), 1, {}),
        (LONG + b"/\xff\n", tar.REGULAR, 0o100644, (0, 0), 1, {}),
        (b"soft", tar.SYMLINK, 0o120777, (0, 0), 1, {"link": b"../there"}),
        (b"soft", tar.SYMLINK, 0o120777, (0, 0), 1, {"link": LONG + b"\xff"}),
        (b"hard", tar.HARDLINK, 0o100644, (0, 0), 1, {"link": LONG}),
        (b"null", tar.CHARACTER, 0o20666, (0, 0), 1, {"device": (1, 3)}),
        (b"disk", tar.BLOCK_DEVICE, 0o60660, (0, 6), 1, {"device": (259, 70000)}),
        (b"pipe", tar.FIFO, 0o10600, (0, 0), 1, {}),
        (b"attributes", tar.REGULAR, 0o104755, (0, 0), 1, {"xattrs": [(b"security.capability", b"\0\1\n=\xff"), (b"user.a", b"")]}),
    ],
)
def test_a_header_is_read_back(
    tmp_path: Path, path: bytes, kind: bytes, mode: int, owner: tuple[int, int], seconds: int, more: dict[str, object]
) -> None:
    (entry,) = read_back(tmp_path / "tar", head(path, kind, mode, owner, seconds, **more))  # type: ignore[arg-type]
    assert (entry.path, entry.kind, (entry.uid, entry.gid), entry.mtime) == (path, kind, owner, seconds * 10**9)
    assert entry.mode & 0o7777 == mode & 0o7777
    assert (entry.link, entry.device, entry.xattrs) == (more.get("link", b""), more.get("device", (0, 0)), more.get("xattrs", []))
    with tarfile.open(tmp_path / "tar") as other:
        (member,) = other.getmembers()
    assert os.fsencode(member.name) == path and (member.uid, member.gid, int(member.mtime)) == (*owner, seconds)


def test_a_file_of_more_than_8_gib_says_so(tmp_path: Path) -> None:
    block = head(b"huge", tar.REGULAR, 0o644, (0, 0), 1, size=9 << 30)
    with open(tmp_path / "tar", "wb") as file:
        file.write(block)
        file.truncate(len(block) + (9 << 30) + len(END))
    with open(tmp_path / "tar", "rb") as file:
        assert [entry.size for entry in tar.read(file.fileno())] == [9 << 30]


@pytest.mark.parametrize("size", [0, 1, 5, 6, 7, 89, 90, 91, 92, 93, 988, 989, 990, 991, 992])
def test_a_record_counts_its_own_length(size: int) -> None:
    one = record(b"k", b"v" * size)
    assert int(one.partition(b" ")[0]) == len(one)


def packed(tmp_path: Path, file: Path, *, size: int | None = None, pipe: bool = False) -> bytes:
    """Returns what content() makes of a file, with both kinds of sink."""
    source = os.open(file, os.O_RDONLY)
    status = os.fstat(source)
    wanted = status.st_size if size is None else size
    try:
        with open(tmp_path / "out", "wb+", buffering=0) as out:
            if pipe:
                reader, writer = os.pipe()
                sink: PipeSink | FileSink = PipeSink(writer)
                pid = os.fork()
                if pid == 0:
                    os.close(reader)
                    content(sink, source, wanted, status.st_blocks)
                    sink.close()
                    os._exit(0)
                os.close(writer)
                with os.fdopen(reader, "rb") as end:
                    data = end.read()
                assert os.waitpid(pid, 0)[1] == 0
                return data
            sink = FileSink(out.fileno())
            content(sink, source, wanted, status.st_blocks)
            assert sink.close() == os.fstat(out.fileno()).st_size
            out.seek(0)
            return out.read()
    finally:
        os.close(source)


@pytest.mark.parametrize("pipe", [False, True])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 300_000, 3_000_001])
def test_content_is_padded_to_blocks(tmp_path: Path, size: int, pipe: bool) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    assert packed(tmp_path, tmp_path / "f", pipe=pipe) == data + bytes(-size % 512) + END


@pytest.mark.parametrize("pipe", [False, True])
def test_holes_are_zeros_in_the_tar_and_take_no_room(tmp_path: Path, pipe: bool) -> None:
    with open(tmp_path / "f", "wb") as file:
        for at, data in ((0, b"a" * 5000), (5_000_000, b"b"), (9_000_000, b"c" * 700_000)):
            file.seek(at)
            file.write(data)
        file.truncate(20_000_000)
    whole = (tmp_path / "f").read_bytes()
    found = packed(tmp_path, tmp_path / "f", pipe=pipe)
    assert found == whole + bytes(-len(whole) % 512) + END
    if not pipe:
        assert (tmp_path / "out").stat().st_blocks * 512 < 2_000_000


@pytest.mark.parametrize("pipe", [False, True])
@pytest.mark.parametrize("wanted", [100, 2_000_000, 3_500_000])
def test_a_file_that_changed_its_size_since_its_header(tmp_path: Path, wanted: int, pipe: bool) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "f").write_bytes(data)
    expected = data[:wanted] + bytes(max(0, wanted - len(data)))
    assert packed(tmp_path, tmp_path / "f", size=wanted, pipe=pipe) == expected + bytes(-wanted % 512) + END


def test_an_end_mark_alone_is_an_empty_tar() -> None:
    with tarfile.open(fileobj=io.BytesIO(END)) as archive:
        assert archive.getmembers() == []
