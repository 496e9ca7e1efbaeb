"""Stock clients against /v2/: skopeo, and docker by Debian's dockerd. What they push becomes images, what the store has they pull."""

import asyncio
import glob
import gzip
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from certificates import make
from engines import Engine, dockerd_engine
from images.busybox import archive
from integration.distribution_kit import (
    ADDRESS,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Served,
    artifact,
    described,
    digest_of,
    served,
)
from integration.images_registry import Store
from integration.netns import Namespace
from integration.test_distribution_access import make_users
from skerry.api.images.v1 import images_pb2 as pb
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceStub
from skerry.core.rpc.channel import open_channel

pytestmark = pytest.mark.root
T = TypeVar("T")


def tar_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


LAYERS = [tar_of(base=b"base" * 20_000), tar_of(top=os.urandom(1000) * 300)]


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Engine]:
    with dockerd_engine("--iptables=false", "--bridge=none", f"--registry-mirror=http://{ADDRESS}") as engine:
        yield engine


@pytest.fixture(scope="module")
def inside(dockerd: Engine) -> Namespace:
    return Namespace(f"/run/netns/{dockerd.netns}")


@pytest.fixture
def store(inside: Namespace, tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, inside) as one:
        yield one


@asynccontextmanager
async def client_of(store: Served) -> AsyncIterator[Store]:
    async with open_channel(f"unix:{store.folder}/images.sock") as channel:
        yield Store(store.process, ImagesServiceStub(channel), store.folder / "root")


def asked(store: Served, ask: Callable[[Store], Awaitable[T]]) -> T:
    """Asks the store's own API."""

    async def run() -> T:
        async with client_of(store) as one:
            return await ask(one)

    return asyncio.run(run())


def images(store: Served) -> dict[str, pb.Image]:
    """Returns the store's images by name."""
    return {name: one for one in asked(store, Store.images) for name in [*one.repo_tags, *one.repo_digests]}


def load(store: Served, *names: str, layers: list[bytes] = LAYERS) -> str:
    """Loads an image; returns its id."""
    return str(asked(store, lambda one: one.load(archive(layers, list(names))))[0].image.id)


def remove(store: Served, name: str) -> None:
    async def ask(one: Store) -> None:
        await one.stub.Remove(pb.RemoveRequest(image=name))
        await one.stub.Prune(pb.PruneRequest(dangling=True))

    asked(store, ask)


def findings(store: Served) -> list[str]:
    """Returns what `skerry images fsck` finds."""

    async def ask(one: Store) -> list[str]:
        return [step.finding.text async for step in one.stub.Check(pb.CheckRequest()) if step.HasField("finding")]

    return asked(store, ask)


def skopeo(store: Served, *words: str) -> str:
    return store.inside.run("skopeo", "--insecure-policy", *words)


def test_docker_pushes_an_image_of_the_store(store: Served, dockerd: Engine) -> None:
    name = f"{ADDRESS}/team/app:1"
    dockerd.docker("load", stdin=archive(LAYERS, [name]))
    image_id = dockerd.out("image", "inspect", "-f", "{{.Id}}", name)
    dockerd.docker("push", name)
    (digest,) = json.loads(dockerd.out("image", "inspect", "-f", "{{json .RepoDigests}}", name))
    mine = images(store)["team/app:1"]
    assert (mine.id, [layer.diff_id for layer in mine.layers]) == (image_id, [digest_of(one) for one in LAYERS])
    assert list(mine.repo_digests) == [digest.removeprefix(f"{ADDRESS}/")]
    dockerd.docker("rmi", name)
    dockerd.docker("pull", name)
    assert dockerd.out("image", "inspect", "-f", "{{.Id}}", name) == image_id
    assert json.loads(dockerd.out("image", "inspect", "-f", "{{json .RepoDigests}}", name)) == [digest]
    # Nothing is sent twice, and another repository mounts.
    other = f"{ADDRESS}/else/where:2"
    dockerd.docker("tag", name, other)
    assert dockerd.out("push", name).count("Layer already exists") == 2
    assert dockerd.out("push", other).count("Mounted from team/app") == 2
    assert images(store)["else/where:2"].id == image_id
    dockerd.docker("rmi", name, other)


def test_docker_pulls_what_was_loaded(store: Served, dockerd: Engine) -> None:
    image_id = load(store, "busy/box:1", "library/latest:latest")
    name = f"{ADDRESS}/busy/box:1"
    first = dockerd.out("pull", name)
    assert dockerd.out("image", "inspect", "-f", "{{.Id}}", name) == image_id
    # The same manifest, whoever asks, and under each name.
    digest = skopeo(store, "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{name}").strip()
    assert f"Digest: {digest}" in first
    assert store.client("HEAD", "/v2/library/latest/manifests/latest").headers["Docker-Content-Digest"] == digest
    # As the mirror that dockerd asks first.
    assert f"Digest: {digest}" in dockerd.out("pull", "latest")
    dockerd.docker("rmi", name, "latest")


def test_a_name_that_is_removed_is_served_no_more_and_its_blobs_go(store: Served) -> None:
    load(store, "gone/soon:1", "stays/here:1")
    before = store.client("GET", "/v2/gone/soon/manifests/1").json()
    blob = before["layers"][0]["digest"]
    assert store.client("GET", f"/v2/gone/soon/blobs/{blob}").status == 200
    assert store.client("GET", "/v2/stays/here/manifests/1").json() == before
    assert store.client("GET", "/v2/gone/soon/tags/list").json()["tags"] == ["1"]
    remove(store, "gone/soon:1")
    assert store.client("GET", "/v2/gone/soon/manifests/1").status == 404
    assert store.client("GET", "/v2/stays/here/manifests/1").status == 200
    assert blob in store.blobs()
    remove(store, "stays/here:1")
    assert store.client("GET", "/v2/stays/here/manifests/1").status == 404
    assert store.client("GET", "/v2/_catalog").json()["repositories"] == []
    assert store.blobs() == set()


def test_a_tag_that_moves_in_the_store_moves_in_the_registry(store: Served) -> None:
    load(store, "moves:1")
    first = store.client("GET", "/v2/moves/manifests/1").json()
    load(store, "moves:1", layers=LAYERS[:1])
    second = store.client("GET", "/v2/moves/manifests/1").json()
    assert (len(first["layers"]), len(second["layers"])) == (2, 1)
    digest = store.client("HEAD", "/v2/moves/manifests/1").headers["Docker-Content-Digest"]
    assert store.client("DELETE", f"/v2/moves/manifests/{digest}").status == 202
    assert "moves:1" not in images(store)
    assert store.client("GET", "/v2/moves/manifests/1").status == 404


def test_deleting_a_tag_takes_the_name_and_the_last_manifest_the_image(store: Served) -> None:
    skopeo_push(store, "del/eted:1")
    image = images(store)["del/eted:1"]
    digest = image.repo_digests[0].partition("@")[2]
    assert store.client("DELETE", "/v2/del/eted/manifests/1").status == 202
    assert list(images(store)) == [f"del/eted@{digest}"]
    assert store.client("GET", f"/v2/del/eted/manifests/{digest}").status == 200
    assert store.client("DELETE", f"/v2/del/eted/manifests/{digest}").status == 202
    assert images(store) == {}


def skopeo_push(store: Served, name: str, *options: str) -> None:
    path = store.folder / "push.tar"
    path.write_bytes(archive(LAYERS, [name]))
    skopeo(store, "copy", "--quiet", "--dest-tls-verify=false", *options, f"docker-archive:{path}", f"docker://{ADDRESS}/{name}")


@pytest.mark.parametrize("options", [(), ("--format=oci",), ("--dest-compress-format=zstd", "--format=oci")])
def test_skopeo_pushes_and_pulls(store: Served, options: tuple[str, ...]) -> None:
    skopeo_push(store, "sko/peo:1", *options)
    mine = images(store)["sko/peo:1"]
    assert [layer.diff_id for layer in mine.layers] == [digest_of(one) for one in LAYERS]
    there = store.folder / "oci"
    skopeo(store, "copy", "--quiet", "--src-tls-verify=false", f"docker://{ADDRESS}/sko/peo:1", f"oci:{there}:x")
    config = json.loads((there / "index.json").read_bytes())["manifests"][0]
    assert skopeo(store, "inspect", "--config", f"oci:{there}:x")
    assert config["size"]
    assert json.loads(skopeo(store, "list-tags", "--tls-verify=false", f"docker://{ADDRESS}/sko/peo"))["Tags"] == ["1"]
    skopeo(store, "delete", "--tls-verify=false", f"docker://{ADDRESS}/sko/peo:1")
    assert images(store) == {}


def push_image(store: Served, name: str, architecture: str, layer: bytes) -> tuple[dict[str, Any], str]:
    """Pushes one platform's image by digest; returns its descriptor and its id."""
    config = json.dumps(
        {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}}
    ).encode()
    packed = gzip.compress(layer)
    for blob in (config, packed):
        store.client.push_blob(name, blob)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(config, OCI_CONFIG),
        "layers": [described(packed, OCI_LAYER)],
    }
    assert store.client.push_manifest(name, "", document).status == 201
    platform = {"os": "linux", "architecture": architecture}
    return described(json.dumps(document).encode(), OCI_MANIFEST, platform=platform), digest_of(config)


def test_of_an_index_this_platforms_image_is_the_stores(store: Served, dockerd: Engine) -> None:
    parts = {one: push_image(store, "mul/ti", one, tar_of(who=one.encode())) for one in ("amd64", "arm64")}
    assert images(store) == {}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [part for part, _ in parts.values()]}
    digest = digest_of(json.dumps(index).encode())
    assert store.client.push_manifest("mul/ti", "1", index).status == 201
    mine = images(store)
    assert {name: one.id for name, one in mine.items()} == {"mul/ti:1": parts["amd64"][1], f"mul/ti@{digest}": parts["amd64"][1]}
    assert f"Digest: {digest}" in dockerd.out("pull", f"{ADDRESS}/mul/ti:1")
    dockerd.docker("pull", "--platform=linux/arm64", f"{ADDRESS}/mul/ti:1")
    there = store.folder / "all"
    skopeo(store, "copy", "--quiet", "--all", "--src-tls-verify=false", f"docker://{ADDRESS}/mul/ti:1", f"dir:{there}")
    # The image goes with its name, and with it all that came with the index.
    remove(store, "mul/ti:1")
    for reference in ("1", digest, parts["arm64"][0]["digest"]):
        assert store.client("GET", f"/v2/mul/ti/manifests/{reference}").status == 404
    dockerd.docker("rmi", "-f", f"{ADDRESS}/mul/ti:1")


def test_what_is_no_image_stays_over_sweeps_and_restarts(store: Served) -> None:
    document = artifact(store.client, "arti/fact", "bill of materials", artifactType="test/sbom")
    assert store.client.push_manifest("arti/fact", "1", document).status == 201
    assert images(store) == {}
    load(store, "any:1")
    remove(store, "any:1")
    store.stop()
    store.start()
    remove_nothing(store)
    assert store.client("GET", "/v2/arti/fact/manifests/1").json() == document
    assert store.client("GET", f"/v2/arti/fact/blobs/{digest_of(b'bill of materials')}").body == b"bill of materials"
    # An image may take its tag, and give it back.
    skopeo_push(store, "arti/fact:1")
    assert "arti/fact:1" in images(store)
    assert store.client.push_manifest("arti/fact", "1", document).status == 201
    assert "arti/fact:1" not in images(store)
    store.client.push_blob("arti/fact", b"of another algorithm", "sha512")
    load(store, "arti/fact:1")
    assert findings(store) == []
    assert store.client("GET", "/v2/arti/fact/manifests/1").json() != document


def remove_nothing(store: Served) -> None:
    async def ask(one: Store) -> None:
        await one.stub.Prune(pb.PruneRequest(dangling=True))

    asked(store, ask)


def test_docker_and_skopeo_log_in(inside: Namespace, dockerd: Engine, tmp_path: Path) -> None:
    with served(tmp_path, inside, distribution_users=make_users(tmp_path), distribution_anonymous="pull") as store:
        name = f"{ADDRESS}/team/app:1"
        dockerd.docker("load", stdin=archive(LAYERS, [name, f"{ADDRESS}/other:1"]))
        refused = dockerd.docker("push", name, check=False)
        assert "denied: requested access to the resource is denied" in refused.stderr
        config = ["--config", str(tmp_path / "docker")]
        wrong = dockerd.docker(*config, "login", "-u", "team", "--password-stdin", ADDRESS, stdin=b"wrong", check=False)
        assert "unauthorized: incorrect username or password" in wrong.stderr
        assert "Login Succeeded" in dockerd.out(*config, "login", "-u", "team", "--password-stdin", ADDRESS, stdin=b"t-pass")
        dockerd.docker(*config, "push", name)
        denied = dockerd.docker(*config, "push", f"{ADDRESS}/other:1", check=False)
        assert "denied" in denied.stderr
        dockerd.docker("rmi", name, f"{ADDRESS}/other:1")
        dockerd.docker("pull", name)  # anonymously
        dockerd.docker("rmi", name)
        skopeo_push(store, "team/skopeo:1", "--dest-creds=team:t-pass")
        with pytest.raises(AssertionError, match="denied"):
            skopeo_push(store, "not/mine:1", "--dest-creds=team:t-pass")
        with pytest.raises(AssertionError, match=r"unauthorized|authentication required"):
            skopeo_push(store, "team/skopeo:1", "--dest-creds=team:wrong")
        assert {"team/app:1", "team/skopeo:1"} <= set(images(store))


@pytest.mark.parametrize("challenge", ["bearer", "basic"])
def test_over_tls(inside: Namespace, dockerd: Engine, tmp_path: Path, challenge: str) -> None:
    tls = make(tmp_path / "tls", "registry")
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs/ca.crt").write_bytes(Path(tls.ca).read_bytes())
    settings = {"distribution_tls_cert": tls.cert, "distribution_tls_key": tls.key, "distribution_challenge": challenge}
    with served(tmp_path, inside, distribution_users=make_users(tmp_path), **settings) as store:
        path = tmp_path / "push.tar"
        path.write_bytes(archive(LAYERS, ["team/tls:1"]))
        to = f"docker://{ADDRESS}/team/tls:1"
        options = ["--quiet", f"--dest-cert-dir={tmp_path}/certs", "--dest-creds=team:t-pass"]
        skopeo(store, "copy", *options, f"docker-archive:{path}", to)
        with pytest.raises(AssertionError, match="certificate"):
            skopeo(store, "inspect", "--creds=team:t-pass", to)
        config = ["--config", str(tmp_path / "docker")]
        # dockerd looks at no certificate of the loopback range.
        dockerd.docker(*config, "login", "-u", "team", "--password-stdin", ADDRESS, stdin=b"t-pass")
        dockerd.docker(*config, "pull", f"{ADDRESS}/team/tls:1")
        assert dockerd.out("image", "inspect", "-f", "{{.Id}}", f"{ADDRESS}/team/tls:1") == images(store)["team/tls:1"].id
        dockerd.docker("rmi", f"{ADDRESS}/team/tls:1")


def test_another_store_pulls_and_pushes(store: Served, inside: Namespace, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    image_id = load(store, "first/one:1")
    with served(tmp_path / "other", inside, distribution_listen="127.0.0.1:5060") as other:
        _, pulled = asked(other, lambda one: one.pull(f"{ADDRESS}/first/one:1"))
        assert pulled.id == image_id

        async def push(one: Store) -> list[str]:
            await one.stub.Tag(pb.TagRequest(image=image_id, target=f"{ADDRESS}/back:1"))
            return [
                step.pushed.digest async for step in one.stub.Push(pb.PushRequest(reference=f"{ADDRESS}/back:1")) if step.HasField("pushed")
            ]

        digests = asked(other, push)
    assert images(store)["back:1"].id == image_id
    assert list(images(store)["back:1"].repo_digests) == [f"back@{digests[0]}"]


def test_podman_pulls_and_pushes(store: Served) -> None:
    program = shutil.which("podman")
    assert program, "podman is missing: make setup-test unpacks it"
    # Unpacked, not installed: its libraries lie beside it.
    libraries = glob.glob(f"{Path(program).parents[1]}/lib/*-linux-gnu")
    image_id = load(store, "pod/man:1")
    with tempfile.TemporaryDirectory(prefix="sk-", dir="/tmp") as place:  # podman wants short paths
        helpers = f"{Path(program).parents[1]}/lib/podman"
        Path(f"{place}/containers.conf").write_text(f'[engine]\nhelper_binaries_dir = ["{helpers}"]\n', encoding="utf-8")
        environ = ["env", f"LD_LIBRARY_PATH={':'.join(libraries)}", f"CONTAINERS_CONF={place}/containers.conf"]
        podman = [*environ, program, "--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver=vfs"]
        store.inside.run(*podman, "pull", "--tls-verify=false", f"docker://{ADDRESS}/pod/man:1")
        assert image_id.removeprefix("sha256:") in store.inside.run(*podman, "images", "--no-trunc", "-q")
        store.inside.run(*podman, "push", "--tls-verify=false", image_id, f"docker://{ADDRESS}/pod/back:1")
    assert images(store)["pod/back:1"]
