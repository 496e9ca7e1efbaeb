"""What went wrong with a registry, in the words of Docker's HTTP client and of the registry itself; answers that must not be large."""

import os
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from skerry.core.errors import Failed, SkerryError, Unavailable

_CHUNK = 1 << 16
_MAX_REASON = 1 << 16
_UNKNOWN_AUTHORITY = {18, 19, 20, 21, 2}
_EXPIRED = {9, 10}
_WRONG_NAME = {62, 64}


def unreachable(url: str, error: Exception, method: str = "Get") -> SkerryError:
    """Returns what kept a request from being answered, as `METHOD "URL": reason`."""
    text = f'{method} "{url}": {_reason(url, error)}'
    return Unavailable(text) if isinstance(error, TimeoutError) else Failed(text)


def _reason(url: str, error: Exception) -> str:
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"proxyconnect tcp: dial tcp {error.host}:{error.port}: connect: {_of_system(error.os_error)}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.message or str(error.status)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _certificate(urlsplit(url).hostname or "", error.certificate_error)
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return _tls(error.os_error if isinstance(error, aiohttp.ClientSSLError) else error)
    if is_tls_alert(error):
        return _tls(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, socket.gaierror):
            return f"dial tcp: lookup {error.host}: no such host"
        return f"dial tcp {error.host}:{error.port}: connect: {_of_system(error.os_error)}"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"dial tcp {urlsplit(url).netloc}: i/o timeout"
    if isinstance(error, TimeoutError):
        return "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    if isinstance(error, aiohttp.ClientOSError) and error.errno:
        return _of_system(error)
    return str(error) or type(error).__name__


def is_tls_alert(error: Exception) -> bool:
    """Tells whether a connection ended by the server's refusal in TLS: after the handshake it looks like an error of the system."""
    return isinstance(error, aiohttp.ClientOSError) and "[SSL: " in str(error) and "_ALERT_" in str(error)


def _of_system(error: OSError) -> str:
    code = error.errno
    return (os.strerror(code) if code and code > 0 else error.strerror or str(error)).lower()


def _certificate(host: str, error: Exception) -> str:
    code = getattr(error, "verify_code", 0)
    if code in _UNKNOWN_AUTHORITY:
        return "x509: certificate signed by unknown authority"
    if code in _EXPIRED:
        return "x509: certificate has expired or is not yet valid"
    if code in _WRONG_NAME:
        return f"x509: certificate is not valid for {host}"
    return f"x509: {getattr(error, 'verify_message', '') or error}"


def _tls(error: Exception) -> str:
    what = str(getattr(error, "reason", None) or error).upper()
    if "WRONG_VERSION_NUMBER" in what or "RECORD_LAYER_FAILURE" in what or "HTTP_REQUEST" in what:
        return "http: server gave HTTP response to HTTPS client"
    if "CERTIFICATE_REQUIRED" in what:
        return "remote error: tls: certificate required"
    if "ALERT_" in what:
        return f"remote error: tls: {what.partition('ALERT_')[2].partition(']')[0].lower().replace('_', ' ')}"
    return f"tls: {what.lower().replace('_', ' ')}"


async def words_of(response: aiohttp.ClientResponse, default: str) -> str:
    """Returns the registry's own first error as Docker writes it ("manifest unknown: manifest unknown")."""
    try:
        document = msgspec.json.decode(await bounded(response, _MAX_REASON), type=dict[str, Any])
        if isinstance(details := document.get("details"), str):
            return f"unauthorized: {details}"[:500]  # how the Hub's token server says it
        first = document["errors"][0]
        code = str(first["code"]).lower().replace("_", " ")
        return f"{code}: {first.get('message') or code}"[:500]
    except (msgspec.DecodeError, LookupError, Failed, TypeError, AttributeError):
        return default


async def bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Returns an answer whole. Raises Failed when it is larger than limit bytes."""
    data = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        data += chunk
        if len(data) > limit:
            raise Failed(f"answer of {response.url.host} is larger than {limit} bytes")
    return bytes(data)
