"""What clients of an earlier service were attached for is kept until they had the time to take their streams up again."""

import asyncio

from skerry.containers.environment import Environment
from skerry.containers.spool import holds, release_holds

# Clients look for the service every fraction of a second. Those that are gone with their gateway hold a process up for so long at most.
_SECONDS = 30.0


async def keep_holds(environment: Environment, spool: str) -> None:
    """Releases, after a while, the holds on a spool that are there now. Call it before any reader of this service holds."""
    earlier = await asyncio.to_thread(holds, spool)
    if earlier:
        _ = environment.tasks.spawn(_release(spool, earlier), "holds of an earlier service")


async def _release(spool: str, earlier: dict[str, int]) -> None:
    await asyncio.sleep(_SECONDS)
    await asyncio.to_thread(release_holds, spool, earlier)
