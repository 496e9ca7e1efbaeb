"""The images of one build: found or pulled, made, cached, named. Everything that the build needs is leased to it until its end."""

import base64
import binascii
from typing import Any

import grpc.aio
import msgspec

from skerry.api.images.v1 import images_pb2 as pb
from skerry.core.errors import Failed, NotFound
from skerry.core.rpc.channel import call, call_again, translated
from skerry.gateway.build import config as configs
from skerry.gateway.build.config import Config
from skerry.gateway.build.options import Options
from skerry.gateway.build.output import Output
from skerry.gateway.docker.images import join_reference, progress
from skerry.gateway.docker.names import familiar
from skerry.gateway.docker.system import SERVER_VERSION
from skerry.gateway.peers import Peers

_WHAT = "the image store"
_HUB = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset({"docker.io", "index.docker.io"})


class Library:
    """See the module."""

    def __init__(self, peers: Peers, holder: str, options: Options, output: Output, registries: dict[str, dict[str, str]]) -> None:
        self._peers = peers
        self._holder = holder
        self._options = options
        self._output = output
        self._registries = registries
        self._found: dict[tuple[str, str], pb.Image] = {}

    async def get(self, name: str, platform: str = "") -> pb.Image:
        """Returns an image by name or id, pulled when it is not here or the build says --pull. Raises what the pull raised."""
        platform = platform or self._options.platform
        key = (name, platform)
        if (known := self._found.get(key)) is not None:
            return known
        image = None if self._options.pull else await self._local(name)
        if image is None or not _fits(image, platform):
            image = await self._pull(name, platform)
        self._found[key] = image
        return image

    async def _local(self, name: str) -> pb.Image | None:
        request = pb.AcquireLeaseRequest(image=name, holder=self._holder)
        try:
            return (await call_again(lambda: self._peers.images.AcquireLease(request), what=_WHAT)).image
        except NotFound:
            return None

    async def _pull(self, name: str, platform: str) -> pb.Image:
        reference = name if "@" in name else join_reference(*_name_and_tag(name))
        request = pb.PullRequest(reference=reference, platform=platform, auth=credentials(self._registries, name))
        stream = self._peers.images.Pull(request)
        try:
            async for item in stream:
                if item.WhichOneof("step") == "progress":
                    await self._output.progress(progress(item.progress))
        except grpc.aio.AioRpcError as error:
            raise translated(error) from error
        finally:
            stream.cancel()
        if (image := await self._local(name)) is None:
            raise NotFound(f"No such image: {familiar(name)}")
        return image

    async def cached(self, parent: pb.Image | None, config: Config) -> pb.Image | None:
        """Returns the image that this step made before, leased to the build."""
        request = pb.FindChildRequest(
            parent=parent.id if parent is not None else "",
            container_config_json=configs.encoded(config),
            cache_from=self._options.cache_from,
            platform=self._options.platform,
            holder=self._holder,
        )
        answer = await call_again(lambda: self._peers.images.FindChild(request), what=_WHAT)
        return answer.image if answer.HasField("image") else None

    async def commit(
        self, parent: pb.Image | None, layer: pb.Layer | None, config: Config, container_config: Config, *, author: str, container_id: str
    ) -> pb.Image:
        """Makes the image of a step."""
        request = pb.CommitRequest(
            parent=parent.id if parent is not None else "",
            diff_id=layer.diff_id if layer is not None else "",
            config_json=configs.encoded(config),
            author=author,
            created_by=" ".join(container_config["Cmd"] or []),
            container_id=container_id,
            container_config_json=configs.encoded(container_config),
            platform=self._options.platform if parent is None else "",
            holder=self._holder,
            docker_version=SERVER_VERSION,
        )
        return (await call_again(lambda: self._peers.images.Commit(request), what=_WHAT)).image

    async def tag(self, image_id: str, name: str) -> None:
        """Gives the image a name."""
        await call(lambda: self._peers.images.Tag(pb.TagRequest(image=image_id, target=name)))


def _fits(image: pb.Image, platform: str) -> bool:
    if not platform:
        return True
    parts = platform.lower().split("/")
    if len(parts) == 1:
        return parts[0] in {image.os or "linux", image.architecture}
    return all(not has or asked == has for asked, has in zip(parts, (image.os or "linux", image.architecture, image.variant), strict=False))


def _name_and_tag(name: str) -> tuple[str, str]:
    head, slash, last = name.rpartition("/")
    base, _, tag = last.partition(":")
    return head + slash + base, tag or "latest"


def registry_config(header: str) -> dict[str, dict[str, str]]:
    """Returns X-Registry-Config: registry to its credentials. An unreadable one counts as none, as in Docker."""
    try:
        raw = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
        document: Any = msgspec.json.decode(raw or b"{}")
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {
        host: {str(key).lower(): value for key, value in given.items() if isinstance(value, str)}
        for host, given in document.items()
        if isinstance(given, dict)
    }


def credentials(registries: dict[str, dict[str, str]], name: str) -> pb.RegistryAuth:
    """Returns what X-Registry-Config has for the registry of an image's name."""
    first = name.partition("/")[0] if "/" in name else ""
    host = first if "." in first or ":" in first or first == "localhost" else "docker.io"
    wanted = {_HUB, "docker.io", "index.docker.io"} if host in _HUB_NAMES else {host}
    given = next((one for key, one in registries.items() if key == host or key in wanted or _host(key) in wanted), {})
    return pb.RegistryAuth(
        username=given.get("username", ""),
        password=given.get("password", ""),
        server_address=given.get("serveraddress", ""),
        identity_token=given.get("identitytoken", ""),
        registry_token=given.get("registrytoken", ""),
    )


def _host(key: str) -> str:
    # Old clients write whole URLs.
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def no_image() -> Failed:
    """Returns the error of a build that made nothing."""
    return Failed("No image was generated. Is your Dockerfile empty?")
