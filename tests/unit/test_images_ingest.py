"""What is kept of interrupted downloads, and for how long."""

import os
from pathlib import Path

import pytest

from skerry.images.ingest import Ingest, Part

A, B, C = ("sha256:" + letter * 64 for letter in "abc")


def ingest(folder: Path, *, age: float = 1000, size: int = 1000) -> Ingest:
    return Ingest(str(folder), max_age=age, max_bytes=size)


async def fill(one: Ingest, digest: str, data: bytes, size: int = 1000) -> None:
    async with one.part(digest, size) as part:
        part.write(data)


async def test_a_part_is_gone_on_with(tmp_path: Path) -> None:
    await fill(ingest(tmp_path), A, b"12345")
    async with ingest(tmp_path).part(A, 1000) as part:
        assert (part.begin, part.read(0, 3), part.read(3, 100), part.read(5, 100)) == (5, b"123", b"45", b"")
        part.write(b"1234")
        part.write(b"5678")
    assert (tmp_path / f"{A[7:]}.part").read_bytes() == b"12345678"


async def test_what_is_longer_than_the_blob_is_no_part_of_it(tmp_path: Path) -> None:
    await fill(ingest(tmp_path), A, b"12345")
    async with ingest(tmp_path).part(A, 4) as part:
        assert part.begin == 0


async def test_a_discarded_or_empty_part_goes(tmp_path: Path) -> None:
    one = ingest(tmp_path)
    async with one.part(A, 10) as part:
        part.write(b"x")
        part.discard()
    async with one.part(B, 10):
        pass
    assert os.listdir(tmp_path) == []


async def test_a_part_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"secret")
    (tmp_path / "link.part").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        Part(str(tmp_path / "link.part"), 10)


async def test_old_parts_and_claims_go_held_ones_stay(tmp_path: Path) -> None:
    one = ingest(tmp_path, age=100)
    await fill(one, A, b"old")
    await fill(one, B, b"new")
    with pytest.raises(ZeroDivisionError):
        async with one.claim(C, [A]):
            _ = 1 / 0
    for name in (f"{A[7:]}.part", f"{C[7:]}.claim"):
        os.utime(tmp_path / name, (1, 1))
    async with one.part(A, 10):
        one.tidy()
        assert sorted(os.listdir(tmp_path)) == [f"{A[7:]}.part", f"{B[7:]}.part"]
    one.tidy()
    assert os.listdir(tmp_path) == [f"{B[7:]}.part"]


async def test_the_oldest_parts_go_when_all_are_too_large(tmp_path: Path) -> None:
    one = ingest(tmp_path, size=10)
    for number, digest in enumerate((A, B, C)):
        await fill(one, digest, b"12345")
        os.utime(tmp_path / f"{digest[7:]}.part", (2e9 + number, 2e9 + number))
    one.tidy()
    assert sorted(os.listdir(tmp_path)) == [f"{B[7:]}.part", f"{C[7:]}.part"]


async def test_a_claim_holds_what_is_there_until_its_pull_succeeds(tmp_path: Path) -> None:
    one = ingest(tmp_path, size=10)
    with pytest.raises(ZeroDivisionError):
        async with one.claim(C, [A, B]):
            _ = 1 / 0
    assert one.claimed({A: 5}) == {A}
    assert one.claimed({A: 5, B: 6}) == set()
    async with one.claim(C, [A, B]):
        assert one.claimed({A: 5}) == {A}
    assert one.claimed({A: 5}) == set()
