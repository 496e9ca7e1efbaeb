"""What a saved tar consists of: docker-archive and OCI layout in one, as Docker writes it since version 25. No I/O."""

from collections.abc import Iterator
from typing import Any

import msgspec

from skerry.images import manifest
from skerry.images.catalog import Entry
from skerry.images.reference import parse

BLOCK = 512
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_END = bytes(2 * BLOCK)
# What eleven octal digits say.
_MAX_OCTAL = 1 << 33
_MAX_TIME = 1 << 33


class Chosen(msgspec.Struct):
    """One image to save, and the full names it takes along."""

    entry: Entry
    names: list[str]


class Blob(msgspec.Struct, frozen=True):
    """Stands for a layer of the blob store: its plain tar, size bytes."""

    digest: str
    size: int


class _Part(msgspec.Struct, frozen=True):
    content: bytes | Blob
    time_ns: int = 0


def pieces(images: list[Chosen]) -> list[bytes | Blob]:
    """Returns the tar of the images as pieces in order. Same images and names, same bytes."""
    parts = _parts(images)
    found: list[bytes | Blob] = [_directory("blobs/") + _directory("blobs/sha256/")]
    for path in sorted(parts):
        part = parts[path]
        size = part.content.size if isinstance(part.content, Blob) else len(part.content)
        found += [header(path, size, part.time_ns), part.content, bytes(-size % BLOCK)]
    return list(_joined([*found, _END]))


def size_of(found: list[bytes | Blob]) -> int:
    """Returns how many bytes the tar has."""
    return sum(piece.size if isinstance(piece, Blob) else len(piece) for piece in found)


def header(path: str, size: int, time_ns: int, kind: bytes = b"0", mode: int = 0o644) -> bytes:
    """Returns one ustar header; path has at most 100 bytes."""
    block = bytearray(BLOCK)
    block[: len(path)] = path.encode("ascii")
    block[100:108] = b"%07o\0" % mode
    block[108:116] = block[116:124] = b"0000000\0"
    # Base 256 for what octal digits cannot say: GNU tar's form, which every reader knows.
    block[124:136] = b"%011o\0" % size if size < _MAX_OCTAL else b"\x80" + size.to_bytes(11, "big")
    block[136:148] = b"%011o\0" % (min(max(time_ns, 0) // 10**9, _MAX_TIME - 1))
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _directory(path: str) -> bytes:
    return header(path, 0, 0, b"5", 0o755)


def _joined(found: list[bytes | Blob]) -> Iterator[bytes | Blob]:
    """Joins bytes that follow one another: thousands of small documents are not thousands of messages."""
    together = bytearray()
    for piece in found:
        if isinstance(piece, Blob):
            if together:
                yield bytes(together)
                together.clear()
            yield piece
        else:
            together += piece
    if together:
        yield bytes(together)


def _parts(images: list[Chosen]) -> dict[str, _Part]:
    parts: dict[str, _Part] = {}
    items: list[dict[str, Any]] = []
    descriptors: list[dict[str, Any]] = []
    legacy: dict[str, dict[str, str]] = {}
    saved = {chosen.entry.image.id for chosen in images}
    for chosen in images:
        image = chosen.entry.image
        layers: list[dict[str, Any]] = [{"mediaType": _LAYER, "digest": layer.diff_id, "size": layer.size} for layer in image.layers]
        document = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": image.id, "size": len(image.config)},
            "layers": layers,
        }
        body = msgspec.json.encode(document)
        digest = manifest.digest_of(body)
        parts[_path(digest)] = _Part(body)
        parts[_path(image.id)] = _Part(image.config, image.created_ns)
        for layer in image.layers:
            parts.setdefault(_path(layer.diff_id), _Part(Blob(layer.diff_id, layer.size), image.created_ns))
        descriptors += _descriptors(chosen, {"mediaType": _MANIFEST, "digest": digest, "size": len(body)})
        item: dict[str, Any] = {
            "Config": _path(image.id),
            "RepoTags": [parse(name).familiar for name in chosen.names] or None,
            "Layers": [_path(layer.diff_id) for layer in image.layers],
        }
        if image.parent in saved:
            item["Parent"] = image.parent
        if layers:
            item["LayerSources"] = {layer["digest"]: layer for layer in layers}
            for name in chosen.names:
                reference = parse(name)
                legacy.setdefault(reference.familiar_name, {})[reference.tag] = image.layers[-1].diff_id.removeprefix("sha256:")
        items.append(item)
    parts["manifest.json"] = _Part(msgspec.json.encode(items or None) + b"\n")
    parts["index.json"] = _Part(msgspec.json.encode({"schemaVersion": 2, "mediaType": _INDEX, "manifests": descriptors}))
    parts["oci-layout"] = _Part(b'{"imageLayoutVersion": "1.0.0"}')
    if legacy:
        parts["repositories"] = _Part(msgspec.json.encode(legacy) + b"\n")
    return parts


def _descriptors(chosen: Chosen, descriptor: dict[str, Any]) -> list[dict[str, Any]]:
    named = []
    for name in chosen.names:
        annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": parse(name).tag}
        named.append({**descriptor, "annotations": annotations})
    return named or [descriptor]


def _path(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"
