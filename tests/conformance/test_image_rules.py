"""Images that were built on others, names and removals: Docker's exact rules and words, and what images take."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from engines import Engine
from images.busybox import archive, layer

from .test_archives import digest, document, tar

covers = pytest.mark.covers


@pytest.fixture(autouse=True)
def _no_images_left(engine: Engine) -> Iterator[None]:
    """Removes every name but busybox:latest, and every image without a name."""
    yield
    for row in engine.request("GET", "/images/json")[1]:
        for tag in row["RepoTags"] or []:
            if tag not in ("busybox:latest", "<none>:<none>"):
                engine.docker("rmi", "-f", tag, check=False)
    engine.docker("image", "prune", "-f")


class Chain:
    """Three images, each built on the one before: `base` and `middle` without a name, `top` as NAME:top."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.bodies = [tar({f"{number}": f"{name}{number}".encode()}) for number in range(3)]
        self.documents = [self._document(number, name) for number in range(1, 4)]
        self.base, self.middle, self.top = (digest(one) for one in self.documents)
        files = {f"{digest(one)[7:]}.json": one for one in self.documents} | {f"{n}/layer.tar": body for n, body in enumerate(self.bodies)}
        items: list[dict[str, Any]] = []
        for number, one in enumerate(self.documents):
            items.append(
                {
                    "Config": f"{digest(one)[7:]}.json",
                    "RepoTags": [f"{name}:top"] if number == 2 else None,
                    "Layers": [f"{below}/layer.tar" for below in range(number + 1)],
                    **({"Parent": digest(self.documents[number - 1])} if number else {}),
                }
            )
        engine.docker("load", "-q", stdin=tar({**files, "manifest.json": json.dumps(items).encode()}))

    def _document(self, number: int, name: str) -> bytes:
        history = [{"created": f"2024-01-0{one}T00:00:00Z", "created_by": f"step {one}"} for one in range(1, number + 1)]
        return document(
            [digest(body) for body in self.bodies[:number]], history=history, created=f"2024-01-0{number}T00:00:00Z",
            config={"Labels": {"of": name}},
        )  # fmt: skip


@pytest.fixture
def chain(engine: Engine, name: str) -> Chain:
    return Chain(engine, name)


def ids(engine: Engine, query: str = "") -> set[str]:
    return {row["Id"] for row in engine.request("GET", f"/images/json{query}")[1]}


def delete(engine: Engine, what: str, query: str = "") -> tuple[int, Any]:
    status, answer = engine.request("DELETE", f"/images/{what}{query}")
    return status, answer if status == 200 else answer["message"]


def of(answer: Any, kind: str) -> list[str]:
    return [item[kind] for item in answer if kind in item]


@covers("history", "images -a")
def test_history_names_the_parents_that_are_here(engine: Engine, chain: Chain, name: str) -> None:
    rows = engine.request("GET", f"/images/{name}:top/history")[1]
    assert [(row["Id"], row["CreatedBy"], row["Tags"]) for row in rows] == [
        (chain.top, "step 3", [f"{name}:top"]), (chain.middle, "step 2", None), (chain.base, "step 1", None),
    ]  # fmt: skip
    assert engine.out("history", "-q", "--no-trunc", f"{name}:top").split() == [chain.top, chain.middle, chain.base]
    engine.docker("tag", chain.middle, f"{name}:mid")
    assert engine.request("GET", f"/images/{name}:top/history")[1][1]["Tags"] == [f"{name}:mid"]
    assert engine.out("history", "--format", "{{.CreatedBy}}|{{.Comment}}", "-H=false", f"{name}:mid").splitlines() == [
        "step 2|",
        "step 1|",
    ]


def test_images_that_others_were_built_on_are_listed_with_all_only(engine: Engine, chain: Chain) -> None:
    shown, every = ids(engine), ids(engine, "?all=1")
    assert chain.top in shown and not {chain.middle, chain.base} & shown
    assert {chain.top, chain.middle, chain.base} <= every
    dangling = ids(engine, '?filters={"dangling":["true"]}') | ids(engine, '?all=1&filters={"dangling":["true"]}')
    assert not {chain.top, chain.middle, chain.base} & dangling
    row = next(row for row in engine.request("GET", "/images/json")[1] if row["Id"] == chain.top)
    assert row["ParentId"] == chain.middle == engine.request("GET", f"/images/{chain.top}/json")[1]["Parent"]


@covers("rmi")
def test_removing_takes_the_unnamed_parents_along(engine: Engine, chain: Chain, name: str) -> None:
    status, answer = delete(engine, f"{name}:top")
    assert status == 200 and of(answer, "Untagged") == [f"{name}:top"]
    deleted = [one for one in of(answer, "Deleted") if one in (chain.top, chain.middle, chain.base)]
    assert deleted == [chain.top, chain.middle, chain.base]
    # An image's own layer goes right after it.
    assert of(answer, "Deleted").index(chain.middle) == 2 and len(of(answer, "Deleted")) == 6
    assert not {chain.top, chain.middle, chain.base} & ids(engine, "?all=1")


@covers("rmi --no-prune")
def test_no_prune_leaves_the_parents(engine: Engine, chain: Chain, name: str) -> None:
    said = engine.out("rmi", "--no-prune", f"{name}:top").splitlines()
    assert said[:2] == [f"Untagged: {name}:top", f"Deleted: {chain.top}"] and len(said) <= 3
    assert {chain.middle, chain.base} <= ids(engine, "?all=1")
    assert chain.middle in ids(engine) and chain.base not in ids(engine)
    assert f"Deleted: {chain.base}" in engine.out("rmi", chain.middle)


def test_a_parent_cannot_be_removed_even_by_force(engine: Engine, chain: Chain) -> None:
    words = f"conflict: unable to delete {chain.middle[7:19]} (cannot be forced) - image has dependent child images"
    assert delete(engine, chain.middle) == delete(engine, chain.middle, "?force=1") == (409, words)


def test_a_named_parent_stays_and_one_with_children_loses_its_name_only(engine: Engine, chain: Chain, name: str) -> None:
    engine.docker("tag", chain.middle, f"{name}:mid")
    assert delete(engine, f"{name}:mid") == (200, [{"Untagged": f"{name}:mid"}])
    engine.docker("tag", chain.middle, f"{name}:mid")
    status, answer = delete(engine, f"{name}:top")
    assert status == 200 and chain.middle not in of(answer, "Deleted")
    assert {chain.middle, chain.base} <= ids(engine, "?all=1")
    status, answer = delete(engine, f"{name}:mid")
    assert chain.base in of(answer, "Deleted")


@covers("rmi")
def test_an_id_with_names_in_several_repositories_must_be_forced(engine: Engine, chain: Chain, name: str) -> None:
    engine.docker("tag", f"{name}:top", f"{name}-other:1")
    words = f"conflict: unable to delete {chain.top[7:19]} (must be forced) - image is referenced in multiple repositories"
    assert delete(engine, chain.top) == (409, words)
    assert delete(engine, f"{name}-other:1") == (200, [{"Untagged": f"{name}-other:1"}])
    engine.docker("tag", f"{name}:top", f"{name}-other:1")
    status, answer = delete(engine, chain.top, "?force=1")
    assert status == 200 and set(of(answer, "Untagged")) == {f"{name}:top", f"{name}-other:1"}
    assert [one for one in of(answer, "Deleted") if one in (chain.top, chain.middle, chain.base)] == [chain.top, chain.middle, chain.base]


def test_an_image_in_use_is_told_by_what_uses_it(engine: Engine, name: str) -> None:
    engine.docker("load", "-q", stdin=archive([layer(), tar({"x": name.encode()})], [f"{name}:1"]))
    image = engine.out("inspect", "-f", "{{.Id}}", f"{name}:1")
    short = image[7:19]
    container = engine.out("create", "--name", name, f"{name}:1", "sleep", "60")[:12]
    assert delete(engine, f"{name}:1") == (
        409,
        f'conflict: unable to remove repository reference "{name}:1" (must force) - container {container} is using its referenced '
        f"image {short}",
    )
    assert delete(engine, image) == (
        409, f"conflict: unable to delete {short} (must be forced) - image is being used by stopped container {container}",
    )  # fmt: skip
    engine.docker("start", name)
    running = f"conflict: unable to delete {short} (cannot be forced) - image is being used by running container {container}"
    assert delete(engine, image) == delete(engine, image, "?force=1") == (409, running)
    engine.docker("tag", f"{name}:1", f"{name}:2")
    assert delete(engine, f"{name}:2") == (200, [{"Untagged": f"{name}:2"}])
    assert delete(engine, f"{name}:1", "?force=1") == (200, [{"Untagged": f"{name}:1"}])
    assert image in ids(engine, '?filters={"dangling":["true"]}')
    engine.docker("rm", "-f", name)


def test_what_is_not_there_is_told(engine: Engine) -> None:
    assert delete(engine, "nope") == (404, "No such image: nope:latest")
    assert delete(engine, "0" * 64) == (404, f"No such image: sha256:{'0' * 64}")
    assert engine.request("GET", "/images/nope/history") == (404, {"message": "No such image: nope:latest"})


@covers("image prune", "image prune -a", "image prune --filter")
def test_prune_goes_up_the_chain_and_by_its_filters(engine: Engine, chain: Chain, name: str) -> None:
    engine.docker("tag", "busybox", f"{name}:top")  # the chain has no name now
    assert chain.top in ids(engine)

    def pruned(**filters: Any) -> list[str]:
        status, answer = engine.request("POST", f"/images/prune?filters={json.dumps(filters, separators=(',', ':'))}")
        assert status == 200, answer
        return [one for one in of(answer["ImagesDeleted"] or [], "Deleted") if one in (chain.top, chain.middle, chain.base)]

    assert pruned(label=["of=else"]) == pruned(until=["2024-01-01T00:00:00"]) == pruned(**{"label!": ["of"]}) == []
    assert pruned(label=[f"of={name}"], until=["24h"]) == [chain.top, chain.middle, chain.base]
    assert engine.out("inspect", "-f", "{{.Id}}", f"{name}:top")


@pytest.mark.parametrize(
    ("filters", "words"),
    [('{"bad":["1"]}', "invalid filter 'bad'"), ('{"dangling":["x"]}', "invalid filter 'dangling=[x]'"),
     ('{"until":["x"]}', 'failed to parse value as time or duration: "x"')],
)  # fmt: skip
def test_bad_filters_of_prune(engine: Engine, filters: str, words: str) -> None:
    status, answer = engine.request("POST", f"/images/prune?filters={filters}")
    assert status in (400, 500) and answer["message"].lower() == words.lower()


@pytest.mark.parametrize(
    ("filters", "status", "words"),
    [('{"bad":["1"]}', 400, "invalid filter 'bad'"), ('{"dangling":["x"]}', 400, "invalid filter 'dangling=[x]'"),
     ('{"before":["nope"]}', 404, "no such image: nope:latest"), ('{"since":["nope"]}', 404, "no such image: nope:latest")],
)  # fmt: skip
def test_bad_filters_of_the_list(engine: Engine, filters: str, status: int, words: str) -> None:
    found, answer = engine.request("GET", f"/images/json?filters={filters}")
    assert (found, answer["message"].lower()) == (status, words)


@covers("images -f", "images --format", "images --digests", "images --no-trunc")
def test_list_by_filters_and_formats(engine: Engine, chain: Chain, name: str) -> None:
    def listed(*arguments: str) -> list[str]:
        return engine.out("images", *arguments).splitlines()

    assert listed("-f", f"label=of={name}", "--format", "{{.Repository}}:{{.Tag}}") == [f"{name}:top"]
    assert listed("-f", f"reference={name[:4]}*:t*", "-q", "--no-trunc") == [chain.top]
    assert chain.top not in listed("-q", "--no-trunc", "-f", f"before={chain.top}")
    # All made at the same time are neither before nor since.
    assert chain.top in listed("-q", "--no-trunc", "-f", "since=busybox")
    assert chain.middle in listed("-aq", "--no-trunc", "-f", f"before={name}:top")
    row = json.loads(engine.out("images", "--format", "{{json .}}", name))
    assert (row["Repository"], row["Tag"], row["Digest"], row["ID"]) == (name, "top", "<none>", chain.top[7:19])
    head = listed("--digests", name)[0]
    assert re.split(r"\s{2,}", head) == ["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"]


@covers("system df", "system df -v")
def test_system_df_counts_shared_layers_once(engine: Engine, name: str) -> None:
    before = engine.request("GET", "/system/df")[1]
    more = tar({"x": name.encode() * 100_000})
    engine.docker("load", "-q", stdin=archive([layer(), more], [f"{name}:1"]))
    engine.docker("create", "--name", name, f"{name}:1", "sh", "-c", "dd if=/dev/zero of=/f bs=1000 count=50")
    engine.docker("start", "-a", name)
    after = engine.request("GET", "/system/df")[1]
    added = after["LayersSize"] - before["LayersSize"]
    assert added == len(name) * 100_000
    by_name = {tag: image for image in after["Images"] for tag in image["RepoTags"] or []}
    one, base = by_name[f"{name}:1"], by_name["busybox:latest"]
    assert one["Containers"] == 1 and one["SharedSize"] == base["SharedSize"] == base["Size"]
    assert one["Size"] - one["SharedSize"] == added
    container = next(row for row in after["Containers"] if row["Names"] == [f"/{name}"])
    assert 50_000 <= container["SizeRw"] < 80_000
    columns = engine.out("system", "df", "--format", "{{.Type}}|{{.TotalCount}}|{{.Active}}").splitlines()
    assert [row.partition("|")[0] for row in columns] == ["Images", "Containers", "Local Volumes", "Build Cache"]
    assert columns[0].split("|")[1] == str(len(after["Images"]))
    assert name in engine.out("system", "df", "-v")


def test_sizes_are_those_of_the_files(engine: Engine, name: str) -> None:
    """Not of the tar: no headers, no padding, a file with two names once, a symlink as long as its target."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as target:
        for path, size in ((name, 1000), ("empty", 0), ("whole", 512)):
            info = tarfile.TarInfo(path)
            info.size = size
            target.addfile(info, io.BytesIO(name.encode() * 200 if size == 1000 else b"x" * size))
        for path, kind, to in (("hard", tarfile.LNKTYPE, "whole"), ("soft", tarfile.SYMTYPE, "seven/7"), ("folder", tarfile.DIRTYPE, "")):
            info = tarfile.TarInfo(path)
            info.type, info.linkname = kind, to
            target.addfile(info)
    engine.docker("load", "-q", stdin=archive([layer(), out.getvalue()], [f"{name}:1"]))
    base = engine.request("GET", "/images/busybox:latest/json")[1]["Size"]
    image = engine.request("GET", f"/images/{name}:1/json")[1]
    assert image["Size"] == base + 1519
    [row] = [row for row in engine.request("GET", "/images/json")[1] if f"{name}:1" in (row["RepoTags"] or [])]
    assert row["Size"] == base + 1519
    engine.docker("create", "--name", name, "busybox", "true")
    engine.docker("cp", "-", f"{name}:/", stdin=out.getvalue())
    engine.docker("commit", name, f"{name}:2")
    history = engine.request("GET", f"/images/{name}:2/history")[1]
    assert (history[0]["Size"], sum(row["Size"] for row in history)) == (1519, base + 1519)
    engine.docker("import", "-", f"{name}:3", stdin=out.getvalue())
    assert engine.request("GET", f"/images/{name}:3/json")[1]["Size"] == 1519


def test_df_by_type(engine: Engine) -> None:
    if engine.name == "dockerd":  # since 1.42
        assert engine.request("GET", "/v1.41/system/df?type=image")[1]["BuilderSize"] == 0
        return
    status, answer = engine.request("GET", "/v1.42/system/df?type=image&type=volume")
    assert status == 200 and answer["Containers"] is None and answer["BuildCache"] is None and "BuilderSize" not in answer
    assert answer["Images"] and answer["Volumes"] == []
    assert engine.request("GET", "/v1.42/system/df?type=foo") == (400, {"message": "unknown object type: foo"})
    assert engine.request("GET", "/v1.41/system/df?type=image")[1]["BuilderSize"] == 0


def test_a_saved_chain_comes_back_with_its_parents(engine: Engine, chain: Chain, name: str) -> None:
    status, body = engine.request("GET", f"/images/get?names={chain.base}&names={chain.middle}&names={name}:top")
    assert status == 200
    with tarfile.open(fileobj=io.BytesIO(body)) as saved:
        file = saved.extractfile("manifest.json")
        assert file is not None
        parents = {item.get("Parent") for item in json.load(file)}
    assert parents == {None, chain.base, chain.middle}
    engine.docker("rmi", f"{name}:top")
    assert engine.request("POST", "/images/load?quiet=1", body, headers={"Content-Type": "application/x-tar"})[0] == 200
    assert engine.out("history", "-q", "--no-trunc", f"{name}:top").split() == [chain.top, chain.middle, chain.base]
