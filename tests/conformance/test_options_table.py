"""docs/compatibility.md has a row for each option of `docker run --help`, and for nothing else."""

import re
import subprocess

from engines import PROJECT

# Long options; a short one stands before it.
_OPTION = re.compile(r"^ {2,6}(?:-\w, )? *--([a-z0-9-]+)", re.MULTILINE)


def _options(command: str) -> set[str]:
    text = subprocess.run(["docker", command, "--help"], capture_output=True, text=True, timeout=30, check=True).stdout
    return set(_OPTION.findall(text))


def test_every_option_has_a_row_and_every_row_an_option() -> None:
    text = (PROJECT / "docs/compatibility.md").read_text().partition("## `--security-opt`")[0]
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `--")]
    named = [option for options, _ in rows for option in re.findall("`--([a-z0-9-]+)`", options)]
    assert len(named) == len(set(named))
    assert set(named) == _options("run")
    assert all(happens.strip() for _, happens in rows)


def test_create_has_no_option_of_its_own() -> None:
    assert _options("create") - _options("run") == set()
