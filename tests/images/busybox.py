"""Makes busybox:latest as a docker-archive out of this machine's own static busybox. No engine, no network. Same input, same bytes.

python tests/images/busybox.py OUT.tar [NAME:TAG]
"""

import hashlib
import io
import json
import subprocess
import sys
import tarfile

BUSYBOX = "/bin/busybox"
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
    "www-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nusers:x:100:\nnobody:x:65534:\n",
    "etc/shadow": "root:*::0:99999:7:::\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_DIRECTORIES = {
    "bin": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "proc": 0o755,
    "root": 0o700,
    "sbin": 0o755,
    "sys": 0o755,
    "tmp": 0o1777,
    "usr": 0o755,
    "usr/bin": 0o755,
    "usr/sbin": 0o755,
    "var": 0o755,
    "var/spool": 0o755,
    "var/www": 0o755,
}


def applets(busybox: str = BUSYBOX) -> list[str]:
    """Returns the names that this busybox answers to."""
    text = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout
    return sorted(set(text.split()) - {"busybox"})


def layer(busybox: str = BUSYBOX) -> bytes:
    """Returns the root file system as an uncompressed tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode in _DIRECTORIES.items():
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, mode
            tar.addfile(info)
        with open(busybox, "rb") as file:
            body = file.read()
        info = tarfile.TarInfo("bin/busybox")
        info.size, info.mode = len(body), 0o755
        tar.addfile(info, io.BytesIO(body))
        for applet in applets(busybox):
            info = tarfile.TarInfo(f"bin/{applet}")
            info.type, info.linkname, info.mode = tarfile.LNKTYPE, "bin/busybox", 0o755
            tar.addfile(info)
        for name, text in _FILES.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o600 if name.endswith("shadow") else 0o644
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def archive(layers: list[bytes], tags: list[str], config: dict[str, object] | None = None, *, architecture: str = "amd64") -> bytes:
    """Returns a docker-archive with one image of these layers."""
    digests = [hashlib.sha256(one).hexdigest() for one in layers]
    document = {
        "architecture": architecture,
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{one}" for one in digests]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "busybox-static"} for _ in layers],
    }
    body = json.dumps(document, sort_keys=True).encode()
    name = f"{hashlib.sha256(body).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": tags, "Layers": [f"{one}/layer.tar" for one in digests]}]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        parts = [(name, body), *((f"{one}/layer.tar", data) for one, data in zip(digests, layers, strict=True))]
        for path, data in [*parts, ("manifest.json", json.dumps(manifest).encode())]:
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def make_busybox(path: str, tag: str = "busybox:latest") -> None:
    """Writes the archive to path."""
    with open(path, "wb") as file:
        file.write(archive([layer()], [tag]))


if __name__ == "__main__":
    make_busybox(*sys.argv[1:3])
