"""Reading docker-archives and OCI layouts in one pass: layers go to the blob store as they come, documents are understood at the end.

Runs on a thread. What was stored but is not used by an image found at the end is left to the garbage collector.
"""

import io
import posixpath
from typing import Any, BinaryIO

import msgspec

from skerry.core.errors import InvalidArgument
from skerry.images import config as configs
from skerry.images import manifest as manifests
from skerry.images.archive.tars import BLOCK, Content, members
from skerry.images.blobs import Blobs
from skerry.images.layers import CHUNK, FORMAT_ERRORS, Rewound, Stored, Watched, compression, peek, plain, take
from skerry.images.reference import DEFAULT_TAG, is_digest, parse

_MAX_DOCUMENTS = 64 << 20
_MAX_LINKS = 16
_MAX_SMALL = 64 << 10
_NAME_KEYS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class Found(msgspec.Struct):
    """One image of the archive: its configuration, its layers, lowest first, and its full names."""

    config: bytes
    layers: list[Stored]
    names: list[str]
    # Bytes of the manifest it came with (OCI); empty in a docker-archive.
    manifest: bytes = b""


class _Entry(msgspec.Struct, rename="pascal"):
    config: str
    layers: list[str]
    repo_tags: list[str] | None = None


class Archive:
    """What one archive holds, by path. Feed it with `read`, then ask `images`."""

    def __init__(self, blobs: Blobs, *, keep_compressed: bool, limit: int, ratio: float) -> None:
        self._blobs = blobs
        self._keep = keep_compressed
        self._limit = limit
        self._ratio = ratio
        self._layers: dict[str, Stored] = {}
        self._documents: dict[str, bytes] = {}
        self._links: dict[str, str] = {}
        self._documents_size = 0

    def read(self, source: BinaryIO) -> None:
        """Reads the archive (plain or compressed) to its end. Raises InvalidArgument."""
        head = peek(source)
        through = Watched(source, head)
        reader = plain(through, compression(head))
        try:
            self._entries(reader)
            # What follows the end mark is read too: padding, or a client that is not done writing.
            while reader.read(CHUNK):
                pass
        except FORMAT_ERRORS as error:
            if through.failure is not None:
                raise through.failure from None
            raise InvalidArgument(f"invalid tar archive: {error}") from None

    def _entries(self, reader: Any) -> None:
        for member, content in members(reader):
            path = _clean(member.name)
            if member.kind == "symlink":
                self._links[path] = _clean(posixpath.join(posixpath.dirname(path), member.link))
            elif member.kind == "hardlink":
                self._links[path] = _clean(member.link)
            elif content is not None:
                self._file(path, member.size, content)

    def _file(self, path: str, size: int, content: Content) -> None:
        head = peek(content, BLOCK)
        if _is_layer(path, size, head):
            self._layers[path] = take(Rewound(content, head), self._blobs, keep_compressed=self._keep, limit=self._limit, ratio=self._ratio)
            return
        self._documents_size += size
        if self._documents_size > _MAX_DOCUMENTS:
            raise InvalidArgument(f"archive has more than {_MAX_DOCUMENTS} bytes of documents")
        self._documents[path] = head + content.read()

    def images(self) -> list[Found]:
        """Returns the images. Raises InvalidArgument when a part is missing or does not fit."""
        if "manifest.json" in self._documents:
            return [self._docker(entry) for entry in _decode(self._documents["manifest.json"], list[_Entry], "manifest.json")]
        if "index.json" in self._documents:
            index = manifests.decode(self._documents["index.json"], manifests.OCI_INDEX)
            if not isinstance(index, manifests.Index):
                raise InvalidArgument("invalid index.json: not an index")
            return [one for descriptor in index.manifests for one in self._oci(descriptor, 0)]
        raise InvalidArgument("invalid archive: does not contain a manifest.json")

    def _docker(self, entry: _Entry) -> Found:
        layers = [self._layer(path) for path in entry.layers]
        names = [_full(tag) for tag in entry.repo_tags or []]
        return _checked(Found(self._document(entry.config), layers, names))

    def _oci(self, descriptor: manifests.Descriptor, depth: int) -> list[Found]:
        data = self._document(_blob(descriptor.digest))
        if manifests.digest_of(data) != descriptor.digest:
            raise InvalidArgument(f"manifest verification failed for digest {descriptor.digest}")
        document = manifests.decode(data, descriptor.media_type)
        if isinstance(document, manifests.Index):
            if depth:
                raise InvalidArgument("index within an index")
            found = []
            for one in document.manifests:
                if self._has(_blob(one.digest)) and (one.platform is None or one.platform.os != "unknown"):
                    named = msgspec.structs.replace(one, annotations={**descriptor.annotations, **one.annotations})
                    found += self._oci(named, depth + 1)
            return found
        layers = []
        for layer in document.layers:
            stored = self._layer(_blob(layer.digest))
            if layer.digest not in (stored.diff_id, stored.came):
                raise InvalidArgument(f"layer verification failed for digest {layer.digest}")
            layers.append(stored)
        config = self._document(_blob(document.config.digest))
        if manifests.digest_of(config) != document.config.digest:
            raise InvalidArgument(f"image config verification failed for digest {document.config.digest}")
        return [_checked(Found(config, layers, _oci_names(descriptor.annotations), data))]

    def _resolve(self, path: str) -> str:
        path = _clean(path)
        for _ in range(_MAX_LINKS):
            if path not in self._links:
                return path
            path = self._links[path]
        raise InvalidArgument(f"invalid archive: too many links at {path[:200]!r}")

    def _has(self, path: str) -> bool:
        return self._resolve(path) in self._documents

    def _document(self, path: str) -> bytes:
        data = self._documents.get(self._resolve(path))
        if data is None:
            raise InvalidArgument(f"invalid archive: open {path[:200]}: no such file or directory")
        return data

    def _layer(self, path: str) -> Stored:
        resolved = self._resolve(path)
        stored = self._layers.get(resolved)
        if stored is None and len(small := self._documents.get(resolved, b"")) > 0 and not small.strip(b"\0"):
            # An empty layer (two blocks of zeros) looks like nothing until a manifest says what it is.
            stored = self._layers[resolved] = take(
                io.BytesIO(small), self._blobs, keep_compressed=self._keep, limit=self._limit, ratio=self._ratio
            )
        if stored is None:
            raise InvalidArgument(f"invalid archive: open {path[:200]}: no such file or directory")
        return stored


def _checked(found: Found) -> Found:
    diff_ids = configs.admit(found.config).diff_ids()
    if len(diff_ids) != len(found.layers):
        raise InvalidArgument(f"invalid manifest, layers length mismatch: expected {len(diff_ids)}, got {len(found.layers)}")
    for expected, layer in zip(diff_ids, found.layers, strict=True):
        if expected != layer.diff_id:
            raise InvalidArgument(f"invalid diffID for layer: expected {expected!r}, got {layer.diff_id!r}")
    return found


def _is_layer(path: str, size: int, head: bytes) -> bool:
    if compression(head) or head[257:262] == b"ustar" or path.endswith(("/layer.tar", ".tar", ".tar.gz")):
        return True
    # A layer of a writer that leaves no mark (tar of Unix version 7) is told from a document by what it is not.
    return size > _MAX_SMALL and head.lstrip()[:1] not in (b"{", b"[")


def _clean(path: str) -> str:
    # Joined to "/" first, so that ".." cannot lead above the archive's own root.
    return posixpath.normpath(posixpath.join("/", path)).lstrip("/")


def _blob(digest: str) -> str:
    if not is_digest(digest):
        raise InvalidArgument(f"unsupported digest {digest[:100]!r}")
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _full(tag: str) -> str:
    reference = parse(tag)
    if not reference.tag:
        raise InvalidArgument(f"invalid tag {tag!r}")
    return f"{reference.repository}:{reference.tag}"


def _oci_names(annotations: dict[str, str]) -> list[str]:
    for key in _NAME_KEYS:
        text = annotations.get(key, "")
        # ref.name may be a bare tag: that names no repository.
        if "/" in text or ":" in text:
            reference = parse(text)
            return [f"{reference.repository}:{reference.tag or DEFAULT_TAG}"]
    return []


def _decode(data: bytes, kind: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"invalid {what}: {error}") from None
