"""Reading docker-archives and OCI layouts in one pass: layers go to the blob store as they come, documents are understood at the end.

Runs on a thread. What was stored but is not used by an image found at the end is left to the garbage collector.
"""

import io
import posixpath
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import msgspec

from skerry.core.errors import InvalidArgument
from skerry.images import config as configs
from skerry.images import manifest as manifests
from skerry.images.archive import legacy
from skerry.images.archive.found import Found
from skerry.images.archive.tars import BLOCK, Content, members
from skerry.images.blobs import Blobs
from skerry.images.layers import CHUNK, FORMAT_ERRORS, Rewound, Stored, Watched, compression, peek, plain, take
from skerry.images.reference import DEFAULT_TAG, is_digest, parse

_MAX_DOCUMENTS = 64 << 20
_MAX_LINKS = 16
_MAX_SMALL = 64 << 10
_MAX_DEPTH = 4
_PROGRESS_SECONDS = 0.1
# What is shown of a layer's path: name, bytes so far, bytes in all.
Show = Callable[[str, int, int], None]
_NAME_KEYS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class _Entry(msgspec.Struct, rename="pascal"):
    config: str
    layers: list[str] | None = None
    repo_tags: list[str] | None = None
    parent: str = ""


class _Shown(Rewound):
    """Tells how far a layer has come."""

    def __init__(self, content: Content, head: bytes, tell: Callable[[int], None]) -> None:
        super().__init__(content, head)
        self._tell = tell
        self._count = 0
        self._shown = time.monotonic()

    def pull(self, size: int) -> bytes:
        data = super().pull(size)
        self._count += len(data)
        if (now := time.monotonic()) - self._shown > _PROGRESS_SECONDS:
            self._shown = now
            self._tell(self._count)
        return data


class Archive:
    """What one archive holds, by path. Feed it with `read`, then ask `images`."""

    def __init__(self, blobs: Blobs, *, keep_compressed: bool, limit: int, ratio: float, show: Show = lambda *_: None) -> None:
        self._blobs = blobs
        self._keep = keep_compressed
        self._limit = limit
        self._ratio = ratio
        self._show = show
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
            name = _shown_name(path)
            self._layers[path] = self._take(_Shown(content, head, lambda current: self._show(name, current, size)))
            self._show(name, size, size)
            return
        self._documents_size += size
        if self._documents_size > _MAX_DOCUMENTS:
            raise InvalidArgument(f"archive has more than {_MAX_DOCUMENTS} bytes of documents")
        self._documents[path] = head + content.read()

    def _take(self, source: Any) -> Stored:
        return take(source, self._blobs, keep_compressed=self._keep, limit=self._limit, ratio=self._ratio)

    def images(self, wanted: manifests.Platform | None = None) -> list[Found]:
        """Returns the images, or only those for a platform. Raises InvalidArgument when a part is missing or does not fit."""
        found = self._images()
        for one in found:
            document = configs.decode(one.config)
            if document.os not in (None, "", "linux"):
                raise InvalidArgument(f"cannot load {document.os[:100]} image on linux")
        if wanted is None:
            return found
        fitting = [one for one in found if _fits(one, wanted)]
        if found and not fitting:
            raise InvalidArgument(f"archive has no image that matches the specified platform: {wanted}")
        return fitting

    def _images(self) -> list[Found]:
        if "manifest.json" in self._documents:
            return [self._docker(entry) for entry in _decode(self._documents["manifest.json"], list[_Entry] | None, "manifest.json") or ()]
        if "index.json" in self._documents:
            index = manifests.decode(self._documents["index.json"], manifests.OCI_INDEX)
            if not isinstance(index, manifests.Index):
                raise InvalidArgument("invalid index.json: not an index")
            return _joined([one for descriptor in index.manifests for one in self._oci(descriptor, 0)])
        if "repositories" in self._documents:
            return legacy.images(self._documents["repositories"], self._document, self._layer, _full)
        raise InvalidArgument("invalid archive: does not contain a manifest.json")

    def _docker(self, entry: _Entry) -> Found:
        config = self._document(entry.config)
        # Before the layers: a document that is none is told as such.
        configs.admit(config)
        layers = [self._layer(path) for path in entry.layers or []]
        names = [_full(tag) for tag in entry.repo_tags or []]
        return _checked(Found(config, layers, names, parent=entry.parent if is_digest(entry.parent) else ""))

    def _oci(self, descriptor: manifests.Descriptor, depth: int) -> list[Found]:
        data = self._document(_blob(descriptor.digest))
        if manifests.digest_of(data) != descriptor.digest:
            raise InvalidArgument(f"manifest verification failed for digest {descriptor.digest}")
        document = manifests.decode(data, descriptor.media_type)
        if isinstance(document, manifests.Index):
            if depth >= _MAX_DEPTH:
                raise InvalidArgument("indexes nest too deep")
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
            stored = self._layers[resolved] = self._take(io.BytesIO(small))
        if stored is None:
            raise InvalidArgument(f"invalid archive: open {path[:200]}: no such file or directory")
        return stored


def _checked(found: Found) -> Found:
    diff_ids = configs.admit(found.config).diff_ids()
    if len(diff_ids) != len(found.layers):
        raise InvalidArgument(f"invalid manifest, layers length mismatch: expected {len(diff_ids)}, got {len(found.layers)}")
    for number, (expected, layer) in enumerate(zip(diff_ids, found.layers, strict=True)):
        if expected != layer.diff_id:
            raise InvalidArgument(f'invalid diffID for layer {number}: expected "{expected}", got "{layer.diff_id}"')
    return found


def _joined(found: list[Found]) -> list[Found]:
    """Makes one of what the index lists once for each name."""
    images: dict[bytes, Found] = {}
    for one in found:
        first = images.setdefault(one.config, one)
        if first is not one:
            first.names += [name for name in one.names if name not in first.names]
    return list(images.values())


def _fits(found: Found, wanted: manifests.Platform) -> bool:
    document = configs.decode(found.config)
    if (document.os or "linux", document.architecture) != (wanted.os, wanted.architecture):
        return False
    return not wanted.variant or wanted.variant == document.variant


def _shown_name(path: str) -> str:
    """Docker shows a layer's digest; what an archive's paths are made of before it is known."""
    parts = path.split("/")
    name = parts[-2] if parts[-1] == "layer.tar" and len(parts) > 1 else parts[-1]
    return name[:12]


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
        raise InvalidArgument(f'invalid tag "{tag[:300]}"')
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
