"""Moving bytes between a hijacked connection and a gRPC stream of the node, both ways, with back-pressure.

A node that restarts is waited for: the stream is taken up again at the spool offset up to which everything was sent.
"""

import asyncio
import logging
import struct
import time
from typing import Any, Protocol

import grpc
import grpc.aio

from skerry.core.rpc.errors import from_rpc
from skerry.gateway.beside import beside
from skerry.gateway.detach import Detector

_log = logging.getLogger(__name__)
_PIECE = 64 << 10
_PATIENCE = 15.0
# After the client's input ended without ending the process's: what the last of it brings forth is still sent.
_LAST_OUTPUT = 0.2
_DETACHED = "detached"
_ENDED = "ended"


class Session(Protocol):
    """One attach or exec, as the node's API has it."""

    def open(self, offset: int | None) -> Any:
        """Returns a new call; offset: where to go on, None for the first."""
        ...

    def opening(self, offset: int | None) -> Any:
        """Returns the first request."""
        ...

    def stdin(self, data: bytes) -> Any:
        """Returns the request that carries input."""
        ...

    def stdin_end(self) -> Any:
        """Returns the request that says that the input ended."""
        ...

    async def over(self) -> bool:
        """Tells, after the stream ended well, whether the process has ended (and not only the node's service)."""
        ...


class Client(Protocol):
    """Who reads the output and may give input: a hijacked connection, or a build."""

    async def read(self) -> bytes:
        """Returns input; b"" at its end."""
        ...

    async def write(self, data: bytes) -> None:
        """Takes output. Raises ConnectionError when nobody wants it any more."""
        ...


class Pump:
    """Runs one session. `begin` before the hijack, so that errors are plain answers; `run` after it."""

    def __init__(self, session: Session, resume_at: int | None = None) -> None:
        """resume_at: the spool offset at which the output begins, for a stream that is lost before the first piece came."""
        self._session = session
        self._call: Any = None
        self._offset: int | None = None
        self._resume_at = resume_at
        self._opened = asyncio.Event()
        self.tty = False

    async def begin(self) -> None:
        """Opens the call and waits until output is followed. Raises AioRpcError."""
        call = self._session.open(self._offset)
        await call.write(self._session.opening(self._offset))
        first = await call.read()
        if first is not grpc.aio.EOF:
            self.tty = first.opened.tty
        self._call = call
        self._opened.set()

    async def run(self, stream: Client, *, stdin: bool, once: bool, detach_keys: bytes) -> None:
        """Pumps until the output ended, the client left, or the detach keys came.

        once: the end of the client's input is the end of the process's, unless it has a terminal. Otherwise it detaches, as in dockerd.
        """
        detector = Detector(detach_keys) if self.tty and detach_keys else None
        try:
            async with (
                beside(self._output(stream)) as output,
                beside(self._input(stream, detector, once) if stdin else _forever()) as given,
            ):
                await asyncio.wait({output, given}, return_when=asyncio.FIRST_COMPLETED)
                if given.done() and not output.done() and given.result() != _DETACHED:
                    await output
                if output.done():
                    output.result()
        except ConnectionError:
            pass  # the client left: that detaches
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Detaches."""
        if self._call is not None:
            self._call.cancel()

    async def _output(self, stream: Client) -> None:
        while True:
            ended = False
            try:
                while (response := await self._call.read()) is not grpc.aio.EOF:
                    if response.WhichOneof("part") != "output":
                        continue
                    output = response.output
                    if output.gap:
                        await stream.write(self._note(f"{output.gap} bytes of output were not kept\n"))
                    await stream.write(output.data)
                    self._offset = output.next_offset
                ended = True
            except grpc.aio.AioRpcError as error:
                # Lost: the node went away, or grpc gave the call up because input was written when the other side had just finished it
                # (grpc.aio then drops what was not read yet, as INTERNAL). Either way the spool still has it.
                if from_rpc(error) is not None and error.code() is not grpc.StatusCode.UNAVAILABLE:
                    _log.warning("stream failed", extra={"error": error.details()})
                    await stream.write(self._note(f"{error.details()}\n"))
                    return
            if ended and await self._session.over():
                return
            if not await self._take_up():
                return

    async def _take_up(self) -> bool:
        self._opened.clear()
        self._call.cancel()
        if self._offset is None:
            self._offset = self._resume_at
        deadline = time.monotonic() + _PATIENCE
        pause = 0.005
        while time.monotonic() < deadline:
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.2)
            try:
                await self.begin()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    return False
            else:
                return True
        return False

    async def _input(self, stream: Client, detector: Detector | None, once: bool) -> str:
        while True:
            data = await stream.read()
            if not data and once and not self.tty:
                await self._send(self._session.stdin_end())
                return _ENDED
            if not data:
                await asyncio.sleep(_LAST_OUTPUT)
                return _DETACHED
            detached = False
            if detector is not None:
                data, detached = detector.feed(data)
            for start in range(0, len(data), _PIECE):
                await self._send(self._session.stdin(data[start : start + _PIECE]))
            if detached:
                return _DETACHED

    async def _send(self, request: Any) -> None:
        while True:
            await self._opened.wait()
            call = self._call
            try:
                await call.write(request)
                return
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                if call is self._call:
                    # The output side decides whether there is a next call.
                    await asyncio.sleep(0.05)

    def _note(self, text: str) -> bytes:
        return text.replace("\n", "\r\n").encode() if self.tty else frame(2, text.encode())


def frame(stream: int, data: bytes) -> bytes:
    """Returns data as one frame of Docker's multiplexed streams."""
    return struct.pack(">B3xI", stream, len(data)) + data


async def _forever() -> str:
    await asyncio.Event().wait()
    return ""
