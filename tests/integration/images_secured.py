"""Registries that want to know who asks: docker-registry with passwords or tokens, and a small token server that it trusts."""

import base64
import contextlib
import http.client
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509 import load_pem_x509_certificate

from certificates import make
from integration.netns import Namespace

# user:pass by bcrypt, as docker-registry wants it.
HTPASSWD = "user:$2y$05$abcdefghijklmnopqrstuuZFBUbfXoM8LFiPx8LYlO/sXZB/Cwk3K\n"
_CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "{address}"{tls}}}
"""


@contextlib.contextmanager
def docker_registry(inside: Namespace, folder: Path, port: int, auth: str = "", tls: str = "", scheme: str = "http") -> Iterator[str]:
    """Runs docker-registry at a port of inside's 127.0.0.1; yields its address. auth and tls are pieces of its configuration."""
    address = f"127.0.0.1:{port}"
    config = folder / f"registry-{port}.yml"
    config.write_text(_CONFIG.format(root=folder / f"registry-{port}", address=address, tls=tls) + auth)
    argv = inside.argv("docker-registry", "serve", str(config))
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while subprocess.run(inside.argv("curl", "-ks", "-o", "/dev/null", f"{scheme}://{address}/v2/"), check=False).returncode:
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.05)
        yield address
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def password_registry(inside: Namespace, folder: Path, port: int = 5001) -> Iterator[str]:
    """A registry that knows user:pass."""
    (folder / "htpasswd").write_text(HTPASSWD)
    with docker_registry(inside, folder, port, auth=f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n") as address:
        yield address


class Tokens:
    """A token server. `rights` says what each user may do with which repository; a refresh token is the user's name reversed."""

    def __init__(self, folder: Path) -> None:
        self.issuer, self.service = "tokens of a test", "registry of a test"
        self.rights: dict[str, dict[str, set[str]]] = {}
        self.requests: list[dict[str, list[str]]] = []
        self.address = ""
        tls = make(folder / "tokens", "tokens")
        self.bundle = tls.ca
        self._key = serialization.load_pem_private_key(Path(tls.key).read_bytes(), None)
        certificate = load_pem_x509_certificate(Path(tls.cert).read_bytes())
        self._chain = [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]

    def granted(self, user: str, scopes: list[str]) -> list[dict[str, Any]]:
        """Returns what of the scopes the user gets."""
        access = []
        for scope in (one for words in scopes for one in words.split()):
            kind, name, actions = scope.split(":")
            allowed = self.rights.get(user, {}).get(name, set())
            access.append({"type": kind, "name": name, "actions": sorted(allowed & set(actions.split(",")))})
        return access

    def token(self, user: str, scopes: list[str]) -> str:
        """Returns a signed token (RFC 7519, ES256, certificate inside) as the registry verifies it."""
        now = int(time.time())
        head = {"typ": "JWT", "alg": "ES256", "x5c": self._chain}
        body = {
            "iss": self.issuer, "sub": user, "aud": self.service, "exp": now + 300, "nbf": now - 10, "iat": now, "jti": str(now),
            "access": self.granted(user, scopes),
        }  # fmt: skip
        signed = ".".join(_b64(json.dumps(part).encode()) for part in (head, body))
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class _Handler(BaseHTTPRequestHandler):
    tokens: Tokens

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        user, password = "", ""
        if header := self.headers.get("Authorization", ""):
            user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        self.tokens.requests.append({"user": [user], **query})
        if user and password != f"{user}-password":
            self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]})
            return
        refresh = {"refresh_token": user[::-1]} if query.get("offline_token") and user else {}
        self.answer(200, {"token": self.tokens.token(user, query.get("scope", [])), "expires_in": 300, **refresh})

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.tokens.requests.append(form)
        user = form.get("refresh_token", [""])[0][::-1]
        if form.get("grant_type") != ["refresh_token"] or user not in self.tokens.rights:
            self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "unknown refresh token"}]})
            return
        self.answer(200, {"access_token": self.tokens.token(user, form.get("scope", [])), "expires_in": 300})

    def answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serving(inside: Namespace, handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serves HTTP at a port of inside's 127.0.0.1 while the body runs; yields the address."""
    with inside.entered():
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def token_registry(inside: Namespace, folder: Path, port: int = 5002) -> Iterator[tuple[str, Tokens]]:
    """A registry that takes tokens, and the server that gives them."""
    tokens = Tokens(folder)
    with serving(inside, type("Handler", (_Handler,), {"tokens": tokens})) as realm:
        auth = (
            f"auth: {{token: {{realm: 'http://{realm}/token', service: '{tokens.service}', issuer: '{tokens.issuer}', "
            f"rootcertbundle: '{tokens.bundle}'}}}}\n"
        )
        with docker_registry(inside, folder, port, auth=auth) as address:
            tokens.address = realm
            yield address, tokens


class _Narrow(BaseHTTPRequestHandler):
    """Stands before a registry as web servers do, and refuses bodies of more than `limit` bytes."""

    target = ""
    inside: Namespace
    limit = 1 << 20
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if len(body) > self.limit:
            self.send_response(413)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        connection = http.client.HTTPConnection(self.target)
        with self.inside.entered():
            connection.connect()
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        connection.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on


@contextlib.contextmanager
def narrow(inside: Namespace, registry: str) -> Iterator[str]:
    """A web server before a registry that lets through 1 MiB per request; yields its address."""
    with serving(inside, type("Handler", (_Narrow,), {"target": registry, "inside": inside})) as address:
        yield address
