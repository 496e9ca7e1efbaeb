"""python -m tests.bench [--only NAME,...] [--rounds N] [--json FILE] [--engines dockerd,dockerd]"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from engines import Engine, dockerd_engine, skerry_engine
from images.busybox import make_busybox
from tests.bench import copies, images, many, work


class Row(msgspec.Struct, frozen=True):
    """One line of the table: name, work, unit, rounds, and the ratio that it is held to (0: none)."""

    # after: puts back what other rows shall not meet. most: the second engine's own limit, in seconds or bytes, in place of a ratio.

    name: str
    text: str
    work: Callable[[Engine], float]
    rounds: int
    limit: float
    unit: str = "ms"
    after: Callable[[Engine], None] | None = None
    most: float = 0.0


ROWS = (
    Row("idle", "memory, all services idle (PSS)", work.memory_idle, 1, 1.6, "MiB"),
    Row("container", "memory per running container (PSS)", work.memory_per_container, 1, 0.2, "MiB"),
    Row("bridge", "docker run --rm busybox true, bridge", work.run_bridge, 15, 0.33),
    Row("none", "docker run --rm busybox true, --net none", work.run_none, 15, 0.40),
    Row("exec", "docker exec C true", work.exec_true, 15, 0.6),
    Row("burst", "40 x run -d at concurrency 8", work.burst, 3, 0.20),
    Row("life", "create, start, wait, remove by the API", many.life, 9, 0.25),
    Row("ps", "ps -a with 500 containers", many.list_many, 7, 0.5, after=many.forget_listed),
    Row("stats", "stats --no-stream of 50 containers", many.statistics, 3, 0.6, after=many.forget_watched),
    Row("restart", "start beside 200 running containers", many.restart, 3, 0, after=many.forget_kept, most=1.0),
    Row("log-write", "500,000 lines into json-file", work.log_write, 3, 1.0),
    Row("log-read", "reading them", work.log_read, 3, 0.7),
    Row("log-since", "--since after the last line", work.log_since, 5, 0.1),
    Row("attach", "attach of 300 MB", work.attach, 3, 1.0),
    Row("cp-in", "cp of 500 MB into a container", copies.copy_in, 3, 0.9),
    Row("cp-out", "cp of 500 MB out of it", copies.copy_out, 3, 0.9),
    Row("pull", "pull of 250 MB, registry on loopback", images.pull, 3, 0.30),
    Row("pull-cpu", "CPU seconds of that", images.pull_cpu, 1, 0.30),
    Row("pull-memory", "peak memory of the service that pulls", images.pull_memory, 1, 0, "MiB", most=150e6),
    Row("load", "load of it", images.load, 3, 0.20),
    Row("save", "save of it into a file", images.save, 3, 0.10),
    Row("save-unwritten", "save of it into /dev/null", images.save_unwritten, 5, 0.10),
    Row("save-api", "GET /images/get of it, read and dropped", images.save_api, 5, 0.10),
    Row("push", "push of it, cold", images.push_cold, 3, 0.25),
    Row("rmi", "rmi of it", images.rmi, 5, 0.5),
    Row("commit-small", "commit of one small file", images.commit_small, 5, 0.8),
    Row("commit-large", "commit of 200 MB", images.commit_large, 3, 0.4),
    Row("import", "import of 250 MB", images.import_, 3, 0.3),
    Row("export", "export of 250 MB", images.export, 3, 0.6),
    Row("build", "build of 5 steps, no cache", images.build, 3, 0.6),
    Row("build-cached", "build of 5 steps, cached", images.build_cached, 5, 0.8),
    Row("images", "images -q with 1,000 images", images.images_list, 9, 0.7),
)
_ENGINES = {"dockerd": lambda: dockerd_engine("--live-restore"), "skerry": skerry_engine}


def main() -> int:
    """Runs the bench; returns 0 whatever the ratios are: it measures, it does not judge."""
    options = _options()
    load = os.getloadavg()[0]
    if load > 0.7:
        print(f"warning: the machine is not idle (load {load:.2f}); ratios are still paired, absolute times are not to be trusted")
    rows = [row for row in ROWS if not options.only or row.name in options.only.split(",")]
    with contextlib.ExitStack() as stack:
        engines = [stack.enter_context(_ENGINES[name]()) for name in options.peers.split(",")]
        with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
            make_busybox(archive.name)
            for engine in engines:
                engine.docker("load", "-q", "-i", archive.name)
        results = []
        for row in rows:
            print(f"... {row.text}", file=sys.stderr, flush=True)
            results.append(_measure(row, engines, options.rounds))
    _table(results, [engine.name for engine in engines], load)
    Path(options.json).write_text(json.dumps({"load": load, "rows": results}, indent=1))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", default="", help=f"rows, comma separated: {', '.join(row.name for row in ROWS)}")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each row instead of its own number")
    parser.add_argument("--json", default="bench-results.json", help="file for the results")
    parser.add_argument(
        "--engines", "--peers", dest="peers", default="dockerd,skerry", help="two engines: the first is what the second is compared with"
    )
    return parser.parse_args()


def _measure(row: Row, engines: list[Engine], rounds: int) -> dict[str, Any]:
    samples: list[list[float]] = [[] for _ in engines]
    for number in range(rounds or row.rounds):
        # In turns, the first changing: what the machine does meanwhile meets both.
        order = list(range(len(engines)))[:: -1 if number % 2 else 1]
        for index in order:
            samples[index].append(row.work(engines[index]))
            time.sleep(0.05)
    if row.after is not None:
        for engine in engines:
            row.after(engine)
    medians = [statistics.median(one) for one in samples]
    ratio = medians[1] / medians[0] if medians[0] else float("inf")
    return {
        "name": row.name,
        "text": row.text,
        "unit": row.unit,
        "samples": samples,
        "medians": medians,
        "ratio": ratio,
        "limit": row.limit,
        "most": row.most,
    }


def _table(results: list[dict[str, Any]], names: list[str], load: float) -> None:
    print(f"\n{'work':44} {names[0]:>12} {names[1]:>12} {'ratio':>7} {'at most':>8}")
    for result in results:
        scale = 1000 if result["unit"] == "ms" else 1 / 2**20
        first, second = (value * scale for value in result["medians"])
        ratio, limit = float(result["ratio"]), float(result["limit"])
        most = float(result["most"]) * scale
        kept = ratio <= limit if limit else second <= most
        verdict = "" if not (limit or most) else "  ok" if kept else "  MISS"
        print(
            f"{result['text']!s:44} {first:>8.1f} {result['unit']:3} {second:>8.1f} {result['unit']:3} {ratio:>7.2f} {limit:>8.2f}{verdict}"
        )
    print(f"medians, alternating runs, load before {load:.2f}")


if __name__ == "__main__":
    sys.exit(main())
