"""What clients of /v2/ may cost: sizes, quotas, uploads that lie idle, memory; and that nothing is swept under them."""

import asyncio
import gzip
import hashlib
import http.client
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from integration.distribution_kit import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Served, artifact, described, digest_of, served
from integration.test_distribution_clients import asked, images, remove_nothing
from skerry.api.images.v1 import images_pb2 as pb

pytestmark = pytest.mark.root


def peak(store: Served) -> int:
    """Returns the most memory that the service has had, in MB."""
    lines = Path(f"/proc/{store.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10


def location(store: Served, name: str) -> str:
    return str(store.client("POST", f"/v2/{name}/blobs/uploads/", b"").headers["Location"])


def test_sizes_and_quotas(tmp_path: Path) -> None:
    settings = {"distribution_max_blob": "1000", "distribution_max_manifest": "2000"}
    settings |= {"distribution_repository_quota": "1500", "distribution_quota": "4000"}
    with served(tmp_path, **settings) as store:
        client = store.client
        for data in (b"x" * 1001, iter([b"x" * 600, b"y" * 600])):
            at = location(store, "a")
            connection = client.connection()
            headers = {} if isinstance(data, bytes) else {"Transfer-Encoding": "chunked"}
            connection.request("PATCH", at, data, headers, encode_chunked=bool(headers))
            answer = connection.getresponse()
            assert (answer.status, b"SIZE_INVALID" in answer.read()) == (413, True)
            connection.close()
            assert client("GET", at).status == 404
        client.push_blob("a", b"x" * 1000)
        refused = client("POST", f"/v2/a/blobs/uploads/?digest={digest_of(b'y' * 600)}", b"y" * 600)
        assert refused.status == 413
        client.push_blob("a", b"y" * 500)
        assert client("POST", "/v2/a/blobs/uploads/", b"").status == 413
        client.push_blob("b", b"x" * 1000)  # the same content: nothing more is taken
        for name in ("c", "d"):
            client.push_blob(name, name.encode() * 1000)
        assert client("POST", f"/v2/e/blobs/uploads/?digest={digest_of(b'z' * 501)}", b"z" * 501).status == 413
        document = artifact(client, "e", "z", annotations={"long": "x" * 3000})
        answer = client.push_manifest("e", "1", document)
        assert (answer.status, answer.code) == (413, "MANIFEST_INVALID")
        # A mount takes nothing that is not here already.
        assert client("POST", f"/v2/e/blobs/uploads/?mount={digest_of(b'x' * 1000)}&from=a", b"").status == 201


def test_uploads_are_counted_and_end_when_nothing_comes(tmp_path: Path) -> None:
    with served(tmp_path, distribution_uploads="2", distribution_upload_idle="0.6") as store:
        first, second = location(store, "a"), location(store, "a")
        full = store.client("POST", "/v2/a/blobs/uploads/", b"")
        assert (full.status, full.code) == (429, "TOOMANYREQUESTS")
        for _ in range(4):
            time.sleep(0.3)
            assert store.client("PATCH", first, b"x").status == 202
        assert store.client("PATCH", second, b"x").status == 404
        assert len(_left(tmp_path)) == 1
        time.sleep(1.0)
        assert _left(tmp_path) == []
        # A client that begins a piece and says no more is not waited for.
        at = location(store, "a")
        connection = store.client.connection()
        connection.putrequest("PATCH", at)
        connection.putheader("Content-Length", "100")
        connection.endheaders(b"half")
        answer = connection.getresponse()
        assert answer.status == 408
        connection.close()


def test_an_open_upload_outlives_sweeps_and_a_blob_waits_for_its_manifest(tmp_path: Path) -> None:
    with served(tmp_path, distribution_loose_seconds="1.5") as store:
        at = location(store, "a")
        store.client("PATCH", at, b"first")
        early = store.client.push_blob("a", b"early")
        remove_nothing(store)
        assert store.client("PUT", f"{at}?digest={digest_of(b'firstsecond')}", b"second").status == 201
        remove_nothing(store)
        assert early in store.blobs()
        named = artifact(store.client, "a", "firstsecond")
        assert store.client.push_manifest("a", "1", named).status == 201
        time.sleep(1.6)
        remove_nothing(store)
        assert early not in store.blobs()
        assert store.client("GET", f"/v2/a/blobs/{early}").status == 404
        assert store.client("GET", f"/v2/a/blobs/{digest_of(b'firstsecond')}").body == b"firstsecond"


def test_a_bomb_is_kept_as_what_came_and_makes_no_image(tmp_path: Path) -> None:
    with served(tmp_path, max_layer_bytes=str(10 << 20)) as store:
        plain = b"x" + bytes(511) + bytes(20 << 20)
        packed = gzip.compress(plain)
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(plain)]}}).encode()
        for blob in (config, packed):
            store.client.push_blob("bomb", blob)
        parts = {"config": described(config, OCI_CONFIG), "layers": [described(packed, OCI_LAYER)]}
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, **parts}
        assert store.client.push_manifest("bomb", "1", document).status == 201
        assert images(store) == {}
        assert sum(path.stat().st_size for path in (tmp_path / "root/images").rglob("*") if path.is_file()) < 10 << 20


def test_memory_stays_small_whatever_comes_and_goes(tmp_path: Path) -> None:
    piece = os.urandom(1 << 20)
    count = 200
    digest = f"sha256:{hashlib.sha256(piece * count).hexdigest()}"
    with served(tmp_path) as store:
        connection = store.client.connection()
        at = f"{location(store, 'big')}?digest={digest}"
        connection.request("PUT", at, (piece for _ in range(count)), {"Content-Length": str(count << 20)})
        assert connection.getresponse().status == 201
        connection.close()
        connection = store.client.connection()
        connection.request("GET", f"/v2/big/blobs/{digest}")
        response: http.client.HTTPResponse = connection.getresponse()
        check = hashlib.sha256()
        while data := response.read(1 << 20):
            check.update(data)
        connection.close()
        assert f"sha256:{check.hexdigest()}" == digest
        assert peak(store) < 150


def test_many_clients_at_once(tmp_path: Path) -> None:
    with served(tmp_path) as store:

        def work(number: int) -> None:
            for turn in range(4):
                name, text = f"many/{number % 3}", f"{number}-{turn}"
                assert store.client.push_manifest(name, f"t{number}", artifact(store.client, name, text)).status == 201
                assert store.client("GET", f"/v2/{name}/manifests/t{number}").status == 200
                assert store.client("GET", f"/v2/{name}/blobs/{digest_of(text.encode())}").body == text.encode()

        async def sweep(one: object) -> None:
            tasks = [asyncio.to_thread(work, number) for number in range(8)]
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(task) for task in tasks]
                while not all(task.done() for task in running):
                    await one.stub.Prune(pb.PruneRequest(dangling=True))  # type: ignore[attr-defined]

        asked(store, sweep)
        tags = {tag for number in range(3) for tag in store.client("GET", f"/v2/many/{number}/tags/list").json()["tags"]}
        assert tags == {f"t{number}" for number in range(8)}


def test_what_a_death_leaves_is_removed_and_what_was_answered_stays(tmp_path: Path) -> None:
    with served(tmp_path) as store:
        client = store.client
        document = artifact(client, "a", "answered")
        assert client.push_manifest("a", "1", document).status == 201
        at = location(store, "a")
        assert client("PATCH", at, os.urandom(1 << 20)).status == 202
        store.process.kill()
        store.process.wait()
        store.start()
        assert list((tmp_path / "root/images/tmp").iterdir()) == []
        assert client("DELETE", at).status == 204
        assert _left(tmp_path) == []
        remove_nothing(store)
        assert client("GET", "/v2/a/manifests/1").json() == document
        assert client("GET", f"/v2/a/blobs/{digest_of(b'answered')}").body == b"answered"
        assert len(store.blobs()) == 3


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("kill", [True, False])
def test_an_upload_goes_on_where_it_was_after_a_restart(tmp_path: Path, kill: bool, algorithm: str) -> None:
    first, second = os.urandom(3 << 20), os.urandom(100_000)
    with served(tmp_path) as store:
        client = store.client
        at = location(store, "a")
        assert client("PATCH", at, first).status == 202
        if kill:
            store.process.kill()
            store.process.wait()
        else:
            store.stop()
        store.start()
        assert client("GET", at.replace("/a/", "/b/")).code == "BLOB_UPLOAD_UNKNOWN"
        status = client("GET", at)
        assert (status.status, status.headers["Range"]) == (204, f"0-{len(first) - 1}")
        wrong = client("PATCH", at, second, Content_Range=f"0-{len(second) - 1}")
        assert (wrong.status, wrong.code) == (416, "BLOB_UPLOAD_INVALID")
        digest = digest_of(first + second, algorithm)
        assert client("PATCH", at, second, Content_Range=f"{len(first)}-{len(first) + len(second) - 1}").status == 202
        assert client("PUT", f"{at}?digest={digest}", b"").status == 201
        assert client("GET", f"/v2/a/blobs/{digest}").body == first + second
        assert _left(tmp_path) == []
        assert client("PATCH", at, b"x").code == "BLOB_UPLOAD_UNKNOWN"


def test_an_upload_that_a_restart_damaged_is_refused_at_its_end(tmp_path: Path) -> None:
    with served(tmp_path) as store:
        at = location(store, "a")
        assert store.client("PATCH", at, b"first").status == 202
        store.stop()
        (bytes_of,) = (path for path in (tmp_path / "root/images/uploads").iterdir() if not path.suffix)
        bytes_of.write_bytes(b"fi\0\0\0")
        (tmp_path / "root/images/uploads/0123").write_bytes(b"nobody's")
        store.start()
        assert _left(tmp_path) == [bytes_of.name]
        answer = store.client("PUT", f"{at}?digest={digest_of(b'firstsecond')}", b"second")
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
        assert _left(tmp_path) == []


def test_an_upload_that_nobody_goes_on_with_after_a_restart_is_given_up(tmp_path: Path) -> None:
    with served(tmp_path, distribution_upload_idle="1") as store:
        at = location(store, "a")
        assert store.client("PATCH", at, b"first").status == 202
        store.stop()
        store.start()
        time.sleep(1.8)
        assert _left(tmp_path) == []
        assert store.client("PATCH", at, b"x").code == "BLOB_UPLOAD_UNKNOWN"


def _left(folder: Path) -> list[str]:
    """Returns the uploads under way in a store's files."""
    return sorted({path.name.partition(".")[0] for path in (folder / "root/images/uploads").iterdir()})


def test_a_full_disk_is_said_and_leaves_the_store_whole(tmp_path: Path) -> None:
    small = tmp_path / "root"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(small)], check=True)
    try:
        with served(tmp_path) as store:
            kept = store.client.push_blob("a", os.urandom(4 << 20))
            data = os.urandom(10 << 20)
            answer = store.client("POST", f"/v2/a/blobs/uploads/?digest={digest_of(data)}", data)
            assert answer.status == 500
            assert b"no space left on device" in answer.body
            assert store.client("GET", f"/v2/a/blobs/{kept}").status == 200
            assert store.client("DELETE", f"/v2/a/blobs/{kept}").status == 202
            remove_nothing(store)
            assert store.client.push_blob("a", os.urandom(8 << 20))
    finally:
        subprocess.run(["umount", str(small)], check=True)
