"""The part of the image store's settings that concerns /v2/."""

from typing import Annotated, Literal

import msgspec

from skerry.core.errors import InvalidArgument
from skerry.images.stores import StoreSettings


class DistributionSettings(StoreSettings, frozen=True, kw_only=True):
    """Read from SKERRY_IMAGES_DISTRIBUTION_*. Sizes in bytes."""

    # HOST:PORT where the API is served; empty: nowhere.
    distribution_listen: str = ""
    # PEM files. Without them HOST must be of the loopback range, unless insecure_tcp.
    distribution_tls_cert: str = ""
    distribution_tls_key: str = ""
    # File of users (`skerry images user add`); empty: nobody has a name.
    distribution_users: str = ""
    # What those may do who say no name.
    distribution_anonymous: Literal["nothing", "pull", "everything"] = "nothing"
    # What clients without credentials are asked for. Passwords are taken either way.
    distribution_challenge: Literal["bearer", "basic"] = "bearer"
    # Under which URL clients reach the API, for its token endpoint; empty: as the request names it.
    distribution_url: str = ""
    # File with the key that tokens are signed with; replicas share it. Empty: ROOT/images/distribution.key, made when it is not there.
    distribution_key: str = ""
    # Registries whose content is fetched when it is asked for and kept as a copy: DOMAIN, or DOMAIN=URL.
    distribution_upstreams: list[str] = []
    # File with their credentials, as docker's config.json has them ("auths").
    distribution_upstream_auths: str = ""
    # Seconds for which a copy that nobody asks for is kept.
    distribution_copy_seconds: Annotated[float, msgspec.Meta(gt=0)] = 7 * 86400.0
    # Seconds for which a blob is kept that no manifest names.
    distribution_loose_seconds: Annotated[float, msgspec.Meta(gt=0)] = 3600.0
    # Uploads open at once, and seconds without a byte after which one is given up.
    distribution_uploads: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 128
    distribution_upload_idle: Annotated[float, msgspec.Meta(gt=0)] = 600.0
    distribution_max_manifest: Annotated[int, msgspec.Meta(ge=1, le=64 << 20)] = 4 << 20
    distribution_max_blob: Annotated[int, msgspec.Meta(ge=1)] = 64 << 30
    # What the blobs of one repository, and of all, may take; 0: no bound.
    distribution_repository_quota: Annotated[int, msgspec.Meta(ge=0)] = 0
    distribution_quota: Annotated[int, msgspec.Meta(ge=0)] = 0


def listen_address(settings: DistributionSettings) -> tuple[str, int]:
    """Returns host and port. Raises InvalidArgument for an address, or for TLS and users, that must not be."""
    host, _, port = settings.distribution_listen.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit() or int(port) > 65535:
        raise InvalidArgument(f"SKERRY_IMAGES_DISTRIBUTION_LISTEN is {settings.distribution_listen!r}: want HOST:PORT")
    if bool(settings.distribution_tls_cert) != bool(settings.distribution_tls_key):
        raise InvalidArgument("TLS needs SKERRY_IMAGES_DISTRIBUTION_TLS_CERT and SKERRY_IMAGES_DISTRIBUTION_TLS_KEY together")
    loopback = host.startswith("127.") or host in ("::1", "localhost")
    if not (settings.distribution_tls_cert or loopback or settings.insecure_tcp):
        raise InvalidArgument(f"{settings.distribution_listen} without TLS needs SKERRY_IMAGES_INSECURE_TCP=true")
    if not settings.distribution_users and settings.distribution_anonymous == "nothing":
        raise InvalidArgument(
            "nobody could use /v2/: set SKERRY_IMAGES_DISTRIBUTION_USERS, or SKERRY_IMAGES_DISTRIBUTION_ANONYMOUS to pull or everything"
        )
    return host, int(port)
