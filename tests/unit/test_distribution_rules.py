"""The rules of /v2/ that need no server."""

import pytest

from skerry.core import passwords
from skerry.core.errors import InvalidArgument
from skerry.images.catalog.repositories import Row, dead, in_order
from skerry.images.distribution.access import granted_to
from skerry.images.distribution.list_routes import tags_page
from skerry.images.distribution.names import repository_of, shown
from skerry.images.distribution.refusals import Refusal
from skerry.images.distribution.sending import asked_range
from skerry.images.distribution.tokens import Access, Tokens
from skerry.images.distribution.users import User, parse_rights, parse_users


def row(digest: str, *children: str, image: str = "", expires: int = 0, repository: str = "r") -> Row:
    return Row(repository, digest, image, expires, children)


@pytest.mark.parametrize(
    ("rows", "tagged", "gone"),
    [
        ([row("a"), row("b", image="i")], [], []),
        ([row("a", image="lost")], ["a"], ["a"]),
        ([row("a", expires=5), row("b", expires=50)], ["a", "b"], ["a"]),
        # With an index go its parts, but for those that a tag or another index names, and images.
        ([row("x", "a", "b", image="lost"), row("a"), row("b")], [], ["a", "b", "x"]),
        ([row("x", "a", image="lost"), row("a")], ["a"], ["x"]),
        ([row("x", "a", image="lost"), row("y", "a"), row("a")], [], ["x"]),
        ([row("x", "a", image="lost"), row("a", image="i")], [], ["x"]),
        ([row("x", "a", image="lost"), row("a", repository="s")], [], ["x"]),
        ([row("x", "y", image="lost"), row("y", "a"), row("a")], [], ["a", "x", "y"]),
        ([row("x", "x", image="lost")], [], ["x"]),
    ],
)
def test_what_goes_with_what(rows: list[Row], tagged: list[str], gone: list[str]) -> None:
    assert sorted(digest for _, digest in dead(rows, {"i"}, {("r", one) for one in tagged}, 10)) == gone


def test_tags_are_ordered_without_their_case() -> None:
    assert in_order(["b", "A", "a", "C", "B"]) == ["A", "a", "B", "b", "C"]


@pytest.mark.parametrize(
    ("query", "page", "more"),
    [
        ({}, ["a", "b", "c"], False),
        ({"n": "2"}, ["a", "b"], True),
        ({"n": "2", "last": "b"}, ["c"], False),
        ({"n": "3"}, ["a", "b", "c"], False),
        ({"n": "0"}, [], False),
        ({"last": "z"}, [], False),
        ({"last": "aa"}, ["b", "c"], False),
    ],
)
def test_pages_of_tags(query: dict[str, str], page: list[str], more: bool) -> None:
    tags, link = tags_page("x", ["a", "b", "c"], query)
    assert (tags, bool(link)) == (page, more)


@pytest.mark.parametrize("n", ["-1", "x", "", "1.5", "\u0661"])
def test_a_page_of_no_number(n: str) -> None:
    with pytest.raises(Refusal):
        tags_page("x", [], {"n": n})


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", None),
        ("bytes=0-", (0, 10)),
        ("bytes=0-0", (0, 1)),
        ("bytes=3-5", (3, 6)),
        ("bytes=3-99", (3, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-3", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
    ],
)
def test_ranges(header: str, found: tuple[int, int] | None) -> None:
    assert asked_range(header, 10) == found


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_ranges_behind_the_end(header: str) -> None:
    with pytest.raises(Refusal) as caught:
        asked_range(header, 10)
    assert (caught.value.status, caught.value.headers["Content-Range"]) == (416, "bytes */10")


@pytest.mark.parametrize(
    ("name", "repository", "again"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("team/app", "docker.io/team/app", "team/app"),
        ("docker.io/team/app", "docker.io/team/app", "team/app"),
        ("ghcr.io/a/b", "ghcr.io/a/b", "ghcr.io/a/b"),
    ],
)
def test_names(name: str, repository: str, again: str) -> None:
    assert (repository_of(name), shown(repository)) == (repository, again)


def test_a_registry_with_a_port_has_no_path() -> None:
    assert shown("127.0.0.1:5000/x") is None


@pytest.mark.parametrize("name", ["", "UPPER", "a//b", "/a", "a/", "a..b", "a:1", "a@b", "a" * 256, "../x", "a/../b", "a\n"])
def test_names_that_none_may_have(name: str) -> None:
    with pytest.raises(Refusal):
        repository_of(name)


def test_rights() -> None:
    user = User("u", "", parse_rights("pull=* push=team/* delete=team/mine"))
    names = ("other", "team/app", "team/mine")
    table = {action: [name for name in names if user.may(action, name)] for action in ("pull", "push", "delete")}
    assert table == {"pull": [*names], "push": ["team/app", "team/mine"], "delete": ["team/mine"]}
    assert User("u", "", parse_rights("")).may("delete", "any/thing")
    for bad in ("write=*", "pull", "pull="):
        with pytest.raises(InvalidArgument):
            parse_rights(bad)


def test_what_is_granted() -> None:
    user = User("u", "", parse_rights("pull=* push=team/*"))
    asked = ["repository:library/x:pull,push repository:team/a:push", "repository:team/b:*", "registry:catalog:*"]
    asked += ["nonsense", "repository:BAD:pull"]
    assert granted_to(user, asked) == [
        Access("repository", "x", ("pull",)),
        Access("repository", "team/a", ("push",)),
        Access("repository", "team/b", ("pull", "push")),
        Access("registry", "catalog", ("*",)),
    ]


def test_the_users_file() -> None:
    kept = passwords.hashed("secret")
    users = parse_users(f"# who\n\na:{kept}\nb:{kept}:pull=x\n")
    assert (sorted(users), users["b"].may("pull", "x"), users["b"].may("push", "x")) == (["a", "b"], True, False)
    for bad in ("a", "a:plain", f":{kept}", f"a:{kept}:write=*", "a:$2y$05$abc"):
        with pytest.raises(InvalidArgument, match="line 2"):
            parse_users(f"# who\n{bad}")


def test_passwords() -> None:
    kept = passwords.hashed("päss")
    assert passwords.matches(kept, "päss")
    assert kept != passwords.hashed("päss")
    for wrong in ("pass", "", "päss\0"):
        assert not passwords.matches(kept, wrong)
    for bad in ("", "scrypt$99$AAAA$BBBB", "scrypt$14$!$!", kept[:-4], kept.replace("scrypt", "bcrypt")):
        assert not passwords.matches(bad, "päss")
    for bad in ("", "x" * 1025, "a\0b"):
        with pytest.raises(InvalidArgument):
            passwords.hashed(bad)


def test_tokens_are_of_one_key_one_service_and_one_use() -> None:
    tokens = Tokens(b"k" * 32, "one")
    token = tokens.access("u", (Access("repository", "x", ("pull",)),))
    claims = tokens.check(token, "access")
    assert claims is not None
    assert (claims.sub, claims.access) == ("u", (Access("repository", "x", ("pull",)),))
    assert tokens.check(token, "refresh") is None
    assert Tokens(b"l" * 32, "one").check(token, "access") is None
    assert Tokens(b"k" * 32, "two").check(token, "access") is None
    for bad in ("", ".", "..", "a.b.c", "é.b.c", token + "x", token.rpartition(".")[0]):
        assert tokens.check(bad, "access") is None
