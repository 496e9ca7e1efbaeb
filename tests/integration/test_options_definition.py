"""Every property of a create request, set to what is not its default: takes effect, is refused by name, or is ignored as Docker ignores it.

Taking effect means more than being shown again: what the container is made of (the OCI specification, the monitor's job, its files in
/etc, its mounts and networks) differs from that of a plain container, in the way that the property asks for.
"""

import copy
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from api_definition import properties
from engines import PROJECT, Engine, skerry_engine
from images.busybox import make_busybox
from skerry.gateway.docker.options import IGNORED

from .option_rows import ROWS, Body, Effect, Expected, Ignored, Lacks, Refused, SeenBy, Unless, Warned

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    archive = str(tmp_path_factory.mktemp("image") / "busybox.tar")
    make_busybox(archive)
    with skerry_engine() as one:
        one.docker("load", "-i", archive)
        yield one


class Made(NamedTuple):
    """What became of a request. lines: what the container is made of, as PATH=VALUE; shown: inspect's answer."""

    error: str = ""
    warnings: str = ""
    lines: frozenset[str] = frozenset()
    shown: Body = {}


def _lines(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _lines(each, f"{path}.{key}")
        if not value:
            yield f"{path}="
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _lines(each, f"{path}.{number}")
    else:
        yield f"{path}={value if isinstance(value, str) else json.dumps(value)}"


def _made_of(engine: Engine, identity: str, shown: Body) -> frozenset[str]:
    folder = Path(engine.folder, "root/runtime", identity)
    config = json.loads((folder / "config.json").read_bytes())
    # The filter as a profile or, once known, as a compiled program: the same filter.
    config.get("annotations", {}).pop("run.oci.seccomp_bpf_data", None)
    config["annotations"] = config.get("annotations", {})
    config["linux"].pop("seccomp", None)
    job = json.loads((folder / "monitor.json").read_bytes())
    files = {name: Path(shown[f"{name.capitalize()}Path"]).read_text() for name in ("hosts", "hostname")}
    files["resolv.conf"] = Path(shown["ResolvConfPath"]).read_text()
    inspected = {key: shown[key] for key in ("Mounts", "NetworkSettings", "LogPath")}
    text = "\0".join(_lines({"spec": config, "job": job, "files": files, "inspect": inspected}, ""))
    settings = shown["NetworkSettings"]["Networks"].values()
    for word in (identity, identity[:12], shown["NetworkSettings"]["SandboxID"], *(each["EndpointID"] for each in settings)):
        text = text.replace(word, "ID") if word else text
    text = re.sub(r"172\.17\.0\.(?!1\b)\d+", "ADDRESS", text)
    text = re.sub(r"02:42:ac:11:00:[0-9a-f]{2}", "MAC", text)
    return frozenset(text.split("\0"))


def make(engine: Engine, body: Body) -> Made:
    """Creates and starts a container, looks at it, removes it."""
    whole = {"Image": "busybox", "Cmd": ["sleep", "60"], **copy.deepcopy(body)}
    status, answer = engine.request("POST", "/v1.50/containers/create", whole)
    if status != 201:
        return Made(error=answer["message"])
    identity = answer["Id"]
    warnings = "\n".join(answer["Warnings"])
    try:
        status, failure = engine.request("POST", f"/containers/{identity}/start")
        if status != 204:
            return Made(error=failure["message"], warnings=warnings)
        shown = engine.request("GET", f"/v1.50/containers/{identity}/json")[1]
        return Made(warnings=warnings, lines=_made_of(engine, identity, shown), shown=shown)
    finally:
        engine.request("DELETE", f"/containers/{identity}?force=1&v=1")


def _wrong(names: str, body: Body, expected: Expected, made: Made, plain: Made) -> str:
    """Returns what is not as expected; empty: nothing."""
    more, less = made.lines - plain.lines, plain.lines - made.lines
    match expected:
        case Refused(words):
            return "" if re.search(words, made.error) else f"not refused: {made.error or sorted(more)}"
        case Unless():
            known = re.search("support|cannot be|invalid argument|blkio", made.error) or re.search("discard", made.warnings)
            return "" if known or (not made.error and more) else f"no effect: {made.error}"
        case SeenBy(files, case):
            found = any(f"def {case}" in path.read_text() or case in path.read_text() for path in (PROJECT / "tests").glob(files))
            return made.error if found else f"no case {case} in {files}"
    if made.error:
        return f"refused: {made.error}"
    match expected:
        case Effect(texts):
            absent = [text for text in texts if not any(text in line for line in more)]
            return f"{absent} not among {sorted(more)}" if absent else ""
        case Lacks(text):
            return "" if any(text in line for line in less) else f"{text} not among {sorted(less)}"
        case Warned(words):
            return "" if re.search(words, made.warnings) else f"no warning: {made.warnings}"
        case Ignored():
            return f"{sorted(more)} and {sorted(less)} differ" if more or less else ""
    outside = {"NetworkSettings": {"Networks": body.get("NetworkingConfig", {}).get("EndpointsConfig")}} if "Networking" in names else {}
    given = outside or {"Config": body}
    return "" if _contains(made.shown, given) else f"{given} is not shown"


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(_contains(whole.get(key), value) for key, value in part.items())
    return bool(whole == part)


def test_every_property_has_a_row() -> None:
    named = [name for names, _, _ in ROWS for name in names.split()]
    defined = [f"Config.{name}" for name in properties("ContainerConfig")]
    defined += [f"HostConfig.{name}" for name in properties("HostConfig")]
    defined += [f"NetworkingConfig.{name}" for name in properties("NetworkingConfig")]
    assert sorted(named) == sorted(defined)


def test_what_is_ignored_is_documented() -> None:
    ignored = {name for names, _, expected in ROWS if isinstance(expected, Ignored) for name in names.split()}
    assert ignored | {"HostConfig.Mounts.Consistency"} == set(IGNORED)
    text = (PROJECT / "docs/compatibility.md").read_text()
    assert [name for name in IGNORED if f"`{name}`" not in text] == []


def test_every_property_takes_effect_or_is_refused_by_name(engine: Engine) -> None:
    plain = make(engine, {})
    assert not plain.error
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda row: make(engine, row[1]), ROWS))
    wrong = [f"{names}: {text}" for (names, body, expected), made in zip(ROWS, results, strict=True)
             if (text := _wrong(names, body, expected, made, plain))]  # fmt: skip
    assert not wrong, "\n".join(wrong)
