import asyncio
import os
import subprocess
import sys

import pytest

from monitor_kit import living_node, until
from skerry.containers.monitor import frames
from skerry.containers.shipper import Shipper, Target
from skerry.containers.spool import SpoolReader, spool_range


class Router:
    """The double in a process of its own."""

    def __init__(self, run: str) -> None:
        self.address = f"unix:{run}/logs.sock"
        self.directory = f"{run}/logs"
        os.mkdir(self.directory)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {"PYTHONPATH": os.pathsep.join([os.path.abspath("services"), os.path.abspath("tests")]), "PATH": os.environ["PATH"]}
        self._process = subprocess.Popen([sys.executable, "-m", "monitor_kit.router", self.address, self.directory], env=environment)

    async def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self._process = None

    def text(self, name: str) -> bytes:
        """The stdout that the router has, after checking that no frame is lost or doubled."""
        with open(f"{self.directory}/{name}", "rb") as file:
            data = file.read()
        at = expected = 0
        out = bytearray()
        while at < len(data):
            assert frames.sound(data, at)
            _, length, stream, _, _, _, _, sequence = frames.HEADER.unpack_from(data, at)
            assert sequence == expected
            expected += 1
            if stream == frames.STDOUT:
                out += data[at + 32 : at + 32 + length]
            at += 32 + length
        return bytes(out)


@pytest.fixture
async def node():
    async with living_node() as node:
        yield node


@pytest.fixture
async def router(node):
    router = Router(node.run)
    try:
        yield router
    finally:
        await router.kill()


def target(node, router, name="c", run=1, **changes) -> Target:
    fields = {
        "container_id": name,
        "spool": f"{node.run}/{name}/spool",
        "router": router.address,
        "run": run,
        "driver": "json-file",
        "segment": 1 << 17,
        **changes,
    }
    return Target(**fields)


async def run_lines(node, name="c", run=1, count=100_000, **changes):
    monitor = await node.monitors.launch(node.job(name, "seq", "1", str(count), run=run, segment=1 << 17, **changes))
    await monitor.create()
    await monitor.start()
    return monitor


def numbers(count: int) -> bytes:
    return b"".join(b"%d\n" % n for n in range(1, count + 1))


async def test_ships_everything_then_rests_and_trims_and_goes_on_with_the_next_run(node, router):
    router.start()
    async with Shipper() as shipper:
        for run in (1, 2):
            await shipper.add(target(node, router, run=run))
            monitor = await run_lines(node, run=run)
            await monitor.wait()
            await monitor.close()
            end = (await spool_range(f"{node.run}/c/spool")).end
            assert await shipper.drained("c", end, 10)
            assert router.text("c") == numbers(100_000) * run
            await until(lambda: len(frames.segments(f"{node.run}/c/spool")) <= 2)
            assert frames.cursors(f"{node.run}/c/spool") == [end]


async def test_router_killed_again_and_again_loses_and_doubles_nothing(node, router):
    async with Shipper() as shipper:
        await shipper.add(target(node, router))
        # Slow enough that every kill falls into the run.
        command = "for part in 1 2 3 4 5 6 7 8; do seq 1 40000; sleep 0.25; done"
        monitor = await node.monitors.launch(node.job("c", "sh", "-c", command, segment=1 << 17))
        await monitor.create()
        await monitor.start()
        for _ in range(3):
            router.start()
            await asyncio.sleep(0.7)
            await router.kill()
        router.start()
        await monitor.wait()
        await monitor.close()
        assert await shipper.drained("c", (await spool_range(f"{node.run}/c/spool")).end, 15)
    assert router.text("c") == numbers(40_000) * 8


async def test_many_containers_share_a_stream(node, router):
    router.start()
    names = [f"c{number}" for number in range(10)]
    async with Shipper() as shipper:
        for name in names:
            await shipper.add(target(node, router, name))
        monitors = [await run_lines(node, name, count=20_000) for name in names]
        for name, monitor in zip(names, monitors, strict=True):
            await monitor.wait()
            await monitor.close()
            assert await shipper.drained(name, (await spool_range(f"{node.run}/{name}/spool")).end, 10)
    assert all(router.text(name) == numbers(20_000) for name in names)


async def test_while_the_router_is_away_the_quota_grows_and_falls_back_after(node, router):
    spool = f"{node.run}/c/spool"
    async with Shipper(quota=1 << 20, away_quota=64 << 20) as shipper:
        await shipper.add(target(node, router))
        monitor = await run_lines(node, count=600_000, quota=1 << 20)
        assert (await monitor.wait()).code == 0  # nobody took anything, yet it did not wait
        await monitor.close()
        assert os.path.exists(f"{spool}/quota")
        assert not await shipper.drained("c", 1, 0.1)
        router.start()
        assert await shipper.drained("c", (await spool_range(spool)).end, 20)
        await until(lambda: not os.path.exists(f"{spool}/quota"))
    assert router.text("c") == numbers(600_000)


async def test_refused_container_is_offered_again(node, router):
    router.start()
    refuse = f"{router.directory}/refuse"
    with open(refuse, "w"):
        pass
    async with Shipper() as shipper:
        await shipper.add(target(node, router))
        monitor = await run_lines(node)
        await monitor.wait()
        await monitor.close()
        end = (await spool_range(f"{node.run}/c/spool")).end
        assert not await shipper.drained("c", end, 0.5)
        os.unlink(refuse)
        assert await shipper.drained("c", end, 10)
    assert router.text("c") == numbers(100_000)


async def test_restarted_shipper_goes_on_and_one_with_all_acknowledged_rests_at_once(node, router):
    router.start()
    monitor = None
    spool = f"{node.run}/c/spool"
    for _ in range(3):
        async with Shipper() as shipper:
            await shipper.add(target(node, router))
            if monitor is None:
                monitor = await run_lines(node)
            await asyncio.sleep(0.05)
    await monitor.wait()
    await monitor.close()
    end = (await spool_range(spool)).end
    async with Shipper() as shipper:
        await shipper.add(target(node, router))
        assert await shipper.drained("c", end, 10)
    await router.kill()
    async with Shipper() as shipper:
        await shipper.add(target(node, router))
        assert await shipper.drained("c", end, 0)
    router.start()
    assert router.text("c") == numbers(100_000)


async def test_driver_none_ships_nothing_and_holds_nothing(node, router):
    async with Shipper() as shipper:
        await shipper.add(target(node, router, driver="none"))
        monitor = await run_lines(node, count=600_000, quota=1 << 20)
        assert (await monitor.wait()).code == 0
        await monitor.close()
        assert await shipper.drained("c", 1 << 60, 0)
    assert frames.cursors(f"{node.run}/c/spool") == []


async def test_removed_container_is_no_longer_shipped(node, router):
    router.start()
    async with Shipper() as shipper:
        await shipper.add(target(node, router))
        await shipper.remove("c")
        await shipper.remove("never known")
        monitor = await run_lines(node)
        await monitor.wait()
        await monitor.close()
        await shipper.add(target(node, router, "d"))
        other = await run_lines(node, "d")
        await other.wait()
        await other.close()
        assert await shipper.drained("d", (await spool_range(f"{node.run}/d/spool")).end, 10)
    assert not os.path.exists(f"{router.directory}/c") or router.text("c") == b""
    async with SpoolReader(f"{node.run}/c/spool", 0) as reader:
        assert [batch async for batch in reader.batches(follow=False)]
