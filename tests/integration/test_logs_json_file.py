"""What is the json-file's own: names, rotation, compression, dying between any two steps, full disks."""

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.logs.drivers import JsonFileOptions
from skerry.logs.stores import Want
from skerry.logs.stores.json_file import JsonFile
from skerry.logs.stores.state import State
from spool_frames import end, frame

NAME = "c" * 64
START = 1_700_000_000 * 10**9


def read(store: JsonFile, **want: object) -> bytes:
    cursor = store.open_cursor(Want(multiplexed=False, **want))  # type: ignore[arg-type]
    out = b""
    while data := cursor.read():
        out += data
    cursor.close()
    return out


class Died(BaseException):
    """The process is no more."""


class Dying(JsonFile):
    """A JsonFile that dies at its n-th step: before, in the middle of, or behind a write, a commit, a rename."""

    left = 10**9

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Died

    def _append(self, data: bytes) -> None:
        self._step()
        if self.left == 0:
            super()._append(data[: len(data) // 2])
            raise Died
        super()._append(data)

    def _commit(self, new: State, *, sync: bool) -> None:
        self._step()
        super()._commit(new, sync=sync)
        self._step()

    def _shift(self) -> None:
        self._step()
        super()._shift()
        self._step()

    def _unlink(self, *paths: str) -> None:
        super()._unlink(*paths)
        self._step()


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 300), min_size=5, max_size=60),
    groups=st.lists(st.integers(1, 30), min_size=1, max_size=50),
    lives=st.lists(st.integers(0, 40), max_size=12),
    options=st.sampled_from([JsonFileOptions(), JsonFileOptions(400, 1000), JsonFileOptions(2000, 1000, True), JsonFileOptions(300, 1000)]),
)
def test_dying_anywhere_loses_and_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], groups: list[int], lives: list[int], options: JsonFileOptions
) -> None:
    folder = str(tmp_path_factory.mktemp("log"))
    body = b"".join(b"%05d\n" % number for number in range(sum(sizes) // 6))
    spool, starts, position = b"", [0], 0
    for size in sizes:
        if piece := body[position : position + size]:
            spool += frame(1, piece, START + position)
            starts.append(len(spool))
            position += size
    spool += end()
    starts.append(len(spool))
    for life in [*lives, 10**9]:
        store = Dying(folder, NAME, options, sync="off")
        store.left = life
        try:
            index = starts.index(store.offset)
            while index < len(starts) - 1:
                # Another life sends other batches: a resumed rotation must not count on the old ones.
                last = min(index + groups[(index + life) % len(groups)], len(starts) - 1)
                store.accept(starts[index], spool[starts[index] : starts[last]])
                index = last
        except Died:
            if store._packing is not None:
                store._packing.join()
            store.rest()
            continue
        assert read(store) == body[: 6 * (sum(sizes) // 6)]
        store.close()


def test_compressed_files_are_as_dockerd_writes_them(tmp_path: Path) -> None:
    store = JsonFile(str(tmp_path), NAME, JsonFileOptions(2000, 3, True))
    for number in range(120):
        store.accept(store.offset, frame(1, b"line %d\n" % number, START + number * 10**9))
    store.close()
    assert sorted(os.listdir(tmp_path)) == [f"{NAME}-json.log", f"{NAME}-json.log.1.gz", f"{NAME}-json.log.2.gz", "router-state"]
    packed = (tmp_path / f"{NAME}-json.log.1.gz").read_bytes()
    last = json.loads(gzip.decompress(packed).splitlines()[-1])["time"]
    extra = f'{{"lastTime":"{last}"}}'.encode()
    assert packed.startswith(b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + len(extra).to_bytes(2, "little") + extra)
    assert (tmp_path / f"{NAME}-json.log.1.gz").stat().st_mode & 0o777 == 0o640


def test_tail_reads_back_into_compressed_files(tmp_path: Path) -> None:
    store = JsonFile(str(tmp_path), NAME, JsonFileOptions(2000, 100, True))
    for number in range(300):
        store.accept(store.offset, frame(1, b"line %d\n" % number, START + number * 10**9))
    store._packing.join()  # type: ignore[union-attr]
    assert read(store, tail=250).splitlines() == [b"line %d" % number for number in range(50, 300)]
    assert read(store, since_ns=START + 70 * 10**9).splitlines() == [b"line %d" % number for number in range(70, 300)]
    store.close()


def test_a_file_that_somebody_emptied_goes_on(tmp_path: Path) -> None:
    store = JsonFile(str(tmp_path), NAME, JsonFileOptions())
    store.accept(0, frame(1, b"before\n" * 100))
    cursor = store.open_cursor(Want(multiplexed=False))
    assert cursor.read() == b"before\n" * 100
    os.truncate(store.path, 0)
    store.accept(store.offset, frame(1, b"after\n"))
    assert (tmp_path / f"{NAME}-json.log").read_bytes().startswith(b'{"log":"after')
    assert cursor.read() == b"after\n"
    assert read(store) == b"after\n"
    cursor.close()
    store.close()


def test_a_file_that_lost_its_end_is_cut_at_a_record(tmp_path: Path) -> None:
    store = JsonFile(str(tmp_path), NAME, JsonFileOptions())
    store.accept(0, frame(1, b"one\ntwo\nthree\n"))
    offset = store.offset
    store.close()
    os.truncate(store.path, os.path.getsize(store.path) - 5)
    store = JsonFile(str(tmp_path), NAME, JsonFileOptions())
    assert store.offset == offset
    store.accept(offset, frame(1, b"four\n"))
    assert read(store) == b"one\ntwo\nfour\n"
    store.close()


def test_lines_of_others_are_passed_over(tmp_path: Path) -> None:
    store = JsonFile(str(tmp_path), NAME, JsonFileOptions())
    path = tmp_path / f"{NAME}-json.log"
    store.accept(0, frame(1, b"one\ntwo\n"))
    path.write_bytes(path.read_bytes().replace(b'{"log":"one\\n"', b'{"lag":3,##'))
    store.close()
    store = JsonFile(str(tmp_path), NAME, JsonFileOptions())
    store.accept(store.offset, frame(1, b"three\n"))
    assert read(store).endswith(b"three\n")
    store.close()


@pytest.mark.root
def test_a_disk_that_is_full_at_any_moment_refuses_whole_batches(tmp_path: Path) -> None:
    from skerry.core import linux

    linux.mount("tmpfs", str(tmp_path), "tmpfs", data="size=256k")
    try:
        body = [b"".join(b"%05d some text\n" % number for number in range(at, at + 40)) for at in range(0, 1600, 40)]
        store = JsonFile(str(tmp_path / "log"), NAME, JsonFileOptions(20_000, 1000))
        filler, refused = tmp_path / "filler", 0
        for number, part in enumerate(body):
            free = os.statvfs(tmp_path).f_bavail * 4096
            filler.write_bytes(b"x" * max(0, free - number % 4 * 4096))
            batch = frame(1, part)
            try:
                store.accept(store.offset, batch)
            except OSError as error:
                assert error.errno == 28
                refused += 1
                if number % 2:
                    store.close()
                    filler.unlink()
                    store = JsonFile(str(tmp_path / "log"), NAME, JsonFileOptions(20_000, 1000))
                filler.write_bytes(b"")
                store.accept(store.offset, batch)
            filler.write_bytes(b"")
        assert read(store) == b"".join(body)
        assert refused > 3
        store.close()
    finally:
        linux.unmount(str(tmp_path))
