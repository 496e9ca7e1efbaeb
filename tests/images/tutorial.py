"""Makes stand-ins for the images that the tutorial uses out of Debian's packages: nginx, mysql, wordpress, ubuntu 24.04, 22.04, 20.04.

nginx is Debian's nginx set up as the official image is. The ubuntu ones are Debian with Ubuntu's os-release. mysql listens on 3306 and
greets as a server of version 8 does, but keeps no data; wordpress is a page served by nginx, with curl. All share one base layer.

python tests/images/tutorial.py OUT.tar
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from typing import Any

PACKAGES = "busybox-static,curl,iproute2,net-tools,nginx-light,procps"
_ENV = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/i18n/*")
_NGINX_SITE = "server { listen 80; root /usr/share/nginx/html; index index.html; }\n"
_MYSQL = """#!/bin/sh
if [ -z "$MYSQL_ROOT_PASSWORD" ]; then
  echo "[ERROR] [Entrypoint]: Database is uninitialized and password option is not specified" >&2
  exit 1
fi
echo "[System] [Server] /usr/sbin/mysqld: ready for connections. Version: '8.0.0'  port: 3306" >&2
exec busybox nc -ll -p 3306 -e /usr/local/bin/greet
"""
# Protocol version 10 and the server's version: what a mysql server sends first.
_GREET = """#!/bin/sh
printf 'J\\000\\000\\000\\0128.0.0\\000mysql_native_password\\000'
"""
_WORDPRESS = """#!/bin/sh
echo "WordPress has been successfully copied to /var/www/html" >&2
exec nginx -g 'daemon off;'
"""

_Files = Mapping[str, tuple[str, int]]


def _ubuntu(version: str) -> tuple[str, _Files, dict[str, Any]]:
    release = f'PRETTY_NAME="Ubuntu {version}"\nNAME="Ubuntu"\nVERSION_ID="{version}"\nID=ubuntu\nID_LIKE=debian\n'
    return f"ubuntu:{version}", {"etc/os-release": (release, 0o644)}, {"Cmd": ["/bin/bash"]}


def _site(page: str) -> dict[str, tuple[str, int]]:
    return {"usr/share/nginx/html/index.html": (page, 0o644), "etc/nginx/sites-enabled/default": (_NGINX_SITE, 0o644)}


_IMAGES: list[tuple[str, _Files, dict[str, Any]]] = [
    _ubuntu("24.04"),
    _ubuntu("22.04"),
    _ubuntu("20.04"),
    (
        "nginx:latest",
        _site("<h1>Welcome to nginx!</h1>\n"),
        {"Cmd": ["nginx", "-g", "daemon off;"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT"},
    ),
    (
        "mysql:latest",
        {"usr/local/bin/docker-entrypoint.sh": (_MYSQL, 0o755), "usr/local/bin/greet": (_GREET, 0o755)},
        {"Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["mysqld"], "ExposedPorts": {"3306/tcp": {}, "33060/tcp": {}}},
    ),
    (
        "wordpress:latest",
        {**_site("<title>WordPress &rsaquo; Setup</title>\n"), "usr/local/bin/docker-entrypoint.sh": (_WORDPRESS, 0o755)},
        {"Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["apache2-foreground"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGWINCH"},
    ),
]
NAMES = [name for name, _, _ in _IMAGES]


def _base(path: str) -> None:
    """Writes the root file system of Debian with the packages as a tar. Takes about a minute and needs Debian's mirror."""
    without = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", *without, "bookworm", path],
        check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1704067200"},
    )  # fmt: skip


def _layer(files: _Files, links: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, (text, mode) in sorted(files.items()):
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(text.encode()), mode
            tar.addfile(info, io.BytesIO(text.encode()))
        for path, target in links.items():
            info = tarfile.TarInfo(path)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


def _document(config: dict[str, Any], diff_ids: list[str]) -> bytes:
    created = "2024-01-01T00:00:00Z"
    document = {
        "architecture": "amd64", "os": "linux", "created": created, "config": {"Env": _ENV, **config},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": created, "created_by": text} for text in ("Debian's packages", "stand-in")],
    }  # fmt: skip
    return json.dumps(document, sort_keys=True).encode()


def _add(tar: tarfile.TarFile, path: str, body: bytes) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(body), 0o644
    tar.addfile(info, io.BytesIO(body))


def make_tutorial(path: str) -> None:
    """Writes one docker-archive with all images to path."""
    logs = {"var/log/nginx/access.log": "/dev/stdout", "var/log/nginx/error.log": "/dev/stderr"}
    manifest = []
    with tempfile.TemporaryDirectory(prefix="sk-deb-") as folder, tarfile.open(path, "w") as tar:
        base = f"{folder}/base.tar"
        _base(base)
        with open(base, "rb") as file:
            base_id = hashlib.file_digest(file, "sha256").hexdigest()
        tar.add(base, f"{base_id}/layer.tar")
        for name, files, config in _IMAGES:
            top = _layer(files, logs)
            top_id = hashlib.sha256(top).hexdigest()
            body = _document(config, [f"sha256:{base_id}", f"sha256:{top_id}"])
            document = f"{hashlib.sha256(body).hexdigest()}.json"
            _add(tar, f"{top_id}/layer.tar", top)
            _add(tar, document, body)
            manifest.append({"Config": document, "RepoTags": [name], "Layers": [f"{one}/layer.tar" for one in (base_id, top_id)]})
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def cached(folder: str) -> str:
    """Returns the path of the archive below folder, made when it is not there yet for this version of the recipe."""
    with open(__file__, "rb") as file:
        path = f"{folder}/tutorial-{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}.tar"
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        # Several may make it at once.
        part = f"{path}.{os.getpid()}"
        make_tutorial(part)
        os.replace(part, path)
    return path


if __name__ == "__main__":
    make_tutorial(sys.argv[1])
