"""The servers that a shared image store needs, real programs on loopback ports: MongoDB's wire protocol, two kinds of S3.

`make setup-test` puts them into .cache/servers and, where a Python 3.13 is found, .cache/mongo: each a virtual environment of its own.
"""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import boto3
import msgspec
import pytest

from skerry.images.blobs.s3_client import S3Settings

_CACHE = Path(__file__).resolve().parents[2] / ".cache"
_MONGO = _CACHE / "mongo" / "bin" / "python"
_SERVERS = _CACHE / "servers" / "bin"
NO_MONGO = "the MongoDB wire server of PyPI (mongoeco) needs a Python 3.13, which deploy/setup.sh did not find on this machine"
KEY, SECRET, BUCKET = "testkey", "testsecret", "skerry-images"
# What stands before a program's argv: nothing, or what enters a namespace.
Argv = Callable[..., list[str]]


def plainly(*words: str) -> list[str]:
    """Runs a program where the test runs."""
    return list(words)


def free_port() -> int:
    """Returns a port of loopback that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def _running(argv: Sequence[str], log: Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **environ})
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(check: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.05)


@contextlib.contextmanager
def mongo(folder: Path, host: str = "127.0.0.1", port: int = 0, argv: Argv = plainly) -> Iterator[str]:
    """Runs a MongoDB server in memory; yields its URI, without a database."""
    if not _MONGO.exists():
        pytest.skip(NO_MONGO)
    log = folder / "mongo.log"
    script = str(Path(__file__).with_name("mongo_server.py"))
    with _running(argv(str(_MONGO), script, host, str(port or free_port())), log) as process:
        _until(lambda: b"\n" in log.read_bytes(), process, log)
        yield log.read_text().splitlines()[0]


class S3Server(msgspec.Struct):
    """A server, and what a store needs to use its bucket."""

    kind: str
    endpoint: str

    def settings(self, prefix: str = "", **more: object) -> S3Settings:
        """Returns settings for the bucket below a prefix."""
        values = {"url": f"s3://{BUCKET}/{prefix}", "endpoint": self.endpoint, "access_key": KEY, "secret_key": SECRET, **more}
        return msgspec.convert(values, S3Settings)

    def environ(self, prefix: str = "") -> dict[str, str]:
        """Returns the same as settings of the image store."""
        return {
            "SKERRY_IMAGES_BLOBS": f"s3://{BUCKET}/{prefix}",
            "SKERRY_IMAGES_S3_ENDPOINT": self.endpoint,
            "SKERRY_IMAGES_S3_ACCESS_KEY": KEY,
            "SKERRY_IMAGES_S3_SECRET_KEY": SECRET,
        }

    def client(self) -> "boto3.client":
        """Returns a client beside the store's own."""
        return boto3.client("s3", endpoint_url=self.endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1")


@contextlib.contextmanager
def s3(kind: str, folder: Path, host: str = "127.0.0.1", port: int = 0, argv: Argv = plainly) -> Iterator[S3Server]:
    """Runs moto or rclone as an S3 server with the bucket BUCKET."""
    assert _SERVERS.exists(), "make setup-test installs the S3 servers"
    port = port or free_port()
    server, log = S3Server(kind, f"http://{host}:{port}"), folder / f"{kind}.log"
    if kind == "moto":
        command = [str(_SERVERS / "moto_server"), "-H", host, "-p", str(port)]
    else:
        buckets = folder / "buckets"
        (buckets / BUCKET).mkdir(parents=True)
        command = [str(_SERVERS / "rclone"), "serve", "s3", "--config", "/dev/null", "--addr", f"{host}:{port}",
                   "--auth-key", f"{KEY},{SECRET}", str(buckets)]  # fmt: skip
    with _running(argv(*command), log) as process:
        _until(lambda: _answers(argv, server.endpoint), process, log)
        if kind == "moto":
            made = [str(_SERVERS / "python"), "-c", _MAKE_BUCKET, server.endpoint, KEY, SECRET, BUCKET]
            subprocess.run(argv(*made), check=True, timeout=60)
        yield server


_MAKE_BUCKET = """
import sys, boto3
endpoint, key, secret, bucket = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1")
client.create_bucket(Bucket=bucket)
"""


def _answers(argv: Argv, url: str) -> bool:
    return subprocess.run(argv("curl", "-s", "-o", "/dev/null", url), check=False).returncode == 0
