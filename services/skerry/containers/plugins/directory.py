"""Where plugins are found: sockets in one directory, files with addresses in others. As Docker's discovery. Functions here block."""

import json
import os
import ssl
import urllib.parse
from collections.abc import Sequence

from skerry.containers.plugins.client import Client
from skerry.core.errors import Failed, NotFound

_LONGEST_FILE = 1 << 20


def names(sockets: str, specs: Sequence[str]) -> list[str]:
    """Returns the names of all plugins there are, running or not."""
    found = _named(sockets, (".sock",))
    for place in specs:
        found |= _named(place, (".spec", ".json"))
    return sorted(found)


def find(name: str, sockets: str, specs: Sequence[str]) -> Client:
    """Returns a client for a plugin: its socket first, then the files. Raises NotFound as Docker, Failed (an unusable file)."""
    if not name or "/" in name or "\0" in name or name.startswith("."):
        raise NotFound(f'plugin "{name}" not found')
    for path in _paths(sockets, name, (".sock",)):
        if os.path.exists(path):
            return Client(f"unix://{path}")
    for place in specs:
        for path in _paths(place, name, (".spec", ".json")):
            if os.path.exists(path):
                return _of_file(name, path)
    raise NotFound(f'plugin "{name}" not found')


def _paths(place: str, name: str, endings: Sequence[str]) -> list[str]:
    # Directly, or in a directory of its own.
    return [f"{place}/{name}{ending}" for ending in endings] + [f"{place}/{name}/{name}{ending}" for ending in endings]


def _named(place: str, endings: Sequence[str]) -> set[str]:
    try:
        entries = os.listdir(place)
    except OSError:
        return set()
    found = set()
    for entry in entries:
        name, ending = os.path.splitext(entry)
        if ending in endings and not os.path.isdir(f"{place}/{entry}"):
            found.add(name)
        elif any(os.path.exists(f"{place}/{entry}/{entry}{each}") for each in endings):
            found.add(entry)
    return found


def _of_file(name: str, path: str) -> Client:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_LONGEST_FILE).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"{path}: {error}") from None
    if not text:
        raise NotFound(f'plugin "{name}" not found')
    if path.endswith(".json"):
        return _of_json(path, text)
    _check_address(text)
    return Client(text)


def _of_json(path: str, text: str) -> Client:
    try:
        document = json.loads(text)
        address, tls = str(document["Addr"]), document.get("TLSConfig")
        _check_address(address)
        return Client(address, _tls(tls) if tls and not address.startswith("unix:") else None)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise Failed(f"{path}: {error}") from None


def _check_address(address: str) -> None:
    if urllib.parse.urlsplit(address).scheme not in ("unix", "tcp", "http", "https"):
        raise Failed("unknown protocol")


def _tls(config: dict[str, object]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(config["CAFile"]) if config.get("CAFile") else None)
    if config.get("InsecureSkipVerify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.get("CertFile"):
        context.load_cert_chain(str(config["CertFile"]), str(config.get("KeyFile") or config["CertFile"]))
    return context
