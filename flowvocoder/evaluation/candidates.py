"""What is evaluated: a checkpoint, Griffin-Lim on the same mels, or a folder of audio that something else made.

Candidates are small, immutable and picklable: worker processes load what they need, once.
"""

import dataclasses
import functools
import hashlib
import time
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from flowvocoder.audio.files import EXTENSIONS, Samples, read_audio
from flowvocoder.audio.pcm16 import from_pcm16, to_pcm16
from flowvocoder.checkpoint import read_config
from flowvocoder.data.corpus import Utterance
from flowvocoder.errors import AudioError
from flowvocoder.evaluation.griffin_lim import ITERATIONS
from flowvocoder.evaluation.measures.likelihood import likelihood
from flowvocoder.evaluation.measures.real_time import real_time_factor
from flowvocoder.evaluation.vocoders import System, griffin_lim_system, of_vocoder
from flowvocoder.files import sha256_of
from flowvocoder.mel.spec import MelSpec
from flowvocoder.units import seconds
from flowvocoder.vocoder import Vocoder


@dataclasses.dataclass(frozen=True)
class Speech:
    """What a candidate made of one utterance.

    Attributes:
        samples: (T,), rounded to 16 bit, which is what a file of it would hold.
        lag: samples by which it is late.
        values: what only its maker knows: likelihood, speed.
    """

    samples: Samples
    sample_rate: int
    lag: int = 0
    values: dict[str, float] = dataclasses.field(default_factory=dict)


class Candidate(Protocol):
    """One of what is compared: it turns the mel of an utterance into speech, or has done so."""

    @property
    def name(self) -> str:
        """In tables and file names."""

    @property
    def draws(self) -> int:
        """How often an utterance is drawn: once, where the speech is always the same."""

    def key(self, utterance: Utterance) -> dict[str, Any]:
        """All that its speech depends on but the recording, as JSON values."""

    def speak(self, utterance: Utterance, draw: int = 0) -> Speech:
        """Raises FlowVocoderError if it has nothing to say."""


@dataclasses.dataclass(frozen=True)
class CheckpointCandidate:
    """A checkpoint folder, at a temperature and post-filter iterations (None: its own) and as many seeds as draws, from
    `seed` on, the same ones for every utterance."""

    name: str
    checkpoint: Path
    content: str  # SHA-256 of its configuration, which states that of its weights
    temperature: float | None
    gl_iters: int | None
    low_band_iters: int | None
    latency_ms: float | None
    seed: int
    draws: int = 1
    device: str = "cpu"

    def key(self, utterance: Utterance) -> dict[str, Any]:
        drawn = {"temperature": self.temperature, "seed": self.seed, "draws": self.draws}
        return {"content": self.content, **drawn, **self._iterations, "device": self.device}

    @property
    def _iterations(self) -> dict[str, float | None]:
        names = ("gl_iters", "low_band_iters", "latency_ms")
        return {name: getattr(self, name) for name in names}

    def speak(self, utterance: Utterance, draw: int = 0) -> Speech:
        vocoder, seed = load(self.checkpoint, self.device), self.seed + draw
        audio = torch.from_numpy(utterance.read(vocoder.sample_rate))
        given = given_mel(utterance, vocoder.spec, len(audio))
        covered = audio if given is None else audio[: given.shape[-1] * vocoder.spec.hop_length]
        values = likelihood(vocoder, covered, given, seed)
        settings: dict[str, Any] = {"temperature": self.temperature, **self._iterations}
        system = of_vocoder(self.name, vocoder, **settings)
        mel = vocoder.mel_for(audio) if given is None else given
        speech = _timed(system, mel, seed, len(audio), self.device)
        return dataclasses.replace(speech, values={**values, **speech.values})


@dataclasses.dataclass(frozen=True)
class GriffinLimCandidate:
    """Griffin-Lim on the mels of a checkpoint, from phases that are drawn."""

    name: str
    checkpoint: Path
    seed: int
    draws: int = 1

    def key(self, utterance: Utterance) -> dict[str, Any]:
        mel = read_config(self.checkpoint)["mel"]
        return {"griffinlim": ITERATIONS, "seed": self.seed, "draws": self.draws, "mel": mel}

    def speak(self, utterance: Utterance, draw: int = 0) -> Speech:
        vocoder = load(self.checkpoint, "cpu")
        audio = torch.from_numpy(utterance.read(vocoder.sample_rate))
        given = given_mel(utterance, vocoder.spec, len(audio))
        mel = vocoder.mel_for(audio) if given is None else given[None]
        return _timed(griffin_lim_system(self.name, vocoder.spec), mel, self.seed + draw, len(audio), "cpu")


@dataclasses.dataclass(frozen=True)
class FolderCandidate:
    """A folder with `corpus/stem.wav` or `stem.wav` (or .flac, ...) for every utterance.

    Attributes:
        lag: samples at `sample_rate` by which all its files are late.
    """

    name: str
    root: Path
    sample_rate: int
    lag: int = 0
    draws: ClassVar[int] = 1

    def key(self, utterance: Utterance) -> dict[str, Any]:
        return {"file": _file_hash(self.file(utterance)), "lag": self.lag, "sample_rate": self.sample_rate}

    def speak(self, utterance: Utterance, draw: int = 0) -> Speech:
        samples = read_audio(self.file(utterance), self.sample_rate).samples
        return Speech(samples, self.sample_rate, self.lag)

    def file(self, utterance: Utterance) -> Path:
        """Raises AudioError if there is none."""
        inside = utterance.id.partition("/")[2]
        for stem in (utterance.id, inside, Path(inside).name):
            for extension in EXTENSIONS:
                path = self.root / f"{stem}{extension}"
                if path.is_file():
                    return path
        raise AudioError(f"{self.root}: no recording {inside}.* for utterance {utterance.id}")


@functools.cache
def load(checkpoint: Path, device: str) -> Vocoder:
    """A vocoder, once a process, warmed up so that the first utterance's speed is like the others'."""
    vocoder = Vocoder.from_pretrained(checkpoint, device)
    vocoder.synthesize(torch.full((vocoder.spec.n_mels, 32), -5.0), seed=0, trust_mel=True)
    return vocoder


def given_mel(utterance: Utterance, spec: MelSpec, samples: int) -> torch.Tensor | None:
    """The mel (n_mels, F) that a manifest names for an utterance of this many samples, if it does. Raises MelError."""
    mel = utterance.read_mel(spec, samples)
    return None if mel is None else torch.from_numpy(mel)


def content_of(utterance: Utterance) -> dict[str, Any]:
    """What stands for an utterance's audio and mel, as JSON values. Raises AudioError for a file that is not there."""
    whole = _file_hash(utterance.path) if utterance.content is None else hashlib.sha256(utterance.content).hexdigest()
    mel = utterance.mel
    if isinstance(mel, Path):
        given: str | None = _file_hash(mel)
    else:
        given = None if mel is None else hashlib.sha256(mel.content).hexdigest()
    return {"id": utterance.id, "audio": whole, "start": utterance.start, "duration": utterance.duration, "mel": given}


def _file_hash(path: Path) -> str:
    """SHA-256 of a file. Raises AudioError if it cannot be read."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error


def _timed(system: System, mel: torch.Tensor, seed: int, samples: int, device: str) -> Speech:
    """What a system makes of a mel (1, n_mels, F), cut to this many samples, and how fast it did."""
    started = _clock(device)
    audio = system.run(mel, seed)[0, :samples].cpu()
    taken = _clock(device) - started
    rate = system.spec.sample_rate
    return Speech(_as_written(audio.numpy()), rate, values=real_time_factor(seconds(samples, rate), taken))


def _clock(device: str) -> float:
    """Seconds: of this thread's processor, so that other processes do not count, or by the wall beside a GPU."""
    return time.thread_time() if device == "cpu" else time.perf_counter()


def _as_written(samples: Samples) -> Samples:
    return from_pcm16(to_pcm16(samples)[0])
