"""One additional process in a container. Its monitor and directory make it survive the service."""

import asyncio
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.containers.v1 import execs_pb2
from skerry.containers import consoles, oci, stdin, users
from skerry.containers.attach import BEHIND, client_output, hold_name
from skerry.containers.container import Container, find_monitor
from skerry.containers.events import exec_action
from skerry.containers.monitors import CreateFailed, Job, Monitor
from skerry.containers.spool import SpoolReader
from skerry.containers.start_failure import StartFailure, explain
from skerry.core.errors import Conflict, Failed, InvalidArgument, NotFound, SkerryError, exhausted
from skerry.core.files import write_atomic

_log = logging.getLogger(__name__)

# Docker's code for an exec whose end nobody saw.
_LOST = 255
# How long a stream that lost its connection can still be taken up after the process has ended.
_KEEP_SPOOL_SECONDS = 30.0
_FRAMES_LIMIT = 192 << 10
# How long a resize waits for the start, as in Docker.
_START_SECONDS = 10.0


class ExecRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Content of exec.json."""

    id: str
    spec: bytes
    started: bool = False
    exit_code: int | None = None
    tty: bool = False


class Exec:
    """Starts once, is watched until its end."""

    def __init__(self, container: Container, record: ExecRecord) -> None:
        self.container = container
        self.record = record
        self.spec = execs_pb2.ExecSpec.FromString(record.spec)
        self.monitor: Monitor | None = None
        self.finished_at = 0.0
        self._begun, self._ended = asyncio.Event(), asyncio.Event()
        self._failure: StartFailure | None = None
        self._readers = 0
        # Started by an earlier service: who read it then may be about to take its stream up again.
        self._adopted = record.started
        if record.exit_code is not None:
            self._begun.set()
            self._ended.set()

    @property
    def directory(self) -> str:
        """Where its files lie; short, as the runtime must reach a socket in it by name."""
        return exec_directory(self.container, self.record.id)

    @property
    def spool(self) -> str:
        """Where its output lies."""
        return f"{self.directory}/spool"

    @property
    def running(self) -> bool:
        """True from its start to its end."""
        return self.record.started and self.record.exit_code is None

    def message(self) -> execs_pb2.Exec:
        """Returns the wire's view."""
        return execs_pb2.Exec(
            id=self.record.id,
            container_id=self.container.id,
            spec=self.spec,
            running=self.running,
            exit_code=self.record.exit_code,
            pid=self.monitor.pid if self.monitor is not None and self.running else 0,
            started=self.record.started,
        )

    async def terminal(self) -> Monitor:
        """Returns what resizes it; waits for a start that is about to come. Raises Failed, NotFound in Docker's words."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._begun.wait()
        except TimeoutError:
            raise Failed("timeout waiting for exec session ready") from None
        if self.monitor is None or not self.running:
            raise NotFound("no such exec")
        return self.monitor

    async def publish(self, verb: str, attributes: dict[str, str] | None = None) -> None:
        """Publishes one of its events."""
        extra = {"execID": self.record.id, **(attributes or {})}
        action = exec_action(verb, self.spec.cmd) if verb != "exec_die" else verb
        await self.container.publish(action, extra)

    async def start(
        self, opened: execs_pb2.ExecOpen, requests: AsyncIterator[execs_pb2.StartExecRequest]
    ) -> AsyncIterator[execs_pb2.StartExecResponse]:
        """Runs it, or joins it again when opened.offset is set; yields opened, then output until its end."""
        again = opened.HasField("offset")
        if not again:
            if self.record.exit_code is not None:
                raise Conflict(f"Error: Exec command {self.record.id} has already run")
            if self.record.started:
                raise Conflict(f"Error: Exec command {self.record.id} is already running")
            self.record.started = True
            self.record.tty = opened.tty if opened.HasField("tty") else self.spec.tty
        hold = "" if opened.detach else hold_name(opened.hold)
        self._readers += 1
        try:
            behind = self.container.environment.quota // BEHIND
            sequence = opened.sequence if opened.HasField("sequence") else None
            async with SpoolReader(self.spool, opened.offset, hold=hold, sequence=sequence, behind=behind) as reader:
                if not again:
                    await self.container.environment.finish(self._launch(opened), f"exec {self.record.id[:12]}")
                if opened.detach:
                    self._refuse_failed()
                yield execs_pb2.StartExecResponse(opened=pb.AttachOpened(tty=self.record.tty))
                try:
                    if not opened.detach:
                        async for output in self._stream(reader, requests):
                            yield execs_pb2.StartExecResponse(output=output)
                finally:
                    if self.container.environment.stopping.is_set():
                        reader.leave_hold()
        finally:
            self._readers -= 1

    async def _stream(self, reader: SpoolReader, requests: AsyncIterator[execs_pb2.StartExecRequest]) -> AsyncIterator[pb.Output]:
        if self._failure is not None:
            yield pb.Output(data=_as_output(self._failure.message, self.record.tty))
            yield pb.Output(ended=True)
            return
        tasks = self.container.environment.tasks
        pumping = stdin.pump(requests, self._process, wanted=self.spec.attach_stdin, closes=True)
        helpers = [tasks.spawn(pumping, "exec stdin"), tasks.spawn(self._close_at_end(reader), "exec end")]
        try:
            async for batch in reader.batches(until_run=1, limit=_FRAMES_LIMIT):
                spec = self.spec
                if output := client_output(batch, tty=self.record.tty, stdout=spec.attach_stdout, stderr=spec.attach_stderr):
                    yield output
            if not self.container.environment.stopping.is_set():
                # GetExec has the code by the time the client sees the end.
                await asyncio.wait_for(self._ended.wait(), 30)
                yield pb.Output(next_offset=reader.offset, ended=True)
        finally:
            for helper in helpers:
                helper.cancel()

    async def _close_at_end(self, reader: SpoolReader) -> None:
        stop = asyncio.ensure_future(self.container.environment.stopping.wait())
        end = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({stop, end}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.done():
                await asyncio.sleep(10)  # the END frame is there before the exit is told; this is for a killed monitor
            reader.stop()
        finally:
            stop.cancel()
            end.cancel()

    async def _process(self) -> Monitor | None:
        return self.monitor

    def _refuse_failed(self) -> None:
        if self._failure is not None:
            raise (InvalidArgument if self._failure.by_request else Failed)(self._failure.message)

    async def _launch(self, opened: execs_pb2.ExecOpen) -> None:
        environment, spec = self.container.environment, self.spec
        environment.cgroup_moves.expect()
        await self.publish("exec_start")
        rows = opened.console_height or spec.console_height
        columns = opened.console_width or spec.console_width
        try:
            await asyncio.to_thread(self._prepare, rows, columns)
            monitor = await environment.monitors.launch(self._job(opened, rows, columns))
            try:
                await monitor.create()
                await monitor.start()
            except BaseException:
                await monitor.close()
                raise
            finally:
                consoles.forget(self.container.runtime, self.record.id)
        except CreateFailed as error:
            await self._failed(explain(error.text, spec.cmd[0] if spec.cmd else "", additional=True))
        except (SkerryError, OSError) as error:
            # Such as "unable to find user X: no matching entries in passwd file".
            reason = (exhausted(error) if isinstance(error, OSError) else None) or error
            await self._failed(StartFailure(126, str(reason)))
        else:
            self.watch(monitor)

    async def _failed(self, failure: StartFailure) -> None:
        self._failure = failure
        await self.finish(failure.exit_code)

    def watch(self, monitor: Monitor) -> None:
        """Follows the process to its end."""
        self.monitor = monitor
        self._begun.set()
        _ = self.container.environment.tasks.spawn(self._watch(monitor), f"exec {self.record.id[:12]}")

    async def lost(self) -> None:
        """Records an end that nobody saw."""
        await self.finish(_LOST)

    async def _watch(self, monitor: Monitor) -> None:
        code = None
        while code is None:
            try:
                code = (await monitor.wait()).code
            except Failed as error:
                _log.warning("an exec's monitor was lost", extra={"exec": self.record.id, "error": str(error)})
                found = await find_monitor(self.container.environment.monitors, self.directory, monitor.process)
                await monitor.close()
                if isinstance(found, Monitor):
                    self.monitor = monitor = found
                else:
                    code = _LOST if found is None else found.code
        await monitor.close()
        await self.finish(code)

    async def finish(self, code: int) -> None:
        """Records the end and publishes it."""
        self.record.exit_code = code
        self.finished_at = time.monotonic()
        await self.publish("exec_die", {"exitCode": str(code)})
        # Not after the file: until it says so, the monitor's own does.
        self._begun.set()
        self._ended.set()
        if os.path.isdir(self.directory):
            try:
                await asyncio.to_thread(self.save)
            except OSError as error:
                # A full disk. A later service finds the exit file, or the monitor's notes.
                _log.warning("an exec's end is not recorded", extra={"exec": self.record.id, "error": str(error)})
        _ = self.container.environment.tasks.spawn(self.retire(), f"exec {self.record.id[:12]}")

    async def retire(self) -> None:
        """Removes its files once nobody reads them any more."""
        keep = self._readers or self._failure is not None or self._adopted
        await asyncio.sleep(_KEEP_SPOOL_SECONDS if keep else 0.0)
        while self._readers:
            await asyncio.sleep(_KEEP_SPOOL_SECONDS)
        if self.container.environment.stopping.is_set():
            return  # who read it comes back to the next service
        await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)

    def save(self) -> None:
        """Writes exec.json. Blocks."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        write_atomic(f"{self.directory}/exec.json", msgspec.json.encode(self.record), sync=False)

    def _prepare(self, rows: int, columns: int) -> None:
        container, spec = self.container, self.spec
        with open(f"{container.directory}/config.json", "rb") as file:
            config = file.read()
        document = oci.exec_process(
            config=config,
            args=list(spec.cmd),
            host=container.environment.host,
            env=list(spec.env),
            user=users.resolve(f"{container.directory}/rootfs", spec.user) if spec.user else None,
            cwd=spec.working_dir,
            tty=self.record.tty,
            privileged=spec.privileged,
            rows=rows,
            columns=columns,
        )
        self.save()
        write_atomic(f"{self.directory}/process.json", document, sync=False)

    def _job(self, opened: execs_pb2.ExecOpen, rows: int, columns: int) -> Job:
        environment, directory = self.container.environment, self.directory
        console = consoles.console(self.container.runtime, directory, self.record.id) if self.record.tty else None
        return Job(
            directory=directory,
            create=self.container.runtime.exec(self.container.id, f"{directory}/process.json", f"{directory}/pid", console),
            pid_file=f"{directory}/pid",
            tty=self.record.tty,
            stdin=self.spec.attach_stdin,
            spool=self.spool,
            quota=environment.quota,
            # Nobody reads a detached exec's output: it must not wait for a reader.
            blocking=not opened.detach,
            rows=rows,
            columns=columns,
            drain_seconds=environment.drain_seconds,
        )


def exec_directory(container: Container, exec_id: str) -> str:
    """Returns an exec's directory."""
    return f"{container.directory}/execs/{exec_id[:16]}"


def _as_output(text: str, tty: bool) -> bytes:
    data = f"{text}\r\n".encode()
    return data if tty else b"\x01\0\0\0" + len(data).to_bytes(4, "big") + data
