"""An odd image goes through load, run and save: in a container it is what GNU tar makes of it, and what is saved is what came."""

import dataclasses
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from engines import Engine, skerry_engine
from images.busybox import archive as docker_archive
from images.busybox import layer
from integration.tars import Member, archive, directory, listing
from integration.test_layers_fidelity import FORMS, gnu_extracted, odd_members
from skerry.containers.layers import tar

# Parents that no entry names: their times and modes are nobody's.
_NOBODYS = (b"links", b"many", b"long")


def odd_layer() -> bytes:
    """The members of the layers' own test below odd/."""
    members = []
    for member in odd_members()[1:]:
        link = b"odd/" + member.link if member.kind == tar.HARDLINK else member.link
        members.append(dataclasses.replace(member, name=b"odd/" + member.name, link=link))
    return archive(directory(b"odd/"), *members)


def sparse_layer(place: Path, *options: str) -> tuple[bytes, str]:
    """A sparse file by GNU tar, its pieces nowhere aligned; returns the tar and the file's digest."""
    place.mkdir()
    with open(place / "sparse", "wb") as file:
        for position, data in ((0, b"a" * 700), (70_001, b"b" * 5_000), (1 << 20, b"c" * 4096), (9_000_000, b"d" * 3)):
            file.seek(position)
            file.write(data)
        file.truncate(20_000_001)
    digest = hashlib.sha256((place / "sparse").read_bytes()).hexdigest()
    name = f"s,^,{place.name}/,"
    done = subprocess.run(["tar", "-cS", *options, f"--transform={name}", "sparse"], cwd=place, check=True, capture_output=True)
    return done.stdout, digest


def whiteouts() -> list[bytes]:
    below = archive(
        *[Member(b"wh/" + name, data=b"old") for name in (b"gone", b"kept/child", b"kept/other", b"opaque/old", b"replaced/old")]
    )
    above = archive(
        Member(b"wh/.wh.gone"), Member(b"wh/kept/.wh.child"),
        directory(b"wh/opaque/"), Member(b"wh/opaque/.wh..wh..opq"), Member(b"wh/opaque/new", data=b"new"),
        Member(b"wh/.wh.replaced"), directory(b"wh/replaced/"), Member(b"wh/replaced/mine", data=b"m"),
    )  # fmt: skip
    return [below, above]


def saved(engine: Engine, name: str) -> dict[str, bytes]:
    done = subprocess.run(["docker", "save", name], env=engine.environ(), check=True, capture_output=True, timeout=60)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as source:
        return {info.name: file.read() for info in source if (file := source.extractfile(info))}


@pytest.mark.root
@pytest.mark.parametrize("form", FORMS)
def test_an_odd_image_is_the_same_in_a_container_and_after_save(tmp_path: Path, form: str) -> None:
    odd = odd_layer()
    gnu, gnu_digest = sparse_layer(tmp_path / "gnu-sparse", "--format=gnu")
    pax, pax_digest = sparse_layer(tmp_path / "pax-sparse", "--format=posix", "--sparse-version=1.0")
    layers = [layer(), odd, gnu, pax, *whiteouts()]
    expected = listing(f"{gnu_extracted(tmp_path / 'gnu', odd)}/odd")
    with skerry_engine(SKERRY_CONTAINERS_LAYERS=form) as engine:
        engine.docker("load", "-q", stdin=docker_archive(layers, ["odd:1"]))
        identity = engine.out("inspect", "-f", "{{.Id}}", "odd:1")
        engine.docker("run", "-d", "--name", "odd", "--net", "none", "odd:1", "sleep", "60")
        root = f"/proc/{engine.out('inspect', '-f', '{{.State.Pid}}', 'odd')}/root"
        found = listing(f"{root}/odd")
        for made in (found, expected):
            for name in [one for one in made if one in _NOBODYS or (one.startswith(b"long/") and not one.endswith(b"n"))]:
                del made[name]
        different = {name: (found.get(name), what) for name, what in expected.items() if found.get(name) != what}
        assert different == {} and found.keys() == expected.keys()
        for name, digest in (("gnu-sparse", gnu_digest), ("pax-sparse", pax_digest)):
            assert engine.out("exec", "odd", "sha256sum", f"/{name}/sparse").split()[0] == digest
        seen = engine.out("exec", "odd", "sh", "-c", "cd /wh && find . -type f").split()
        assert sorted(seen) == ["./kept/other", "./opaque/new", "./replaced/mine"]
        engine.docker("rm", "-f", "odd")
        files = saved(engine, "odd:1")
        [item] = json.loads(files["manifest.json"])
        assert [files[path] for path in item["Layers"]] == layers
        assert item["Config"] == f"blobs/sha256/{identity[7:]}"
