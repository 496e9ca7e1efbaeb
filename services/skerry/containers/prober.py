"""Runs the health check of one container: a probe at a time, each a process in the container with a monitor of its own."""

import asyncio
import logging
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING

from skerry.containers import oci
from skerry.containers.events import exec_action
from skerry.containers.health import LONGEST_OUTPUT, Check, Health, Result, cut, go_duration, pause_ns
from skerry.containers.monitors import CreateFailed, Job, Monitor
from skerry.containers.spool import SpoolReader
from skerry.containers.start_failure import explain
from skerry.core.errors import Failed, SkerryError
from skerry.core.files import write_atomic
from skerry.core.ids import new_id

if TYPE_CHECKING:
    from skerry.containers.container import Container

_log = logging.getLogger(__name__)

# More output than is kept is read and dropped by the probe's monitor.
_SPOOL = 1 << 20
_NOT_RUN = -1


class Prober:
    """Probes while it is told that the container runs. Told otherwise, it kills the probe under way and forgets what that found."""

    def __init__(self, container: "Container", check: Check) -> None:
        self._container = container
        self._check = check
        self._loop: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[Result] | None = None

    def follow(self, *, runs: bool) -> None:
        """Starts or stops probing. Idempotent."""
        if runs and self._loop is None:
            self._loop = self._container.environment.tasks.spawn(self._probe_on(), f"health {self._container.id[:12]}")
        elif not runs and self._loop is not None:
            self._loop.cancel()
            self._loop = None

    async def stopped(self) -> None:
        """Waits until nothing is left of the last probe; the container's processes have ended or are being killed."""
        if self._probing is not None:
            await asyncio.wait({self._probing})

    async def _probe_on(self) -> None:
        await self.stopped()  # one that was frozen with the container ends only now
        await _clear(self._container, self._directory)
        last_ns = time.time_ns()
        while True:
            container, check = self._container, self._check
            due_ns = last_ns + pause_ns(container.record.health or Health(), check, container.state.started_ns, last_ns)
            await asyncio.sleep((due_ns - time.time_ns()) / 1e9)
            await self._probe()
            last_ns = time.time_ns()

    async def _probe(self) -> None:
        container, check = self._container, self._check
        probe = _Probe(container, check, self._directory)
        start_ns = time.time_ns()
        work = self._probing = container.environment.tasks.spawn(probe.run(), f"probe {container.id[:12]}")
        try:
            done, _ = await asyncio.wait({work}, timeout=check.timeout_ns / 1e9)
            if done:
                result = work.result()
            else:
                said = await probe.output()
                text = f"Health check exceeded timeout ({go_duration(check.timeout_ns)})"
                result = Result(start_ns, time.time_ns(), _NOT_RUN, f"{text}: {said}" if said else text)
                probe.kill()
            await container.probed(check, result)
            await asyncio.wait({work})
        finally:
            probe.kill()

    @property
    def _directory(self) -> str:
        return f"{self._container.directory}/health"


class _Probe:
    """One run of the command. It always comes to its end: killed, it ends at once, or when the container is thawed."""

    def __init__(self, container: "Container", check: Check, directory: str) -> None:
        self._container = container
        self._check = check
        self._directory = directory
        self._id = new_id()
        self._pidfd = -1
        self._unwanted = False
        self._over = False

    async def run(self) -> Result:
        """Returns the result; never raises but when cancelled."""
        start_ns = time.time_ns()
        code, failure = _NOT_RUN, ""
        await self._publish("exec_create")
        await self._publish("exec_start")
        # The first bytes are those that are kept: held, so that a chatty probe does not trim them away.
        async with SpoolReader(f"{self._directory}/spool", 0, hold="health") as reader:
            self._reader = reader
            try:
                code = await self._process()
            except CreateFailed as error:
                failure = explain(error.text, self._check.command[0], additional=True).message
            except (SkerryError, OSError) as error:
                failure = str(error)
            said = failure or await self.output()
            self._over = True
        await self._container.publish("exec_die", {"execID": self._id, "exitCode": str(126 if code == _NOT_RUN else code)})
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
        return Result(start_ns, time.time_ns(), code, said)

    async def output(self) -> str:
        """Returns what it has printed so far, as it is kept."""
        found = bytearray()
        if not self._over:
            async with SpoolReader(f"{self._directory}/spool", 0) as reader:
                async for batch in reader.batches(follow=False):
                    for frame in batch.frames():
                        found += frame.payload if frame.stream else b""
                    if len(found) > LONGEST_OUTPUT:
                        break
        return cut(bytes(found))

    def kill(self) -> None:
        """Ends its process, as soon as there is one."""
        self._unwanted = True
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has ended

    async def _process(self) -> int:
        await asyncio.to_thread(self._prepare)
        monitor = await self._container.environment.monitors.launch(self._job())
        try:
            pid = await monitor.create()
            try:
                self._pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                pass  # so quick
            if self._unwanted:
                self.kill()
            await monitor.start()
            return (await monitor.wait()).code
        finally:
            if self._pidfd >= 0:
                self.kill()
                os.close(self._pidfd)
                self._pidfd = -1
            await monitor.close()

    async def _publish(self, verb: str) -> None:
        await self._container.publish(exec_action(verb, self._check.command), {"execID": self._id})

    def _prepare(self) -> None:
        container = self._container
        with open(f"{container.directory}/config.json", "rb") as file:
            config = file.read()
        document = oci.exec_process(config=config, args=list(self._check.command), host=container.environment.host)
        write_atomic(f"{self._directory}/process.json", document, sync=False)

    def _job(self) -> Job:
        environment, directory = self._container.environment, self._directory
        return Job(
            directory=directory,
            create=self._container.runtime.exec(self._container.id, f"{directory}/process.json", f"{directory}/pid", None),
            pid_file=f"{directory}/pid",
            spool=f"{directory}/spool",
            quota=_SPOOL,
            segment=_SPOOL,
            blocking=False,
            drain_seconds=environment.drain_seconds,
        )


async def _clear(container: "Container", directory: str) -> None:
    """Ends the probe that a killed service has left."""
    if not await asyncio.to_thread(os.path.isdir, directory):
        return
    monitor = await container.environment.monitors.adopt(directory)
    if isinstance(monitor, Monitor):
        try:
            await monitor.create()  # it may be under way
            os.kill(monitor.pid, signal.SIGKILL)
            await monitor.wait()
        except (CreateFailed, Failed, ProcessLookupError) as error:
            _log.info("an interrupted health check has ended", extra={"container": container.id, "error": str(error)})
        finally:
            await monitor.close()
    await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
