"""Compiled system call filters, given back to crun: compiling one is two thirds of what a `crun create` costs.

crun leaves the compiled program beside its record and takes one in an annotation that its authors call experimental. So it is only used
where a trial showed that the process is filtered by it, and never without a filter that the same crun made from the same profile.
"""

import asyncio
import base64
import os
from collections import OrderedDict
from typing import Any

import msgspec

from skerry.containers.runtime import Runtime, trial
from skerry.core.errors import SkerryError
from skerry.core.process import run

_ANNOTATION = "run.oci.seccomp_bpf_data"
_PROGRAM_LIMIT = 256 << 10
_KEPT = 64
_TRIAL_PROFILE = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["kcmp"], "action": "SCMP_ACT_ERRNO"}]}


class CompiledFilters:
    """Programs by profile, kept in memory: a restarted service compiles once more, an updated crun never sees old ones."""

    def __init__(self, runtime: Runtime, *, honoured: bool) -> None:
        self._runtime = runtime
        # False: apply returns everything as it came.
        self.honoured = honoured
        self._programs: OrderedDict[bytes, str] = OrderedDict()

    def apply(self, config: bytes) -> bytes:
        """Returns config.json with its profile replaced by the compiled program, when that is known."""
        if not self.honoured or not self._programs:
            return config
        document, profile = _split(config)
        program = self._programs.get(profile)
        if program is None:
            return config
        del document["linux"]["seccomp"]
        document.setdefault("annotations", {})[_ANNOTATION] = program
        return msgspec.json.encode(document)

    def learn(self, config: bytes, identifier: str) -> None:
        """Takes the program that crun compiled for a container just created from config. Blocks for a small file."""
        if not self.honoured:
            return
        _, profile = _split(config)
        if not profile or profile in self._programs:
            return
        program = _read_program(self._runtime, identifier)
        if program:
            self._programs[profile] = program
            while len(self._programs) > _KEPT:
                self._programs.popitem(last=False)


async def compiled_filters(runtime: Runtime) -> CompiledFilters:
    """Finds out by a trial whether this runtime honours compiled programs. Takes about 0.1 s; once at start."""
    try:
        honoured = runtime.name == "crun" and await _honours(runtime)
    except SkerryError:
        honoured = False
    return CompiledFilters(runtime, honoured=honoured)


async def _honours(runtime: Runtime) -> bool:
    async with trial(runtime, seccomp=_TRIAL_PROFILE) as (identifier, lament):
        program = "" if lament else _read_program(runtime, identifier)
    if not program:
        return False
    async with trial(runtime, annotations={_ANNOTATION: program}) as (identifier, lament):
        if lament:
            return False
        await run(runtime.start(identifier))
        state = await runtime.state(identifier)
        for _ in range(50):
            if state is not None and _is_filtered(state["pid"]):
                return True
            await asyncio.sleep(0.01)
    return False


def _is_filtered(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            return "Seccomp:\t2\n" in file.read()
    except FileNotFoundError:
        return False


def _split(config: bytes) -> tuple[dict[str, Any], bytes]:
    """Returns the document and its profile as a key; b"" when there is none or one that a program alone cannot express."""
    document: dict[str, Any] = msgspec.json.decode(config)
    profile = document["linux"].get("seccomp")
    if not profile or profile.get("flags") or profile.get("listenerPath"):
        return document, b""
    return document, msgspec.json.encode(profile)


def _read_program(runtime: Runtime, identifier: str) -> str:
    try:
        with open(os.path.join(runtime.directory, identifier, "seccomp.bpf"), "rb") as file:
            data = file.read(_PROGRAM_LIMIT + 1)
    except FileNotFoundError:
        return ""
    return base64.b64encode(data).decode() if 0 < len(data) <= _PROGRAM_LIMIT else ""
