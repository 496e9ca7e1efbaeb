"""Many short containers: every line of each is there, and nothing stays behind."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from engines import Engine, skerry_engine
from faults.rounds import settled, snapshot
from images.busybox import make_busybox

pytestmark = pytest.mark.root


def one(engine: Engine, number: int) -> None:
    name = f"short-{number}"
    engine.docker("run", "-d", "--name", name, "busybox", "sh", "-c", f"echo first {number}; echo error >&2; echo last {number}")
    assert engine.out("wait", name) == "0"
    result = engine.docker("logs", name)
    assert result.stdout == f"first {number}\nlast {number}\n", name
    assert result.stderr == "error\n", name
    engine.docker("rm", name)


def many(count: int) -> None:
    with skerry_engine() as engine:
        make_busybox(f"{engine.folder}/busybox.tar")
        engine.docker("load", "-q", "-i", f"{engine.folder}/busybox.tar")
        engine.docker("run", "--rm", "busybox", "true")
        before = snapshot(engine)
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(one, engine, number) for number in range(count)]:
                done.result()
        assert not settled(engine, before)


@pytest.mark.timeout(300)
def test_every_line_of_a_hundred_short_containers() -> None:
    many(100)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_line_of_a_thousand_short_containers() -> None:
    many(1000)
