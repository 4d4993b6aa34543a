"""A voice without PyTorch, with the calls of `flowvocoder.Vocoder` for mels, synthesis and streams."""

import functools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.errors import AudioError, CheckpointError, ClippedWarning, ConfigError, MelError
from flowvocoder.files import reading
from flowvocoder.mel.arrays import forget, frames_of
from flowvocoder.mel.diagnose import StreamedMel, implausible, refuse
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.postfilter.geometry import in_whole_hops
from flowvocoder.postfilter.latency import of_stream, within
from flowvocoder.postfilter.rounds import Consistency, Rounds
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.runtime.frontend import MelFrontEnd, MelStream
from flowvocoder.runtime.graph import ExportedGraph, Flow, PostFilter
from flowvocoder.runtime.noise import NoiseSource
from flowvocoder.settings import number, whole
from flowvocoder.units import HIGHEST, MOST_CLIPPED, PCM16_STEP, ceil_div, seconds
from flowvocoder.voice_card import BUNDLED_VOICE, VoiceCard, checkpoint_folder, voice_name

STEP, POSTFILTER, ROUNDS = "step.onnx", "postfilter.onnx", "rounds.npz"
"""The files of a voice's folder."""

CHUNK = 1024
"""Frames of all items together that go through a step at once where all are there."""

Floats = npt.NDArray[np.float32]


def exported_folder(voice: str = BUNDLED_VOICE.name) -> Path:
    """Where an exported voice is looked for: in the user's cache; the default one in $FLOWVOCODER_VOICE, if set."""
    stated = os.environ.get("FLOWVOCODER_VOICE") if voice == BUNDLED_VOICE.name else None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(stated or cache / "flowvocoder" / voice)


class Vocoder:
    """A voice as `flowvocoder export VOICE FOLDER` writes it.

    Shape:
        audio (B, T) or (T,) in [-1, 1); mel (B, n_mels, F) or (n_mels, F). Results always have the batch axis.

    Everything is a NumPy array. A seed gives the audio that it gives in `flowvocoder.Vocoder`: to 1e-4, or 4e-4 with a
    refiner.

    Args:
        folder: of the voice.
        threads: of ONNX Runtime.

    Raises:
        CheckpointError: files are missing or damaged, or of different voices.
        ConfigError: onnxruntime is not installed.
    """

    engine = "onnx"  # as `flowvocoder.Vocoder` names its own

    def __init__(self, folder: Path, threads: int = 1):
        if not folder.is_dir():
            what = "a file, not a folder" if folder.exists() else "no such folder"
            raise CheckpointError(f"{folder}: {what}: `flowvocoder export VOICE FOLDER` writes one, with PyTorch")
        self._folder = folder
        self._step, self._postfilter = (ExportedGraph(folder / name, threads) for name in (STEP, POSTFILTER))
        about = self._step.about
        if any(about.get(key) != self._postfilter.about.get(key) for key in ("mel_spec", "gl_iters", "low_band_iters")):
            raise CheckpointError(f"{folder}: {STEP} and {POSTFILTER} are not of one voice")
        with reading(folder / STEP, CheckpointError, "not a step of `flowvocoder export`"):
            self.spec, self._delay = MelSpec.from_dict(about["mel_spec"]), int(about["delay"])
            iterations = PostfilterSettings(about["gl_iters"], about["low_band_iters"])
            self.card = VoiceCard(licence=about["licence"], training_data=tuple(about["training_data"]),
                                  temperature=about["temperature"], postfilter=iterations)  # fmt: skip
            self._block = int(about["block"])
        self.sample_rate, self.temperature = self.spec.sample_rate, self.card.temperature
        self._front_end = MelFrontEnd(self.spec)

    @classmethod
    def from_pretrained(cls, path: str | Path | None = None, threads: int = 1) -> "Vocoder":
        """Load an exported voice: its folder, or one of `voices` by name; None: the default. Raises as the class."""
        folder = BUNDLED_VOICE if path is None else checkpoint_folder(path)
        name = voice_name(folder)
        return cls(exported_folder(name) if name else folder, threads)

    def mel(self, audio: npt.ArrayLike) -> Floats:
        """Mel spectrogram (B, n_mels, F) of audio at `sample_rate`. Raises AudioError: too short, or no audio."""
        return self._front_end(as_audio(audio))

    def mel_for(self, audio: npt.ArrayLike) -> Floats:
        """The mel (B, n_mels, ceil(T / hop_length)) whose synthesis covers the audio."""
        given, hop = as_audio(audio), self.spec.hop_length
        frames = ceil_div(given.shape[1], hop)
        return self._front_end(np.pad(given, ((0, 0), (0, frames * hop - given.shape[1]))))[..., :frames]

    def mel_stream(self) -> MelStream:
        """Frames of audio that is still coming in: what `mel_for` gives of the whole."""
        return MelStream(self._front_end)

    def synthesize(self, mel: npt.ArrayLike, temperature: float | None = None, **settings: Any) -> Floats:
        """Audio (B, F * hop_length), as `flowvocoder.Vocoder.synthesize`; settings are those of `synthesize_pieces`."""
        return np.concatenate(list(self.synthesize_pieces(mel, temperature, **settings)), 1)

    def synthesize_pieces(
        self,
        mel: npt.ArrayLike,
        temperature: float | None = None,
        *,
        seed: int | Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
        gl_iters: int | None = None,
        low_band_iters: int | None = None,
        latency_ms: float | None = None,
        trust_mel: bool = False,
        convention: str | MelSpec | None = None,
    ) -> Iterator[Floats]:
        """What `synthesize` gives, (B, T) after (B, T).

        Args:
            gl_iters, low_band_iters: those of the file; 0 and 0: the flow's sample as it is.
            latency_ms: run what a stream of this latency runs.

        Raises:
            MelError: wrong number of bands, no frames, values that are not finite, or lengths that do not fit.
            ImplausibleMelError: a mel of another kind, such as one scaled to 0..1.
            ConfigError: other iterations than the file's, or what else `flowvocoder.Vocoder.synthesize` refuses.
        """
        same_convention(convention, self.spec)
        given = as_mel(mel, self.spec)
        forget(given)  # the check for values that are not finite has read it all
        length = as_lengths(lengths, given)
        if not trust_mel:
            for item, end in zip(given, length, strict=True):
                refuse(implausible(item[:, :end], self.spec), self.spec)
        settings = self._settings(gl_iters, low_band_iters, latency_ms)
        if settings.rounds and list(length) != [given.shape[2]]:
            raise ConfigError(f"a latency is for one whole mel, not for {len(given)} of lengths {length.tolist()}")
        return self._in_chunks(given, self._stages(seed, temperature, settings, length))

    def _in_chunks(self, mel: Floats, stages: "_Stages") -> Iterator[Floats]:
        size = max(1, CHUNK // len(mel))
        for start in range(0, mel.shape[2], size):
            ends = start + size >= mel.shape[2]
            yield checked_synthesis(stages.push(frames_of(mel, start, start + size), ends))

    def stream(
        self,
        temperature: float | None = None,
        seed: int | None = None,
        gl_iters: int | None = None,
        low_band_iters: int | None = None,
        trust_mel: bool = False,
        convention: str | MelSpec | None = None,
        latency_ms: float | None = None,
    ) -> "Stream":
        """Synthesis of a mel that is not there yet: `push` frames, get samples, `flush` at the end.

        Raises:
            ConfigError: iterations other than 0, which a file runs over whole mels alone, or a latency too short.
        """
        same_convention(convention, self.spec)
        if gl_iters is None and low_band_iters is None and latency_ms is None:
            settings = of_stream(self.card.postfilter)
        else:
            settings = self._settings(gl_iters, low_band_iters, latency_ms)
            if settings.gl_iters or settings.low_band_iters:
                raise ConfigError("iterations over all frames in a stream need PyTorch: choose by a latency")
        stages = self._stages(seed, temperature, settings)
        return Stream(stages, seconds(self._behind(settings), self.sample_rate), self.spec, trust_mel)

    def resynthesize(
        self, audio: npt.ArrayLike, temperature: float | None = None, *, seed: int | None = None
    ) -> Floats:
        """Audio -> mel -> audio of the same length, (B, T)."""
        given = as_audio(audio)
        return self.synthesize(self.mel_for(given), temperature, seed=seed, trust_mel=True)[:, : given.shape[1]]

    def denoiser(self, mode: str = "silence") -> Callable[[Floats, float], Floats]:
        """Raises ConfigError: there is none without PyTorch."""
        raise ConfigError("the denoiser needs PyTorch")

    @functools.cached_property
    def _constants(self) -> dict[str, Any]:
        path = self._folder / ROUNDS
        with reading(path, CheckpointError, "not the constants of `flowvocoder export`"), np.load(path) as file:
            return dict(file)

    def _stages(
        self,
        seed: int | Sequence[int] | None,
        temperature: float | None,
        settings: PostfilterSettings,
        length: npt.NDArray[np.int64] | None = None,
    ) -> "_Stages":
        """From noise to audio. `length`: as of `Flow`."""
        scale = self._scale(temperature)
        items = 1 if length is None else len(length)
        noise = NoiseSource(seed, items, self.spec.hop_length // self._block, self._block)
        flow = Flow(self._step, lambda frames: scale * noise.draw(frames), length)
        if settings.rounds:
            return _Stages(flow, Rounds(self.spec, self._constants, settings))
        if length is None or settings == PostfilterSettings():
            return _Stages(flow, None)
        return _Stages(flow, PostFilter(self._postfilter, length))

    def _settings(
        self, gl_iters: int | None, low_band_iters: int | None, latency_ms: float | None
    ) -> PostfilterSettings:
        own = self.card.postfilter
        if latency_ms is None:
            settings = own.chosen(gl_iters, low_band_iters)
            if settings not in (own, PostfilterSettings()):
                mine = f"{own.gl_iters} and {own.low_band_iters}"
                wanted = f"{settings.gl_iters} and {settings.low_band_iters}"
                raise ConfigError(
                    f"the file runs {mine} iterations, or none with 0 and 0, not {wanted}: export it anew"
                )
            return settings
        if gl_iters is not None or low_band_iters is not None:
            raise ConfigError("a latency decides on the iterations: give one or the others, not both")
        return within(latency_ms, self._behind, self.sample_rate)

    def _behind(self, settings: PostfilterSettings) -> int:
        """Samples by which a stream is behind its mel."""
        if not settings.rounds:
            return self._delay
        step = Consistency(self.spec, self._constants, "")
        return in_whole_hops(self._delay, step, settings.look_ahead) + settings.look_ahead * step.hop

    def _scale(self, temperature: float | None) -> np.float32:
        scale = self.temperature if temperature is None else number("temperature", temperature)
        if not 0.0 <= scale < float("inf"):
            raise ConfigError(f"temperature must be 0 or above, not {scale}")
        return np.float32(scale)


class _Stages:
    """The flow in steps, then the post-filter in pieces, frame-by-frame rounds, or nothing."""

    def __init__(self, flow: Flow, after: PostFilter | Rounds | None):
        self._flow, self._after = flow, after

    def push(self, mel: Floats, ends: bool = False) -> Floats:
        """The next frames (B, n_mels, f) -> samples (B, T)."""
        audio = self._flow.push(mel, ends)
        if isinstance(self._after, Rounds):
            return self._after.push(mel[0], audio[0], ends)[None]
        return audio if self._after is None else self._after.push(mel, audio, ends)


class Stream:
    """What `Vocoder.stream` gives; as `flowvocoder.streaming.stream.Stream`.

    Attributes:
        seconds_behind: how much later than its own frame a sample can be given.
    """

    def __init__(self, stages: _Stages, seconds_behind: float, spec: MelSpec, trust_mel: bool):
        self._stages, self._spec, self.seconds_behind = stages, spec, seconds_behind
        self._plausible = None if trust_mel else StreamedMel(spec)
        self._ended = False

    def push(self, mel: npt.ArrayLike) -> Floats:
        """The next frames, (n_mels, F) -> the samples (T,) that they decide. Raises as the one with PyTorch."""
        if self._ended:
            raise MelError("this stream has ended: begin another")
        if np.shape(mel)[-1:] == (0,):
            return np.zeros(0, np.float32)
        frames = as_mel(mel, self._spec)
        if len(frames) != 1:
            raise MelError(f"a stream is one utterance, not {len(frames)}")
        if self._plausible is not None:
            refuse(self._plausible.push(frames[0]), self._spec)
        return checked_synthesis(self._stages.push(frames)[0])

    def flush(self) -> Floats:
        """The samples (T,) that were waiting; the stream has ended with them. Raises MelError: it had ended before."""
        if self._ended:
            raise MelError("this stream has ended: begin another")
        self._ended = True
        return checked_synthesis(self._stages.push(np.zeros((1, self._spec.n_mels, 0), np.float32), ends=True)[0])


def same_convention(given: str | MelSpec | None, own: MelSpec) -> None:
    """Raises MelError for mels of another convention than the voice's."""
    spec = convention(given) if isinstance(given, str) else given or own
    if spec != own:
        raise MelError(f"a voice of {own.name()} mels takes {spec.name()} ones only with PyTorch")


def as_audio(audio: npt.ArrayLike) -> Floats:
    """Audio (B, T) or (T,) -> (B, T). 16-bit integers are scaled to -1..1. Raises AudioError: no audio."""
    array = np.asarray(audio)
    if array.dtype == np.int16:
        array = array * np.float32(PCM16_STEP)
    if array.dtype.kind != "f" or array.ndim not in (1, 2):
        raise AudioError(f"an array of {array.dtype} and shape {array.shape}: expected floating-point audio (B, T)")
    if not np.isfinite(array).all():
        raise AudioError("audio holds values that are NaN or infinite")
    return np.atleast_2d(array).astype(np.float32)


def as_mel(mel: npt.ArrayLike, spec: MelSpec) -> Floats:
    """A mel (B, n_mels, F) or (n_mels, F) -> (B, n_mels, F). Raises MelError: another shape, or values not finite."""
    array = np.asarray(mel)
    if array.dtype.kind != "f" or array.ndim not in (2, 3):
        raise MelError(f"an array of {array.dtype} and shape {array.shape}: expected floating-point numbers (B, M, F)")
    array = (array[None] if array.ndim == 2 else array).astype(np.float32, copy=False)
    if array.shape[1] != spec.n_mels or array.shape[2] == 0:
        hint = "; it looks transposed" if array.shape[2] == spec.n_mels else ""
        raise MelError(f"mel of shape {array.shape}: expected (B, {spec.n_mels}, F){hint}")
    if not np.isfinite(array).all():
        raise MelError("mel holds values that are NaN or infinite")
    return array


def as_lengths(lengths: Sequence[int] | None, mel: Floats) -> npt.NDArray[np.int64]:
    """Frames of each item of a mel (B, n_mels, F), (B,). Raises MelError if they do not fit."""
    given = [mel.shape[2]] * len(mel) if lengths is None else [whole("lengths", n) for n in lengths]
    if len(given) != len(mel) or not all(1 <= n <= mel.shape[2] for n in given):
        raise MelError(f"lengths {given} do not fit a batch of {len(mel)} mels of up to {mel.shape[2]} frames")
    return np.array(given, np.int64)


def checked_synthesis(audio: Floats) -> Floats:
    """Synthesised audio, limited. Raises MelError: not finite. Warns if much of it is above full scale."""
    if not np.isfinite(audio).all():
        raise MelError("synthesis gives values that are not finite: mel or temperature are too large")
    clipped = float((np.abs(audio) > 1.0).mean()) if audio.size else 0.0
    if clipped > MOST_CLIPPED:
        message = f"{clipped:.0%} of the samples are above full scale: lower the temperature, or is the mel too loud?"
        warnings.warn(message, ClippedWarning, stacklevel=2)
    return np.clip(audio, -HIGHEST, HIGHEST)
