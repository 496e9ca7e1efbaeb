"""Mounts that a create request asks for: Binds, Mounts and Tmpfs, in Docker's notations."""

import posixpath
from typing import Any

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.errors import InvalidArgument, NotSupported
from skerry.gateway.errors import BadInput
from skerry.gateway.versions import CREATE_MOUNTPOINT, CURRENT, RECURSIVE_READ_ONLY, VOLUME_SUBPATH, Version

_PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_ACCESS = frozenset({"ro", "rw"})
_LABEL = frozenset({"z", "Z"})
_CONSISTENCY = frozenset({"consistent", "cached", "delegated", "default"})
_MODES = _ACCESS | _LABEL | _PROPAGATION | _CONSISTENCY | {"nocopy"}


def mounts(host: dict[str, Any], asked: Version = CURRENT) -> list[pb.Mount]:
    """Returns all mounts of a HostConfig, as clients of that version mean them. Raises InvalidArgument in Docker's words, NotSupported."""
    result = [_bind(text, host.get("VolumeDriver", "")) for text in host.get("Binds", [])]
    result += [_mount(item, asked) for item in host.get("Mounts", [])]
    result += [
        pb.Mount(type="tmpfs", target=_target(target, f"invalid mount path: '{target}'"), tmpfs_options=options or "")
        for target, options in host.get("Tmpfs", {}).items()
    ]
    seen: set[str] = set()
    for mount in result:
        target = mount.target.rstrip("/") or "/"
        if target in seen:
            raise InvalidArgument(f"Duplicate mount point: {mount.target}")
        seen.add(target)
    return result


def _target(path: str, text: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(f"{text} mount path must be absolute")
    if path.rstrip("/") == "":
        raise InvalidArgument("invalid specification: destination can't be '/'")
    return path


def _bind(text: str, driver: str) -> pb.Mount:
    parts = text.split(":")
    wrong = f"invalid volume specification: '{text}'"
    if not 1 <= len(parts) <= 3 or "" in parts[:2]:
        raise BadInput(wrong)
    if len(parts) == 2 and _is_mode(parts[1]):
        # "/container/path:ro": a volume cannot have a mode without a name.
        raise BadInput(wrong)
    if len(parts) == 1:
        source, target, mode = "", parts[0], ""
    else:
        source, target, mode = parts[0], parts[1], parts[2] if len(parts) == 3 else ""
    kind = "bind" if source.startswith("/") else "volume"
    if not target.startswith("/"):
        raise BadInput(f"{wrong}: invalid mount config for type \"{kind}\": invalid mount path: '{target}' mount path must be absolute")
    if target.rstrip("/") == "":
        raise BadInput(f"{wrong}: invalid mount config for type \"{kind}\": invalid specification: destination can't be '/'")
    mount = pb.Mount(type=kind, source=source, target=target, mode=mode, create_source=kind == "bind")
    if kind == "volume":
        mount.volume_driver = driver
    _apply_mode(mount, mode)
    return mount


def _is_mode(text: str) -> bool:
    return all(word in _MODES for word in text.split(","))


def _apply_mode(mount: pb.Mount, mode: str) -> None:
    kinds: set[str] = set()
    for word in mode.split(",") if mode else []:
        if word in _ACCESS:
            kind = "access"
            mount.read_only = word == "ro"
        elif word in _LABEL:
            kind = "label"
        elif word in _PROPAGATION and mount.type == "bind":
            kind = "propagation"
            mount.propagation = word
        elif word == "nocopy" and mount.type == "volume":
            kind = "copy"
            mount.no_copy = True
        elif word in _CONSISTENCY:
            kind = "consistency"
        else:
            raise BadInput(f"invalid mode: {mode}")
        if kind in kinds:
            raise BadInput(f"invalid mode: {mode}")
        kinds.add(kind)


def _mount(item: dict[str, Any], asked: Version) -> pb.Mount:
    kind = item.get("Type", "")
    wrong = f'invalid mount config for type "{kind}"'
    if kind not in {"bind", "volume", "tmpfs"}:
        if kind in {"image", "cluster", "npipe"}:
            raise NotSupported(f"{wrong}: not supported yet")
        raise InvalidArgument(f"{wrong}: mount type unknown")
    target, source = item.get("Target", ""), item.get("Source", "")
    if not target:
        raise InvalidArgument(f"{wrong}: field Target must not be empty")
    _target(target, f"{wrong}: invalid mount path: '{target}'")
    mount = pb.Mount(type=kind, source=source, target=target, read_only=item.get("ReadOnly", False))
    for option, of in (("BindOptions", "bind"), ("VolumeOptions", "volume"), ("TmpfsOptions", "tmpfs")):
        if item.get(option) is not None and of != kind:
            raise InvalidArgument(f"{wrong}: field {option} must not be specified")
    if kind == "bind":
        _bind_options(mount, item.get("BindOptions", {}), wrong, asked)
    elif kind == "volume":
        if mount.read_only and not source:
            raise InvalidArgument(f"{wrong}: must not set ReadOnly mode when using anonymous volumes")
        _volume_options(mount, item.get("VolumeOptions", {}), wrong, asked)
    else:
        if source:
            raise InvalidArgument(f"{wrong}: field Source must not be specified")
        mount.tmpfs_options = _tmpfs_options(item.get("TmpfsOptions", {}))
    return mount


def _bind_options(mount: pb.Mount, options: dict[str, Any], wrong: str, asked: Version) -> None:
    if not mount.source:
        raise InvalidArgument(f"{wrong}: field Source must not be empty")
    if not mount.source.startswith("/"):
        raise InvalidArgument(f"{wrong}: invalid mount path: '{mount.source}' mount path must be absolute")
    propagation = options.get("Propagation", "")
    if propagation and propagation not in _PROPAGATION:
        raise InvalidArgument(f"{wrong}: invalid propagation mode: {propagation}")
    mount.propagation = propagation
    mount.non_recursive = options.get("NonRecursive", False)
    mount.create_source = options.get("CreateMountpoint", False) and asked >= CREATE_MOUNTPOINT
    _read_only(mount, options, asked)


def _read_only(mount: pb.Mount, options: dict[str, Any], asked: Version) -> None:
    if asked < RECURSIVE_READ_ONLY:
        mount.read_only_non_recursive = True
        return
    mount.read_only_non_recursive = options.get("ReadOnlyNonRecursive", False)
    mount.read_only_force_recursive = options.get("ReadOnlyForceRecursive", False)
    for field, value in (
        ("ReadOnlyNonRecursive", mount.read_only_non_recursive),
        ("ReadOnlyForceRecursive", mount.read_only_force_recursive),
    ):
        if value and not mount.read_only:
            raise InvalidArgument(f"mount options conflict: !ReadOnly && BindOptions.{field}")
    if mount.read_only_non_recursive and mount.read_only_force_recursive:
        raise InvalidArgument("mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive")


def _volume_options(mount: pb.Mount, options: dict[str, Any], wrong: str, asked: Version) -> None:
    driver = options.get("DriverConfig", {})
    mount.volume_driver = driver.get("Name", "")
    mount.volume_options.update(driver.get("Options", {}))
    mount.volume_labels.update(options.get("Labels", {}))
    if (subpath := options.get("Subpath", "")) and asked >= VOLUME_SUBPATH:
        if not mount.source:
            raise InvalidArgument(f"{wrong}: must not set Subpath when using anonymous volumes")
        if subpath.startswith("/") or posixpath.normpath(subpath).split("/")[0] == ".." or "\0" in subpath:
            raise InvalidArgument(f"{wrong}: subpath must be a relative path within the volume")
        mount.volume_subpath = posixpath.normpath(subpath)
    mount.no_copy = options.get("NoCopy", False)


def _tmpfs_options(options: dict[str, Any]) -> str:
    words = []
    if size := options.get("SizeBytes"):
        words.append(f"size={size}")
    if mode := options.get("Mode"):
        words.append(f"mode={mode:o}")
    words += ["=".join(pair) for pair in options.get("Options") or []]
    return ",".join(words)
