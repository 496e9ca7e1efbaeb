"""From the mounts a user asked for to host paths, and the node's local volumes under ROOT/volumes. Functions here block."""

import os
import posixpath
from collections.abc import Iterable, Sequence

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers.inside import open_inside
from skerry.containers.layers.mounts import mount_of, mounted, unmount_all
from skerry.containers.oci_mounts import ResolvedMount
from skerry.containers.record import Volume
from skerry.core import linux
from skerry.core.errors import Failed, InvalidArgument
from skerry.core.ids import new_id

_ACCESS = ("ro", "rw")


def resolve(spec: pb.ContainerSpec, root: str, others: Sequence[Volume] = ()) -> tuple[Volume, ...]:
    """Returns the container's mounts with host paths; nothing is made yet.

    others are mounts taken over from other containers; own ones at the same targets win. Image volumes that no mount covers become
    anonymous volumes. Raises InvalidArgument for a bind source that must exist and does not.
    """
    own = {mount.target: mount for mount in (_resolve(mount, root) for mount in spec.mounts)}
    mounts = list({**{mount.target: mount for mount in others}, **own}.values())
    covered = {mount.target for mount in mounts}
    for target in sorted({posixpath.normpath(path) for path in spec.volumes}):
        if not target.startswith("/") or target == "/":
            raise InvalidArgument(f"invalid volume specification: '{target}'")
        if target not in covered:
            mounts.append(
                msgspec.structs.replace(_resolve(pb.Mount(type="volume", target=target, volume_driver=spec.volume_driver), root), mode="")
            )
    return tuple(mounts)


def _resolve(mount: pb.Mount, root: str) -> Volume:
    target = posixpath.normpath(mount.target)
    if mount.type == "tmpfs":
        options = tuple(option for option in mount.tmpfs_options.split(",") if option)
        return Volume("tmpfs", "", target, read_only=mount.read_only, options=options)
    if mount.type == "bind":
        source = posixpath.normpath(mount.source)
        propagation = mount.propagation or ("rslave" if _around(source, root) else "rprivate")
        if propagation not in ("rslave", "rshared") and _around(source, root):
            raise InvalidArgument(
                'invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source is within the daemon root, '
                f'daemon root: "{root}", bind mount source: "{source}", propagation: "{propagation}"'
            )
        if not mount.create_source:
            _refuse_missing(source)
        return Volume(
            "bind",
            source,
            target,
            read_only=mount.read_only,
            propagation=propagation,
            mode=mount.mode,
            non_recursive=mount.non_recursive,
            recursively_read_only=_recursion(mount),
        )
    name = mount.source or new_id()
    return Volume(
        "volume",
        volume_path(root, name),
        target,
        name=name,
        read_only=mount.read_only,
        mode=mount.mode or ("z" if mount.volume_driver in ("", "local") else ""),
        anonymous=not mount.source,
        copy_up=not mount.no_copy,
        driver=mount.volume_driver,
        subpath=mount.volume_subpath,
        recursively_read_only=_recursion(mount),
    )


def _recursion(mount: pb.Mount) -> str:
    if not mount.read_only or mount.read_only_non_recursive:
        return ""
    return "force" if mount.read_only_force_recursive else "if-possible"


def _around(source: str, root: str) -> bool:
    """Tells whether a bind's source is within the engine's own files, or the other way round: it then must not keep their mounts busy."""
    return _within(source, root) or _within(root, source)


def _within(path: str, directory: str) -> bool:
    return (path + "/").startswith(directory.rstrip("/") + "/")


def volume_path(root: str, name: str) -> str:
    """Returns where a local volume's content lies."""
    return f"{root}/volumes/{name}/_data"


def _refuse_missing(source: str) -> None:
    if not os.path.lexists(source):
        raise InvalidArgument(f'invalid mount config for type "bind": bind source path does not exist: {source}')


def taken_over(reference: str, mounts: Iterable[Volume]) -> list[Volume]:
    """Returns another container's mounts as --volumes-from ("ID", "ID:ro") takes them over. Raises InvalidArgument."""
    mode = reference.partition(":")[2]
    if mode and any(word not in (*_ACCESS, "z", "Z") for word in mode.split(",")):
        raise InvalidArgument(f"invalid mode: {mode}")
    read_only = "ro" in mode.split(",")
    return [
        msgspec.structs.replace(mount, read_only=mount.read_only or read_only, mode="", copy_up=False)
        for mount in mounts
        if mount.type != "tmpfs"
    ]


def make_sources(mounts: tuple[Volume, ...], created: frozenset[str]) -> None:
    """Makes those missing bind sources whose targets are in `created`. Raises InvalidArgument for others that are missing, Failed."""
    for mount in mounts:
        if mount.type == "bind":
            if mount.target not in created:
                _refuse_missing(mount.source)
            elif not os.path.lexists(mount.source):
                _make(mount.source)


def check_propagation(mounts: tuple[Volume, ...], root: str) -> None:
    """Raises Failed in Docker's words for binds that are to share mounts with a source that shares none."""
    for mount in mounts:
        if mount.type != "bind" or mount.propagation not in ("shared", "rshared", "slave", "rslave"):
            continue
        point, options = mount_of(os.path.realpath(mount.source))
        shared = any(option.startswith("shared:") for option in options)
        if "shared" in mount.propagation and not shared:
            raise Failed(f"path {mount.source} is mounted on {point} but it is not a shared mount")
        slave = any(option.startswith("master:") for option in options)
        if "slave" in mount.propagation and not (shared or slave) and not _around(mount.source, root):
            raise Failed(f"path {mount.source} is mounted on {point} but it is not a shared or slave mount")


def _make(path: str) -> None:
    try:
        os.makedirs(path, mode=0o755, exist_ok=True)
    except OSError as error:
        raise Failed(f"error while creating mount source path '{path}': mkdir {error.filename}: {error.strerror}") from None


def image_content(rootfs: str, target: str) -> int | None:
    """Opens what the image has at target, if that is a directory with content: what a fresh volume starts with."""
    try:
        fd = open_inside(rootfs, target, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    if not os.listdir(fd):
        # Even an empty directory gives the volume its owner and mode; no need to copy for root's 0755.
        status = os.fstat(fd)
        if (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, 0, 0o755):
            os.close(fd)
            return None
    return fd


def resolved(mounts: tuple[Volume, ...]) -> list[ResolvedMount]:
    """Returns the mounts as the specification wants them. Raises InvalidArgument when a kernel cannot do what is insisted on."""
    recursive = linux.recursive_read_only()
    if not recursive and any(mount.recursively_read_only == "force" for mount in mounts):
        raise InvalidArgument("rro is not supported: kernel version (< 5.12)")
    return [
        ResolvedMount(
            type=mount.type,
            source=mount.source,
            target=mount.target,
            read_only=mount.read_only,
            propagation=mount.propagation,
            options=mount.options,
            non_recursive=mount.non_recursive,
            # Below a file nothing is mounted, and crun 1.8 takes directories only.
            recursively_read_only=bool(mount.recursively_read_only) and recursive and os.path.isdir(mount.source),
        )
        for mount in mounts
    ]


def unmount_below(directory: str) -> None:
    """Unmounts whatever is mounted below directory, deepest first: removing its files never reaches into a mount."""
    for point in reversed(mounted(os.path.realpath(directory))):
        try:
            # A bind of a shared mount: what is unmounted below it must not be unmounted on the host too.
            linux.mount("none", point.path, flags=linux.MS_PRIVATE)
        except OSError:
            continue  # it went with another one
        unmount_all(point.path)
