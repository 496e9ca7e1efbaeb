"""Archives from before Docker 1.10: `repositories`, and ID/json and ID/layer.tar for each layer, which names the one below it."""

from collections.abc import Callable
from typing import Any

import msgspec

from skerry.core.errors import InvalidArgument
from skerry.images.archive.found import Found
from skerry.images.layers import Stored
from skerry.images.manifest import MAX_LAYERS

_MAX_NAMES = 1000
# What an image's document has no longer since images are known by its digest.
_DROPPED = ("id", "parent", "Size", "parent_id", "layer_id", "throwaway")


class _Step(msgspec.Struct, omit_defaults=True):
    created: str | None = None
    author: str = ""
    created_by: str = ""
    comment: str = ""


def images(
    repositories: bytes, document: Callable[[str], bytes], layer: Callable[[str], Stored], full_name: Callable[[str], str]
) -> list[Found]:
    """Returns the images that `repositories` names. Raises InvalidArgument.

    document and layer return what lies at a path, full_name reads a name with its tag.
    """
    names = _decode(repositories, dict[str, dict[str, str]], "repositories")
    if sum(map(len, names.values())) > _MAX_NAMES:
        raise InvalidArgument(f"archive names more than {_MAX_NAMES} images")
    found: dict[str, Found] = {}
    for repository, tags in names.items():
        for tag, identity in tags.items():
            if identity not in found:
                found[identity] = _image(identity, document, layer)
            found[identity].names.append(full_name(f"{repository}:{tag}"))
    return list(found.values())


def _image(identity: str, document: Callable[[str], bytes], layer: Callable[[str], Stored]) -> Found:
    chain: list[tuple[str, dict[str, Any]]] = []
    above = identity
    while above:
        if len(chain) >= MAX_LAYERS:
            raise InvalidArgument(f"image has more than {MAX_LAYERS} layers")
        one = _decode(document(f"{above}/json"), dict[str, Any], f"{above[:64]}/json")
        chain.append((above, one))
        above = one.get("parent") or ""
        if not isinstance(above, str):
            raise InvalidArgument("invalid image JSON: parent is not a string")
    chain.reverse()
    layers = [layer(f"{one}/layer.tar") for one, _ in chain]
    top = {key: value for key, value in chain[-1][1].items() if key not in _DROPPED}
    top["rootfs"] = {"type": "layers", "diff_ids": [one.diff_id for one in layers]}
    top["history"] = [_step(one) for _, one in chain]
    return Found(msgspec.json.encode(dict(sorted(top.items()))), layers, [])


def _step(one: dict[str, Any]) -> _Step:
    container = one.get("container_config")
    command = container.get("Cmd") if isinstance(container, dict) else None
    words = [str(word) for word in command] if isinstance(command, list) else []
    text = {key: one[key] for key in ("created", "author", "comment") if isinstance(one.get(key), str)}
    return _Step(created_by=" ".join(words), **text)


def _decode(data: bytes, kind: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"invalid {what}: {error}") from None
