"""Whether the kernel killed processes of a container for lack of memory, also where its cgroup is gone with its last process.

With the systemd driver the scope is systemd's, which removes it as soon as it is empty: the count has to be read when it changes.
"""

import asyncio
from contextlib import suppress

from skerry.containers.cgroup import memory_events, oom_kills
from skerry.containers.inotify import Watch

# The kernel tells of "oom", then kills and counts that, and holds the news of it back for 10 ms.
_AGAIN_SECONDS = 0.002
_KILLED = 137


class OomWatch:
    """Follows one run's cgroup until close."""

    def __init__(self, cgroup: str, version: int) -> None:
        self._cgroup = cgroup
        self._met_limit = False
        self._killed = False
        self._watch: Watch | None = None
        self._again: asyncio.TimerHandle | None = None
        if version == 2 and ".scope" in cgroup:
            with suppress(OSError):  # it ended already
                self._watch = Watch(f"/sys/fs/cgroup{cgroup}/memory.events", self._look)

    def killed(self, code: int) -> bool:
        """Tells it, once the run ended with that exit code."""
        return self._killed or oom_kills(self._cgroup) > 0 or (self._met_limit and code == _KILLED)

    def close(self) -> None:
        """Ends it. Idempotent."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._again is not None:
            self._again.cancel()

    def _look(self) -> None:
        counts = memory_events(self._cgroup)
        self._met_limit = self._met_limit or counts.get("oom", 0) > 0
        self._killed = self._killed or counts.get("oom_kill", 0) > 0
        if self._met_limit and not self._killed and counts:
            self._again = asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._look)
