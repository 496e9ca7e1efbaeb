"""A whole build: stages in order, each step announced, done, cleared away; at the end a name."""

import asyncio
from collections.abc import Sequence

import grpc.aio

from skerry.api.images.v1 import images_pb2
from skerry.core.errors import Failed, InvalidArgument, SkerryError
from skerry.core.ids import short
from skerry.core.rpc.channel import translated
from skerry.gateway.build import config as configs
from skerry.gateway.build.args import BuildArgs
from skerry.gateway.build.containers import Containers
from skerry.gateway.build.context import Context
from skerry.gateway.build.copying import Copying, Origin
from skerry.gateway.build.dockerfile import parse, parse_trigger
from skerry.gateway.build.expansion import expand
from skerry.gateway.build.instructions import labelled, targeted, trigger, understand
from skerry.gateway.build.library import Library, no_image
from skerry.gateway.build.options import Options
from skerry.gateway.build.output import Output
from skerry.gateway.build.registry import Builds
from skerry.gateway.build.steps import State, Steps, with_variables
from skerry.gateway.build.syntax import Copy, From, Plan, Stage, Step
from skerry.gateway.docker.names import familiar


class _Stages:
    """The finished stages: by number and by name, what they made."""

    def __init__(self) -> None:
        self._made: list[images_pb2.Image | None] = []
        self._names: dict[str, int] = {}

    def begin(self, name: str) -> None:
        """Raises InvalidArgument when the name is taken."""
        if name and name in self._names:
            raise InvalidArgument(f"{name} stage name already used")

    def finish(self, name: str, image: images_pb2.Image | None) -> None:
        """Adds a stage."""
        if name:
            self._names[name] = len(self._made)
        self._made.append(image)

    def named(self, name: str) -> Origin | None:
        """Returns a stage by name."""
        number = self._names.get(name.lower())
        return None if number is None else Origin(self._made[number])

    def get(self, text: str) -> Origin | None:
        """Returns a stage by name or number; None: it must be an image. Raises InvalidArgument for a number that no stage has yet."""
        if (found := self.named(text)) is not None or not _is_number(text):
            return found
        number = int(text)
        if number == len(self._made):
            raise InvalidArgument("refers to current build stage")
        if not 0 <= number < len(self._made):
            raise InvalidArgument("index out of bounds")
        return Origin(self._made[number])


def _is_number(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").removeprefix("+").isdigit() and len(text) < 10


class Builder:
    """Runs one build."""

    def __init__(
        self, options: Options, context: Context, library: Library, containers: Containers, output: Output, builds: Builds, holder: str
    ) -> None:
        self._options = options
        self._context = context
        self._library = library
        self._containers = containers
        self._output = output
        self._steps = Steps(library, containers, options, output, holder)
        self._copying = Copying(self._steps, containers, builds, context.tree)
        self._stages = _Stages()
        self._args = BuildArgs(options.args)
        self._number = 0
        self._total = 0

    async def build(self) -> str:
        """Returns the id of the image, named as asked. Raises SkerryError, StepFailed."""
        plan = targeted(understand(parse(self._context.dockerfile)), self._options.target)
        plan = labelled(plan, self._options.labels)
        self._total = plan.total()
        if plan.warnings:
            await self._output.warn("\n".join(plan.warnings))
        image = await self._run(plan)
        if image is None:
            raise no_image()
        await self._output.line(f"Successfully built {short(image.id)}")
        for tag in self._options.tags:
            await self._library.tag(image.id, tag)
            await self._output.line(f"Successfully tagged {familiar(tag)}")
        return image.id

    async def _run(self, plan: Plan) -> images_pb2.Image | None:
        for arg in plan.meta:
            await self._announce(arg.code)
            variables = self._args.allowed()
            for name, value in arg.args:
                name = expand(name, variables, plan.escape)
                self._args.declare_meta(name, None if value is None else expand(value, variables, plan.escape))
        image = None
        for stage in plan.stages:
            image = await self._stage(stage, plan.escape)
        if unused := self._args.unused():
            await self._output.line(f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed")
        return image

    async def _announce(self, code: str) -> None:
        self._number += 1
        await self._output.step(self._number, self._total, code)

    async def _stage(self, stage: Stage, escape: str) -> images_pb2.Image | None:
        start = stage.start
        self._stages.begin(start.name)
        await self._announce(start.code)
        base = await self._base(start, escape)
        state = State(base, configs.of_image(base), self._args.stage(), escape)
        await self._triggers(state)
        await self._arrived(state)
        for step in stage.steps:
            await self._announce(step.code)
            await self._step(state, step)
            await self._arrived(state)
        if state.image is not None:
            await self._output.image(state.image.id)
        self._args.seen_in(state.args)
        self._stages.finish(start.name, state.image)
        return state.image

    async def _arrived(self, state: State) -> None:
        state.config["Image"] = state.image.id if state.image is not None else ""
        await self._output.line(f" ---> {short(state.image.id) if state.image is not None else ''}")

    async def _base(self, start: From, escape: str) -> images_pb2.Image | None:
        """Returns the image that a stage begins with; None: nothing."""
        platform = ""
        if start.platform:
            platform = expand(start.platform, self._args.meta(), escape)
        name = expand(start.base, self._args.meta(), escape)
        if not name:
            raise InvalidArgument(f"base name ({start.base}) should not be blank")
        if (stage := self._stages.named(name)) is not None:
            return stage.image
        if name == "scratch":
            return None
        return await self._library.get(name, platform)

    async def _triggers(self, state: State) -> None:
        """Runs the base image's ONBUILD triggers."""
        triggers: Sequence[str] = state.config["OnBuild"] or ()
        if not triggers:
            return
        state.config["OnBuild"] = None
        await self._output.line(f"# Executing {len(triggers)} build trigger{'s' if len(triggers) > 1 else ''}")
        for text in triggers:
            state.config["Image"] = state.image.id if state.image is not None else ""
            lines = parse_trigger(text)
            if len(lines) != 1:
                raise InvalidArgument("onbuild trigger should be a single expression")
            await self._step(state, trigger(lines[0]))

    async def _step(self, state: State, step: Step) -> None:
        """Does one step; what it left in containers is cleared away, or kept, as the options say."""
        try:
            step = with_variables(state, step)
            if isinstance(step, Copy):
                await self._copying.copy(state, step, await self._origin(step))
            else:
                await self._steps.dispatch(state, step)
        except (asyncio.CancelledError, ConnectionError):
            # The client left.
            self._containers.abandon()
            raise
        except Exception:
            await (self._containers.clear() if self._options.force_remove else self._containers.keep())
            raise
        await (self._containers.clear() if self._options.remove else self._containers.keep())

    async def _origin(self, step: Copy) -> Origin | None:
        if not step.source_stage:
            return None
        try:
            stage = self._stages.get(step.source_stage)
            return stage if stage is not None else Origin(await self._library.get(step.source_stage))
        except (SkerryError, grpc.aio.AioRpcError) as error:
            reason = translated(error) if isinstance(error, grpc.aio.AioRpcError) else error
            raise Failed(f"invalid from flag value {step.source_stage}: {reason}") from None
