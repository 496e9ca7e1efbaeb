"""/v2/ on a store that several services share: MongoDB and S3. What is pushed to one is pulled from another."""

import os
import time
from pathlib import Path

import pytest

from images.busybox import archive
from integration.distribution_kit import Client, artifact, digest_of, served
from integration.netns import namespace
from integration.test_distribution_clients import LAYERS, asked, images, remove_nothing
from integration.test_distribution_limits import location
from shared_store import servers

pytestmark = pytest.mark.root
OTHER = "127.0.0.1:5060"


def settings_of(server: servers.S3Server) -> dict[str, str]:
    return {name.removeprefix("SKERRY_IMAGES_").lower(): value for name, value in server.environ("d").items()}


def test_blobs_in_a_bucket_are_sent_whole_and_in_part(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    with namespace("dist") as inside, servers.s3("moto", tmp_path, port=5070, argv=inside.argv) as bucket:
        with served(tmp_path, inside, **settings_of(bucket)) as store:
            client = store.client
            digest = client.push_blob("a", data)
            whole = client("GET", f"/v2/a/blobs/{digest}")
            assert (whole.status, whole.body, whole.headers["Content-Length"]) == (200, data, str(len(data)))
            part = client("GET", f"/v2/a/blobs/{digest}", Range="bytes=1000000-1999999")
            assert (part.status, part.body, part.headers["Content-Range"]) == (
                206,
                data[1_000_000:2_000_000],
                f"bytes 1000000-1999999/{len(data)}",
            )
            assert client("GET", f"/v2/a/blobs/{digest}", Range=f"bytes={len(data)}-").status == 416
            head = client("HEAD", f"/v2/a/blobs/{digest}")
            assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(data)), b"")


def test_two_services_are_one_registry(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with (
        namespace("dist") as inside,
        servers.mongo(tmp_path, port=5071, argv=inside.argv) as mongo,
        servers.s3("moto", tmp_path, port=5070, argv=inside.argv) as bucket,
    ):
        settings = {**settings_of(bucket), "catalog": mongo.replace("/?", "/skerry?"), "sweep_grace": "0"}
        with served(tmp_path, inside, **settings) as one, served(tmp_path / "other", inside, distribution_listen=OTHER, **settings) as two:
            other = Client(inside, OTHER)
            path = tmp_path / "push.tar"
            path.write_bytes(archive(LAYERS, ["app:1"]))
            copy = ("skopeo", "--insecure-policy", "copy", "--quiet")
            inside.run(*copy, "--dest-tls-verify=false", f"docker-archive:{path}", "docker://127.0.0.1:5050/team/app:1")
            inside.run(*copy, "--src-tls-verify=false", f"docker://{OTHER}/team/app:1", f"dir:{tmp_path}/back")
            assert images(one)["team/app:1"].id == images(two)["team/app:1"].id
            # An upload in pieces is the service's that began it, and gone with it: the client begins anew.
            at = location(one, "team/app")
            assert one.client("PATCH", at, b"first").status == 202
            away = other("PATCH", at, b"second")
            assert (away.status, away.code) == (404, "BLOB_UPLOAD_UNKNOWN")
            one.stop()
            one.start()
            gone = one.client("PATCH", at, b"second")
            assert (gone.status, gone.code) == (404, "BLOB_UPLOAD_UNKNOWN")
            digest = one.client.push_blob("team/app", b"firstsecond")
            assert other("GET", f"/v2/team/app/blobs/{digest}").body == b"firstsecond"
            document = artifact(other, "team/app", "about it", artifactType="test/x")
            assert other.push_manifest("team/app", "about", document).status == 201
            assert one.client("GET", "/v2/team/app/manifests/about").json() == document
            # What was loaded here is served there, and gone there when it is removed here.
            asked(one, lambda store: store.load(archive(LAYERS[:1], ["loaded:1"])))
            assert other("GET", "/v2/loaded/manifests/1").status == 200
            assert other("DELETE", "/v2/team/app/manifests/1").status == 202
            assert "team/app:1" not in images(one)
            remove_nothing(two)
            time.sleep(0.5)
            assert one.client("GET", f"/v2/team/app/blobs/{digest_of(b'about it')}").body == b"about it"
