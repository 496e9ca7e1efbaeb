"""Makes images of about 250 MB out of Debian packages for benches: one layer, 11,500 entries, as docker-archives."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from typing import Any

_PACKAGES = "python3-minimal,perl,git,ca-certificates,curl"
_CONFIG = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"]}


def base(folder: str) -> str:
    """Returns the path of the root file system as a tar below folder, made (a minute, Debian's mirror) when it is not there yet."""
    path = f"{folder}/big-base.tar"
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", f"{path}.part.tar"],
            check=True,
            env={**os.environ, "SOURCE_DATE_EPOCH": "1704067200"},
        )
        os.replace(f"{path}.part.tar", path)
    return path


def layer(source: str, target: str, text: str) -> None:
    """Copies a layer tar and adds the file /unique with text, so that its digest is known to nobody."""
    shutil.copyfile(source, target)
    with tarfile.open(target, "a") as tar:
        add(tar, "unique", text.encode())


def archive(layer_path: str, target: str, names: list[str], configs: int = 0) -> None:
    """Writes a docker-archive of one layer: an image with the names, or `configs` images that differ in a label, named many:N."""
    with open(layer_path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    manifest = []
    with tarfile.open(target, "w") as tar:
        tar.add(layer_path, f"{digest}/layer.tar")
        for number in range(configs or 1):
            body = _document(digest, {**_CONFIG, **({"Labels": {"number": str(number)}} if configs else {})})
            document = f"{hashlib.sha256(body).hexdigest()}.json"
            add(tar, document, body)
            manifest.append({"Config": document, "RepoTags": [f"many:{number}"] if configs else names, "Layers": [f"{digest}/layer.tar"]})
        add(tar, "manifest.json", json.dumps(manifest).encode())


def _document(digest: str, config: dict[str, Any]) -> bytes:
    created = "2024-01-01T00:00:00Z"
    return json.dumps(
        {
            "architecture": "amd64", "os": "linux", "created": created, "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}, "history": [{"created": created, "created_by": "Debian"}],
        },
        sort_keys=True,
    ).encode()  # fmt: skip


def add(tar: tarfile.TarFile, path: str, body: bytes) -> None:
    """Adds a file to a tar."""
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(body), 0o644
    tar.addfile(info, io.BytesIO(body))
