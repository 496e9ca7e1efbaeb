"""docker ps: columns, filters, formats."""

import json
import re
import subprocess
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from engines import Engine

covers = pytest.mark.covers


@covers("ps", "ps -a")
def test_columns(engine: Engine, name: str) -> None:
    printed = engine.out("run", "-d", "--name", name, "-p", "127.0.0.1:18080:80", "busybox", "sleep", "100")
    engine.docker("create", "--name", f"{name}c", "busybox", "sh", "-c", "echo a very long command line")
    head, row = engine.out("ps").splitlines()
    assert re.split(r"\s{2,}", head) == ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    cells = re.split(r"\s{2,}", row)
    assert cells[:3] == [printed[:12], "busybox", '"sleep 100"']
    assert cells[3].endswith("ago") and cells[4].startswith("Up ")
    assert cells[5:] == ["127.0.0.1:18080->80/tcp", name]
    assert len(engine.out("ps", "-a").splitlines()) == 3
    assert "Created" in engine.out("ps", "-a", "-f", f"name={name}c")


def test_status_of_an_exited_one(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "busybox", "sh", "-c", "exit 3", check=False)
    assert re.fullmatch(r"Exited \(3\) .* ago", engine.out("ps", "-a", "--format", "{{.Status}}"))


@covers("ps -q", "ps --no-trunc")
def test_ids_only(engine: Engine) -> None:
    printed = engine.out("run", "-d", "busybox", "sleep", "100")
    assert engine.out("ps", "-q") == printed[:12]
    assert engine.out("ps", "-q", "--no-trunc") == printed


@covers("ps -n", "ps -l")
def test_the_last_ones_newest_first(engine: Engine) -> None:
    first, second, third = (engine.out("create", "busybox") for _ in range(3))
    assert engine.out("ps", "-aq", "--no-trunc").split() == [third, second, first]
    assert engine.out("ps", "-q", "-n", "2", "--no-trunc").split() == [third, second]
    assert engine.out("ps", "-ql", "--no-trunc") == third


@covers("ps -s")
def test_size(engine: Engine, name: str) -> None:
    engine.docker("run", "--name", name, "busybox", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=2")
    said = engine.out("ps", "-as", "--format", "{{.Size}}")
    assert re.fullmatch(r"2\.1MB \(virtual [\d.]+MB\)", said)


@covers("ps --format")
def test_format(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--label", "a=b", "busybox", "sleep", "100")
    head, row = engine.out("ps", "--format", "table {{.ID}}\t{{.Status}}\t{{.Image}}").splitlines()
    assert head.split() == ["CONTAINER", "ID", "STATUS", "IMAGE"]
    assert re.fullmatch(r"[0-9a-f]{12}\s+Up .*\s+busybox", row)
    assert engine.out("ps", "--format", '{{.Names}} {{.Label "a"}} {{.Networks}} {{.State}}') == f"{name} b bridge running"


@covers("ps -f")
def test_filters(engine: Engine, name: str) -> None:
    running = engine.out("run", "-d", "--name", f"{name}run", "--label", "k=v", "busybox", "sleep", "100")
    engine.docker("run", "--name", f"{name}done", "busybox", "sh", "-c", "exit 3", check=False)
    created = engine.out("create", "--name", f"{name}new", "--label", "k", "--net", "none", "busybox")

    def found(*filters: str) -> set[str]:
        return set(engine.out("ps", "-a", "--format", "{{.Names}}", *(word for one in filters for word in ("-f", one))).split())

    run, done, new = f"{name}run", f"{name}done", f"{name}new"
    assert found("status=running") == {run}
    assert found("status=exited", "status=created") == {done, new}
    assert found("exited=3") == {done}
    assert found("label=k") == {run, new}
    assert found("label=k=v") == {run}
    assert found(f"name={name}d") == {done}
    assert found(f"name=^/?{name}new$") == {new}
    assert found(f"id={running[:8]}") == {run}
    assert found("ancestor=busybox") == {run, done, new}
    assert found(f"before={done}") == {run}
    assert found(f"since={done}") == {new}
    assert found("network=none") == {new}
    assert found("name=nothing") == set()
    assert created


def test_an_unknown_filter_is_refused(engine: Engine) -> None:
    result = engine.docker("ps", "-f", "nosuch=1", check=False)
    assert result.returncode == 1
    assert "invalid filter 'nosuch'" in result.stderr.lower()


def test_a_given_name_is_made_of_two_words(engine: Engine) -> None:
    engine.docker("create", "busybox")
    assert re.fullmatch(r"[a-z]+_[a-z]+\d?", engine.out("ps", "-a", "--format", "{{.Names}}"))


def test_exposed_and_published_ports(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--expose", "90", "--expose", "91", "-p", "18081:80/udp", "busybox", "sleep", "100")
    said = engine.out("ps", "--format", "{{.Ports}}")
    assert "90-91/tcp" in said and "0.0.0.0:18081->80/udp" in said


@pytest.fixture(scope="module")
def crowd(engine: Engine) -> Iterator[dict[str, str]]:
    """Containers of every kind, by short names."""
    volume = ("-v", "crowdvol:/data")
    made = {
        "run": ("run", "-d", "-p", "127.0.0.1:18190:80", "-p", "127.0.0.1:18153:53/udp", "--expose", "90", *volume, "-v", "/var/tmp:/host"),
        "none": ("run", "-d", "--net", "none", "--label", "b"),
        "end": ("run", "-p", "127.0.0.1:18191:81", *volume),
        "new": ("create", "--expose", "90"),
    }
    ids = {}
    try:
        for name, words in made.items():
            command = ("sh", "-c", "exit 3") if name == "end" else ("sleep", "1000")
            engine.docker(*words, "--name", f"crowd-{name}", "--label", "crowd=1", "busybox", *command, check=name != "end")
            ids[name] = engine.out("inspect", "-f", "{{.Id}}", f"crowd-{name}")
        yield ids
    finally:
        engine.docker("rm", "-fv", *(f"crowd-{name}" for name in made), check=False)
        engine.docker("volume", "rm", "-f", "crowdvol")


def _found(engine: Engine, query: str, **wanted: list[str]) -> list[str]:
    wanted["label"] = [*wanted.get("label", []), "crowd=1"]
    status, answer = engine.request("GET", f"/v1.41/containers/json?{query}&filters={quote(json.dumps(wanted))}")
    assert status == 200, answer
    return [row["Names"][0].removeprefix("/crowd-") for row in answer]


@covers("ps -f")
@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("exited", ["3"], ["end"]),
        ("exited", ["0", "137"], []),
        ("status", ["running", "exited"], ["end", "none", "run"]),
        ("status", ["dead"], []),
        ("health", ["none"], ["new", "end", "none", "run"]),
        ("volume", ["crowdvol"], ["end", "run"]),
        ("volume", ["/data"], ["end", "run"]),
        ("volume", ["/var/tmp"], ["run"]),
        ("volume", ["/host"], ["run"]),
        ("volume", ["crowd"], []),
        ("network", ["bridge"], ["new", "end", "run"]),
        ("network", ["none", "host"], ["none"]),
        ("publish", ["18190"], ["run"]),
        ("publish", ["18000-18200/udp"], ["run"]),
        ("publish", ["80"], []),
        ("publish", ["18191"], []),
        ("expose", ["80"], ["run"]),
        ("expose", ["90/tcp"], ["run"]),
        ("expose", ["53"], []),
        ("expose", ["1-100/udp"], ["run"]),
        ("ancestor", ["busybox"], ["new", "end", "none", "run"]),
        ("ancestor", ["nosuch"], []),
        ("name", ["^/crowd-n"], ["new", "none"]),
        ("name", ["CROWD"], []),
        ("isolation", ["default"], ["new", "end", "none", "run"]),
        ("is-task", ["true"], []),
        ("is-task", ["false"], ["new", "end", "none", "run"]),
        ("before", ["crowd-end"], ["none", "run"]),
        ("since", ["crowd-end"], ["new"]),
        ("label", ["crowd", "b"], ["none"]),
    ],
)
def test_each_filter(engine: Engine, crowd: dict[str, str], name: str, values: list[str], found: list[str]) -> None:
    assert _found(engine, "all=1", **{name: values}) == found


def test_filters_by_ids(engine: Engine, crowd: dict[str, str]) -> None:
    assert _found(engine, "all=1", id=[crowd["run"][:12], crowd["end"]]) == ["end", "run"]
    assert _found(engine, "all=1", id=[crowd["run"][1:12]]) == []
    network = engine.out("network", "inspect", "-f", "{{.Id}}", "bridge")
    # One that was never started is on no network yet.
    assert _found(engine, "all=1", network=[network[:12]]) == ["end", "run"]
    image = engine.out("image", "inspect", "-f", "{{.Id}}", "busybox")
    assert _found(engine, "all=1", ancestor=[image.removeprefix("sha256:")[:12]]) == ["new", "end", "none", "run"]


def test_which_are_looked_at_without_all(engine: Engine, crowd: dict[str, str]) -> None:
    assert _found(engine, "") == ["none", "run"]
    assert _found(engine, "", exited=["3"]) == []
    assert _found(engine, "", status=["exited"]) == ["end"]
    assert _found(engine, "", since=["crowd-run"]) == ["none"]
    assert _found(engine, "limit=3") == ["new", "end", "none"]
    assert _found(engine, "limit=1", status=["running"]) == ["none"]
    assert _found(engine, "all=1", publish=["18190"], expose=["81"]) == ["run"]


@pytest.mark.parametrize(
    ("wanted", "status", "text"),
    [
        ({"exited": ["x"]}, 500, 'strconv.Atoi: parsing "x": invalid syntax'),
        ({"status": ["x"]}, 400, "Invalid filter 'status=x'"),
        ({"health": ["x"]}, 400, "Unrecognised filter value for health: x"),
        ({"is-task": ["x"]}, 400, "Invalid filter 'is-task=[x]'"),
        ({"before": ["nosuch"]}, 500, "no such container nosuch"),
        ({"publish": ["x"]}, 500, 'error while looking up for publish x: strconv.ParseUint: parsing "x": invalid syntax'),
        ({"expose": ["1:2"]}, 500, "filter for 'expose' should not contain ':': 1:2"),
    ],
)
def test_values_that_are_refused(engine: Engine, wanted: dict[str, list[str]], status: int, text: str) -> None:
    found, answer = engine.request("GET", f"/v1.41/containers/json?filters={quote(json.dumps(wanted))}")
    assert (found, answer["message"]) == (status, text)


@covers("ps -s", "inspect --format")
def test_sizes_are_those_of_the_upper_directory(engine: Engine, name: str) -> None:
    script = (
        "mkdir /d; dd if=/dev/zero of=/d/a bs=1000 count=3000; ln /d/a /d/b; ln -s a /d/c; rm /bin/vi; echo >> /etc/passwd; mkfifo /d/f"
    )
    engine.docker("run", "--name", name, "busybox", "sh", "-c", script)
    row = engine.request("GET", "/v1.41/containers/json?all=1&size=1&limit=1")[1][0]
    shown = engine.request("GET", f"/v1.41/containers/{name}/json?size=1")[1]
    assert (row["SizeRw"], row["SizeRootFs"]) == (shown["SizeRw"], shown["SizeRootFs"])
    upper = shown["GraphDriver"]["Data"]["UpperDir"]
    apparent = int(subprocess.run(["du", "-sb", upper], capture_output=True, text=True, check=True).stdout.split()[0])
    # du counts directories too.
    assert 3_000_000 <= row["SizeRw"] <= apparent <= row["SizeRw"] + 5 * 4096
    untouched = engine.out("create", "busybox")
    assert "SizeRw" not in engine.request("GET", "/v1.41/containers/json?all=1&size=1&limit=1")[1][0]
    base = engine.request("GET", f"/v1.41/containers/{untouched}/json?size=1")[1]
    assert (base["SizeRw"], base["SizeRootFs"]) == (0, row["SizeRootFs"] - row["SizeRw"])
