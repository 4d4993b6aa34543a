"""What the server computes: from bytes and options to bytes and numbers. It knows no HTTP, and threads share it."""

import codecs
import dataclasses
import json
import logging
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from flowvocoder.audio.files import Samples, encode_audio, read_audio
from flowvocoder.audio.pcm16 import to_pcm16
from flowvocoder.audio.resample import resample
from flowvocoder.batches import together
from flowvocoder.errors import (
    AcousticError,
    AudioError,
    ConfigError,
    FlowVocoderError,
    ImplausibleMelError,
    MelError,
    one_line,
)
from flowvocoder.files import reading
from flowvocoder.mel.conversion import MelConversion, as_source
from flowvocoder.mel.diagnose import implausible
from flowvocoder.mel.files import Mel, decode_mel, is_npy, is_safetensors, mel_of_numbers
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec, convention, edge_padding
from flowvocoder.mel.toolkits import Toolkit
from flowvocoder.server.limits import LARGEST_JSON, MOST_GL_ITERS, MOST_LOW_BAND_ITERS, MOST_TEMPERATURE
from flowvocoder.server.queue import Abandoned, Alive
from flowvocoder.text.acoustic import Acoustic
from flowvocoder.text.limits import FASTEST, MOST_CHARACTERS, SLOWEST
from flowvocoder.units import bits_per_sample, seconds
from flowvocoder.vocoder import Vocoder

BODY = Path("the body")
"""What error messages call it."""

SHORT = 1.0
"""Seconds of audio up to which mels are synthesised together on a CPU. Eight at a time took .5 of the time of one after
the other at .1 s, .93 at 1.2 s, and 1.13 at 2.9 s (one thread, 2026-11-29)."""

Convention = Field(None, max_length=40, description="of the mel, such as hifigan (default: the voice's)")


class Options(BaseModel):
    """What a client may set. Nothing else is taken."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Sampling(Options):
    """How audio is drawn, as `Vocoder.synthesize` and `Vocoder.stream` take it."""

    seed: int = Field(0, ge=0, lt=2**63, description="of the noise; the same seed gives the same samples")
    temperature: float | None = Field(
        None, ge=0, le=MOST_TEMPERATURE, description="standard deviation of the noise (default: the voice's)"
    )
    gl_iters: int | None = Field(
        None, ge=0, le=MOST_GL_ITERS, description="mel-consistency iterations after the flow (default: the voice's)"
    )
    low_band_iters: int | None = Field(
        None,
        ge=0,
        le=MOST_LOW_BAND_ITERS,
        description="further ones below 1 and 2 kHz (default: the voice's; streams run the rounds of their latency)",
    )
    latency_ms: float | None = Field(
        None, gt=0, le=10_000, description="from a frame to its samples in a stream, in place of the iterations"
    )
    convention: str | None = Convention
    trust_mel: bool = Field(False, description="take a mel whatever it looks like")

    def given(self) -> dict[str, Any]:
        """All but the seed and the temperature."""
        return self.model_dump(exclude={"seed", "temperature", "format"})


class Vocode(Sampling):
    """Options of /v1/vocode."""

    format: Literal["wav", "flac", "opus", "mp3", "pcm"] = Field(
        "wav", description="of the answer; pcm: 16-bit little-endian"
    )


class Speech(BaseModel):
    """The body of /v1/audio/speech, as OpenAI has it. Of model, voice and instructions nothing depends here."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    input: str = Field(max_length=MOST_CHARACTERS, description="what to say")
    model: str = Field("", max_length=200)
    voice: str | dict[str, Any] = ""
    response_format: Literal["wav", "flac", "opus", "mp3", "pcm"] = Field("mp3", description="pcm: 24 kHz, 16 bits")
    speed: float = Field(1.0, ge=SLOWEST, le=FASTEST)
    stream_format: Literal["audio"] = "audio"
    seed: int = Field(0, ge=0, lt=2**63)


class Score(Options):
    """Options of /v1/score."""

    seed: int = Field(0, ge=0, lt=2**63, description="of the dequantisation noise")
    by_frame: bool = Field(False, description="also the nats of every frame, as a list")


class MelOptions(Options):
    """Options of /v1/mel."""

    convention: str | None = Convention
    format: Literal["npy", "safetensors", "json"] = Field("npy", description="of the answer, float32 (n_mels, frames)")


@dataclasses.dataclass(frozen=True)
class ToVocode:
    """A mel (n_mels, F) in the convention `spec`, and how to synthesise it; `samples`: cut to so many, None for all."""

    mel: Mel
    spec: MelSpec
    options: Vocode
    samples: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Arguments of synthesis but the temperature. The mel was checked when it was read."""
        return {**self.options.given(), "convention": self.spec, "trust_mel": True}


@dataclasses.dataclass(frozen=True)
class Encoded:
    """An answer of audio: the bytes of a file, its rate in Hz, seconds, and how many samples were clipped."""

    content: bytes
    sample_rate: int
    seconds: float
    clipped: int


class Service:
    """A voice, and what clients can have of it.

    Args:
        longest: seconds of audio in one request.
        tts: what makes mels of text; None: nothing does.

    Every method raises AudioError, MelError or ConfigError for what it cannot take.
    """

    def __init__(self, vocoder: Vocoder, longest: float, tts: Acoustic | None = None):
        self.vocoder, self.spec, self.longest = vocoder, vocoder.spec, longest
        self.tts = tts

    def about(self) -> dict[str, Any]:
        """What a client needs to know of the voice."""
        card = self.vocoder.card
        return {
            "name": card.name, "licence": card.licence, "sample_rate": self.spec.sample_rate,
            "n_mels": self.spec.n_mels, "hop_length": self.spec.hop_length, "mel": self.spec.to_dict(),
            "convention": self.spec.name(), "temperature": self.vocoder.temperature, "longest_seconds": self.longest,
        }  # fmt: skip

    def read(self, content: bytes, options: Vocode) -> ToVocode:
        """A mel, or a recording whose mel is then the voice's own."""
        if content[:64].removeprefix(codecs.BOM_UTF8).lstrip()[:1] in (b"{", b"["):
            return self._of_json(content, options)
        if not (is_npy(content) or is_safetensors(content)):
            audio = self.recording(content)
            return ToVocode(self.vocoder.mel_for(audio)[0].cpu().numpy(), self.spec, options, len(audio))
        source = self._source(options)
        mel = decode_mel(content, BODY, source.spec, self._most_frames(source.spec))
        return self._checked(mel, source, options)

    def speech(self, asked: Speech) -> ToVocode:
        """The mel of a text. Raises AcousticError, too: the model fails on it."""
        if self.tts is None:
            raise ConfigError("this server has no acoustic model: pip install 'flowvocoder[say]', or serve with --tts")
        try:
            numbers, source = self.tts(asked.input, asked.speed, asked.seed % 2**32)
        except AcousticError as error:  # the client hears nothing of it
            logging.getLogger(__name__).error(one_line(str(error)))
            raise
        most, frames = self._most_frames(source.spec), numbers.shape[1]
        if frames > most:
            raise MelError(f"the text takes {frames} frames, {most} ({self.longest:g} s) are synthesised in one go")
        options = Vocode.model_validate({"seed": asked.seed, "trust_mel": True, "format": asked.response_format})
        return self._checked(numbers, source, options)

    def _of_json(self, content: bytes, options: Vocode) -> ToVocode:
        if len(content) > LARGEST_JSON:
            raise MelError(f"{BODY}: JSON may have {LARGEST_JSON} bytes, not {len(content)}: send .npy or safetensors")
        with reading(BODY, MelError, "is not JSON"):
            values = json.loads(content.decode("utf-8-sig"))
        if not isinstance(values, dict) or "mel" not in values:
            raise MelError(f'{BODY}: JSON is an object with "mel", a list of n_mels lists of numbers')
        numbers = values.pop("mel")
        options = Vocode.model_validate({**options.model_dump(exclude_unset=True), **values})
        source = self._source(options)
        return self._checked(
            mel_of_numbers(numbers, BODY, source.spec, self._most_frames(source.spec)), source, options
        )

    def _checked(self, numbers: Mel, source: Toolkit, options: Vocode) -> ToVocode:
        mel, spec = source.undo(numbers).astype(np.float32, copy=False), source.spec
        problem = None if options.trust_mel else implausible(mel, spec)
        if problem:
            raise ImplausibleMelError(f"not a plausible {spec.name()} mel: {problem} (trust_mel=true takes it anyway)")
        return ToVocode(mel, spec, options)

    def _source(self, options: Sampling) -> Toolkit:
        """Whose numbers the client sends."""
        source = as_source(options.convention, self.spec)
        MelConversion(source, self.spec)  # raises where the voice cannot serve it
        self.vocoder.iterations(options.gl_iters, options.low_band_iters, options.latency_ms)
        return source

    def _most_frames(self, spec: MelSpec) -> int:
        return max(1, int(self.longest * spec.sample_rate / spec.hop_length))

    def recording(self, content: bytes) -> torch.Tensor:
        """Audio (T,) at the voice's rate, long enough for a mel."""
        read = read_audio(BODY, self.spec.sample_rate, content=content, longest=self.longest)
        have, need = len(read.samples), max(edge_padding(self.spec)) + 1
        if have < need:
            times = [seconds(samples, self.spec.sample_rate) for samples in (have, need)]
            raise AudioError(f"{BODY}: lasts {times[0]:.3f} s, at least {times[1]:.3f} s are needed")
        return torch.from_numpy(read.samples)

    def synthesize(self, batch: list[ToVocode], alive: Alive) -> Sequence[Samples | Exception]:
        """Audio (T,) of each mel, all of the same `key`: what `flowvocoder synth` writes, as near as `together` says.

        Raises:
            Abandoned: as soon as `alive` says no.
        """
        try:
            return self._together(batch, alive)
        except FlowVocoderError as error:
            if len(batch) == 1:
                return [error]
            return [self.synthesize([one], alive)[0] for one in batch]  # what is wrong with one is not with the others

    def _together(self, batch: list[ToVocode], alive: Alive) -> list[Samples]:
        def go_on() -> None:
            if not alive():
                raise Abandoned

        first, mels, seeds = batch[0], [one.mel for one in batch], [one.options.seed for one in batch]
        audio = together(self.vocoder, mels, seeds, first.options.temperature, go_on, **first.given)
        return [samples[: one.samples] for samples, one in zip(audio, batch, strict=True)]

    def key(self, one: ToVocode) -> Hashable:
        """What may go into one synthesis has the same."""
        if self.vocoder.device.type == "cpu" and one.mel.shape[1] > SHORT * one.spec.sample_rate / one.spec.hop_length:
            return object()  # no other's
        return (one.options.temperature, *sorted(one.given.items(), key=lambda item: item[0]))

    def encode(self, samples: Samples, options: Vocode, pcm_rate: int | None = None) -> Encoded:
        """Audio as the bytes of an answer; what says no rate of its own is at `pcm_rate`, None for the voice's."""
        length = seconds(len(samples), self.spec.sample_rate)
        rate = self.spec.sample_rate
        if pcm_rate is not None and options.format == "pcm":
            samples, rate = resample(samples, rate, pcm_rate), pcm_rate
        content, rate, clipped = encode_audio(samples, rate, options.format)
        return Encoded(content, rate, length, clipped)

    def score(self, content: bytes, options: Score) -> dict[str, Any]:
        """The exact likelihood of a recording."""
        audio = self.recording(content)
        nats = float(self.vocoder.score(audio, seed=options.seed))
        said = {
            "nats_per_sample": nats, "bits_per_sample": bits_per_sample(nats),
            "seconds": seconds(len(audio), self.spec.sample_rate),
        }  # fmt: skip
        if options.by_frame:
            return {**said, "nats_by_frame": self.vocoder.score_by_frame(audio, seed=options.seed)[0].tolist()}
        return said

    def mel(self, content: bytes, options: MelOptions) -> tuple[Mel, MelSpec]:
        """The mel (n_mels, F) of a recording, in the voice's convention or the one named."""
        if options.convention is None:
            return self.vocoder.mel(self.recording(content))[0].cpu().numpy(), self.spec
        spec = convention(options.convention)
        audio = read_audio(BODY, spec.sample_rate, content=content, longest=self.longest).samples
        return MelFrontEnd(spec)(torch.from_numpy(audio)).numpy(), spec

    def stream(self, options: Sampling) -> "Streaming":
        """A stream of frames to audio."""
        spec = as_source(options.convention, self.spec).spec
        stream = self.vocoder.stream(options.temperature, options.seed, **options.given())
        return Streaming(stream.push, stream.flush, spec, stream.seconds_behind, self.spec.sample_rate)


@dataclasses.dataclass(frozen=True)
class Streaming:
    """One stream, from bytes of float32 frames to bytes of 16-bit samples."""

    _push: Callable[[Any], torch.Tensor]
    _flush: Callable[[], torch.Tensor]
    spec: MelSpec
    seconds_behind: float
    sample_rate: int

    def push(self, message: bytes) -> bytes:
        """Frames, one after the other, little-endian -> the samples that they decide."""
        size = 4 * self.spec.n_mels
        if not message or len(message) % size:
            raise MelError(
                f"a message has whole frames of {size} bytes ({self.spec.n_mels} float32), not {len(message)}"
            )
        return _pcm(self._push(np.frombuffer(message, "<f4").reshape(-1, self.spec.n_mels).T))

    def flush(self) -> bytes:
        """What was waiting for frames to come."""
        return _pcm(self._flush())


def _pcm(audio: torch.Tensor) -> bytes:
    return to_pcm16(audio.cpu().numpy())[0].astype("<i2").tobytes()


def option_problem(error: dict[str, Any]) -> ConfigError:
    """What pydantic says of an option, as one sentence."""
    name = ".".join(str(part) for part in error["loc"] if part not in ("query", "body")) or "the options"
    if error["type"] == "extra_forbidden":
        return ConfigError(f"there is no option {name[:40]!r}")
    if error["type"] in ("json_invalid", "model_attributes_type") or error["loc"] == ("body",):
        return ConfigError("the body must be a JSON object, sent with `Content-Type: application/json`")
    if error["type"] == "missing":
        return ConfigError(f"{name} is missing")
    return ConfigError(f"{name}: {error['msg']}, not {str(error.get('input'))[:40]!r}")
