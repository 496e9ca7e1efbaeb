"""A registry of a few images kept in memory, that can be told to misbehave, on a port of a test's namespace."""

import contextlib
import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from integration.netns import Namespace

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class FakeRegistry:
    """Serves `manifests` (by tag and digest) and `blobs`. `before` may answer a request itself; it returns True when it did."""

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.before: Callable[[Any], bool] = lambda handler: False
        # Seconds between the 64 KiB pieces of a blob.
        self.pause = 0.0
        self.sent = 0
        # Whether Range is honoured.
        self.ranges = True
        # Set: answers under way break off.
        self.broken = False
        self.address = ""
        self.handler: type[BaseHTTPRequestHandler] = BaseHTTPRequestHandler

    def add(self, tag: str, layers: list[bytes], *, compress: Callable[[bytes], bytes] = bytes, architecture: str = "amd64") -> str:
        """Adds an image; returns the digest of its manifest."""
        diff_ids = [digest_of(one) for one in layers]
        config = self._blob(
            json.dumps({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
        )
        body = json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [self._blob(compress(one)) for one in layers]}
        )
        return self.document(tag, body.encode(), MANIFEST)

    def index(self, tag: str, parts: dict[str, str]) -> str:
        """Adds a list of manifests by architecture."""
        manifests = [
            {
                "digest": digest,
                "size": len(self.manifests[digest][0]),
                "mediaType": MANIFEST,
                "platform": {"os": "linux", "architecture": name},
            }
            for name, digest in parts.items()
        ]
        return self.document(tag, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode(), INDEX)

    def document(self, tag: str, body: bytes, kind: str) -> str:
        self.manifests[tag] = self.manifests[digest_of(body)] = (body, kind)
        return digest_of(body)

    def _blob(self, data: bytes) -> dict[str, Any]:
        self.blobs[digest_of(data)] = data
        return {"digest": digest_of(data), "size": len(data)}

    def extend(self, answer: Callable[[Any], None], *methods: str) -> None:
        """Has requests of these methods answered by answer, which gets the handler."""
        for method in methods:
            setattr(self.handler, f"do_{method}", lambda handler: answer(handler))  # noqa: PLW0108 - a function becomes a method

    def asked_for(self, part: str) -> int:
        """How many requests had part in their path."""
        return sum(part in path for path, _ in self.requests)


class _Handler(BaseHTTPRequestHandler):
    registry: FakeRegistry
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        registry = self.registry
        registry.requests.append((self.path, dict(self.headers)))
        if registry.before(self):
            return
        what = self.path.rpartition("/")[2]
        if self.path.rstrip("/") == "/v2":
            self.answer(b"{}", "application/json", Docker_Distribution_Api_Version="registry/2.0")
            return
        if "/manifests/" in self.path and what in registry.manifests:
            self.answer(*registry.manifests[what])
        elif "/blobs/" in self.path and what in registry.blobs:
            self._blob(registry.blobs[what])
        else:
            self.answer(b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', status=404)

    def _blob(self, data: bytes) -> None:
        wanted = self.headers.get("Range", "")
        if not wanted or not self.registry.ranges:
            self.answer(data)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.answer(data[start:], status=206, Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")

    def do_POST(self) -> None:
        self.do_GET()

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, body: bytes, kind: str = "application/octet-stream", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with contextlib.suppress(OSError):
            for start in range(0, len(body), 1 << 16):
                if self.registry.broken:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                self.wfile.write(body[start : start + (1 << 16)])
                self.registry.sent += len(body[start : start + (1 << 16)])
                time.sleep(self.registry.pause)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: clients that ask by TLS first go away."""


@contextlib.contextmanager
def fake_registry(inside: Namespace, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[FakeRegistry]:
    """Runs one while the body runs, at an address of the namespace, by https when tls is given."""
    registry = FakeRegistry()
    handler = registry.handler = type("Handler", (_Handler,), {"registry": registry})
    with inside.entered():
        server = _Server((host, 0), handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
    registry.address = f"{host}:{server.server_address[1]}"
    try:
        yield registry
    finally:
        registry.pause = 0
        server.shutdown()
        server.server_close()
        thread.join()
