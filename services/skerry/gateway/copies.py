"""Archives into containers: for `docker cp` and for the steps of a build."""

from collections.abc import AsyncIterator

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.core.rpc.channel import call
from skerry.gateway.peers import Peers


async def put_archive(peers: Peers, opened: pb.PutArchiveOpen, pieces: AsyncIterator[bytes]) -> None:
    """Extracts an archive that comes in pieces of at most 1 MiB. Raises what the node raises, or what the pieces' source does."""

    async def requests() -> AsyncIterator[pb.PutArchiveRequest]:
        yield pb.PutArchiveRequest(open=opened)
        async for piece in pieces:
            yield pb.PutArchiveRequest(chunk=piece)

    await call(lambda: peers.containers.PutArchive(requests()))
