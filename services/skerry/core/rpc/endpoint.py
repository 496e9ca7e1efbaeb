"""From a service's common settings to a running server, with its metrics socket and log."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from skerry.core.metrics import serving_metrics
from skerry.core.rpc.server import Register, serving
from skerry.core.rpc.tls import Tls, tls_from
from skerry.core.settings import Common


def address_of(settings: Common, service: str) -> str:
    """Returns where the service listens."""
    return settings.listen or f"unix:{settings.run}/{service}.sock"


def tls_of(settings: Common) -> Tls | None:
    """Returns the service's certificates, which it also shows when it calls others. Raises InvalidArgument when incomplete."""
    return tls_from(settings.tls_cert, settings.tls_key, settings.tls_ca)


@asynccontextmanager
async def endpoint(
    settings: Common, service: str, register: Sequence[Register], names: Sequence[str], stopping: asyncio.Event | None = None
) -> AsyncIterator[str]:
    """Serves gRPC and metrics as the settings say; yields the address. See `serving` for the end."""
    where = "" if settings.metrics == "off" else settings.metrics or f"unix:{settings.run}/{service}.metrics.sock"
    async with (
        serving_metrics(where),
        serving(
            address_of(settings, service),
            register,
            names,
            drain=settings.drain,
            tls=tls_of(settings),
            insecure_tcp=settings.insecure_tcp,
            stopping=stopping,
        ) as bound,
    ):
        yield bound
