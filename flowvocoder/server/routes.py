"""What is served over HTTP."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Annotated, Any, TypeVar

import numpy as np
import safetensors.numpy
from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from flowvocoder import __version__
from flowvocoder.mel.files import Mel, npy_bytes
from flowvocoder.mel.spec import MelSpec
from flowvocoder.server.gate import Places, until_gone
from flowvocoder.server.metrics import Metrics
from flowvocoder.server.queue import Abandoned, Alive, Queue
from flowvocoder.server.service import Encoded, MelOptions, Score, Service, Speech, ToVocode, Vocode
from flowvocoder.web.bodies import LARGEST_FILE

T = TypeVar("T")

_TYPES = {"wav": "audio/wav", "flac": "audio/flac", "opus": "audio/ogg", "mp3": "audio/mpeg", "pcm": "audio/pcm"}

SPEECH_RATE = 24_000
"""Hz of raw samples, where a client expects them as OpenAI sends them."""

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_MEL = {
    "type": "object", "required": ["mel"], "description": "the query's options are taken here, too",
    "properties": {"mel": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}},
}  # fmt: skip


def _body_of(kinds: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI says of a request's body."""
    return {"requestBody": {"required": True, "content": kinds}}


_RECORDING = _body_of({"audio/*": _BINARY})
_MEL_OR_RECORDING = _body_of(
    {"application/octet-stream": _BINARY, "audio/*": _BINARY, "application/json": {"schema": _MEL}}
)


class Api:
    """The routes over a service.

    Args:
        reading: where bodies are read and answers encoded.
        texts: where texts become mels, which may take long.
        queue: for all that needs the voice.
        timeout: seconds.
    """

    def __init__(
        self, service: Service, places: Places, metrics: Metrics, queue: Queue, reading: Executor, texts: Executor,
        timeout: float,
    ):  # fmt: skip
        self.service, self.places, self.metrics = service, places, metrics
        self.queue, self.reading, self.texts, self.timeout = queue, reading, texts, timeout

    def router(self) -> APIRouter:
        """All of them."""
        router = APIRouter()
        router.get("/healthz", summary="Whether the server takes requests")(self.health)
        router.head("/healthz", include_in_schema=False)(self.health)  # as load balancers ask
        router.get("/metrics", summary="Figures for Prometheus")(self.figures)
        router.get("/v1/voice", summary="The voice: rate, mel, licence")(self.voice)
        kinds: dict[str, Any] = {kind: {} for kind in _TYPES.values()}
        audio: dict[int | str, dict[str, Any]] = {200: {"content": kinds, "description": "audio"}}
        router.post(
            "/v1/vocode", summary="A mel, or a recording through its mel, to audio", openapi_extra=_MEL_OR_RECORDING,
            response_class=Response, responses=audio,
        )(self.vocode)  # fmt: skip
        router.post(
            "/v1/audio/speech", summary="Text to audio, as OpenAI's API has it", response_class=Response,
            responses=audio,
        )(self.speech)  # fmt: skip
        router.post("/v1/score", summary="The exact likelihood of a recording", openapi_extra=_RECORDING)(self.score)
        router.post(
            "/v1/mel", summary="The mel of a recording", openapi_extra=_RECORDING, response_class=Response,
        )(self.mel)  # fmt: skip
        return router

    async def health(self) -> JSONResponse:
        """200, or 503 while it stops."""
        said = {"status": "stopping" if self.places.stopping else "ok", "version": __version__}
        return JSONResponse(said, 503 if self.places.stopping else 200)

    async def figures(self) -> Response:
        """Text that Prometheus reads."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def voice(self) -> dict[str, Any]:
        """What a client needs to know before it sends mels."""
        return self.service.about()

    async def vocode(self, request: Request, options: Annotated[Vocode, Query()]) -> Response:
        """The body is a mel, float32 (n_mels, frames), as `.npy`, safetensors or JSON, or a recording: WAV, FLAC, Ogg,
        Opus or MP3. With the same options the answer is the file that `flowvocoder synth` or `resynth` writes."""
        return await self._in_time(request, self._vocode(await self._body(request), options))

    async def _vocode(self, content: bytes, options: Vocode) -> Response:
        return await self._speak("/v1/vocode", await self._read(self.service.read, content, options))

    async def speech(self, request: Request, asked: Speech) -> Response:
        """The text goes through an acoustic model to a mel, and that through the flow."""
        return await self._in_time(request, self._speech(asked))

    async def _speech(self, asked: Speech) -> Response:
        given = await asyncio.get_running_loop().run_in_executor(self.texts, self.service.speech, asked)
        return await self._speak("/v1/audio/speech", given, SPEECH_RATE)

    async def _speak(self, path: str, given: ToVocode, pcm_rate: int | None = None) -> Response:
        samples = await self.queue.run(self.service.synthesize, given, self.service.key(given))
        audio: Encoded = await self._read(self.service.encode, samples, given.options, pcm_rate)
        self.metrics.audio.labels(path).inc(audio.seconds)
        said = {"X-Sample-Rate": str(audio.sample_rate), "X-Clipped-Samples": str(audio.clipped)}
        return Response(audio.content, headers=said, media_type=_TYPES[given.options.format])

    async def score(self, request: Request, options: Annotated[Score, Query()]) -> dict[str, Any]:
        """Nats and bits per sample, as `flowvocoder score` gives them."""
        content = await self._body(request)
        return await self._in_time(request, self._alone(lambda: self.service.score(content, options)))

    async def mel(self, request: Request, options: Annotated[MelOptions, Query()]) -> Response:
        """As `flowvocoder mel` writes it. The spec is in the header `X-Mel-Spec`, and in JSON and safetensors, too."""
        return await self._in_time(request, self._mel(await self._body(request), options))

    async def _mel(self, content: bytes, options: MelOptions) -> Response:
        mel, spec = await self._alone(lambda: self.service.mel(content, options))
        return await self._read(_mel_answer, mel, spec, options.format)

    async def _body(self, request: Request) -> bytes:
        content = bytearray()
        async for piece in request.stream():
            content += piece
            if len(content) > LARGEST_FILE:  # a body says its length, which the connection holds it to
                raise HTTPException(413, f"A request may have {LARGEST_FILE // 2**20} MiB here")
        if not content:
            raise HTTPException(400, "The body is empty: send a mel or a recording in it")
        return bytes(content)

    async def _read(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.reading, function, *arguments)

    async def _alone(self, function: Callable[[], T]) -> T:
        """In the queue, by itself."""

        def work(given: list[Any], alive: Alive) -> list[T]:
            return [function()]

        return await self.queue.run(work, None)

    async def _in_time(self, request: Request, answer: Awaitable[T]) -> T:
        """The answer. Raises HTTPException if it takes too long; it is given up if the client hangs up."""
        task = asyncio.ensure_future(self.places.while_serving(asyncio.ensure_future(answer)))
        gone = asyncio.create_task(until_gone(request.receive))
        try:
            await asyncio.wait({task, gone}, timeout=self.timeout, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            said = "The client hung up" if gone.done() else f"This took more than {self.timeout:g} s"
            raise HTTPException(504, said)
        except Abandoned as error:
            raise HTTPException(504, "Given up") from error
        finally:
            for one in (task, gone):
                one.cancel()


def _mel_answer(mel: Mel, spec: MelSpec, kind: str) -> Response:
    described = json.dumps(spec.to_dict())
    said = {"X-Mel-Spec": described}
    if kind == "json":
        return JSONResponse({"mel": mel.tolist(), "spec": spec.to_dict()}, headers=said)
    if kind == "safetensors":
        packed = safetensors.numpy.save({"mel": np.ascontiguousarray(mel)}, {"spec": described})
        return Response(packed, headers=said, media_type="application/octet-stream")
    return Response(npy_bytes(mel), headers=said, media_type="application/octet-stream")
