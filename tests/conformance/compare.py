"""python -m tests.conformance.compare [PYTEST ARGUMENT...]: the same cases on dockerd and on Skerry, as one table.

A row is a file of cases. What passes on one engine only is named below the table: on dockerd only is a fault of Skerry's, on Skerry only
a case that does not count.
"""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ENGINES = ("dockerd", "skerry")
# One engine's whole run, in seconds.
_PATIENCE = 1800


class Result(NamedTuple):
    """One case on one engine."""

    passed: bool
    seconds: float


def measure(engine: str, arguments: list[str]) -> dict[tuple[str, str], Result]:
    """Runs the cases on an engine; returns what became of each (file, case)."""
    with tempfile.TemporaryDirectory() as folder:
        report = f"{folder}/report.xml"
        selection = arguments or [str(HERE)]
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *selection, "--engine", engine, f"--junitxml={report}"]
        done = subprocess.run(argv, stdout=subprocess.DEVNULL, timeout=_PATIENCE, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(f"pytest on {engine} ended with {done.returncode}: run `pytest {selection[0]} --engine {engine}` to see why")
        return read(Path(report).read_bytes())


def read(report: bytes) -> dict[tuple[str, str], Result]:
    """Returns the results in a JUnit report."""
    found = {}
    for case in ElementTree.fromstring(report).iter("testcase"):
        passed = not any(case.find(what) is not None for what in ("failure", "error", "skipped"))
        found[case.get("classname", "").rpartition(".")[2], case.get("name", "")] = Result(passed, float(case.get("time", "0")))
    return found


def table(results: dict[str, dict[tuple[str, str], Result]]) -> list[str]:
    """Returns the lines of the table and of what differs."""
    files: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for engine in ENGINES:
        for file, case in results[engine]:
            files[file].add((file, case))
    lines = ["| cases | number | dockerd passes | Skerry passes | dockerd s | Skerry s |", "|---|---:|---:|---:|---:|---:|"]
    for file, cases in [*sorted(files.items()), ("all", set().union(*files.values()))]:
        passed = {engine: sum(results[engine][case].passed for case in cases if case in results[engine]) for engine in ENGINES}
        seconds = {engine: sum(results[engine][case].seconds for case in cases if case in results[engine]) for engine in ENGINES}
        lines.append(
            f"| {file} | {len(cases)} | {passed['dockerd']} | {passed['skerry']} | {seconds['dockerd']:.0f} | {seconds['skerry']:.0f} |"
        )
    missing = Result(False, 0)
    for one, other in (ENGINES, ENGINES[::-1]):
        for case in sorted(results["dockerd"].keys() | results["skerry"].keys()):
            if results[one].get(case, missing).passed and not results[other].get(case, missing).passed:
                lines.append(f"passes on {one} only: {case[0]}::{case[1]}")
    return lines


def main() -> int:
    """Prints the table; returns 1 when a case passes on dockerd only."""
    results = {}
    for engine in ENGINES:
        print(f"... {engine} (load {os.getloadavg()[0]:.1f})", file=sys.stderr, flush=True)
        results[engine] = measure(engine, sys.argv[1:])
    lines = table(results)
    print("\n".join(lines))
    return any(line.startswith("passes on dockerd only") for line in lines)


if __name__ == "__main__":
    sys.exit(main())
