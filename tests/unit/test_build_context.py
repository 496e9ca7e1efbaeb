"""Build contexts: archives read without being extracted, what COPY finds in them, and what it sends on."""

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import random
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from skerry.core.errors import Failed, InvalidArgument
from skerry.gateway.build import context, patterns, sources, tar
from skerry.gateway.build.registry import Builds, build_of, is_build, marked
from skerry.gateway.build.spool import Place, Spooled, is_archive, received, unpacked
from skerry.gateway.build.tree import Limits, Missing, Tree

LIMITS = Limits(1000, 16)
Entry = tuple[str, str, bytes]  # name, kind (f, d, or a link's target after l: or h:), content


def _archive(*entries: Entry, pax: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = 0o644, 1_000_000_000
            if kind == "d":
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif kind[:2] in ("l:", "h:"):
                info.type = tarfile.SYMTYPE if kind[0] == "l" else tarfile.LNKTYPE
                info.linkname = kind[2:]
            info.size = len(content)
            info.pax_headers = dict(pax or {})
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


_open: list[io.BufferedReader] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


def _file(tmp_path: Path, data: bytes) -> io.BufferedReader:
    """Returns data in a file that is closed with the case."""
    path = tmp_path / hashlib.sha256(data).hexdigest()
    path.write_bytes(data)
    _open.append(path.open("rb"))
    return _open[-1]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Tree]:
    def make(*entries: Entry) -> Tree:
        data = _archive(*entries)
        return Tree.read(_file(tmp_path, data), len(data), LIMITS)

    return make


def _content(tree: Tree, path: str) -> bytes:
    return b"".join(tree.content(tree.find(path)[1]))


def test_links_lead_nowhere_but_into_the_tree(read: Callable[..., Tree]) -> None:
    tree = read(
        ("d/file", "f", b"inside"),
        ("etc/passwd", "f", b"of the context"),
        ("up", "l:../../../etc/passwd", b""),
        ("absolute", "l:/etc/passwd", b""),
        ("to-d", "l:d", b""),
        ("to-d/through", "f", b"below a link"),
        ("loop", "l:loop", b""),
        ("../../above", "f", b"clamped"),
        ("./dotted/./x", "f", b"x"),
        ("hard", "h:d/file", b""),
    )
    assert _content(tree, "up") == _content(tree, "absolute") == b"of the context"
    assert tree.find("to-d/file")[0] == "d/file" and _content(tree, "d/through") == b"below a link"
    assert _content(tree, "above") == b"clamped" and _content(tree, "dotted/x") == b"x" and _content(tree, "hard") == b"inside"
    for path in ("loop", "none", "d/file/more"):
        with pytest.raises(Missing):
            tree.find(path)


def test_later_entries_replace_earlier_ones(read: Callable[..., Tree]) -> None:
    tree = read(
        ("a", "f", b"old"),
        ("a", "f", b"new"),
        ("b", "f", b"file"),
        ("b/c", "f", b"in what was a file"),
        ("d/e", "f", b""),
        ("d", "f", b"now a file"),
    )
    assert _content(tree, "a") == b"new" and _content(tree, "b/c") == b"in what was a file" and _content(tree, "d") == b"now a file"


def test_hashes_are_docker_s_and_know_no_times(read: Callable[..., Tree]) -> None:
    tree = read(("a.txt", "f", b"hello\n"), ("sub", "d", b""), ("sub/b.txt", "f", b"two\n"))

    def digest(*words: str) -> str:
        return sources.digest([one.digest for one in sources.resolve(tree, words, context=True)])

    assert digest("a.txt") == "file:00ec16333078d287782d462baefc8bb9eb0231dc3aefba3ca3e2f7e5cf0cadda"
    assert digest("sub") == digest("/sub") == digest("./sub/") == "dir:12fdc54fb9b86d7717b9a15cb743a660dccd2926eb976d600a665442737af6db"
    assert digest("a.txt", "sub") == "multi:96163e948853d580442eb78f8b12064aaf749fc1cd38ffa368085ac96cd14fdb"
    assert digest("*.txt") == digest("a.txt")


def test_what_a_hard_link_names_counts_with_it(read: Callable[..., Tree]) -> None:
    def digest(content: bytes) -> str:
        (source,) = sources.resolve(read(("d/file", "f", content), ("link", "h:d/file", b"")), ["link"], context=True)
        return source.digest

    assert digest(b"one") == digest(b"one") != digest(b"two")


def test_words_that_name_nothing_are_refused(read: Callable[..., Tree]) -> None:
    tree = read(("a", "f", b""))
    for words, text in (
        (["../a"], "forbidden path outside the build context: ../a ()"),
        (["/../a"], "forbidden path outside the build context: ../a ()"),
        (["x/../../a"], "forbidden path outside the build context: x/../../a ()"),
        (["b"], "file not found in build context or excluded by .dockerignore: stat b: file does not exist"),
        (["b*"], "no source files were specified"),
        (["[]a"], "no source files were specified"),
    ):
        with pytest.raises(Failed) as caught:
            sources.resolve(tree, words, context=True)
        assert str(caught.value) == text
    with pytest.raises(Failed, match="stat b: file does not exist"):
        sources.resolve(tree, ["b"], context=False)
    with pytest.raises(Failed, match="missing build context"):
        sources.resolve(None, ["a"], context=True)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*", ["a", ".b", "a b"], ["a/b"]),
        ("*.txt", ["a.txt", ".txt"], ["a.txt/b", "x/a.txt", "a.txtt"]),
        ("a?c", ["abc", "a.c"], ["a/c", "ac"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x"]),
        ("[^a-c]x", ["dx"], ["ax", "/x"]),
        ("*/b", ["a/b"], ["a/a/b", "b"]),
        ("\\*", ["*"], ["a"]),
        ("[\\]]", ["]"], ["a"]),
        ("a+(b)", ["a+(b)"], ["aab"]),
    ],
)
def test_patterns_match_as_go_s(pattern: str, matching: list[str], others: list[str]) -> None:
    compiled = patterns.compiled(pattern)
    assert compiled is not None
    assert [one for one in matching + others if compiled.match(one)] == matching


def test_bad_patterns_match_nothing() -> None:
    assert [patterns.compiled(bad) for bad in ("[", "[a", "[]", "[^]", "[b-a]", "a\\", "[a-]", "[-a]")] == [None] * 8
    assert patterns.has_wildcards("a*") and patterns.has_wildcards("[") and not patterns.has_wildcards("\\*a\\[")


def _sent(archive: sources.Archive, *, keep_owner: bool) -> dict[str, tarfile.TarInfo]:
    data = b"".join(archive.pieces(keep_owner=keep_owner))
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        return {info.name: info for info in opened}


def test_what_is_sent_belongs_to_root_unless_owners_are_kept(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, mode in (("d/suid", 0o4755), ("d/sgid", 0o2755), ("d/lock", 0o2644)):
            info = tarfile.TarInfo(name)
            info.mode, info.uid, info.gid, info.mtime = mode, 5, 6, 1_000_000_000
            archive.addfile(info)
    data = out.getvalue()
    tree = Tree.read(_file(tmp_path, data), len(data), LIMITS)
    (source,) = sources.resolve(tree, ["d"], context=True)
    kept = _sent(sources.Archive("/x", [(source, "n")]), keep_owner=True)
    assert {(name, info.mode, info.uid, info.gid) for name, info in kept.items()} == {
        ("n/suid", 0o4755, 5, 6), ("n/sgid", 0o2755, 5, 6), ("n/lock", 0o2644, 5, 6)
    }  # fmt: skip
    given = _sent(sources.Archive("/x", [(source, "n")], ["n"]), keep_owner=False)
    assert {(name, info.mode, info.uid, info.gid) for name, info in given.items()} == {
        ("n", 0o755, 0, 0), ("n/suid", 0o755, 0, 0), ("n/sgid", 0o755, 0, 0), ("n/lock", 0o2644, 0, 0)
    }  # fmt: skip
    assert kept["n/suid"].mtime == 1_000_000_000


def test_hard_links_stay_links_where_both_names_are_sent(read: Callable[..., Tree]) -> None:
    tree = read(("d/b", "f", b"content"), ("d/a", "h:d/b", b""), ("out", "h:d/b", b""))
    (directory,) = sources.resolve(tree, ["d"], context=True)
    members = _sent(sources.Archive("/", [(directory, "")]), keep_owner=False)
    assert members["a"].isreg() and members["a"].size == 7
    assert members["b"].islnk() and members["b"].linkname == "a"
    (alone,) = sources.resolve(tree, ["out"], context=True)
    assert _sent(sources.Archive("/", [(alone, "out")]), keep_owner=False)["out"].isreg()


def test_names_and_attributes_of_any_kind_go_through(tmp_path: Path) -> None:
    names = ["n" * 150 + "/" + "m" * 120, "\udcff-no-utf8", "é/ü", "new\nline"]
    data = _archive(*((name, "f", name.encode("utf-8", "surrogateescape")) for name in names), pax={"SCHILY.xattr.user.key": "value"})
    tree = Tree.read(_file(tmp_path, data), len(data), LIMITS)
    everything = sources.resolve(tree, ["."], context=True)
    sent = _sent(sources.Archive("/", [(everything[0], "")]), keep_owner=False)
    assert set(names) <= set(sent)
    assert all(sent[name].pax_headers["SCHILY.xattr.user.key"] == "value" for name in names)


def _header(**fields: bytes) -> bytes:
    info = tarfile.TarInfo("name")
    info.type = fields.pop("type", tarfile.REGTYPE)
    info.size = int(fields.pop("size", b"0"))
    return info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"garbage" * 100, "archive/tar: invalid tar header"),
        (b"short", "unexpected EOF"),
        (_archive(("a", "f", b"x" * 2000))[:1500], "unexpected EOF"),
        (_header(type=b"x", size=b"2000000") + bytes(2_000_000), "an extended header is larger than"),
        (_header(type=b"x", size=b"512") + b"99999999999 path=x\n".ljust(512, b"\0"), "archive/tar: invalid tar header"),
        (_header(type=b"L", size=b"5000000000"), "unexpected EOF"),
        (_header(type=b"S") + bytes(1024), "sparse files are not supported in a build context"),
        (_archive(("a", "f", b""), pax={"GNU.sparse.major": "1"}), "sparse files are not supported in a build context"),
        (_archive(("a", "h:nowhere", b"")), "hard link a to nowhere, which is not in the archive"),
        (_archive(("/".join("d" * 17), "f", b"")), "the build context is deeper than 16 directories"),
        (_archive(("n" * 256, "f", b"")), "file name longer than 255 bytes"),
        (_archive(*((f"f{number}", "f", b"") for number in range(1001))), "the build context has more than 1000 entries"),
    ],
)
def test_hostile_archives_are_refused(tmp_path: Path, data: bytes, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        Tree.read(_file(tmp_path, data), len(data), LIMITS)


def test_numbers_that_do_not_fit_in_octal_digits() -> None:
    info = tarfile.TarInfo("n")
    info.uid, info.mtime = 3_000_000_000, 1_000_000_000
    (member,) = tar.members(io.BytesIO(info.tobuf(tarfile.GNU_FORMAT)), 512)
    assert (member.uid, member.mtime) == (3_000_000_000, 1_000_000_000)
    assert next(tar.members(io.BytesIO(tar.header(member) + tar.END), 4096)).uid == 3_000_000_000


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip in two members": lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


@pytest.mark.parametrize("packer", PACKERS)
async def test_contexts_may_be_compressed(tmp_path: Path, packer: str) -> None:
    data = _archive(("Dockerfile", "f", b"FROM x\n"), ("big", "f", bytes(3_000_000)))
    async with received(_pieces(PACKERS[packer](data)), Place(str(tmp_path / "made"), 1 << 30)) as spooled:
        plain = unpacked(spooled, Place(str(tmp_path), 1 << 30))
        assert _content(Tree.read(plain.file, plain.size, LIMITS), "Dockerfile") == b"FROM x\n"
        assert list((tmp_path / "made").iterdir()) == []
        plain.file.close()


@pytest.mark.parametrize("packer", [one for one in PACKERS if one != "plain"])
async def test_contexts_that_unpack_to_too_much_are_refused(tmp_path: Path, packer: str) -> None:
    place = Place(str(tmp_path), 1 << 20)
    async with received(_pieces(PACKERS[packer](bytes(4 << 20))), place) as spooled:
        with pytest.raises(InvalidArgument, match="the build context is larger than 1048576 bytes"):
            unpacked(spooled, place)
    with pytest.raises(InvalidArgument, match="the build context is larger than 1048576 bytes"):
        async with received(_pieces(bytes(2 << 20)), place):
            raise AssertionError("taken")


@pytest.mark.parametrize("packer", [one for one in PACKERS if one != "plain"])
async def test_damaged_contexts_are_refused(tmp_path: Path, packer: str) -> None:
    place = Place(str(tmp_path), 1 << 30)
    whole = PACKERS[packer](_archive(("Dockerfile", "f", b"FROM x\n"), ("big", "f", random.Random(1).randbytes(300_000))))
    async with received(_pieces(whole[: len(whole) // 2]), place) as spooled:
        with pytest.raises(InvalidArgument, match=r"invalid (gzip|bzip2|xz|zstd) data|unexpected EOF"):
            with contextlib.closing(unpacked(spooled, place).file) as file:
                Tree.read(file, file.seek(0, 2), LIMITS)


def test_archives_are_known_by_what_they_are(tmp_path: Path) -> None:
    data = _archive(("a", "f", b"x"))
    for pack in PACKERS.values():
        assert is_archive(_file(tmp_path, pack(data)))
    for other in (b"", b"text", gzip.compress(b"text"), b"\x1f\x8b\x08broken", bytes(1024)):
        assert not is_archive(_file(tmp_path, other))


def _given(tmp_path: Path, files: dict[str, str], dockerfile: str = "Dockerfile") -> tuple[bytes, Tree]:
    data = _archive(*((name, "f", text.encode()) for name, text in files.items()))
    tree = Tree.read(_file(tmp_path, data), len(data), LIMITS)
    return context.dockerfile_of(tree, dockerfile), tree


def test_the_dockerfile_is_found_and_left_out_when_ignored(tmp_path: Path) -> None:
    assert _given(tmp_path, {"dockerfile": "small"})[0] == b"small"
    assert _given(tmp_path, {"dockerfile": "small", "Dockerfile": "FROM"})[0] == b"FROM"
    assert _given(tmp_path, {"d/D": "other"}, "d/D")[0] == b"other"
    for ignore, left in (
        ("Dockerfile", {".dockerignore", "a"}),
        ("*", {"a"}),
        ("Docker*\n!Dockerfile", {".dockerignore", "Dockerfile", "a"}),
        ("**/Dockerfile\n.dockerignore", {"a"}),
        ("#Dockerfile\n\n b", {".dockerignore", "Dockerfile", "a"}),
    ):
        _, tree = _given(tmp_path, {"Dockerfile": "FROM", ".dockerignore": ignore, "a": ""})
        assert set(tree.root.children or {}) | {"a"} == left
    for files, name, text in (
        ({}, "Dockerfile", "Cannot locate specified Dockerfile: Dockerfile"),
        ({"Dockerfile": ""}, "Dockerfile", r"the Dockerfile \(Dockerfile\) cannot be empty"),
        ({"d/x": ""}, "d", "unexpected error reading Dockerfile: read d: is a directory"),
        ({}, "../x", r"forbidden path outside the build context: ../x \(\)"),
        ({"Dockerfile": "x" * 5_000_000}, "Dockerfile", "Dockerfile is larger than"),
    ):
        with pytest.raises((Failed, InvalidArgument), match=text):
            _given(tmp_path, files, name)


def test_builds_are_known_by_their_gateway(tmp_path: Path) -> None:
    mine, same, other = (Builds(Place(str(tmp_path), 1), LIMITS, tag) for tag in ("0" * 8, "0" * 8, "1" * 8))
    with mine.build() as name:
        assert is_build(name) and not is_build("c" * 64)
        assert not mine.abandoned(name) and same.abandoned(name) and not other.abandoned(name)
        assert build_of(json.dumps(marked(name))) == name
    assert mine.abandoned(name)
    old = f"build-{'1' * 8}-1000-{'a' * 12}"
    assert mine.abandoned(old) and not mine.abandoned("container") and not mine.abandoned("")
    assert build_of("") == build_of("{}") == build_of('["Build"]') == ""


def test_a_spooled_file_is_told_with_its_size(tmp_path: Path) -> None:
    spooled = Spooled(_file(tmp_path, b"12345"), 5)
    assert unpacked(spooled, Place(str(tmp_path), 1)) is spooled
