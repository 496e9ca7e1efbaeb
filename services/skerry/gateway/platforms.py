"""?platform= of image requests."""

import msgspec

from skerry.api.images.v1 import images_pb2
from skerry.core.errors import InvalidArgument, NotFound
from skerry.gateway.call import Call
from skerry.gateway.versions import PLATFORM_OF_ARCHIVES, Version

_SAME = frozenset({("x86_64", "amd64"), ("aarch64", "arm64")})


class _Platform(msgspec.Struct):
    os: str = ""
    architecture: str = ""
    variant: str = ""


def parameter(call: Call, since: Version = PLATFORM_OF_ARCHIVES) -> str:
    """Returns ?platform=, a JSON object, as "os/arch[/variant]"; empty when not given. Raises InvalidArgument."""
    texts = call.request.query.getall("platform", []) if call.version >= since else []
    if len(texts) > 1:
        raise InvalidArgument("multiple platform parameters are not supported")
    return _read(texts[0]) if texts and texts[0] else ""


def several(call: Call, since: Version) -> list[str]:
    """Returns ?platforms=, JSON objects, as "os/arch[/variant]". Raises InvalidArgument."""
    return [_read(text) for text in call.request.query.getall("platforms", [])] if call.version >= since else []


def _read(text: str) -> str:
    try:
        one = msgspec.json.decode(text, type=_Platform)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"failed to parse platform: {error}") from None
    if not (one.os and one.architecture):
        raise InvalidArgument("both OS and Architecture must be provided")
    return "/".join(part for part in (one.os, one.architecture, one.variant) if part)


def check(platform: str, name: str, image: images_pb2.Image) -> None:
    """Raises NotFound in Docker's words when an image is not for a platform."""
    parts = platform.split("/")
    actual = [image.os or "linux", image.architecture, image.variant]
    for asked, has in zip(parts if len(parts) > 1 else [], actual, strict=False):
        if asked != has and not (has == "" or (asked, has) in _SAME):
            raise NotFound(
                f"image with reference {name} was found but does not match the specified platform: "
                f"wanted {platform}, actual: {'/'.join(part for part in actual if part)}"
            )
