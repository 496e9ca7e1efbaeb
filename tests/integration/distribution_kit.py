"""An image store that serves /v2/, as a process in a network namespace, and a small HTTP client in there."""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from integration.netns import Namespace, namespace

PORT = 5050
ADDRESS = f"127.0.0.1:{PORT}"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class Answer:
    """One answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The specification's code of a refusal."""
        return str(self.json()["errors"][0]["code"])


class Client:
    """Sends requests; each by a connection of its own."""

    def __init__(
        self, inside: Namespace, address: str = ADDRESS, *, ca: str = "", user: str = "", password: str = "", token: str = ""
    ) -> None:
        self._inside = inside
        self._address = address
        self._context = ssl.create_default_context(cafile=ca) if ca else None
        if self._context is not None:
            # The tests' authorities have no key identifiers, which Python 3.13 wants by default.
            self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._authorization = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}" if user else ""
        if token:
            self._authorization = f"Bearer {token}"

    def connection(self) -> http.client.HTTPConnection:
        """Returns a connection."""
        host, _, port = self._address.rpartition(":")
        with self._inside.entered():
            if self._context is not None:
                made: http.client.HTTPConnection = http.client.HTTPSConnection(host, int(port), timeout=30, context=self._context)
            else:
                made = http.client.HTTPConnection(host, int(port), timeout=30)
            made.connect()
        return made

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self._authorization:
            sent.setdefault("Authorization", self._authorization)
        connection = self.connection()
        try:
            connection.request(method, path, body, sent)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def push_blob(self, name: str, data: bytes, algorithm: str = "sha256") -> str:
        """Pushes a blob in one piece; returns its digest."""
        digest = digest_of(data, algorithm)
        answer = self("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", data, Content_Type="application/octet-stream")
        assert answer.status == 201, (answer.status, answer.body)
        return digest

    def push_manifest(self, name: str, reference: str, document: dict[str, Any], **headers: str) -> Answer:
        """Pushes a manifest; "" as reference: by its digest."""
        data = json.dumps(document).encode()
        answer = self(
            "PUT",
            f"/v2/{name}/manifests/{reference or digest_of(data)}",
            data,
            Content_Type=document.get("mediaType", OCI_MANIFEST),
            **headers,
        )
        return answer


def described(data: bytes, kind: str, **more: Any) -> dict[str, Any]:
    """Returns a descriptor."""
    return {"mediaType": kind, "digest": digest_of(data), "size": len(data), **more}


def artifact(client: Client, name: str, text: str, **more: Any) -> dict[str, Any]:
    """Pushes the blobs of an artifact; returns its manifest."""
    client.push_blob(name, b"{}")
    client.push_blob(name, text.encode())
    layers = [described(text.encode(), "text/plain")]
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described(b"{}", EMPTY), "layers": layers, **more}


class Served:
    """A running store."""

    def __init__(self, inside: Namespace, folder: Path, settings: dict[str, str]) -> None:
        self.inside = inside
        self.folder = folder
        self.settings = settings
        self.client = Client(inside)
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SKERRY_ROOT": str(self.folder / "root"),
            "SKERRY_RUN": str(self.folder),
        }
        environ |= {f"SKERRY_IMAGES_{key.upper()}": value for key, value in self.settings.items()}
        self.process = subprocess.Popen(self.inside.argv(sys.executable, "-m", "skerry.images"), env=environ)
        port = self.settings["distribution_listen"].rpartition(":")[2]
        deadline = time.monotonic() + 20
        while self.inside.run("sh", "-c", f"ss -Hltn 'sport = :{port}'") == "" or not (self.folder / "images.sock").exists():
            assert self.process.poll() is None, "the store has ended"
            assert time.monotonic() < deadline, "the store does not listen"
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        assert self.process.wait(20) == 0

    def blobs(self) -> set[str]:
        """Returns the digests in the blob store."""
        return {f"sha256:{path.name}" for path in (self.folder / "root/images/blobs/sha256").iterdir()}


@contextlib.contextmanager
def served(folder: Path, inside: Namespace | None = None, **settings: str) -> Iterator[Served]:
    """Runs a store with /v2/ at ADDRESS, open to everybody unless settings say otherwise."""
    whole = {"distribution_listen": ADDRESS, **settings}
    if "distribution_users" not in settings:
        whole.setdefault("distribution_anonymous", "everything")
    with contextlib.ExitStack() as stack:
        one = Served(inside or stack.enter_context(namespace("dist")), folder, whole)
        try:
            yield one
        finally:
            if one.process.poll() is None:
                one.stop()
