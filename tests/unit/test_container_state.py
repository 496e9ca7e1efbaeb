"""The container's state machine: every event in every phase, and the rules behind the table."""

import msgspec
import pytest

from skerry.containers import state as s
from skerry.containers.state import Phase, Policy, State
from skerry.containers.transitions import next_pause, step
from skerry.core.errors import Conflict, SkerryError

ID = "ab" * 32
SECOND = 10**9


def at(phase: Phase, **fields: object) -> State:
    base = State(id=ID, phase=phase, run=0 if phase is Phase.CREATED else 3, settled_run=3 if phase in (Phase.EXITED, Phase.DEAD) else 2)
    if phase is Phase.CREATED:
        base = msgspec.structs.replace(base, settled_run=0)
    if phase in (Phase.RUNNING, Phase.PAUSED):
        base = msgspec.structs.replace(base, pid=77, started_ns=SECOND, answered_run=2)
    if phase in (Phase.EXITED, Phase.RESTARTING):
        base = msgspec.structs.replace(base, started_ns=SECOND, answered_run=3)
    return msgspec.structs.replace(base, **fields)


EVENTS: dict[str, s.Event] = {
    "start": s.StartAsked(4),
    "launched": s.Launched(99, 2 * SECOND),
    "start failed": s.StartFailed(127, "not found", 2 * SECOND),
    "exited": s.Exited(3, 7, 5 * SECOND),
    "lost": s.Lost(5 * SECOND),
    "booted": s.Booted(),
    "pause over": s.PauseOver(),
    "settled": s.Settled(3),
    "stop": s.StopAsked(),
    "kill": s.KillAsked(9, final=True),
    "pause": s.PauseAsked(),
    "unpause": s.UnpauseAsked(),
    "remove": s.RemoveAsked(),
    "remove failed": s.RemoveFailed("busy"),
}

SAME = "same"
# What each event leads to: a phase, the name of the error, or SAME when it is ignored.
TABLE: dict[Phase, dict[str, str]] = {
    Phase.CREATED: {
        "start": "InvalidArgument",
        "launched": SAME,
        "start failed": SAME,
        "exited": SAME,
        "lost": SAME,
        "booted": SAME,
        "pause over": SAME,
        "settled": SAME,
        "stop": "NotModified",
        "kill": "Conflict",
        "pause": "Conflict",
        "unpause": "Failed",
        "remove": "removing",
        "remove failed": SAME,
    },
    Phase.STARTING: {
        "start": "NotModified",
        "launched": "running",
        "start failed": "created",
        "exited": "starting",
        "lost": "created",
        "booted": SAME,
        "pause over": SAME,
        "settled": SAME,
        "stop": "NotModified",
        "kill": "Conflict",
        "pause": "Conflict",
        "unpause": "Failed",
        "remove": "Conflict",
        "remove failed": SAME,
    },
    Phase.RUNNING: {
        "start": "NotModified",
        "launched": SAME,
        "start failed": SAME,
        "exited": "exited",
        "lost": "exited",
        "booted": SAME,
        "pause over": SAME,
        "settled": SAME,
        "stop": "running",
        "kill": "running",
        "pause": "paused",
        "unpause": "Failed",
        "remove": "Conflict",
        "remove failed": SAME,
    },
    Phase.PAUSED: {
        "start": "Conflict",
        "launched": SAME,
        "start failed": SAME,
        "exited": "exited",
        "lost": "exited",
        "booted": SAME,
        "pause over": SAME,
        "settled": SAME,
        "stop": "paused",
        "kill": "paused",
        "pause": "Conflict",
        "unpause": "running",
        "remove": "Conflict",
        "remove failed": SAME,
    },
    Phase.RESTARTING: {
        "start": "NotModified",
        "launched": SAME,
        "start failed": SAME,
        "exited": SAME,
        "lost": "exited",
        "booted": SAME,
        "pause over": "starting",
        "settled": SAME,
        "stop": "exited",
        "kill": "exited",
        "pause": "Conflict",
        "unpause": "Failed",
        "remove": "Conflict",
        "remove failed": SAME,
    },
    Phase.EXITED: {
        "start": "starting",
        "launched": SAME,
        "start failed": SAME,
        "exited": SAME,
        "lost": SAME,
        "booted": SAME,
        "pause over": SAME,
        "settled": SAME,
        "stop": "NotModified",
        "kill": "Conflict",
        "pause": "Conflict",
        "unpause": "Failed",
        "remove": "removing",
        "remove failed": SAME,
    },
    Phase.REMOVING: {
        "start": "Conflict",
        "launched": SAME,
        "start failed": SAME,
        "exited": SAME,
        "lost": SAME,
        "booted": SAME,
        "pause over": SAME,
        "settled": SAME,
        "stop": "NotModified",
        "kill": "Conflict",
        "pause": "Conflict",
        "unpause": "Failed",
        "remove": "Conflict",
        "remove failed": "dead",
    },
    Phase.DEAD: {
        "start": "Conflict",
        "launched": SAME,
        "start failed": SAME,
        "exited": SAME,
        "lost": SAME,
        "booted": SAME,
        "pause over": SAME,
        "settled": SAME,
        "stop": "NotModified",
        "kill": "Conflict",
        "pause": "Conflict",
        "unpause": "Failed",
        "remove": "removing",
        "remove failed": SAME,
    },
}


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("name", list(EVENTS))
def test_every_event_in_every_phase(phase: Phase, name: str) -> None:
    before, wanted = at(phase), TABLE[phase][name]
    try:
        after, actions = step(before, EVENTS[name])
    except SkerryError as error:
        assert type(error).__name__ == wanted
        return
    if wanted == SAME:
        assert (after, actions) == (before, [])
    else:
        assert after.phase == wanted


def emitted(actions: list[s.Action]) -> list[str]:
    return [action.action for action in actions if isinstance(action, s.Emit)]


def run(state: State, *events: s.Event) -> tuple[State, list[s.Action]]:
    actions: list[s.Action] = []
    for event in events:
        state, more = step(state, event)
        actions += more
    return state, actions


def test_an_exit_reported_before_start_returned_is_not_lost() -> None:
    state, actions = run(at(Phase.CREATED), s.StartAsked(1), s.Exited(1, 7, 3 * SECOND), s.Launched(9, 2 * SECOND))
    assert (state.phase, state.exit_code, state.pid) == (Phase.EXITED, 7, 0)
    assert emitted(actions) == ["start"]
    assert s.TellEnded(1) in actions


def test_die_and_waits_come_only_when_the_end_is_settled() -> None:
    state, actions = step(at(Phase.RUNNING), s.Exited(3, 7, 5 * SECOND))
    assert emitted(actions) == [] and not state.settled
    state, actions = step(state, s.Settled(3))
    assert actions == [s.Emit("die", {"exitCode": "7"}), s.Answer(3, 7)] and state.settled
    assert step(state, s.Settled(3)) == (state, [])


def test_a_stop_gives_kill_die_stop_in_this_order() -> None:
    _, actions = run(at(Phase.RUNNING), s.StopAsked(), s.KillAsked(15, final=True), s.Exited(3, 0, 5 * SECOND), s.Settled(3))
    assert emitted(actions) == ["kill", "die", "stop"]
    assert actions[-1] == s.Answer(3, 0)


def test_a_restart_by_hand_ends_with_the_restart_event() -> None:
    state, actions = run(
        at(Phase.RUNNING),
        s.StopAsked(by_restart=True),
        s.KillAsked(15, final=True),
        s.Exited(3, 0, 5 * SECOND),
        s.Settled(3),
        s.StartAsked(4),
        s.Launched(5, 6 * SECOND),
    )
    assert emitted(actions) == ["kill", "die", "stop", "start", "restart"]
    assert not state.manually_stopped


def test_starting_again_settles_the_last_run() -> None:
    state, actions = run(at(Phase.RUNNING), s.Exited(3, 0, 5 * SECOND), s.StartAsked(4))
    assert emitted(actions) == ["die"] and state.settled_run == 3


def test_a_failed_start_gives_its_run_number_back_and_keeps_the_reason() -> None:
    state, actions = run(at(Phase.CREATED), s.StartAsked(1), s.StartFailed(127, "no such file", SECOND))
    assert (state.phase, state.run, state.exit_code, state.error) == (Phase.CREATED, 0, 127, "no such file")
    assert s.Answer(1, 127, "no such file") in actions and s.CleanUp(final=True) in actions
    step(state, s.StartAsked(1))


def test_a_failed_start_by_policy_is_the_end_of_the_run_before() -> None:
    state, actions = run(at(Phase.RESTARTING, policy=Policy("always")), s.PauseOver(), s.StartFailed(128, "no", SECOND))
    assert (state.phase, state.run) == (Phase.EXITED, 3)
    assert s.TellEnded(3) in actions and not state.settled


@pytest.mark.parametrize(
    ("policy", "code", "manually", "no_restart", "count", "wanted"),
    [
        ("no", 1, False, False, 0, False),
        ("always", 0, False, False, 0, True),
        ("always", 0, True, False, 0, True),
        ("always", 0, True, True, 0, False),
        ("unless-stopped", 0, False, False, 9, True),
        ("unless-stopped", 0, True, False, 0, False),
        ("on-failure", 0, False, False, 0, False),
        ("on-failure", 1, False, False, 0, True),
        ("on-failure", 1, False, False, 2, False),
        ("on-failure", 1, False, True, 0, False),
    ],
)
def test_restart_policies(policy: str, code: int, manually: bool, no_restart: bool, count: int, wanted: bool) -> None:
    maximum = 2 if policy == "on-failure" else 0
    state = at(Phase.RUNNING, policy=Policy(policy, maximum), manually_stopped=manually, no_restart=no_restart, restart_count=count)
    after, _ = step(state, s.Exited(3, code, 5 * SECOND))
    assert (after.phase is Phase.RESTARTING) == wanted


def test_on_failure_without_a_maximum_restarts_for_ever() -> None:
    state = at(Phase.RUNNING, policy=Policy("on-failure"), restart_count=1000)
    assert step(state, s.Exited(3, 1, 5 * SECOND))[0].phase is Phase.RESTARTING


def test_the_pause_doubles_to_a_minute_and_begins_anew_after_ten_seconds() -> None:
    state, pauses = at(Phase.RUNNING), []
    for _ in range(12):
        state = msgspec.structs.replace(state, pause_ms=next_pause(state, SECOND))
        pauses.append(state.pause_ms)
    assert pauses == [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]
    assert next_pause(state, 10 * SECOND) == 100


def test_each_restart_by_policy_dies_at_once_and_counts() -> None:
    state, actions = step(at(Phase.RUNNING, policy=Policy("always")), s.Exited(3, 1, 2 * SECOND))
    assert emitted(actions) == ["die"] and s.RestartAfter(100) in actions and state.restart_count == 1
    state, actions = step(state, s.PauseOver())
    assert state.run == 4 and actions == [s.Launch()]


def test_stopping_between_two_runs_ends_it_without_a_second_die() -> None:
    state, actions = run(at(Phase.RESTARTING, policy=Policy("always")), s.StopAsked(), s.PauseOver(), s.Settled(3))
    assert state.phase is Phase.EXITED and emitted(actions) == ["stop"] and s.TellEnded(3) in actions
    # A wait that was begun between the runs.
    assert actions[-1] == s.Answer(3, 0)


def test_a_kill_between_two_runs_ends_it_silently() -> None:
    state, actions = run(at(Phase.RESTARTING, policy=Policy("always")), s.KillAsked(9, final=True), s.Settled(3))
    assert state.phase is Phase.EXITED and emitted(actions) == [] and actions[-1] == s.Answer(3, 0)


def test_after_a_reboot_policy_decides_who_wants_a_sandbox() -> None:
    state, actions = step(at(Phase.RUNNING, policy=Policy("unless-stopped")), s.Lost(5 * SECOND))
    assert (state.exit_code, state.needs_sandbox, state.settled) == (255, True, True)
    assert s.TellNeedsSandbox() in actions and emitted(actions) == ["die"]
    state, actions = step(at(Phase.RUNNING), s.Lost(5 * SECOND))
    assert (state.exit_code, state.needs_sandbox) == (255, False) and s.TellEnded(3) in actions
    assert step(at(Phase.EXITED, policy=Policy("always"), manually_stopped=True), s.Booted())[0].needs_sandbox
    assert not step(at(Phase.EXITED, policy=Policy("unless-stopped"), manually_stopped=True), s.Booted())[0].needs_sandbox
    assert step(at(Phase.EXITED, policy=Policy("unless-stopped")), s.Booted())[0].needs_sandbox
    assert not step(at(Phase.EXITED, policy=Policy("on-failure"), exit_code=1), s.Booted())[0].needs_sandbox


def test_a_start_after_a_boot_that_was_cut_short_is_asked_for_again() -> None:
    state, _ = run(at(Phase.EXITED, policy=Policy("always")), s.Booted(), s.StartAsked(4))
    assert (state.phase, state.needs_sandbox) == (Phase.STARTING, False)
    again, actions = step(state, s.Lost(5 * SECOND))
    assert (again.phase, again.run, again.needs_sandbox) == (Phase.EXITED, 3, True) and s.TellNeedsSandbox() in actions
    # Neither one that failed for a reason of its own, nor one that a user had asked for.
    assert not step(state, s.StartFailed(127, "no such file", 5 * SECOND))[0].needs_sandbox
    by_hand, _ = run(at(Phase.EXITED, policy=Policy("always")), s.StartAsked(4), s.Lost(5 * SECOND))
    assert not by_hand.needs_sandbox
    # Once it ran, it is a run like others.
    ran, _ = run(state, s.Launched(77, 5 * SECOND), s.StopAsked())
    assert not ran.needed


def test_a_restart_by_policy_that_was_cut_short_goes_on() -> None:
    starting, _ = run(at(Phase.RUNNING, policy=Policy("always")), s.Exited(3, 1, 5 * SECOND), s.PauseOver())
    assert (starting.phase, starting.run) == (Phase.STARTING, 4)
    again, actions = step(starting, s.Lost(6 * SECOND, sandbox=True))
    assert (again.phase, again.run, again.exit_code) == (Phase.RESTARTING, 3, 1)
    assert s.RestartAfter(starting.pause_ms) in actions and emitted(actions) == []
    assert step(again, s.PauseOver())[0].run == 4
    booted, actions = step(starting, s.Lost(6 * SECOND))
    assert (booted.phase, booted.needs_sandbox) == (Phase.EXITED, True) and s.TellNeedsSandbox() in actions


def test_one_that_is_about_to_be_started_after_a_boot_can_be_stopped() -> None:
    state, actions = run(at(Phase.EXITED, policy=Policy("always")), s.Booted(), s.StopAsked())
    assert (state.phase, state.needs_sandbox, state.manually_stopped, actions[1:]) == (Phase.EXITED, False, True, [])


def test_a_lost_process_whose_sandbox_is_there_is_restarted_by_policy() -> None:
    state, _ = step(at(Phase.RUNNING, policy=Policy("always")), s.Lost(5 * SECOND, sandbox=True))
    assert (state.phase, state.exit_code) == (Phase.RESTARTING, 255)


def test_out_of_memory_is_told_before_die() -> None:
    _, actions = run(at(Phase.RUNNING), s.Exited(3, 137, 5 * SECOND, oom=True), s.Settled(3))
    assert emitted(actions) == ["oom", "die"]


def test_texts_are_dockers() -> None:
    with pytest.raises(SkerryError, match=f"^You cannot remove a running container {ID}. Stop the container before"):
        step(at(Phase.RUNNING), s.RemoveAsked())
    with pytest.raises(SkerryError, match=f"^You cannot remove a paused container {ID}. Unpause and then stop the container before"):
        step(at(Phase.PAUSED), s.RemoveAsked())
    with pytest.raises(SkerryError, match=f"^Container {ID} is not paused$"):
        step(at(Phase.RUNNING), s.UnpauseAsked())
    with pytest.raises(SkerryError, match=f"^Container {ID} is already paused$"):
        step(at(Phase.PAUSED), s.PauseAsked())


@pytest.mark.parametrize("phase", list(Phase))
def test_an_update_changes_the_policy_in_every_phase_but_the_last_ones(phase: Phase) -> None:
    before = State(id=ID, phase=phase)
    if phase in (Phase.REMOVING, Phase.DEAD):
        with pytest.raises(Conflict, match='container is marked for removal and cannot be "update"'):
            step(before, s.Updated(s.Policy("always")))
        return
    after, actions = step(before, s.Updated(s.Policy("on-failure", 3)))
    assert (after, actions) == (msgspec.structs.replace(before, policy=s.Policy("on-failure", 3)), [s.Emit("update")])
    assert step(after, s.Updated()) == (after, [s.Emit("update")])


def test_one_that_is_removed_at_its_end_gets_no_restart_policy() -> None:
    before = State(id=ID, auto_remove=True)
    with pytest.raises(Conflict, match="Restart policy cannot be updated because AutoRemove is enabled for the container"):
        step(before, s.Updated(s.Policy("always")))
    assert step(before, s.Updated(s.Policy("no")))[0] == before
