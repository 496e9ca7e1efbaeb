"""One instruction, done: what it changes in the configuration, and what its image is made of."""

import posixpath
import re
import signal
from dataclasses import dataclass
from typing import assert_never

from skerry.api.images.v1 import images_pb2
from skerry.core import ids
from skerry.core.errors import InvalidArgument
from skerry.gateway.build import config as configs
from skerry.gateway.build import notation
from skerry.gateway.build.args import BuildArgs
from skerry.gateway.build.config import Config
from skerry.gateway.build.containers import Containers
from skerry.gateway.build.expansion import expand, expand_words
from skerry.gateway.build.instructions import expanded
from skerry.gateway.build.library import Library
from skerry.gateway.build.options import Options
from skerry.gateway.build.output import Output, StepFailed
from skerry.gateway.build.ports import exposed
from skerry.gateway.build.sources import Archive
from skerry.gateway.build.syntax import (
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Step,
    StopSignal,
    User,
    Volume,
    Workdir,
)

_NEEDS_BUILDKIT = (
    "the --{} option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled"
)
_INHERITED = ("Interval", "Timeout", "StartPeriod", "Retries")
_REALTIME = re.compile(r"SIGRT(MIN|MAX)([+-][0-9]{1,2})?\Z")


@dataclass
class State:
    """A stage as it stands: the image so far (None: nothing yet, FROM scratch) and the configuration of the next one."""

    image: images_pb2.Image | None
    config: Config
    args: BuildArgs
    escape: str
    author: str = ""
    # A CMD stands in this stage: ENTRYPOINT leaves it.
    cmd_set: bool = False
    # A step was not in the cache: none after it is.
    busted: bool = False


class Steps:
    """Runs steps. Copies are sent on to copying.py by builder.py."""

    def __init__(self, library: Library, containers: Containers, options: Options, output: Output, holder: str) -> None:
        self._library = library
        self._containers = containers
        self._options = options
        self._output = output
        self._holder = holder

    async def cached(self, state: State, config: Config) -> bool:
        """Looks the step up in the cache; says so and goes on from there when it is in."""
        if self._options.no_cache or state.busted:
            return False
        image = await self._library.cached(state.image, config)
        if image is None:
            state.busted = True
            return False
        await self._output.line(" ---> Using cache")
        state.image = image
        return True

    async def commit(self, state: State, layer: images_pb2.Layer | None, config: Config, container_id: str) -> None:
        """Makes the step's image; config is what the cache will be asked for."""
        state.image = await self._library.commit(state.image, layer, state.config, config, author=state.author, container_id=container_id)

    async def layer(self, container_id: str) -> images_pb2.Layer | None:
        """Returns what the container changed."""
        return await self._containers.layer(container_id, self._holder)

    async def plain(self, state: State, text: str) -> None:
        """Makes the image of a step that changes the configuration alone."""
        config = configs.comment(state.config, text)
        if await self.cached(state, config):
            return
        if self._options.remove:
            container_id = ids.new_id()
            await self._containers.pretend(container_id)
        else:
            container_id = await self._containers.create(state.image, config)
        await self.commit(state, None, config, container_id)

    async def dispatch(self, state: State, step: Step) -> None:
        """Does any step but COPY and ADD, its variables already replaced."""
        match step:
            case Run():
                await self._run(state, step)
            case Workdir():
                await self._workdir(state, step)
            case Copy():
                raise AssertionError("COPY is not done here")
            case Env() | Label() | Maintainer() | Cmd() | Entrypoint() | Expose() | Volume() | User():
                await self.plain(state, self._changed(state, step))
            case Arg() | Onbuild() | StopSignal() | Shell():
                await self.plain(state, _settled(state, step))
            case Healthcheck():
                await self._healthcheck(state, step)
            case _:
                assert_never(step)

    def _changed(self, state: State, step: Env | Label | Maintainer | Cmd | Entrypoint | Expose | Volume | User) -> str:
        """Changes the configuration and returns the instruction as the history has it."""
        config = state.config
        match step:
            case Env():
                for name, value in step.pairs:
                    configs.set_variable(config, name, value)
                return "ENV " + " ".join(f"{name}={value}" for name, value in step.pairs)
            case Label():
                config["Labels"] = {**(config["Labels"] or {}), **dict(step.pairs)}
                return "LABEL " + " ".join(f"{name}={value}" for name, value in step.pairs)
            case Maintainer():
                state.author = step.text
                return f"MAINTAINER {step.text}"
            case Cmd():
                config["Cmd"] = command_line(config, step.command)
                state.cmd_set |= bool(step.command.words)
                return f"CMD {notation.quoted_list(config['Cmd'])}"
            case Entrypoint():
                config["Entrypoint"] = command_line(config, step.command) if step.command.words else None
                if not state.cmd_set:
                    config["Cmd"] = None
                return f"ENTRYPOINT {notation.quoted_list(config['Entrypoint'])}"
            case Expose():
                variables = _variables(state)
                words = [word for port in step.ports for word in expand_words(port, variables, state.escape)]
                config["ExposedPorts"] = {**(config["ExposedPorts"] or {}), **{port: {} for port in exposed(words)}}
                return f"EXPOSE {' '.join(words)}"
            case Volume():
                if "" in step.paths:
                    raise InvalidArgument("VOLUME specified can not be an empty string")
                config["Volumes"] = {**(config["Volumes"] or {}), **{path: {} for path in step.paths}}
                return f"VOLUME {notation.listed(step.paths)}"
            case User():
                config["User"] = step.text
                return f"USER {step.text}"
            case _:
                assert_never(step)

    async def _healthcheck(self, state: State, step: Healthcheck) -> None:
        before = state.config["Healthcheck"] or {}
        old = before.get("Test") or []
        if old and old[0] != "NONE":
            await self._output.line(f"Note: overriding previous HEALTHCHECK: {notation.listed(old)}")
        # As in Docker, what the new one leaves open stays as the parent image has it.
        state.config["Healthcheck"] = {**{key: before[key] for key in _INHERITED if before.get(key)}, **step.check}
        times = " ".join(notation.quoted(notation.duration(step.check.get(key, 0))) for key in ("Interval", "Timeout", "StartPeriod"))
        retries = notation.quoted_rune(step.check.get("Retries", 0))
        await self.plain(state, f"HEALTHCHECK &{{{notation.quoted_list(step.check['Test'])} {times} {retries}}}")

    async def _workdir(self, state: State, step: Workdir) -> None:
        if not step.path:
            raise InvalidArgument("cannot normalize nothing")
        if step.path.startswith("/"):
            path = step.path
        else:
            path = "/" + posixpath.normpath(f"/{state.config['WorkingDir']}/{step.path}").lstrip("/")
        state.config["WorkingDir"] = path
        config = configs.comment(state.config, f"WORKDIR {path}", one_word=True)
        if await self.cached(state, config):
            return
        container_id = await self._containers.create(state.image, config, bare=True)
        await self._containers.put(container_id, Archive(posixpath.normpath(path)), chown="", keep_owner=True)
        await self.commit(state, await self.layer(container_id), config, container_id)

    async def _run(self, state: State, step: Run) -> None:
        if step.flags:
            raise InvalidArgument(_NEEDS_BUILDKIT.format(step.flags[0]))
        words = command_line(state.config, step.command)
        given = state.args.beside(configs.environment(state.config))
        kept = sorted(f"{name}={value}" for name, value in given.items() if state.args.in_history(name))
        key = [f"|{len(kept)}", *kept, *words] if given else words
        config = configs.with_command(state.config, key, Entrypoint=None if key else state.config["Entrypoint"])
        if await self.cached(state, config):
            return
        env = [*(state.config["Env"] or []), *(f"{name}={value}" for name, value in given.items())]
        # The image's entrypoint and health check are not the step's.
        made = configs.with_command(state.config, words, Env=env, Entrypoint=[""], Healthcheck={"Test": ["NONE"]})
        container_id = await self._containers.create(state.image, made if words else {**made, "Entrypoint": state.config["Entrypoint"]})
        if code := await self._containers.run(container_id):
            raise StepFailed(f"The command '{' '.join(words)}' returned a non-zero code: {code}", code)
        await self.commit(state, await self.layer(container_id), config, container_id)


def needs_buildkit(option: str) -> InvalidArgument:
    """Returns the refusal of an option that only BuildKit honours."""
    return InvalidArgument(_NEEDS_BUILDKIT.format(option))


def command_line(config: Config, command: Command) -> list[str]:
    """Returns the words to run, with the shell's before them when there is one."""
    return [*configs.shell(config), *command.words] if command.shell else list(command.words)


def _variables(state: State) -> dict[str, str]:
    env = configs.environment(state.config)
    return {**state.args.beside(env), **env}


def with_variables(state: State, step: Step) -> Step:
    """Returns the step with ENV's and ARG's variables replaced in its words. Raises Failed."""
    variables = _variables(state)
    return expanded(step, lambda word: expand(word, variables, state.escape))


def _settled(state: State, step: Arg | Onbuild | StopSignal | Shell) -> str:
    config = state.config
    match step:
        case Arg():
            for name, value in step.args:
                state.args.declare(name, value)
            return "ARG " + " ".join(name if value is None else f"{name}={value}" for name, value in step.args)
        case Onbuild():
            config["OnBuild"] = [*(config["OnBuild"] or []), step.trigger]
            return f"ONBUILD {step.trigger}"
        case StopSignal():
            _check_signal(step.signal)
            config["StopSignal"] = step.signal
            return f"STOPSIGNAL {step.signal}"
        case Shell():
            config["Shell"] = list(step.words)
            return f"SHELL {notation.listed(step.words)}"
        case _:
            assert_never(step)


def _check_signal(text: str) -> None:
    if text.isascii() and text.isdigit():
        if not 1 <= int(text[:4]) <= 64:
            raise InvalidArgument(f"Invalid signal: {text}")
        return
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    if name not in signal.Signals.__members__ and not _REALTIME.match(name):
        raise InvalidArgument(f"Invalid signal: {text}")
