"""What a container's life is made of: its phases and state, the events that change it, the actions that follow. See transitions.py."""

import enum
from typing import TypeAlias

import msgspec


class Phase(enum.StrEnum):
    """Where a container is in its life."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    REMOVING = "removing"
    DEAD = "dead"


class Policy(msgspec.Struct, frozen=True):
    """Restart policy; maximum 0: no limit."""

    name: str = "no"
    maximum: int = 0


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that decides what may happen next. run counts starts from 1."""

    id: str
    phase: Phase = Phase.CREATED
    policy: Policy = Policy()
    auto_remove: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_ns: int = 0
    finished_ns: int = 0
    run: int = 0
    settled_run: int = 0
    # The last run whose exit was answered to waits, and how it ended.
    answered_run: int = 0
    answered_code: int = 0
    restart_count: int = 0
    pause_ms: int = 0
    needs_sandbox: bool = False
    manually_stopped: bool = False
    # Told to end: no restart by policy follows (Docker's ExitOnNext).
    no_restart: bool = False
    # A stop waits for the end, and wants its event after die.
    stopping: bool = False
    # The stop was the first half of a restart by hand: the next start is followed by the restart event.
    restarting_by_hand: bool = False
    # This start was decided by the restart policy.
    by_policy: bool = False
    # This start was asked for because we needed a sandbox: cut short, it is to be asked for again.
    needed: bool = False
    # The exit of this run was reported before its start had returned.
    early: "Exited | None" = None

    @property
    def active(self) -> bool:
        """Docker's "running": also while paused and between two runs."""
        return self.phase in ACTIVE

    @property
    def settled(self) -> bool:
        """True when no end waits for its sandbox to be given back."""
        return self.settled_run >= self.run or self.phase in ACTIVE or self.phase is Phase.STARTING


# Docker's "running".
ACTIVE = (Phase.RUNNING, Phase.PAUSED, Phase.RESTARTING)


class StartAsked(msgspec.Struct, frozen=True, tag=True):
    """Somebody wants that run."""

    run: int


class Launched(msgspec.Struct, frozen=True, tag=True):
    """The process runs."""

    pid: int
    time_ns: int


class StartFailed(msgspec.Struct, frozen=True, tag=True):
    """The start did not come to a running process, and was undone."""

    exit_code: int
    error: str
    time_ns: int


class Exited(msgspec.Struct, frozen=True, tag=True):
    """The process of that run ended."""

    run: int
    code: int
    time_ns: int
    oom: bool = False
    # Why the code is not the process's own.
    error: str = ""
    # Whether its network namespace is still there: after a reboot there may be a report of the end, and nothing to run on in.
    sandbox: bool = True


class Lost(msgspec.Struct, frozen=True, tag=True):
    """The process is gone and nobody saw how (a reboot). sandbox: whether its network namespace is still there."""

    time_ns: int
    sandbox: bool = False


class Booted(msgspec.Struct, frozen=True, tag=True):
    """Host or engine were started since this container ended: Docker then starts those with `always`, and with `unless-stopped` those that
    nobody stopped."""


class PauseOver(msgspec.Struct, frozen=True, tag=True):
    """The time between two runs is over."""


class Settled(msgspec.Struct, frozen=True, tag=True):
    """The sandbox of that run was given back."""

    run: int


class StopAsked(msgspec.Struct, frozen=True, tag=True):
    """A stop begins. by_restart: as the first half of a restart."""

    by_restart: bool = False


class KillAsked(msgspec.Struct, frozen=True, tag=True):
    """A signal is about to be sent. final: it is one that ends restarts by policy."""

    signal: int
    final: bool


class PauseAsked(msgspec.Struct, frozen=True, tag=True):
    """The processes were frozen."""


class UnpauseAsked(msgspec.Struct, frozen=True, tag=True):
    """The processes were thawed."""


class RemoveAsked(msgspec.Struct, frozen=True, tag=True):
    """The record is to go."""


class RemoveFailed(msgspec.Struct, frozen=True, tag=True):
    """Removing got stuck; it may be tried again."""

    error: str


class Updated(msgspec.Struct, frozen=True, tag=True):
    """Limits, or the restart policy, are changed. policy None: it stays."""

    policy: Policy | None = None


Event: TypeAlias = (
    StartAsked
    | Launched
    | StartFailed
    | Exited
    | Lost
    | Booted
    | PauseOver
    | Settled
    | StopAsked
    | KillAsked
    | PauseAsked
    | UnpauseAsked
    | RemoveAsked
    | RemoveFailed
    | Updated
)


class Emit(msgspec.Struct, frozen=True):
    """Publish a Docker event, in the transaction that stores the state."""

    action: str
    attributes: dict[str, str] = {}


class Answer(msgspec.Struct, frozen=True):
    """Answer waits for an exit."""

    run: int
    code: int
    error: str = ""


class TellEnded(msgspec.Struct, frozen=True):
    """Tell control planes that a run ended for good."""

    run: int


class TellNeedsSandbox(msgspec.Struct, frozen=True):
    """Tell control planes that this container wants to be started."""


class RestartAfter(msgspec.Struct, frozen=True):
    """Send PauseOver after this time."""

    pause_ms: int


class Launch(msgspec.Struct, frozen=True):
    """Start the process in the sandbox that is still there."""


class CleanUp(msgspec.Struct, frozen=True):
    """Remove what the ended run left with the runtime; final: the mounts too."""

    final: bool


Action: TypeAlias = Emit | Answer | TellEnded | TellNeedsSandbox | RestartAfter | Launch | CleanUp
