"""The tar that save writes, byte by byte."""

import io
import json
import tarfile

from skerry.images.archive.save import Blob, Chosen, header, pieces, size_of
from skerry.images.archive.tars import members
from skerry.images.catalog import Entry, ImageRecord, LayerRecord, Names

BASE, TOP = f"sha256:{'b' * 64}", f"sha256:{'c' * 64}"
CONTENT = {BASE: b"base layer", TOP: b"x" * 512}


def chosen(number: int, layers: list[str], names: list[str], parent: str = "") -> Chosen:
    records = tuple(LayerRecord(one, len(CONTENT[one])) for one in layers)
    image = ImageRecord(f"sha256:{number:064x}", b'{"n":%d}' % number, records, 1_700_000_000 * 10**9, parent=parent)
    return Chosen(Entry(image, Names(tuple(names))), names)


def read(found: list[bytes | Blob]) -> dict[str, bytes]:
    data = b"".join(CONTENT[piece.digest] if isinstance(piece, Blob) else piece for piece in found)
    assert len(data) == size_of(found) and len(data) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        entries = [(info, tar.extractfile(info)) for info in tar]
    assert [info.name for info, _ in entries] == sorted(info.name for info, _ in entries)
    assert {(info.uid, info.gid, info.mode) for info, file in entries if file} == {(0, 0, 0o644)}
    return {info.name: file.read() for info, file in entries if file}


def test_the_same_images_give_the_same_bytes_and_each_layer_once() -> None:
    def made() -> list[bytes | Blob]:
        return pieces([chosen(1, [BASE, TOP, BASE], ["docker.io/library/a:1"]), chosen(2, [BASE], [])])

    assert made() == made()
    assert [piece.digest for piece in made() if isinstance(piece, Blob)] == [BASE, TOP]
    files = read(made())
    items = json.loads(files["manifest.json"])
    assert [item["RepoTags"] for item in items] == [["a:1"], None]
    assert items[0]["Layers"] == [f"blobs/sha256/{one[7:]}" for one in (BASE, TOP, BASE)]
    named = [one.get("annotations", {}).get("org.opencontainers.image.ref.name") for one in json.loads(files["index.json"])["manifests"]]
    assert named == ["1", None]
    assert json.loads(files["repositories"]) == {"a": {"1": "b" * 64}}


def test_a_parent_is_told_only_when_it_is_saved_too() -> None:
    parent = chosen(1, [BASE], [])
    child = chosen(2, [BASE, TOP], ["docker.io/library/a:1"], parent=parent.entry.image.id)
    alone, both = (json.loads(read(pieces(images))["manifest.json"]) for images in ([child], [parent, child]))
    assert "Parent" not in alone[0] and both[1]["Parent"] == parent.entry.image.id


def test_an_image_without_layers_and_no_image_at_all() -> None:
    assert "LayerSources" not in json.loads(read(pieces([chosen(1, [], ["docker.io/library/a:1"])]))["manifest.json"])[0]
    assert json.loads(read(pieces([]))["manifest.json"]) is None


def test_headers_of_every_size_are_read_back() -> None:
    for size in (0, 1, 8**11 - 1, 8**11, 1 << 40):
        block = header("blobs/sha256/" + "a" * 64, size, 1 << 70)
        assert tarfile.TarInfo.frombuf(block, "ascii", "strict").size == size
        if size <= 1:
            member, _ = next(iter(members(io.BytesIO(block + bytes(512)))))
            assert (member.size, member.kind) == (size, "file")
