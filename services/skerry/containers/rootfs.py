"""A container's root file system for those who read and write it from outside: copies, changes, exports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from skerry.containers import sources
from skerry.containers.container import Container
from skerry.containers.state import Phase
from skerry.core.errors import Conflict

_UNMOUNTED = (Phase.CREATED, Phase.EXITED, Phase.DEAD)


@asynccontextmanager
async def mounted_rootfs(container: Container) -> AsyncIterator[str]:
    """Yields the path of the mounted root, in this service's mount namespace; what its mounts name on the host is there.

    One that runs is used as it is, and its end may unmount the root under the body. One that does not run stays so for the body's time:
    a start waits, as in Docker. Raises Conflict when it is being removed, Failed.
    """
    path = f"{container.directory}/rootfs"
    if container.state.active:
        yield path
        return
    async with container.operation:
        if container.state.phase is Phase.REMOVING:
            raise Conflict(f"Container {container.id} is marked for removal")
        await container.cleaned_up()
        layers = container.environment.layers
        try:
            path = await layers.mount_rootfs(container.directory, container.record.layer_messages())
            if not container.state.active:
                await sources.prepare(container, tell=False)
            yield path
        finally:
            if container.state.phase in _UNMOUNTED:
                await layers.unmount_rootfs(container.directory)
                await sources.release(container)
                await container.environment.volumes.give_back(container.id, container.record.mounts)
