"""Handmade layer tars: exact bytes, so that odd and hostile ones can be written that no tar program would write."""

import dataclasses
import hashlib
import os
import stat

from skerry.containers.layers import tar


@dataclasses.dataclass
class Member:
    """One entry; what does not fit in ustar goes into a pax header."""

    name: bytes
    kind: bytes = tar.REGULAR
    data: bytes = b""
    mode: int = 0o644
    link: bytes = b""
    uid: int = 0
    gid: int = 0
    mtime: str = "1000000000"
    device: tuple[int, int] = (0, 0)
    pax: dict[bytes, bytes] = dataclasses.field(default_factory=dict)


def directory(name: bytes, mode: int = 0o755, **more: object) -> Member:
    return Member(name, tar.DIRECTORY, mode=mode, **more)  # type: ignore[arg-type]


def symlink(name: bytes, target: bytes) -> Member:
    return Member(name, tar.SYMLINK, link=target)


def hardlink(name: bytes, target: bytes) -> Member:
    return Member(name, tar.HARDLINK, link=target)


def archive(*members: Member) -> bytes:
    """Returns the tar with its two closing blocks."""
    return b"".join(_member(member) for member in members) + bytes(1024)


def record(key: bytes, value: bytes) -> bytes:
    """Returns one pax record; its length counts itself."""
    rest = b" " + key + b"=" + value + b"\n"
    size = len(rest) + 1
    while len(str(size)) + len(rest) != size:
        size = len(str(size)) + len(rest)
    return str(size).encode() + rest


def _member(member: Member) -> bytes:
    pax = dict(member.pax)
    if len(member.name) > 100:
        pax[b"path"] = member.name
    if len(member.link) > 100:
        pax[b"linkpath"] = member.link
    pax[b"mtime"] = member.mtime.encode()
    pax[b"uid"], pax[b"gid"] = str(member.uid).encode(), str(member.gid).encode()
    body = b"".join(record(key, value) for key, value in pax.items())
    extended = tar.header(b"pax", b"x", len(body)) + _padded(body)
    block = bytearray(tar.header(member.name[:100], member.kind, len(member.data), member.mode, member.link[:100]))
    block[329:337], block[337:345] = b"%07o\0" % member.device[0], b"%07o\0" % member.device[1]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return extended + bytes(block) + _padded(member.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def listing(path: str) -> dict[bytes, tuple[object, ...]]:
    """Describes everything below path: mode, owner, mtime, links, size, device, target, attributes, content."""
    root = os.fsencode(path)
    found: dict[bytes, tuple[object, ...]] = {}
    inodes: dict[int, bytes] = {}
    for where, directories, files in os.walk(root):
        for name in [b"", *files, *(each for each in directories if os.path.islink(os.path.join(where, each)))]:
            full = os.path.join(where, name).rstrip(b"/")
            status = os.lstat(full)
            regular = stat.S_ISREG(status.st_mode)
            attributes = tuple(
                sorted((key, os.getxattr(full, key, follow_symlinks=False)) for key in os.listxattr(full, follow_symlinks=False))
            )
            shown = os.path.relpath(full, root)
            found[shown] = (
                oct(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                status.st_size if regular else 0,
                0 if stat.S_ISDIR(status.st_mode) else status.st_nlink,
                inodes.setdefault(status.st_ino, shown) if regular else b"",
                status.st_rdev,
                os.readlink(full) if stat.S_ISLNK(status.st_mode) else b"",
                attributes,
                hashlib.sha256(_content(full)).hexdigest() if regular else "",
            )
    return found


def _content(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()
