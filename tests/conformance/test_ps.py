"""docker ps: columns, filters, formats."""

import re

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
