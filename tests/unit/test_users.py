"""USER texts, resolved by the container's own files."""

from pathlib import Path

import pytest

from skerry.containers.inside import make_directories
from skerry.containers.users import User, resolve
from skerry.core.errors import InvalidArgument


@pytest.fixture
def rootfs(tmp_path: Path) -> str:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    people = "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n77:x:78:79::/seven:\nbad:x:zz:1::/:\nshort:x\n\n"
    (root / "etc/passwd").write_text(f"# comment\n{people}")
    (root / "etc/group").write_text("root:x:0:\nstaff:x:50:bob,alice\nwheel:x:10:root\nbob:x:1000:\n")
    return str(root)


@pytest.mark.parametrize(
    ("text", "groups", "expected"),
    [
        ("", [], User(0, 0, (0, 10), "/root")),
        ("root", [], User(0, 0, (0, 10), "/root")),
        ("bob", [], User(1000, 1000, (1000, 50), "/home/bob")),
        ("1000", [], User(1000, 1000, (1000, 50), "/home/bob")),
        ("bob:staff", [], User(1000, 50, (50,), "/home/bob")),
        ("bob:7", [], User(1000, 7, (7,), "/home/bob")),
        ("1234", [], User(1234, 0, (0,), "/")),
        ("1234:5678", [], User(1234, 5678, (5678,), "/")),
        (":staff", [], User(0, 50, (50,), "/root")),
        ("77", [], User(78, 79, (79,), "/seven")),
        ("bob", ["777", "staff", "root"], User(1000, 1000, (1000, 50, 777, 0), "/home/bob")),
    ],
)
def test_users_are_found(rootfs: str, text: str, groups: list[str], expected: User) -> None:
    assert resolve(rootfs, text, groups) == expected


@pytest.mark.parametrize(
    ("text", "groups", "lament"),
    [
        ("nobodyx", [], "unable to find user nobodyx: no matching entries in passwd file"),
        ("bob:nogr", [], "unable to find group nogr: no matching entries in group file"),
        ("bob", ["nogr"], "Unable to find group nogr: no matching entries in group file"),
        ("99999999999", [], "uids and gids must be in range 0-2147483647"),
        ("-1", [], "uids and gids must be in range 0-2147483647"),
        ("bad", [], "unable to find user bad"),
    ],
)
def test_unknown_ones_are_refused_in_dockers_words(rootfs: str, text: str, groups: list[str], lament: str) -> None:
    with pytest.raises(InvalidArgument, match=lament):
        resolve(rootfs, text, groups)


def test_without_files_numbers_and_root_work(tmp_path: Path) -> None:
    assert resolve(str(tmp_path), "") == User(0, 0, (0,), "/")
    assert resolve(str(tmp_path), "5:6") == User(5, 6, (6,), "/")


def test_links_do_not_lead_to_the_hosts_files(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "passwd").write_text("evil:x:4242:4242::/:\n")
    for target in (str(tmp_path / "passwd"), "../../passwd", "../../../../../../.." + str(tmp_path / "passwd")):
        (root / "etc/passwd").unlink(missing_ok=True)
        (root / "etc/passwd").symlink_to(target)
        with pytest.raises(InvalidArgument, match="unable to find user evil"):
            resolve(str(root), "evil")


def test_a_working_directory_is_made_inside(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for path in (root, outside):
        path.mkdir()
    (root / "link").symlink_to(outside)
    (root / "file").touch()
    make_directories(str(root), "/a/b/../c")
    assert (root / "a/c").is_dir()
    make_directories(str(root), "/a/c")
    for bad in ("/file", "/file/x", "/link/x"):
        with pytest.raises(InvalidArgument, match="Cannot mkdir"):
            make_directories(str(root), bad)
    assert list(outside.iterdir()) == []
