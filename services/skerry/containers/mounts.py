"""From the mounts a user asked for to host paths, and the node's local volumes under ROOT/volumes. Functions here block."""

import os
import posixpath
import re
import shutil

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.containers.inside import open_inside
from skerry.containers.layers.mounts import mounted, unmount_all
from skerry.containers.oci_mounts import ResolvedMount
from skerry.containers.record import Volume
from skerry.core.errors import Failed, InvalidArgument
from skerry.core.ids import new_id

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")


def resolve(spec: pb.ContainerSpec, root: str) -> tuple[Volume, ...]:
    """Returns the container's mounts with host paths; nothing is made yet.

    Image volumes that no mount covers become anonymous volumes. Raises InvalidArgument for a bind source that must exist and does not.
    """
    mounts = [_resolve(mount, root) for mount in spec.mounts]
    covered = {mount.target for mount in mounts}
    for target in sorted({posixpath.normpath(path) for path in spec.volumes}):
        if not target.startswith("/") or target == "/":
            raise InvalidArgument(f"invalid volume specification: '{target}'")
        if target not in covered:
            mounts.append(_resolve(pb.Mount(type="volume", target=target), root))
    return tuple(mounts)


def _resolve(mount: pb.Mount, root: str) -> Volume:
    target = posixpath.normpath(mount.target)
    if mount.type == "tmpfs":
        options = tuple(option for option in mount.tmpfs_options.split(",") if option)
        return Volume("tmpfs", "", target, read_only=mount.read_only, options=options)
    if mount.type == "bind":
        source = posixpath.normpath(mount.source)
        if not mount.create_source:
            _refuse_missing(source)
        return Volume(
            "bind",
            source,
            target,
            read_only=mount.read_only,
            propagation=mount.propagation or "rprivate",
            mode=mount.mode,
            non_recursive=mount.non_recursive,
        )
    if mount.source and not _VOLUME_NAME.match(mount.source):
        raise InvalidArgument(
            f'"{mount.source}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    name = mount.source or new_id()
    return Volume(
        "volume",
        volume_path(root, name),
        target,
        name=name,
        read_only=mount.read_only,
        mode=mount.mode or ("z" if mount.source else ""),
        anonymous=not mount.source,
        copy_up=not mount.no_copy,
    )


def volume_path(root: str, name: str) -> str:
    """Returns where a local volume's content lies."""
    return f"{root}/volumes/{name}/_data"


def _refuse_missing(source: str) -> None:
    if not os.path.lexists(source):
        raise InvalidArgument(f'invalid mount config for type "bind": bind source path does not exist: {source}')


def make_sources(mounts: tuple[Volume, ...], created: frozenset[str]) -> list[Volume]:
    """Makes missing volumes, and those bind sources whose targets are in `created`. Returns the volumes that are still empty."""
    empty = []
    for mount in mounts:
        if mount.type == "bind":
            if mount.target not in created:
                _refuse_missing(mount.source)
            elif not os.path.lexists(mount.source):
                _make(mount.source)
        elif mount.type == "volume":
            _make(mount.source)
            with os.scandir(mount.source) as entries:
                if mount.copy_up and next(entries, None) is None:
                    empty.append(mount)
    return empty


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


def remove_anonymous(mounts: tuple[Volume, ...]) -> None:
    """Removes volumes that nobody named."""
    for mount in mounts:
        if mount.anonymous:
            shutil.rmtree(os.path.dirname(mount.source), ignore_errors=True)


def resolved(mounts: tuple[Volume, ...]) -> list[ResolvedMount]:
    """Returns the mounts as the specification wants them."""
    return [
        ResolvedMount(
            type=mount.type,
            source=mount.source,
            target=mount.target,
            read_only=mount.read_only,
            propagation=mount.propagation,
            options=mount.options,
            non_recursive=mount.non_recursive,
        )
        for mount in mounts
    ]


def unmount_below(directory: str) -> None:
    """Unmounts whatever is mounted below directory, deepest first: removing its files never reaches into a mount."""
    for point in reversed(mounted(os.path.realpath(directory))):
        unmount_all(point.path)
