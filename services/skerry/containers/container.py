"""One live container: its record, the process behind it, and those who wait for it."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.events.v1 import events_pb2
from skerry.containers import apparmor, health, leftovers, security
from skerry.containers.cgroup import cgroup_path
from skerry.containers.environment import Environment
from skerry.containers.events import container_event
from skerry.containers.monitors import Exit, Monitor, Monitors
from skerry.containers.oom import OomWatch
from skerry.containers.prober import Prober
from skerry.containers.record import Record, container_message
from skerry.containers.runtime import Runtime
from skerry.containers.settle import Settlement
from skerry.containers.state import (
    Action,
    Answer,
    CleanUp,
    Emit,
    Event,
    Exited,
    Launch,
    Lost,
    PauseOver,
    Phase,
    Policy,
    RestartAfter,
    StartAsked,
    State,
    TellEnded,
    TellNeedsSandbox,
    Updated,
)
from skerry.containers.transitions import step
from skerry.containers.wait import Waiters
from skerry.core.errors import Failed, Unavailable

if TYPE_CHECKING:
    from skerry.containers.exec import Exec

_log = logging.getLogger(__name__)

# How often, and how far apart, a keeper is asked for another monitor when one was lost together with its keeper.
_FIND_TRIES = 20
_FIND_SECONDS = 0.1
# Between tries to record what a full disk did not take.
_SAVE_SECONDS = 0.5


class Container:
    """Applies events to the record and carries out what follows. One operation that starts or removes it at a time: `operation`."""

    def __init__(
        self, environment: Environment, settlement: Settlement, record: Record, relaunch: "Relaunch", release_mounts: "Relaunch"
    ) -> None:
        self.environment = environment
        self.record = record
        self.spec = record.spec_message()
        self.waiters = Waiters()
        self.monitor: Monitor | None = None
        self.operation = asyncio.Lock()
        self.execs: dict[str, Exec] = {}
        # The last run whose stdin a client has: only the first one's end counts for stdin_once.
        self.stdin_claimed_run = 0
        # Grows with each start that failed: who waits for the start's output looks at it.
        self.failed_starts = 0
        check = health.check_of(self.spec)
        self._prober = Prober(self, check) if check else None
        self._settlement = settlement
        self._relaunch = relaunch
        self._release_mounts = release_mounts
        self._changed = asyncio.Event()
        self._oom: OomWatch | None = None
        self._cleanup: asyncio.Task[None] | None = None
        # Events that a full disk kept from being stored, and with them the record.
        self._unsaved: list[events_pb2.Event] = []
        self._saving: asyncio.Task[None] | None = None

    @property
    def runtime(self) -> Runtime:
        """The OCI runtime that it was made for."""
        return self.environment.runtimes.of(self.record.runtime)

    @property
    def apparmor_profile(self) -> str:
        """The AppArmor profile that its process runs under; empty: none."""
        if not self.environment.host.apparmor:
            return ""
        options = security.parse(self.spec.security_opt)
        return apparmor.profile_of(options, self.environment.host, privileged=self.spec.privileged)

    @property
    def id(self) -> str:
        """The full id."""
        return self.record.id

    @property
    def state(self) -> State:
        """What it is doing now."""
        return self.record.state

    @property
    def directory(self) -> str:
        """Where its own files lie."""
        return self.environment.directory(self.record.id)

    @property
    def spool(self) -> str:
        """Directory of its output."""
        return f"{self.directory}/spool"

    @property
    def cgroup(self) -> str:
        """Path of its cgroup below each hierarchy's root."""
        # Fixed at the start: the driver may be another one since then.
        return self.record.cgroup or cgroup_path(self.record.id, self.spec.cgroup_parent, "cgroupfs")

    def message(self) -> pb.Container:
        """Returns the wire's view."""
        graph = self.environment.layers.graph_driver(self.directory, self.record.layer_messages())
        message = container_message(self.record, graph, [name for name, each in self.execs.items() if each.record.exit_code is None])
        message.apparmor_profile = self.apparmor_profile
        return message

    async def apply(self, event: Event, **changes: object) -> None:
        """Takes event into the record (with other changed fields), stores it and carries out what follows, even if the caller goes.

        Raises what `step` raises, and Failed when a start cannot be recorded; then nothing has changed. What has happened, and what ends
        a container, is carried out on a full disk too, and recorded when there is room again.
        """
        before = self.record if isinstance(event, StartAsked) else None
        state, actions = step(self.record.state, event)
        if self._prober is not None:
            changes["health"] = health.follow(self.record.health, self.record.state, state)
        self.record = msgspec.structs.replace(self.record, state=state, **changes)
        events = [container_event(self.record, action.action, action.attributes) for action in actions if isinstance(action, Emit)]
        self._notify()
        self._follow_health()
        await self.environment.finish(self._carry_out(self.record, before, events, actions), f"apply {self.id[:12]}")

    async def probed(self, check: health.Check, result: health.Result) -> None:
        """Takes the result of a probe into the record. One that comes when the container runs no more counts for nothing."""
        if self.state.phase is not Phase.RUNNING:
            return
        before = self.record.health or health.Health()
        after = health.after_probe(before, check, result, self.state.started_ns)
        self.record = msgspec.structs.replace(self.record, health=after)
        events = [container_event(self.record, f"health_status: {after.status}")] if after.status != before.status else []
        await self.environment.finish(self._save_or_later(self.record, events), f"health {self.id[:12]}")

    async def update(self, spec: pb.ContainerSpec, policy: Policy | None) -> None:
        """Takes another spec, and restart policy, into the record. Raises Conflict when the container is being removed."""
        await self.apply(Updated(policy), spec=spec.SerializeToString())
        self.spec = spec

    async def publish(self, action: str, attributes: dict[str, str] | None = None) -> None:
        """Publishes an event that changes nothing in the record."""
        event = container_event(self.record, action, attributes)
        try:
            await self.environment.journal.publish(event)
        except Failed as error:
            self._record_later([event], error)

    async def until(self, condition: Callable[[State], bool], timeout: float | None = None) -> bool:
        """Waits until the state fulfils condition; False when timeout seconds passed or the service stops."""
        stop = asyncio.ensure_future(self.environment.stopping.wait())
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        try:
            while not condition(self.record.state):
                left = None if deadline is None else deadline - loop.time()
                if stop.done() or (left is not None and left <= 0):
                    return False
                change = asyncio.ensure_future(self._changed.wait())
                try:
                    await asyncio.wait({change, stop}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    change.cancel()
            return True
        finally:
            stop.cancel()

    def watch_exit(self, monitor: Monitor, run: int) -> None:
        """Follows a process that runs: its end becomes an event."""
        self.monitor = monitor
        self._follow_health()
        if self._oom is None:
            self.watch_memory(self.cgroup)
        _ = self.environment.tasks.spawn(self._watch_exit(monitor, run), f"exit {self.id[:12]}")

    async def cleaned_up(self) -> None:
        """Waits until nothing of an ended run is left with the runtime."""
        if self._cleanup is not None:
            await asyncio.shield(self._cleanup)

    async def signal(self, number: int) -> None:
        """Sends a signal to the process. One that has ended is no error. Raises Failed."""
        # Without a pid namespace of its own, the first process's death does not end the others.
        every = bool(self.spec.pid_mode) and number == signal.SIGKILL
        await self.runtime.kill(self.id, number, every=every)

    def watch_memory(self, cgroup: str) -> None:
        """Follows what the kernel kills there for lack of memory; before the process starts, or once it is found running."""
        self.forget_memory()
        self._oom = OomWatch(cgroup, self.environment.host.cgroup_version)

    def forget_memory(self) -> None:
        """Ends that."""
        if self._oom is not None:
            self._oom.close()
            self._oom = None

    def forget_execs(self) -> None:
        """Forgets the execs that were never started: the container's end is theirs. Running ones have monitors that tell their end."""
        for exec_id in [each.record.id for each in self.execs.values() if not each.record.started]:
            del self.execs[exec_id]

    def _follow_health(self) -> None:
        if self._prober is not None:
            self._prober.follow(runs=self.state.phase is Phase.RUNNING)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _watch_exit(self, monitor: Monitor, run: int) -> None:
        while True:
            try:
                ended = await monitor.wait()
                break
            except Failed as error:
                # The keeper, which would have replaced it at once, was killed too.
                _log.warning("a monitor was lost", extra={"container": self.id, "error": str(error)})
                found = await find_monitor(self.environment.monitors, self.directory, monitor.process)
                await monitor.close()
            if isinstance(found, Monitor):
                self.monitor = monitor = found
                continue
            if found is None:
                await self.follow_process(sandbox=True)
                return
            ended = found
            break
        await monitor.close()
        oom = self._oom is not None and self._oom.killed(ended.code)
        self.forget_memory()
        await self.apply(Exited(run, ended.code, ended.time_ns or time.time_ns(), oom, ended.error, self.has_sandbox()))

    def has_sandbox(self) -> bool:
        """Tells whether the network namespace of its last run is still there. Not after a reboot."""
        if self.record.boot_id != self.environment.boot_id:
            return False
        path = self.record.sandbox_message().netns_path
        return not path or os.path.exists(path)

    async def follow_process(self, *, sandbox: bool) -> None:
        """Waits for the end of a process that has no monitor any more: nobody can tell its exit code, but its end is not missed."""
        self.monitor = None
        known = await self.runtime.state(self.id)
        if known is not None and known.get("status") in ("running", "paused") and known.get("pid") == self.state.pid:
            await _process_ended(self.state.pid)
        await self.apply(Lost(time.time_ns(), sandbox=sandbox))

    async def _carry_out(
        self, record: Record, before: Record | None, events: Sequence[events_pb2.Event], actions: Sequence[Action]
    ) -> None:
        try:
            await self._save(record, events)
        except Failed as error:
            if before is not None:
                self.record = before
                self._notify()
                raise
            self._record_later(events, error)
        for action in actions:
            match action:
                case Answer():
                    self.waiters.answer(action)
                    self._settlement.settled(self.id, action.run)
                case TellEnded():
                    self._tell_ended(action)
                case TellNeedsSandbox():
                    self._settlement.needs_sandbox(self.id, record.state.run + 1)
                case RestartAfter():
                    _ = self.environment.tasks.spawn(self._restart_after(action.pause_ms / 1000), f"restart {self.id[:12]}")
                case Launch():
                    _ = self.environment.tasks.spawn(self._relaunch(self), f"launch {self.id[:12]}")
                case CleanUp():
                    self.forget_execs()
                    self._cleanup = self.environment.tasks.spawn(self._clean_up(action.final), f"clean up {self.id[:12]}")
                case Emit():
                    pass  # published above

    async def _save(self, record: Record, events: Sequence[events_pb2.Event]) -> None:
        """Stores record and events, behind events that could not be stored before."""
        behind, self._unsaved = self._unsaved, []
        try:
            await self.environment.store.save(record, [*behind, *events])
        except BaseException:
            self._unsaved = [*behind, *self._unsaved]
            raise
        for event in (*behind, *events):
            self.environment.journal.published(event)

    async def _save_or_later(self, record: Record, events: Sequence[events_pb2.Event]) -> None:
        try:
            await self._save(record, events)
        except Failed as error:
            self._record_later(events, error)

    def _record_later(self, events: Sequence[events_pb2.Event], error: Failed) -> None:
        """The disk is full: record and events are stored when there is room."""
        self._unsaved += events
        if self._saving is None or self._saving.done():
            _log.warning("a change is not recorded yet", extra={"container": self.id, "error": str(error)})
            self._saving = self.environment.tasks.spawn(self._save_later(), f"save {self.id[:12]}")

    async def _save_later(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_SECONDS)
            try:
                await self._save(self.record, [])
            except Failed:
                continue
            return

    def _tell_ended(self, action: TellEnded) -> None:
        self._settlement.ended(self.ended_message(action.run))

    def ended_message(self, run: int) -> pb.Ended:
        """Returns what control planes are told of the end of that run."""
        state = self.record.state
        remove = self.spec.auto_remove and not state.restarting_by_hand
        return pb.Ended(id=self.id, run=run, exit_code=state.exit_code, auto_remove=remove)

    async def _restart_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with self.operation:
            await self.cleaned_up()
            await self.apply(PauseOver())

    async def _clean_up(self, final: bool) -> None:
        previous, self.monitor = self.monitor, None
        try:
            await self.runtime.delete(self.id)
        except Failed as error:
            _log.warning("the runtime did not delete an ended container", extra={"container": self.id, "error": str(error)})
        if left := leftovers.cgroups(self.cgroup):
            await asyncio.to_thread(leftovers.remove_cgroups, left)
        if previous is not None:
            await previous.close()
        if self._prober is not None:
            await self._prober.stopped()
        if final:
            await self.environment.layers.unmount_rootfs(self.directory)
            await self._release_mounts(self)
            await self.environment.volumes.unmount(self.id)


Relaunch = Callable[[Container], Coroutine[Any, Any, None]]


async def find_monitor(monitors: Monitors, directory: str, process: int) -> Monitor | Exit | None:
    """Returns who follows a run that lost its monitor and its keeper: a monitor that the next keeper starts, or the end. None: nobody."""
    for _ in range(_FIND_TRIES):
        try:
            if (found := await monitors.again(directory, process)) is not None:
                return found
        except (Failed, Unavailable) as error:
            _log.warning("no keeper starts another monitor", extra={"directory": directory, "error": str(error)})
        await asyncio.sleep(_FIND_SECONDS)
    return None


async def _process_ended(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
