"""Image names by Docker's rules (distribution/reference): what people write, what is stored, what is shown."""

import re

import msgspec

from skerry.core.errors import InvalidArgument

DEFAULT_DOMAIN = "docker.io"
OFFICIAL = "library"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_MAX_NAME = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_HOST_PART}(?:\.{_HOST_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?\Z")
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_OTHER_DIGEST = re.compile(r"(?!sha256:)[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}\Z")
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}\Z")


class Reference(msgspec.Struct, frozen=True, order=True):
    """A name in full: domain, path, and a tag or a digest (or, as written, both or neither)."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """Domain and path."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as people see it: without docker.io and library/."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        prefix = f"{OFFICIAL}/"
        rest = self.path.removeprefix(prefix)
        return rest if self.path.startswith(prefix) and "/" not in rest else self.path

    @property
    def familiar(self) -> str:
        """The whole name as people see it."""
        return self.familiar_name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def with_default_tag(self) -> "Reference":
        """Adds `latest` when there is neither tag nor digest."""
        return self if self.tag or self.digest else msgspec.structs.replace(self, tag=DEFAULT_TAG)


def parse(text: str) -> Reference:
    """Reads a familiar or full name. Raises InvalidArgument in Docker's words."""
    if _HEX64.match(text):
        raise InvalidArgument(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    rest, _, digest = text.partition("@")
    if "@" in text and not _DIGEST.match(digest):
        if _OTHER_DIGEST.match(digest):
            raise InvalidArgument("unsupported digest algorithm")
        raise InvalidArgument("invalid reference format")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag = rest, ""
    elif not _TAG.match(tag):
        raise InvalidArgument("invalid reference format")
    domain, path = _split(name)
    if path.lower() != path:
        raise InvalidArgument(f"invalid reference format: repository name ({path}) must be lowercase")
    if not _DOMAIN.match(domain) or not _PATH.match(path):
        raise InvalidArgument("invalid reference format")
    if len(domain) + 1 + len(path) > _MAX_NAME:
        raise InvalidArgument("repository name must not be more than 255 characters")
    return Reference(domain, path, tag, digest)


def _split(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    # A first part is a host when it looks like one: a dot, a port, localhost, or upper case (which no path may have).
    if not slash or not ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        domain, path = DEFAULT_DOMAIN, name
    else:
        domain, path = first, rest
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"{OFFICIAL}/{path}"
    return domain, path


def could_be_id(text: str) -> bool:
    """Tells whether text may be an image id or a prefix of one."""
    return _ID.match(text) is not None


def is_digest(text: str) -> bool:
    """Tells whether text is a whole sha256 digest: fit for a path component after its colon is cut."""
    return _DIGEST.match(text) is not None


def from_stored(text: str) -> Reference:
    """Reads what str(full name) stored: "domain/path:tag" or "domain/path@digest"."""
    return parse(text)
