"""Layers by link: what a node does with the links that an image store gives, and with links that do not work."""

import asyncio
import bz2
import gzip
import http.server
import lzma
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from integration.layer_store import LayerStore, serve_layers
from integration.tars import Member, archive
from skerry.api.images.v1 import images_pb2
from skerry.containers.layers import link
from skerry.containers.layers.fetch import fetch
from skerry.core.errors import Failed


class Bucket:
    """An HTTP server of one object, that can be told to misbehave."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        # Breaks the next answers off after so many bytes.
        self.break_after: list[int] = []
        self.status = 0
        self.ranges: list[str] = []
        # heeded: 206; quiet: the range, but with 200; ignored: all of it.
        self.manner = "heeded"
        self.url = ""


def _handler(bucket: Bucket) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if bucket.status:
                self.send_error(bucket.status)
                return
            asked = self.headers.get("Range", "")
            bucket.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-") or 0) if bucket.manner != "ignored" else 0
            content = bucket.content[start:]
            self.send_response(206 if asked and bucket.manner == "heeded" else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: bucket.break_after.pop(0) if bucket.break_after else None])

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serving(content: bytes) -> Iterator[Bucket]:
    bucket = Bucket(content)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(bucket)) as server:
        bucket.url = f"http://127.0.0.1:{server.server_address[1]}/object?signature=secret"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield bucket
        finally:
            server.shutdown()
            thread.join()


def linked(store: LayerStore, bucket: Bucket, compression: str) -> None:
    store.link = images_pb2.LayerLink(url=bucket.url, compression=compression, size=len(bucket.content))


TAR = archive(Member(b"noise", data=os.urandom(3 << 20)))
FORMS = {
    "": TAR,
    "gzip": gzip.compress(TAR[:1000]) + gzip.compress(TAR[1000:], 1),
    "bzip2": bz2.compress(TAR, 1),
    "xz": lzma.compress(TAR, preset=0),
    "zstd": zstandard.compress(TAR[:1000]) + zstandard.compress(TAR[1000:]),
}


@pytest.mark.parametrize("compression", FORMS)
async def test_a_layer_comes_by_link_in_every_form_whole_and_verified(tmp_path: Path, compression: str) -> None:
    async with serve_layers(str(tmp_path)) as (address, store):
        layer = store.add(TAR)
        with serving(FORMS[compression]) as bucket:
            linked(store, bucket, compression)
            await fetch(address, None, layer, str(tmp_path / "tar"))
    assert (tmp_path / "tar").read_bytes() == TAR
    assert set(store.requests[0].accepts) == set(link.ACCEPTS) == {"gzip", "bzip2", "xz", "zstd"}


@pytest.mark.parametrize("manner", ["heeded", "quiet", "ignored"])
async def test_a_broken_download_goes_on_where_it_broke(tmp_path: Path, manner: str) -> None:
    async with serve_layers(str(tmp_path)) as (address, store):
        layer = store.add(TAR)
        with serving(FORMS["gzip"]) as bucket:
            bucket.manner, bucket.break_after = manner, [100_000, 1_500_000]
            linked(store, bucket, "gzip")
            await fetch(address, None, layer, str(tmp_path / "tar"))
    assert (tmp_path / "tar").read_bytes() == TAR
    assert len(bucket.ranges) == 3 and bucket.ranges[0] == "" and bucket.ranges[1] == "bytes=100000-"


@pytest.mark.parametrize("how", ["refused", "nobody", "midway"])
async def test_a_link_that_does_not_work_is_given_up_for_the_stores_bytes(tmp_path: Path, how: str) -> None:
    async with serve_layers(str(tmp_path)) as (address, store):
        layer = store.add(TAR)
        store.by_path = False
        with serving(FORMS["gzip"]) as bucket:
            linked(store, bucket, "gzip")
            if how == "nobody":
                store.link.url = "http://127.0.0.1:1/"
            elif how == "refused":
                bucket.status = 403
            else:
                bucket.break_after = [2_000_000, *[0] * 10]
            await fetch(address, None, layer, str(tmp_path / "tar"))
    assert (tmp_path / "tar").read_bytes() == TAR
    assert [list(request.accepts) == [] for request in store.requests] == [False, True]
    assert (store.requests[1].offset > 1_000_000) is (how == "midway")


@pytest.mark.parametrize("what", ["other bytes", "too long", "cut"])
async def test_damaged_bytes_behind_a_link_are_refused(tmp_path: Path, what: str) -> None:
    content = {"other bytes": gzip.compress(TAR[:-1] + b"!"), "too long": gzip.compress(TAR + b"\0"), "cut": FORMS["gzip"][:-100]}[what]
    async with serve_layers(str(tmp_path)) as (address, store):
        layer = store.add(TAR)
        with serving(content) as bucket:
            linked(store, bucket, "gzip")
            with pytest.raises(Failed, match=r"expected|damaged"):
                await fetch(address, None, layer, str(tmp_path / "tar"))


async def test_a_fetch_that_is_cancelled_stops_its_download(tmp_path: Path) -> None:
    async with serve_layers(str(tmp_path)) as (address, store):
        layer = store.add(TAR)
        with serving(FORMS["gzip"]) as bucket:
            bucket.break_after = [100_000, *[0] * 10]
            linked(store, bucket, "gzip")
            task = asyncio.ensure_future(fetch(address, None, layer, str(tmp_path / "tar")))
            while len(bucket.ranges) < 2:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            asked = len(bucket.ranges)
            await asyncio.sleep(0.5)
            assert len(bucket.ranges) == asked


def test_the_standard_library_alone_reads_what_the_store_compresses(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sink:
        written = 0
        data = b""

        def write(self, data: bytes) -> None:
            self.data += data
            self.written += len(data)

    monkeypatch.setitem(link._READERS, "gzip", lambda source: gzip.GzipFile(fileobj=source))
    compressor = zlib.compressobj(wbits=31)
    content = compressor.compress(TAR) + compressor.flush()
    with serving(content) as bucket:
        sink = Sink()
        where = images_pb2.LayerLink(url=bucket.url, compression="gzip", size=len(content))
        link.download(images_pb2.Layer(size=len(TAR)), where, sink, threading.Event())
    assert sink.data == TAR
