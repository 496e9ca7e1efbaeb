"""How long a sandbox takes, seen by a client: PYTHONPATH=services:tests python -m bench.networks [COUNT]. Needs root."""

import asyncio
import os
import statistics
import subprocess
import sys
import time

import uvloop

from integration.netns import lab
from integration.networks_service import Client, directory, port
from skerry.api.networks.v1.networks_pb2_grpc import NetworksServiceStub
from skerry.core.rpc.channel import open_channel


async def measure(path: str, count: int) -> None:
    creates, releases = [], []
    async with open_channel(f"unix:{path}/run/networks.sock") as channel:
        await asyncio.wait_for(channel.channel_ready(), 20)
        client = Client(NetworksServiceStub(channel))
        for number in range(count + 10):
            start = time.perf_counter()
            sandbox = await client.create(ports=[port(80, 10000 + number)])
            creates.append(time.perf_counter() - start)
            start = time.perf_counter()
            await client.release(sandbox.container_id)
            releases.append(time.perf_counter() - start)
            await asyncio.sleep(0.05)
        report("create, one published port", creates[10:])
        report("release", releases[10:])
        for width in (1, 8):
            gate = asyncio.Semaphore(width)

            async def cycle(number: int, gate: asyncio.Semaphore = gate) -> None:
                async with gate:
                    sandbox = await client.create(ports=[port(80, 20000 + number)])
                    await client.release(sandbox.container_id)

            start = time.perf_counter()
            await asyncio.gather(*map(cycle, range(count)))
            print(f"create + release, {width} at a time: {count / (time.perf_counter() - start):.0f}/s")


def report(what: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    print(f"{what}: median {statistics.median(ordered) * 1e3:.2f} ms, p90 {ordered[len(ordered) * 9 // 10] * 1e3:.2f} ms")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with lab("bench") as (host, _), host.entered(), directory() as path:
        env = {**os.environ, "SKERRY_ROOT": f"{path}/root", "SKERRY_RUN": f"{path}/run"}
        with subprocess.Popen([sys.executable, "-m", "skerry.networks"], env=env) as service:
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(measure(path, count))
            finally:
                service.terminate()


if __name__ == "__main__":
    main()
