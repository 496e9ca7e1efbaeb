"""The life of one container as a pure function: what happens next, given what is and what happened.

`step` never touches the world; the caller stores the new state, publishes the events among the actions, then does the rest.
"""

from typing import TypeAlias, assert_never

import msgspec

from skerry.containers.state import (
    Action,
    Answer,
    Booted,
    CleanUp,
    Emit,
    Event,
    Exited,
    KillAsked,
    Launch,
    Launched,
    Lost,
    PauseAsked,
    PauseOver,
    Phase,
    RemoveAsked,
    RemoveFailed,
    RestartAfter,
    Settled,
    StartAsked,
    StartFailed,
    State,
    StopAsked,
    TellEnded,
    TellNeedsSandbox,
    UnpauseAsked,
    Updated,
)
from skerry.core.errors import Conflict, Failed, InvalidArgument, NotModified

# Docker's restart manager: first pause, doubled each time up to the longest, begun anew after a run of ten seconds.
FIRST_PAUSE_MS = 100
LONGEST_PAUSE_MS = 60_000
GOOD_RUN_NS = 10 * 10**9
# What Docker records when nobody saw how the process ended.
LOST_EXIT_CODE = 255
LOST_ERROR = "its exit code is not known: the processes that would have been told it had ended"

Step: TypeAlias = tuple[State, list[Action]]


def step(state: State, event: Event) -> Step:
    """Returns the next state and what to do. Raises Docker's errors when the event is a request that the state forbids.

    Reports of the world (Exited, Lost, ...) never raise: one that no longer fits is ignored.
    """
    match event:
        case StartAsked():
            return _start_asked(state, event)
        case Launched():
            return _launched(state, event)
        case StartFailed():
            return _start_failed(state, event)
        case Exited():
            return _exited(state, event)
        case Lost():
            return _lost(state, event)
        case Booted():
            return _booted(state)
        case PauseOver():
            if state.phase is not Phase.RESTARTING:
                return state, []
            return msgspec.structs.replace(state, phase=Phase.STARTING, by_policy=True, run=state.run + 1), [Launch()]
        case Settled():
            return _settled(state, event)
        case StopAsked():
            return _stop_asked(state, event)
        case KillAsked():
            return _kill_asked(state, event)
        case PauseAsked():
            return _pause_asked(state)
        case UnpauseAsked():
            if state.phase is not Phase.PAUSED:
                raise Failed(f"Container {state.id} is not paused")
            return msgspec.structs.replace(state, phase=Phase.RUNNING), [Emit("unpause")]
        case RemoveAsked():
            return _remove_asked(state)
        case RemoveFailed():
            if state.phase is not Phase.REMOVING:
                return state, []
            return msgspec.structs.replace(state, phase=Phase.DEAD, error=event.error), []
        case Updated():
            return _updated(state, event)
        case _:
            assert_never(event)


def next_pause(state: State, ran_ns: int) -> int:
    """Returns how long to wait before the next run, in milliseconds."""
    pause = 0 if ran_ns >= GOOD_RUN_NS else state.pause_ms
    return FIRST_PAUSE_MS if pause == 0 else min(pause * 2, LONGEST_PAUSE_MS)


def restarts(state: State, code: int) -> bool:
    """Tells whether the policy wants another run after this exit."""
    if state.no_restart:
        return False
    match state.policy.name:
        case "always":
            return True
        case "unless-stopped":
            return not state.manually_stopped
        case "on-failure":
            return code != 0 and (state.policy.maximum == 0 or state.restart_count < state.policy.maximum)
        case _:
            return False


def _start_asked(state: State, event: StartAsked) -> Step:
    match state.phase:
        case Phase.REMOVING | Phase.DEAD:
            raise Conflict("container is marked for removal and cannot be started")
        case Phase.PAUSED:
            raise Conflict("cannot start a paused container, try unpause instead")
        case Phase.RUNNING | Phase.RESTARTING | Phase.STARTING:
            raise NotModified("Container is already started")
        case Phase.CREATED | Phase.EXITED:
            pass
        case _:
            assert_never(state.phase)
    if event.run != state.run + 1:
        raise InvalidArgument(f"container {state.id}: run {event.run} asked for, the next is {state.run + 1}")
    # A caller that has a new sandbox has given the old one back.
    state, actions = _settled(state, Settled(state.run))
    started = msgspec.structs.replace(
        state,
        phase=Phase.STARTING,
        run=event.run,
        by_policy=False,
        restart_count=0,
        pause_ms=0,
        no_restart=False,
        manually_stopped=False,
        needs_sandbox=False,
        needed=state.needs_sandbox,
        early=None,
    )
    return started, actions


def _launched(state: State, event: Launched) -> Step:
    if state.phase is not Phase.STARTING:
        return state, []
    actions: list[Action] = [Emit("start")]
    if state.restarting_by_hand:
        actions.append(Emit("restart"))
    early = state.early
    state = msgspec.structs.replace(
        state,
        phase=Phase.RUNNING,
        pid=event.pid,
        exit_code=0,
        error="",
        oom_killed=False,
        started_ns=event.time_ns,
        finished_ns=0,
        restarting_by_hand=False,
        needed=False,
        early=None,
    )
    if early is not None:
        state, more = _exited(state, early)
        actions += more
    return state, actions


def _start_failed(state: State, event: StartFailed) -> Step:
    if state.phase is not Phase.STARTING:
        return state, []
    # The run was not one: its number is free for the next try.
    run = state.run - 1
    failed = msgspec.structs.replace(
        state,
        phase=Phase.EXITED if state.started_ns else Phase.CREATED,
        run=run,
        pid=0,
        exit_code=event.exit_code,
        error=event.error,
        restarting_by_hand=False,
        needed=False,
        early=None,
    )
    if not state.by_policy:
        return failed, [Answer(state.run, event.exit_code, event.error), CleanUp(final=True)]
    failed = msgspec.structs.replace(failed, finished_ns=event.time_ns, by_policy=False)
    return failed, [CleanUp(final=True), TellEnded(run)]


def _exited(state: State, event: Exited) -> Step:
    if event.run != state.run:
        return state, []
    if state.phase is Phase.STARTING:
        return msgspec.structs.replace(state, early=event), []
    if state.phase not in (Phase.RUNNING, Phase.PAUSED):
        return state, []
    ended = msgspec.structs.replace(
        state,
        pid=0,
        exit_code=event.code,
        error=event.error,
        oom_killed=event.oom,
        finished_ns=event.time_ns,
        by_policy=False,
        pause_ms=next_pause(state, event.time_ns - state.started_ns),
    )
    actions: list[Action] = [Emit("oom")] if event.oom else []
    if not restarts(state, event.code):
        return msgspec.structs.replace(ended, phase=Phase.EXITED), [*actions, CleanUp(final=True), TellEnded(event.run)]
    if not event.sandbox:
        ended, told = _without_sandbox(ended)
        return ended, [*actions, *told]
    ended, died = _died(msgspec.structs.replace(ended, phase=Phase.RESTARTING, restart_count=state.restart_count + 1))
    return ended, [*actions, *died, CleanUp(final=False), RestartAfter(ended.pause_ms)]


def _died(state: State) -> Step:
    if state.answered_run >= state.run:
        # Between two runs: who came after the last one's exit still waits.
        return state, [Answer(state.run, state.exit_code)]
    answered = msgspec.structs.replace(state, answered_run=state.run, answered_code=state.exit_code)
    return answered, [Emit("die", {"exitCode": str(state.exit_code)}), Answer(state.run, state.exit_code)]


def _settled(state: State, event: Settled) -> Step:
    if state.phase is not Phase.EXITED or event.run != state.run or state.settled_run >= state.run:
        return state, []
    stopped = state.stopping
    state, actions = _died(msgspec.structs.replace(state, settled_run=state.run, stopping=False))
    if stopped:
        # Events go before answers: who was answered may look at the events.
        actions = [a for a in actions if isinstance(a, Emit)] + [Emit("stop")] + [a for a in actions if not isinstance(a, Emit)]
    return state, actions


def _lost(state: State, event: Lost) -> Step:
    if state.phase is Phase.STARTING:
        if state.by_policy and not state.no_restart:
            # The service died within a start that only the policy had asked for: nobody else will ask again.
            waiting = msgspec.structs.replace(state, phase=Phase.RESTARTING, run=state.run - 1, pid=0, by_policy=False, early=None)
            return (waiting, [CleanUp(final=False), RestartAfter(state.pause_ms)]) if event.sandbox else _without_sandbox(waiting)
        failed, actions = _start_failed(state, StartFailed(128, "the start was interrupted", event.time_ns))
        if state.needed:
            return msgspec.structs.replace(failed, needs_sandbox=True), [*actions, TellNeedsSandbox()]
        return failed, actions
    if state.phase is Phase.RESTARTING and not event.sandbox:
        lost = msgspec.structs.replace(state, phase=Phase.EXITED)
        code = state.exit_code
    elif state.phase in (Phase.RUNNING, Phase.PAUSED):
        return _exited(state, Exited(state.run, LOST_EXIT_CODE, event.time_ns, error=LOST_ERROR, sandbox=event.sandbox))
    else:
        return state, []
    if not restarts(state, code):
        return lost, [CleanUp(final=True), TellEnded(state.run)]
    return _without_sandbox(lost)


def _without_sandbox(ended: State) -> Step:
    """A next run is wanted, and needs a sandbox made anew."""
    waiting, actions = _settled(msgspec.structs.replace(ended, phase=Phase.EXITED, needs_sandbox=True), Settled(ended.run))
    return waiting, [*actions, CleanUp(final=True), TellNeedsSandbox()]


def _booted(state: State) -> Step:
    wanted = state.policy.name == "always" or (state.policy.name == "unless-stopped" and not state.manually_stopped)
    if state.phase is not Phase.EXITED or not wanted or not state.settled or state.needs_sandbox:
        return state, []
    return msgspec.structs.replace(state, needs_sandbox=True), [TellNeedsSandbox()]


def _stop_asked(state: State, event: StopAsked) -> Step:
    if not state.active:
        if state.needs_sandbox:
            # Nothing runs yet, but a control plane is about to start it.
            return msgspec.structs.replace(state, needs_sandbox=False, manually_stopped=True), []
        if event.by_restart and state.phase in (Phase.CREATED, Phase.EXITED):
            return msgspec.structs.replace(state, restarting_by_hand=True), []
        raise NotModified("Container is already stopped")
    asked = msgspec.structs.replace(
        state,
        stopping=True,
        no_restart=True,
        manually_stopped=not event.by_restart or state.manually_stopped,
        restarting_by_hand=event.by_restart,
    )
    return _ended_between_runs(asked)


def _ended_between_runs(state: State) -> Step:
    """Ends a container that waits for its next run: there is no process to signal."""
    if state.phase is not Phase.RESTARTING:
        return state, []
    return msgspec.structs.replace(state, phase=Phase.EXITED), [CleanUp(final=True), TellEnded(state.run)]


def _kill_asked(state: State, event: KillAsked) -> Step:
    if not state.active:
        raise Conflict(f"Container {state.id} is not running")
    killed = msgspec.structs.replace(state, manually_stopped=True, no_restart=state.no_restart or event.final)
    ended, actions = _ended_between_runs(killed) if event.final else (killed, [])
    # Between two runs there is no process to signal.
    told: list[Action] = [] if state.phase is Phase.RESTARTING else [Emit("kill", {"signal": str(event.signal)})]
    return ended, told + actions


def _pause_asked(state: State) -> Step:
    match state.phase:
        case Phase.RUNNING:
            return msgspec.structs.replace(state, phase=Phase.PAUSED), [Emit("pause")]
        case Phase.PAUSED:
            raise Conflict(f"Container {state.id} is already paused")
        case Phase.RESTARTING:
            raise Conflict(f"Container {state.id} is restarting, wait until the container is running")
        case _:
            raise Conflict(f"Container {state.id} is not running")


def _remove_asked(state: State) -> Step:
    match state.phase:
        case Phase.REMOVING:
            raise Conflict(f"removal of container {state.id} is already in progress")
        case Phase.RUNNING | Phase.PAUSED | Phase.RESTARTING | Phase.STARTING:
            what = "running" if state.phase is Phase.STARTING else state.phase.value
            first = "Unpause and then stop" if state.phase is Phase.PAUSED else "Stop"
            raise Conflict(
                f"You cannot remove a {what} container {state.id}. {first} the container before attempting removal or force remove"
            )
        case Phase.CREATED | Phase.EXITED | Phase.DEAD:
            return msgspec.structs.replace(state, phase=Phase.REMOVING), []
        case _:
            assert_never(state.phase)


def _updated(state: State, event: Updated) -> Step:
    lament = f"Cannot update container {state.id}: "
    if state.phase in (Phase.REMOVING, Phase.DEAD):
        raise Conflict(f'{lament}container is marked for removal and cannot be "update"')
    if event.policy is None:
        return state, [Emit("update")]
    if state.auto_remove and event.policy.name != "no":
        raise Conflict(f"{lament}Restart policy cannot be updated because AutoRemove is enabled for the container")
    return msgspec.structs.replace(state, policy=event.policy), [Emit("update")]
