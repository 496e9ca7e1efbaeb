"""The json-file beside Debian's dockerd: the same bytes in, the same file out."""

import io
import re
import tarfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from engines import Engine, dockerd_engine
from skerry.api.logs.v1 import logs_pb2 as pb
from skerry.logs import attributes, lines
from skerry.logs.drivers import JsonFileOptions
from skerry.logs.stores import Want
from skerry.logs.stores.json_file import JsonFile
from spool_frames import end, frame

pytestmark = pytest.mark.root
NAME = "c" * 64
_TIME = re.compile(rb'"time":"[^"]*"\}\n')

INPUTS = {
    "controls": bytes(byte for byte in range(256) if byte != 10) + b"\n",
    "each byte": b"".join(bytes([byte]) + b"\n" for byte in range(256)),
    "utf-8": "ü日本𝄞\u2028\u2029\ufffd\ufeff\n".encode(),
    "bad utf-8": b"\xed\xa0\x80\n\xc0\xaf\n\xe2\x82\n\xe2\x82A\n\xf0\x9f\x98\n\xf4\x90\x80\x80\n\xff\xfe\n\xe2\x28\xa1\n",
    "long lines": b"a" * 40000 + b"\n" + b"b" * 16384 + b"\n" + b"c" * 16383 + b"\n" + b"d" * 16385 + b"\nx\n",
    "characters cut": "日".encode() * 12000 + b"\n",
    "no newline": b"one\ntwo",
    "no newline, one part": b"e" * 16384,
    "no newline, parts": b"e" * 32768 + b"f",
    "carriage returns": b"a\r\nb\rc\r\n\r\n",
    "empty lines": b"\n\n\n",
    "markup": b'<a href="x">&amp;</a>\\n\n',
}


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Engine]:
    with dockerd_engine("--iptables=false", "--bridge=none") as engine:
        body = io.BytesIO()
        with tarfile.open(fileobj=body, mode="w") as tar:
            tar.add("/bin/busybox", "bin/busybox")
        engine.docker("import", "-", "bb", stdin=body.getvalue())
        yield engine
        containers = engine.out("ps", "-aq").split()
        if containers:
            engine.docker("rm", "-f", *containers)


def run(engine: Engine, *words: str) -> tuple[str, bytes]:
    """Runs a container to its end; returns its id and its json-file."""
    identity = engine.out("run", "-d", "--net", "none", *words)
    engine.docker("wait", identity)
    return identity, Path(engine.folder, "root/containers", identity, f"{identity}-json.log").read_bytes()


def timeless(records: bytes) -> bytes:
    return _TIME.sub(b'"time":""}\n', records)


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("size", [1 << 16, 4099, 7])
def test_files_are_byte_for_byte_dockerds(dockerd: Engine, tmp_path: Path, name: str, size: int) -> None:
    data = INPUTS[name]
    (tmp_path / "in").write_bytes(data)
    _, theirs = run(dockerd, "-v", f"{tmp_path}:/in:ro", "bb", "/bin/busybox", "cat", "/in/in")
    store = JsonFile(str(tmp_path / "log"), NAME, JsonFileOptions(), sync="off")
    for start in range(0, len(data), size):
        store.accept(store.offset, frame(1, data[start : start + size]))
    store.accept(store.offset, end())
    store.close()
    assert timeless((tmp_path / "log" / f"{NAME}-json.log").read_bytes()) == timeless(theirs)


def test_attributes_and_details_are_dockerds(dockerd: Engine, tmp_path: Path) -> None:
    label = '<ü & "q">\t'
    options = {"labels": "x,k/b", "env": "E", "tag": "{{.Name}}/{{.ID}}/{{.ImageName}} {{upper .Name}}"}
    words = [word for key, value in options.items() for word in ("--log-opt", f"{key}={value}")]
    identity, theirs = run(
        dockerd, "--name", "nm", "--label", f"x={label}", "--label", "k/b=a b,c", "-e", "E=1\n2", *words,
        "bb", "/bin/busybox", "echo", "hi",
    )  # fmt: skip
    about = pb.Open(
        container_id=identity, container_name="/nm", image_name="bb", options=options, labels={"x": label, "k/b": "a b,c"}, env=["E=1\n2"]
    )
    store = JsonFile(str(tmp_path), NAME, JsonFileOptions(), lines.attributes(attributes.of(about)))
    store.accept(0, frame(1, b"hi\n") + end())
    assert timeless((tmp_path / f"{NAME}-json.log").read_bytes()) == timeless(theirs)
    cursor = store.open_cursor(Want(multiplexed=False, details=True))
    assert cursor.read() == dockerd.docker("logs", "--details", "nm").stdout.encode()
    cursor.close()
    store.close()


def test_times_are_taken_where_dockerd_takes_them(dockerd: Engine) -> None:
    busybox = "/bin/busybox"
    pause, zeros = f"{busybox} sleep 0.4", f"{busybox} head -c 10000 /dev/zero"
    script = f"printf a; {pause}; echo b; {zeros}; {pause}; {zeros}; {pause}; echo end; printf q; {pause}"
    _, theirs = run(dockerd, "bb", busybox, "sh", "-c", script)
    encoder, tick = lines.Encoder(), 1_700_000_000_000_000_000
    out = b""
    for payload in (b"a", b"b\n" + b"\0" * 10_000, b"\0" * 10_000, b"end\nq"):
        out += encoder.records(1, payload, tick)
        tick += 400_000_000
    out += encoder.flush(tick)
    assert timeless(out) == timeless(theirs)
    assert gaps(out) == gaps(theirs) == [1, 0, 2]


def gaps(records: bytes) -> list[int]:
    """Returns how many pauses of 0.4 s lie between a record and the next."""
    seconds = [float(one) for one in re.findall(rb'"time":"[^"]*:(\d\d(?:\.\d+)?)Z"', records)]
    return [round((after - before) % 60 / 0.4) for before, after in pairwise(seconds)]
