"""The websocket: frames in, 16-bit samples out as they come.

After the handshake the server says in JSON what it takes and gives. Then the client sends binary messages of whole
float32 frames and gets binary messages of samples. The text `end` asks for the rest, after which the server says how
many samples there were, and closes. A refusal is an error object, after which it closes, too.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocket, WebSocketDisconnect

from flowvocoder.errors import MelError
from flowvocoder.server.answers import refusal
from flowvocoder.server.gate import Places
from flowvocoder.server.limits import IDLE_SECONDS, STREAM_MINUTES
from flowvocoder.server.metrics import Metrics
from flowvocoder.server.service import Sampling, Service, Streaming, option_problem

T = TypeVar("T")

END = "end"
DONE, REFUSED, BROKEN = 1000, 1008, 1011
"""Codes that a websocket closes with: all is said, the client's fault, the server's."""


class StreamApi:
    """The websocket's endpoint.

    Args:
        executor: whose threads synthesise.
    """

    def __init__(self, service: Service, places: Places, metrics: Metrics, executor: Executor):
        self.service, self.places, self.metrics, self.executor = service, places, metrics, executor

    async def serve(self, socket: WebSocket) -> None:
        """One stream, from the handshake to its end."""
        await socket.accept()
        try:
            await self.places.while_serving(asyncio.ensure_future(self._stream(socket)))
        except WebSocketDisconnect:
            return
        except Exception as problem:
            status, content, _ = refusal(problem)
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # closed already
                await _soon(socket.send_json(content))
                await _soon(socket.close(BROKEN if status == 500 else REFUSED))
            if status == 500:
                raise

    async def _stream(self, socket: WebSocket) -> None:
        try:
            options = Sampling.model_validate(dict(socket.query_params))
        except ValidationError as error:
            raise option_problem(dict(error.errors()[0])) from error
        stream: Streaming = await self._work(self.service.stream, options)
        await _soon(socket.send_json(self._about(stream)))
        most, frames, samples = 60.0 * STREAM_MINUTES * stream.spec.sample_rate / stream.spec.hop_length, 0, 0
        while (message := await self._next(socket)) is not None:
            frames += len(message) // (4 * stream.spec.n_mels)
            if frames > most:
                raise MelError(f"a stream has at most {STREAM_MINUTES:g} minutes: begin another")
            samples += await self._send(socket, await self._work(stream.push, message))
        if not frames:
            raise MelError("no frames came")
        samples += await self._send(socket, await self._work(stream.flush))
        await _soon(socket.send_json({"samples": samples, "seconds": samples / stream.sample_rate}))
        await _soon(socket.close(DONE))

    def _about(self, stream: Streaming) -> dict[str, Any]:
        return {
            "sample_rate": stream.sample_rate, "format": "s16le", "n_mels": stream.spec.n_mels, "frames": "float32le",
            "hop_length": stream.spec.hop_length, "latency_ms": 1000.0 * stream.seconds_behind,
        }  # fmt: skip

    async def _next(self, socket: WebSocket) -> bytes | None:
        """The next frames; None at the end."""
        try:
            message = await asyncio.wait_for(socket.receive(), IDLE_SECONDS)
        except TimeoutError as error:
            raise HTTPException(408, f"No frames came for {IDLE_SECONDS:g} s") from error
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", DONE))
        if message.get("bytes") is not None:
            return message["bytes"]
        if message.get("text") == END:
            return None
        raise MelError(f"a message is binary, or the text {END!r}")

    async def _send(self, socket: WebSocket, content: bytes) -> int:
        """Samples sent."""
        if content:
            await _soon(socket.send_bytes(content))
            self.metrics.audio.labels("/v1/stream").inc(len(content) / 2 / self.service.spec.sample_rate)
        return len(content) // 2

    async def _work(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.executor, function, *arguments)


async def _soon(sending: Awaitable[None]) -> None:
    """Raises WebSocketDisconnect if nobody takes it."""
    try:
        await asyncio.wait_for(sending, IDLE_SECONDS)
    except TimeoutError as error:
        raise WebSocketDisconnect(REFUSED) from error
