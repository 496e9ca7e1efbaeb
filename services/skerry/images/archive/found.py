"""What an archive turned out to hold."""

import msgspec

from skerry.images.layers import Stored


class Found(msgspec.Struct):
    """One image of an archive: its configuration, its layers, lowest first, and its full names."""

    config: bytes
    layers: list[Stored]
    names: list[str]
    # Bytes of the manifest it came with (OCI); empty in a docker-archive.
    manifest: bytes = b""
    # Image id of its parent, as the archive says; empty: it does not.
    parent: str = ""
