"""Mutual TLS: the same three files serve and call."""

import grpc
import msgspec

from skerry.core.errors import InvalidArgument


class Tls(msgspec.Struct, frozen=True):
    """Paths of PEM files. The peer must show a certificate of the same CA."""

    cert: str
    key: str
    ca: str


def tls_from(cert: str, key: str, ca: str) -> Tls | None:
    """Returns None when all are empty. Raises InvalidArgument when only some are given."""
    if not (cert or key or ca):
        return None
    if not (cert and key and ca):
        raise InvalidArgument("TLS needs certificate, key and CA together")
    return Tls(cert, key, ca)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from None


def server_credentials(tls: Tls) -> grpc.ServerCredentials:
    """Raises InvalidArgument when a file cannot be read."""
    return grpc.ssl_server_credentials([(_read(tls.key), _read(tls.cert))], root_certificates=_read(tls.ca), require_client_auth=True)


def channel_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Raises InvalidArgument when a file cannot be read."""
    return grpc.ssl_channel_credentials(_read(tls.ca), _read(tls.key), _read(tls.cert))
