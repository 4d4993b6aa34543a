"""What the demo computes: from a visitor's file and settings to arrays and numbers. Knows nothing of the page."""

import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flowvocoder.analysis.damage import Damage
from flowvocoder.analysis.editing import moved, redone
from flowvocoder.analysis.latent import FrameLikelihood, Gaussianity, gaussianity, likelihood_by_frame, mix
from flowvocoder.analysis.walk import LayerState, walk
from flowvocoder.anomaly import AnomalyDetector
from flowvocoder.anomaly.plots import draw_verdict
from flowvocoder.anomaly.spans import Verdict
from flowvocoder.audio.files import Recording, Samples
from flowvocoder.demo import inputs
from flowvocoder.errors import AudioError, ConfigError
from flowvocoder.evaluation.griffin_lim import griffin_lim
from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.denoiser import Denoiser
from flowvocoder.postfilter.latency import delays
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.text.acoustic import HIBARI, Acoustic, acoustic
from flowvocoder.units import bits_per_sample
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import BUNDLED_VOICE

MOST_TEMPERATURE, MOST_GL_ITERS = 1.5, 64
MOST_FILES = 20
"""In one request."""

MOST_CHARACTERS = 600
"""Of a text: some 40 s of speech."""

GRIFFIN_LIM, ORIGINAL = "Griffin-Lim", "the recording itself"


@dataclasses.dataclass(frozen=True)
class Resynthesis:
    """A recording and what the vocoder made of its mel (n_mels, F), (T,) each."""

    original: Samples
    mel: Tensor
    vocoded: Samples
    sample_rate: int
    seconds: float
    times_real_time: float
    bits_per_sample: float
    mel_distance: float
    changes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Latent:
    """A recording's latent (M, N), its statistics, and the audio decoded from it once changed, (T,)."""

    z: Tensor
    statistics: Gaussianity
    decoded: Samples
    sample_rate: int
    block: int
    round_trip_error: float


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """A recording and a damaged copy, (T,) each, and the likelihood of both over time."""

    original: Samples
    damaged: Samples
    sample_rate: int
    hop: int
    before: FrameLikelihood
    after: FrameLikelihood

    def nats_per_sample(self, which: FrameLikelihood) -> float:
        return float(which.nats.sum()) / (len(which.nats) * self.hop)


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is broken in a recording; `evidence` (F, M) is of each frame and local damage.

    It is kept for every file of a visitor, and so without the samples.
    """

    path: Path
    verdict: Verdict
    evidence: npt.NDArray[np.float64]

    def recording(self) -> Recording:
        """At its own rate. Raises AudioError: it has been deleted."""
        return inputs.recording_as_stored(str(self.path))

    def picture(self, heard: Recording) -> npt.NDArray[np.uint8]:
        """Pixels (height, width, 3)."""
        return draw_verdict(heard.samples, heard.sample_rate, self.verdict, self.evidence, self.path.name)


@dataclasses.dataclass(frozen=True)
class Spoken:
    """A text's mel (n_mels, F) and its speech (T,)."""

    mel: Tensor
    samples: Samples
    sample_rate: int
    seconds: float
    text_seconds: float
    """That the acoustic model took."""
    times_real_time: float


class Service:
    """The vocoders, and what the demo does with them.

    Args:
        vocoders: by name; the first is used everywhere, all of them in comparisons.
        tts: what makes mels of text; None: hibari, where it is installed.

    Every method raises AudioError, MelError or ConfigError for bad input.
    """

    def __init__(self, vocoders: Mapping[str, Vocoder], tts: Acoustic | None = None):
        self.vocoders, self._tts = vocoders, tts
        self.name, self.vocoder = next(iter(vocoders.items()))

    @classmethod
    def load(cls, checkpoints: list[Path] | None = None, device: str | torch.device = "cpu") -> "Service":
        """Of checkpoint folders; None: of the bundled voice. Raises CheckpointError: one cannot be loaded."""
        paths = checkpoints or [BUNDLED_VOICE]
        names = [path.resolve().name for path in paths]
        if names.count("checkpoint") > 1:  # as training names them: runs/NAME/checkpoint
            names = [path.resolve().parent.name for path in paths]
        vocoders = {
            name if names.count(name) == 1 else f"{name} {index + 1}": Vocoder.from_pretrained(path, device)
            for index, (name, path) in enumerate(zip(names, paths, strict=True))
        }
        return cls(vocoders)

    @property
    def spec(self) -> MelSpec:
        return self.vocoder.spec

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.vocoder.parameters())

    @functools.cached_property
    def detector(self) -> AnomalyDetector:
        """The package's own, loaded when it is needed first."""
        return AnomalyDetector.load()

    @functools.cached_property
    def denoiser(self) -> Denoiser:
        """The first vocoder's, measured, by a synthesis, when it is needed first."""
        return self.vocoder.denoiser()

    def faults(self, path: str | None) -> Fault:
        """What is broken in a recording, heard at its own rate."""
        recording, file = inputs.recording_as_stored(path), Path(path or "")
        with inputs.nameless(file):
            pieces = list(self.detector.pieces(recording.samples, recording.sample_rate))
            return Fault(file, self.detector.verdict(pieces), np.concatenate([piece.frames for piece in pieces]))

    def edit(
        self, path: str | None, pitch: float, speed: float, formants: float, start: float, end: float, seed: int
    ) -> tuple[int, Samples, Samples]:
        """Rate, a recording, and the same with a span drawn anew (none if it is empty), then moved."""
        recording = inputs.recording_as_stored(path)
        samples, rate = recording.samples, recording.sample_rate
        try:
            done = samples if start == end else redone(self.vocoder, samples, rate, [(start, end)], inputs.seed(seed))
            return rate, samples, moved(done, rate, pitch, speed, formants)
        except AudioError as error:
            raise AudioError(f"{Path(path or '').name}: {error}") from error

    def samples(self, path: str | None) -> Samples:
        """A recording at the first vocoder's rate."""
        return inputs.recording(path, self.spec).samples

    def resynthesize(
        self, path: str | None, temperature: float, seed: int, denoise: float, gl_iters: int
    ) -> Resynthesis:
        """Recording to mel and back. `denoise` is the strength of the denoiser, 0 for none."""
        recording = inputs.recording(path, self.spec)
        audio = torch.from_numpy(recording.samples)
        mel = self.vocoder.mel_for(audio)
        started = time.perf_counter()
        vocoded = self._speak(self.vocoder, mel, temperature, seed, gl_iters)[: len(audio)]
        if denoise > 0.0:
            vocoded = self.denoiser(vocoded, denoise)[0].cpu()
        elapsed = time.perf_counter() - started
        return Resynthesis(
            original=recording.samples,
            mel=mel[0].cpu(),
            vocoded=vocoded.numpy(),
            sample_rate=self.spec.sample_rate,
            seconds=len(audio) / self.spec.sample_rate,
            times_real_time=len(audio) / self.spec.sample_rate / elapsed,
            bits_per_sample=bits_per_sample(float(self.vocoder.score(audio))),
            mel_distance=float((self.vocoder.mel(vocoded) - self.vocoder.mel(audio)).abs().mean()),
            changes=recording.changes,
        )

    @property
    def says(self) -> bool:
        """Whether there is an acoustic model."""
        return self._tts is not None or find_spec(HIBARI) is not None

    @functools.cached_property
    def tts(self) -> Acoustic:
        """The acoustic model, loaded when it is needed first. Raises ConfigError: it is not installed."""
        return self._tts or acoustic(HIBARI, self.vocoder)

    def say(self, text: str, speed: float, temperature: float, seed: int, gl_iters: int) -> Spoken:
        """Text to a mel, and that to speech."""
        if len(text) > MOST_CHARACTERS:
            raise ConfigError(f"the text has {len(text)} characters, {MOST_CHARACTERS} are said here in one go")
        started = time.perf_counter()
        numbers, source = self.tts(text, speed, inputs.seed(seed))
        mel, between = torch.from_numpy(source.undo(numbers)), time.perf_counter()
        audio = self._speak(self.vocoder, mel[None], temperature, seed, gl_iters, source.spec)
        length = len(audio) / self.spec.sample_rate
        elapsed = time.perf_counter() - between
        return Spoken(mel, audio.numpy(), self.spec.sample_rate, length, between - started, length / elapsed)

    def mel(self, path: str | None, trust: bool) -> Tensor:
        """The mel (n_mels, F) in a file."""
        return inputs.mel(path, self.spec, trust)

    def latencies(self) -> list[int]:
        """Milliseconds that a stream of the first voice can be behind its mel; none if it takes whole mels only."""
        try:
            return sorted(set(delays(self._delay, self.spec.sample_rate).values()))
        except ConfigError:
            return []

    def _delay(self, settings: PostfilterSettings) -> int:
        return self.vocoder.postfilter.delay(settings, self.vocoder.look_ahead)

    def stream(
        self, mel: Tensor, temperature: float, seed: int, gl_iters: int, latency_ms: float = 0, frames: int = 32
    ) -> Iterator[Tensor]:
        """Pieces of audio while they are synthesised; together they are what the mel gives in one go.

        Args:
            latency_ms: of a stream, whose iterations run in place of these; 0: a file is there, quality before delay.
        """
        gl_iters = _checked_iters(gl_iters)
        low_band_iters = self.vocoder.low_band_iters if gl_iters else 0
        files = {"gl_iters": gl_iters, "low_band_iters": low_band_iters}
        settings = {"latency_ms": latency_ms} if latency_ms and self.latencies() else files
        try:
            stream = self.vocoder.stream(_checked(temperature), inputs.seed(seed), trust_mel=True, **settings)
        except ConfigError:  # an architecture that only decodes whole mels
            yield self._speak(self.vocoder, mel, temperature, seed, gl_iters)
            return
        for piece in mel.split(frames, dim=-1):
            yield stream.push(piece).cpu()
        yield stream.flush().cpu()

    def latent(self, path: str | None, temperature: float, other: str | None, share: float) -> Latent:
        """Encode, change the latent (mix in that of another recording, scale by the temperature), decode."""
        samples = self.samples(path)
        latent, mel = self.vocoder.encode(torch.from_numpy(samples))
        back = self.vocoder.decode(latent, mel)[0, : len(samples)].cpu()
        changed = latent[0]
        if share > 0.0:
            second = self.vocoder.encode(torch.from_numpy(self.samples(other)))[0]
            changed = mix(changed, second[0], min(share, 1.0))
        changed = _checked(temperature) * changed
        decoded = self.vocoder.decode(changed, mel)[0, : len(samples)].cpu()
        return Latent(
            z=changed.cpu(),
            statistics=gaussianity(changed),
            decoded=decoded.numpy(),
            sample_rate=self.spec.sample_rate,
            block=self.vocoder.model.block,
            round_trip_error=float((back - torch.from_numpy(samples)).abs().max()),
        )

    def likelihood(self, path: str | None, damage: Damage, clean_mel: bool) -> Likelihood:
        """Over time, before and after the damage; the damaged copy given the clean recording's mel or its own."""
        samples = self.samples(path)
        audio = torch.from_numpy(samples)
        damaged = damage.apply(audio, self.spec.sample_rate)
        mel = self.vocoder.mel(audio) if clean_mel else None
        return Likelihood(
            original=samples,
            damaged=damaged.numpy(),
            sample_rate=self.spec.sample_rate,
            hop=self.spec.hop_length,
            before=likelihood_by_frame(self.vocoder, audio),
            after=likelihood_by_frame(self.vocoder, damaged, mel),
        )

    def score(self, path: str) -> tuple[float, float]:
        """Seconds and nats per sample of a recording."""
        samples = self.samples(path)
        return len(samples) / self.spec.sample_rate, float(self.vocoder.score(torch.from_numpy(samples)))

    @property
    def systems(self) -> list[str]:
        """What can be compared."""
        return [*self.vocoders, GRIFFIN_LIM, ORIGINAL]

    def speak(self, system: str, path: str | None, seed: int) -> tuple[int, Samples]:
        """A recording as one of `systems` says it: rate and samples. All vocoders run at their own temperature."""
        if system not in self.systems:
            raise ConfigError(f"there is no system {system!r}: choose from {', '.join(self.systems)}")
        vocoder = self.vocoders.get(system, self.vocoder)
        samples = inputs.recording(path, vocoder.spec).samples
        if system != ORIGINAL:
            mel = vocoder.mel_for(torch.from_numpy(samples))
            if system == GRIFFIN_LIM:
                spoken = griffin_lim(mel[0].cpu(), vocoder.spec)
            else:
                spoken = self._speak(vocoder, mel, vocoder.temperature, seed, vocoder.gl_iters)
            samples = spoken[: len(samples)].numpy()
        return vocoder.sample_rate, samples

    def walk(self, path: str | None) -> list[LayerState]:
        """A recording's way through the flow."""
        return walk(self.vocoder, torch.from_numpy(self.samples(path)))

    def _speak(
        self,
        vocoder: Vocoder,
        mel: Tensor,
        temperature: float,
        seed: int,
        gl_iters: int,
        convention: MelSpec | None = None,
    ) -> Tensor:
        audio = vocoder.synthesize(
            mel, _checked(temperature), seed=inputs.seed(seed), gl_iters=_checked_iters(gl_iters), trust_mel=True,
            convention=convention,
        )  # fmt: skip
        return audio[0].cpu()


def _checked(temperature: float) -> float:
    if not 0.0 <= temperature <= MOST_TEMPERATURE:
        raise ConfigError(f"the temperature must be from 0 to {MOST_TEMPERATURE}, not {temperature}")
    return float(temperature)


def _checked_iters(iterations: float) -> int:
    return inputs.whole("the number of iterations", iterations, MOST_GL_ITERS)
