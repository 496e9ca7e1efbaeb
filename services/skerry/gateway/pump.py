"""Moving bytes between a hijacked connection and a gRPC stream of the node, both ways, with back-pressure.

A node that restarts is waited for: the stream is taken up again at the spool offset up to which everything was sent.
"""

import asyncio
import logging
import os
import struct
import time
from typing import Any, NamedTuple, Protocol

import grpc
import grpc.aio

from skerry.core.rpc.errors import from_rpc
from skerry.gateway.beside import beside
from skerry.gateway.detach import Detector

_log = logging.getLogger(__name__)
_PIECE = 64 << 10
# A node that is restarted again and again on a slow machine is still waited for.
_PATIENCE = 120.0
_ANSWER_SECONDS = 30.0
# After the client's input ended without ending the process's: what the last of it brings forth is still sent.
_LAST_OUTPUT = 0.2
_DETACHED = "detached"
_ENDED = "ended"


class Place(NamedTuple):
    """Where in the spool the output goes on: an offset, and the sequence of the frame there when that is known."""

    offset: int
    sequence: int | None = None


class Session(Protocol):
    """One attach or exec, as the node's API has it."""

    def open(self) -> Any:
        """Returns a new call."""
        ...

    def opening(self, place: "Place | None") -> Any:
        """Returns the first request; place: where to go on, None for the first call."""
        ...

    def stdin(self, data: bytes) -> Any:
        """Returns the request that carries input."""
        ...

    def stdin_end(self) -> Any:
        """Returns the request that says that the input ended."""
        ...


class Client(Protocol):
    """Who reads the output and may give input: a hijacked connection, or a build."""

    async def read(self) -> bytes:
        """Returns input; b"" at its end."""
        ...

    async def write(self, data: bytes) -> None:
        """Takes output. Raises ConnectionError when nobody wants it any more."""
        ...


def new_hold() -> str:
    """Returns a name for what is held for a client; see AttachOpen.hold."""
    return os.urandom(16).hex()


class _Away:
    """How long the node has said nothing."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + _PATIENCE
        self._pause = 0.005

    async def wait(self) -> bool:
        """Waits a little longer than the last time; False: it was waited for long enough."""
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, 0.2)
        return time.monotonic() < self._deadline


class Pump:
    """Runs one session. `begin` before the hijack, so that errors are plain answers; `run` after it."""

    def __init__(self, session: Session, resume_at: int | None = None) -> None:
        """resume_at: the spool offset at which the output begins, for a stream that is lost before the first piece came."""
        self._session = session
        self._call: Any = None
        self._place: Place | None = None
        self._resume_at = resume_at
        self._opened = asyncio.Event()
        self.tty = False
        # What the node said when the stream was opened first.
        self.opened: Any = None

    async def begin(self) -> None:
        """Opens the call and waits until output is followed. Raises AioRpcError."""
        call = self._session.open()
        await call.write(self._session.opening(self._place))
        first = await call.read()
        if first is not grpc.aio.EOF:
            self.tty = first.opened.tty
            self.opened = self.opened or first.opened
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
        """Sends what comes until the node says that it ended: a stream that just ends was a service's that was stopped."""
        away: _Away | None = None
        while True:
            try:
                while (response := await self._call.read()) is not grpc.aio.EOF:
                    away = None
                    if response.WhichOneof("part") != "output":
                        continue
                    output = response.output
                    if output.gap:
                        await stream.write(self._note(f"{output.gap} bytes of output were not kept\n"))
                    if output.data:
                        await stream.write(output.data)
                    if output.ended:
                        return
                    self._place = Place(output.next_offset, output.next_sequence)
            except grpc.aio.AioRpcError as error:
                # Lost: the node went away, or grpc gave the call up because input was written when the other side had just finished it
                # (grpc.aio then drops what was not read yet, as INTERNAL). Either way the spool still has it.
                if not _lost(error):
                    await self._failed(stream, error.details())
                    return
            away = away or _Away()
            if (problem := await self._take_up(away)) is not None:
                await self._failed(stream, problem)
                return

    async def _failed(self, stream: Client, problem: str | None) -> None:
        """The client must not take what it has for everything."""
        _log.warning("stream failed", extra={"error": problem})
        await stream.write(self._note(f"the output could not be followed to its end: {problem}\n"))

    async def _take_up(self, away: _Away) -> str | None:
        """Opens the call anew where the output goes on. Returns why not, when the node refuses or stays away."""
        self._opened.clear()
        if self._place is None and self._resume_at is not None:
            self._place = Place(self._resume_at)
        problem: str | None = "the container service stays away"
        while await away.wait():
            self._call.cancel()
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self.begin()
                return None
            except TimeoutError:
                pass
            except grpc.aio.AioRpcError as error:
                problem = error.details()
                if not _lost(error):
                    break
        return problem

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


def _lost(error: grpc.aio.AioRpcError) -> bool:
    """Tells whether a call was cut off, and not refused."""
    return error.code() is grpc.StatusCode.UNAVAILABLE or from_rpc(error) is None


def frame(stream: int, data: bytes) -> bytes:
    """Returns data as one frame of Docker's multiplexed streams."""
    return struct.pack(">B3xI", stream, len(data)) + data


async def _forever() -> str:
    await asyncio.Event().wait()
    return ""
