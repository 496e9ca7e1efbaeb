"""TLS of registries: own authorities and client certificates, laid out as Docker's certs.d (FOLDER/HOST[:PORT]/*.crt, *.cert, *.key)."""

import asyncio
import os
import ssl

from skerry.core.errors import Failed

_Key = tuple[str, bool]
# Names, sizes and times of a host's files: another signature, another context.
_Signature = tuple[tuple[str, int, int], ...]


class Certificates:
    """Makes the TLS context of each host, anew when its files change."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._made: dict[_Key, tuple[_Signature, ssl.SSLContext]] = {}

    async def context(self, host: str, *, verify: bool) -> ssl.SSLContext:
        """Returns the context for HOST or HOST:PORT. Raises Failed in Docker's words when the files are no pairs, or unreadable."""
        return await asyncio.to_thread(self._context, host, verify)

    def _context(self, host: str, verify: bool) -> ssl.SSLContext:
        # A host is never a path: it came from a name or a URL, both without slashes; "." and ".." are the rest.
        folder = os.path.join(self._folder, host) if host.strip(".") else ""
        try:
            signature = _signature(folder)
            made = self._made.get((host, verify))
            if made is None or made[0] != signature:
                made = self._made[host, verify] = signature, _make(folder, [name for name, _, _ in signature], verify)
        except (OSError, ssl.SSLError) as error:
            raise Failed(f"{folder}: {getattr(error, 'strerror', None) or error}".lower()) from None
        return made[1]


def _signature(folder: str) -> _Signature:
    try:
        with os.scandir(folder) as entries:
            found = [(one.name, one.stat()) for one in entries]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(sorted((name, status.st_size, status.st_mtime_ns) for name, status in found))


def _make(folder: str, names: list[str], verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Python's default from 3.13 on; it refuses authorities of people's own that Docker takes (without a key identifier).
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for name in names:
        base, suffix = os.path.splitext(name)
        if suffix == ".crt":
            context.load_verify_locations(os.path.join(folder, name))
        elif suffix == ".cert":
            if f"{base}.key" not in names:
                raise Failed(f"missing key {base}.key for client certificate {name}. CA certificates must use the extension .crt")
            context.load_cert_chain(os.path.join(folder, name), os.path.join(folder, f"{base}.key"))
        elif suffix == ".key" and f"{base}.cert" not in names:
            raise Failed(f"missing client certificate {base}.cert for key {name}")
    return context
