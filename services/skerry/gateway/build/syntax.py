"""What a Dockerfile consists of once it is understood: instructions, stages, the plan."""

from typing import Any

import msgspec

Pairs = tuple[tuple[str, str], ...]


class Command(msgspec.Struct, frozen=True):
    """A command line: words, to be given to the shell unless they were a JSON array."""

    words: tuple[str, ...]
    shell: bool


class Env(msgspec.Struct, frozen=True):
    code: str
    pairs: Pairs


class Label(msgspec.Struct, frozen=True):
    code: str
    pairs: Pairs
    # --label of the command line: nothing in it is expanded.
    verbatim: bool = False


class Maintainer(msgspec.Struct, frozen=True):
    code: str
    text: str


class Copy(msgspec.Struct, frozen=True):
    """COPY and ADD. source_stage is --from, empty for the context."""

    code: str
    name: str
    sources: tuple[str, ...]
    target: str
    chown: str = ""
    chmod: str = ""
    source_stage: str = ""


class Run(msgspec.Struct, frozen=True):
    code: str
    command: Command
    # Flags that only BuildKit honours.
    flags: tuple[str, ...] = ()


class Cmd(msgspec.Struct, frozen=True):
    code: str
    command: Command


class Entrypoint(msgspec.Struct, frozen=True):
    code: str
    command: Command


class Expose(msgspec.Struct, frozen=True):
    code: str
    ports: tuple[str, ...]


class Volume(msgspec.Struct, frozen=True):
    code: str
    paths: tuple[str, ...]


class User(msgspec.Struct, frozen=True):
    code: str
    text: str


class Workdir(msgspec.Struct, frozen=True):
    code: str
    path: str


class Arg(msgspec.Struct, frozen=True):
    code: str
    args: tuple[tuple[str, str | None], ...]


class Onbuild(msgspec.Struct, frozen=True):
    code: str
    trigger: str


class StopSignal(msgspec.Struct, frozen=True):
    code: str
    signal: str


class Healthcheck(msgspec.Struct, frozen=True):
    code: str
    check: dict[str, Any]


class Shell(msgspec.Struct, frozen=True):
    code: str
    words: tuple[str, ...]


Step = (
    Env
    | Label
    | Maintainer
    | Copy
    | Run
    | Cmd
    | Entrypoint
    | Expose
    | Volume
    | User
    | Workdir
    | Arg
    | Onbuild
    | StopSignal
    | Healthcheck
    | Shell
)


class From(msgspec.Struct, frozen=True):
    """FROM: the begin of a stage."""

    code: str
    base: str
    name: str
    platform: str


class Stage(msgspec.Struct, frozen=True):
    """One stage."""

    start: From
    steps: tuple[Step, ...]


class Plan(msgspec.Struct, frozen=True):
    """A Dockerfile understood."""

    meta: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    escape: str
    warnings: tuple[str, ...]

    def total(self) -> int:
        """Returns how many steps are counted."""
        return len(self.meta) + sum(1 + len(stage.steps) for stage in self.stages)
