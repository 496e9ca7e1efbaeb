"""A MongoDB wire server in memory, run by a Python 3.13 of its own: `python mongo_server.py HOST PORT`. Prints its URI when it listens."""

import asyncio
import sys

from mongoeco.wire import AsyncMongoEcoProxyServer


async def main(host: str, port: int) -> None:
    async with AsyncMongoEcoProxyServer(host=host, port=port) as server:
        print(server.address.uri, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
