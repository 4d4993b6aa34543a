"""Text to speech by the Wyoming protocol, for Home Assistant: events of one JSON line each over TCP."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.server import AsyncEventHandler
from wyoming.tts import Synthesize

from flowvocoder import __version__
from flowvocoder.audio.files import Samples
from flowvocoder.audio.pcm16 import to_pcm16
from flowvocoder.errors import FlowVocoderError
from flowvocoder.server.answers import refusal
from flowvocoder.server.gate import Places
from flowvocoder.server.limits import IDLE_SECONDS, LARGEST_MESSAGE, MOST_CONNECTIONS
from flowvocoder.server.queue import Queue
from flowvocoder.server.service import Service, Speech, option_problem

CHUNK = 2048
"""Samples of one event of audio."""


class WyomingApi:
    """What answers over Wyoming; requests share queue and places with those over HTTP.

    Args:
        texts: where texts become mels.
        timeout: seconds.
    """

    def __init__(self, service: Service, places: Places, queue: Queue, texts: Executor, timeout: float):
        self.service, self.places, self.queue = service, places, queue
        self.texts, self.timeout = texts, timeout
        self._open: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self, listening: socket.socket) -> AsyncIterator[None]:
        """While it accepts connections; in the end those that are open are hung up on."""
        server = await asyncio.start_server(self._accept, sock=listening)
        try:
            yield
        finally:
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.create_task(_Connection(self, reader, writer).run())
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    def info(self) -> Info:
        """What Home Assistant asks first."""
        card, language = self.service.vocoder.card, getattr(self.service.tts, "language", "en")
        about: dict[str, Any] = {
            "attribution": Attribution("flowvocoder", ""), "installed": self.service.tts is not None,
            "version": __version__,
        }  # fmt: skip
        voice = TtsVoice(
            name=card.name or "default", description=f"licence: {card.licence}", languages=[language], **about
        )
        return Info(tts=[TtsProgram(name="flowvocoder", description="normalizing flow", voices=[voice], **about)])

    @contextlib.asynccontextmanager
    async def said(self, text: str, address: str) -> AsyncIterator[Samples]:
        """Samples (T,) of a text, which has its place until they are sent. Raises what `refusal` takes."""
        if self.places.stopping:
            raise HTTPException(503, "The server is stopping")
        with self.places.request(address, len(text)):
            work = asyncio.ensure_future(self._say(Speech.model_validate({"input": text})))
            try:
                samples = await asyncio.wait_for(self.places.while_serving(work), self.timeout)
            except TimeoutError as error:
                raise HTTPException(504, f"This took more than {self.timeout:g} s") from error
            yield samples

    async def _say(self, asked: Speech) -> Samples:
        given = await asyncio.get_running_loop().run_in_executor(self.texts, self.service.speech, asked)
        samples: Samples = await self.queue.run(self.service.synthesize, given, self.service.key(given))
        return samples


class _Bounded:
    """A stream reader that waits, and takes, no more than it should; the library then hangs up."""

    def __init__(self, reader: asyncio.StreamReader):
        self._reader = reader

    async def readline(self) -> bytes:
        return await asyncio.wait_for(self._reader.readline(), IDLE_SECONDS)

    async def readexactly(self, size: int) -> bytes:
        if size > LARGEST_MESSAGE:
            raise ValueError
        return await asyncio.wait_for(self._reader.readexactly(size), IDLE_SECONDS)


class _Connection(AsyncEventHandler):
    def __init__(self, api: WyomingApi, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        super().__init__(_Bounded(reader), writer)  # type: ignore[arg-type]
        self._api, self._address = api, (writer.get_extra_info("peername") or ("",))[0]  # none: it is gone already
        writer.transport.set_write_buffer_limits(0)  # what is written is then sent, and no place given back too early

    async def run(self) -> None:
        """Until the client goes, sends what is no event, or does not take what it asked for."""
        try:
            with contextlib.suppress(Exception):
                await super().run()
        finally:
            self.writer.transport.abort()  # closing waits, for ever, for somebody to take what is left

    async def handle_event(self, event: Event) -> bool:
        """Answers one event; whether to stay connected."""
        if Describe.is_type(event.type):
            await self.write_event(self._api.info().event())
        elif Synthesize.is_type(event.type):
            try:
                async with self._api.said(Synthesize.from_event(event).text, self._address) as samples:
                    await self._send(samples)
            except (FlowVocoderError, HTTPException, ValidationError) as problem:
                known = option_problem(dict(problem.errors()[0])) if isinstance(problem, ValidationError) else problem
                said = refusal(known)[1]["error"]
                await self.write_event(Error(said["message"], said["code"]).event())
        return True

    async def write_event(self, event: Event) -> None:
        """Raises TimeoutError, and so ends the connection, if nobody takes it."""
        await asyncio.wait_for(super().write_event(event), IDLE_SECONDS)

    async def _send(self, samples: Samples) -> None:
        form = {"rate": self._api.service.spec.sample_rate, "width": 2, "channels": 1}
        await self.write_event(AudioStart(**form).event())
        whole = to_pcm16(samples)[0].astype("<i2")
        for start in range(0, len(whole), CHUNK):
            await self.write_event(AudioChunk(audio=whole[start : start + CHUNK].tobytes(), **form).event())
        await self.write_event(AudioStop().event())
