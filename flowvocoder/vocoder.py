"""The class most users need: mel to audio, audio to noise and back, and the likelihood of a recording."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowvocoder.checkpoint import BUNDLED_VOICE, load_checkpoint
from flowvocoder.errors import AudioError, ConfigError, MelError
from flowvocoder.flows.density import FlowVocoder, dequantise
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec
from flowvocoder.mel.streaming import MelStream
from flowvocoder.postfilter.chunked import Matcher, Matching, chosen_passes
from flowvocoder.streaming.engines import Engine, ModelSteps, Precision, check_engine, reduced
from flowvocoder.streaming.noise import NoiseSource, Seeds
from flowvocoder.streaming.session import Session, from_tensor, pieces
from flowvocoder.streaming.stream import Stream
from flowvocoder.units import PCM16_STEP

DEFAULT_TEMPERATURE = 0.8


class Vocoder:
    """A trained flow vocoder, ready for inference.

    Shape:
        audio (B, T) or (T,) in [-1, 1); mel (B, n_mels, F) or (n_mels, F); noise (B, M, N), N blocks of M samples.
        Results always have the batch axis. B, F and N belong together: F * hop_length = N * M samples.

    Example:
        >>> vocoder = Vocoder.from_pretrained()
        >>> audio = vocoder.synthesize(vocoder.mel(recording), temperature=0.7)
    """

    def __init__(
        self,
        model: FlowVocoder,
        about: dict[str, Any] | None = None,
        engine: Engine = "eager",
        precision: Precision = "float32",
    ):
        check_engine(engine, precision)
        self.model = model.eval().requires_grad_(False)
        self.about = about or {}
        self.spec: MelSpec = model.spec
        parameter = next(model.parameters())
        self.device = parameter.device
        self.dtype = parameter.dtype
        self._front_end = MelFrontEnd(model.spec).to(self.device)
        self._matcher = Matcher(model.spec, model.fine, reduced(precision)).to(self.device)
        self._steps = ModelSteps(model, engine, precision)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        device: str | torch.device = "cpu",
        engine: Engine = "eager",
        precision: Precision = "float32",
    ) -> "Vocoder":
        """Load a checkpoint folder, or the bundled voice if none is named.

        Args:
            engine: what runs synthesis: `eager`, PyTorch alone; `numba`, which compiles the pitch recursion; or
                `compile`, which compiles steps of a size that comes back (a minute each) and on a GPU replays them as
                CUDA graphs.
            precision: of most networks in synthesis; the rest, and encoding and likelihood, are float32.

        Raises:
            CheckpointError: it is missing, truncated, altered or of a newer format.
            ConfigError: engine or precision are unknown, or the engine is not installed.
        """
        checkpoint = load_checkpoint(BUNDLED_VOICE if path is None else Path(path), device)
        return cls(checkpoint.model, checkpoint.about, engine, precision)

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.spec.sample_rate

    @property
    def temperature(self) -> float:
        """The temperature the checkpoint was tuned for: standard deviation of the noise in synthesis."""
        value = self.about.get("temperature", DEFAULT_TEMPERATURE)
        return float(value) if isinstance(value, int | float) else DEFAULT_TEMPERATURE

    @property
    def match(self) -> int:
        """Passes of mel matching that the checkpoint was tuned for (0: none)."""
        return chosen_passes(self.about, None, None)[0]

    @property
    def low_match(self) -> int:
        """Passes over the lowest kilohertz after those."""
        return chosen_passes(self.about, None, None)[1]

    @torch.inference_mode()
    def mel(self, audio: Tensor) -> Tensor:
        """Mel spectrogram, as the model wants it, of audio at `sample_rate`.

        Raises:
            AudioError: too short.
        """
        mel: Tensor = self._front_end(self._batch(audio, 1))
        return mel

    def mel_stream(self) -> MelStream:
        """Frames of audio that is still coming in: what `mel_for` gives of the whole."""
        return MelStream(self._front_end)

    @torch.inference_mode()
    def synthesize(
        self,
        mel: Tensor,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
        *,
        seed: int | Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
        match: int | None = None,
        low_match: int | None = None,
    ) -> Tensor:
        """Audio (B, F * hop_length) for a mel: the flow's sample, its mel brought nearer to the one given.

        Noise belongs to a position, and each item of a batch has its own: an item comes out as it does alone, and as
        `stream` gives it, whatever the length of the batch.

        Args:
            temperature: standard deviation of the noise: 0 gives the most likely noise (buzzy), 1 samples the model's
                own distribution (hoarse where the model is unsure). None: the checkpoint's own.
            generator: a CPU generator to draw a seed for each item from; the same state gives the same audio. None:
                torch's global one.
            seed: instead of a generator, the seed of each item, or that of the first: item i of a batch with seed s
                is what it is alone with seed s + i.
            lengths: frames of each item where the others are padding; the audio after them is zeros.
            match: passes of mel matching; 0 leaves the flow's sample as it is. None: the checkpoint's own.
            low_match: passes over the lowest kilohertz after those, led in rounds of 16 after the first 8 where the
                model has what leads them (`models/fine.py`). None: the checkpoint's own; none if match is 0.

        Raises:
            MelError: wrong number of bands, no frames, values that are not finite, or lengths that do not fit.
            ConfigError: temperature or passes are negative.
        """
        passes = {"match": match, "low_match": low_match}
        pieces = self.synthesize_pieces(mel, temperature, generator, seed=seed, lengths=lengths, **passes)
        return torch.cat(list(pieces), 1)

    @torch.inference_mode()
    def synthesize_pieces(
        self,
        mel: Tensor,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
        *,
        seed: int | Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
        match: int | None = None,
        low_match: int | None = None,
    ) -> Iterator[Tensor]:
        """What `synthesize` gives, (B, T) after (B, T), in memory that does not grow with the length."""
        mel = self._checked_mel(mel)
        frames = self._checked_lengths(mel, lengths)
        noise = self._noise(len(mel), temperature, generator if seed is None else seed)
        step, matching = self._steps.find(), self._matching(match, low_match, frames)
        if step is not None:
            for audio in pieces(step, mel, noise, frames, matching):
                yield self._checked_audio(audio)
            return
        drawn = noise(mel.shape[2]).to(mel).transpose(1, 2)
        yield self._checked_audio(matching.push(mel, self.model.sample_items(drawn, mel, frames), ends=True))

    def stream(
        self,
        temperature: float | None = None,
        seed: int | torch.Generator = 0,
        match: int | None = None,
        low_match: int = 0,
    ) -> Stream:
        """Synthesis of a mel that is not there yet: `push` frames, get samples, `flush` at the end.

        The samples together are those of `synthesize` with the same seed and passes, whatever the chunks: to rounding,
        1e-4, which passes over the lowest kilohertz can make ten times as much.

        Args:
            match, low_match: as in `synthesize`. Each pass is an analysis window (n_fft) of further delay, so there are
                none over the lowest kilohertz unless they are asked for.

        Raises:
            ConfigError: this model cannot stream, or temperature or passes are negative.
        """
        matching = self._matching(match, low_match)
        session = Session(self._steps.require(), self._noise(1, temperature, seed), matching)
        return Stream(session, self.look_ahead + matching.behind, self.spec, self._checked_mel, self._checked_audio)

    @property
    def look_ahead(self) -> int:
        """Samples that the flow is behind in a `stream`; every pass of mel matching is `spec.n_fft` more.

        Raises:
            ConfigError: this model cannot stream.
        """
        step = self._steps.require()
        return step.delay * step.block

    @property
    def look_back(self) -> float:
        """Samples after the end of a frame that it can still change; infinite with a pitch predictor, which recurs.

        Raises:
            ConfigError: this model cannot stream.
        """
        step = self._steps.require()
        return step.back * step.block

    def draw_noise(
        self, mel: Tensor, temperature: float | None = None, seed: int | Sequence[int] | torch.Generator | None = None
    ) -> Tensor:
        """The noise (B, M, N) that `synthesize` decodes."""
        return self._noise(len(mel), temperature, seed)(mel.shape[-1]).transpose(1, 2).to(self.device, self.dtype)

    def _matching(self, match: int | None, low_match: int | None, length: Tensor | None = None) -> Matching:
        return self._matcher.begin(*chosen_passes(self.about, match, low_match), length)

    def _noise(self, items: int, temperature: float | None, seeds: Seeds) -> Callable[[int], Tensor]:
        temperature = self.temperature if temperature is None else temperature
        if not 0.0 <= temperature < float("inf"):
            raise ConfigError(f"temperature must be 0 or above, not {temperature}")
        rate = self.spec.hop_length // self.model.block
        try:
            source = NoiseSource(seeds, items, rate, self.model.block)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        return lambda frames: temperature * source.draw(frames)

    @torch.inference_mode()
    def encode(self, audio: Tensor, mel: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Audio to (noise, mel). Audio is padded with zeros to whole frames; `decode` gives it back, zeros included.

        Raises:
            AudioError: too short, or its length does not fit the mel given.
        """
        audio, mel = self._aligned(self._pad(self._batch(audio, 1)), mel)
        return self.model.encode(audio, mel)[0], mel

    @torch.inference_mode()
    def decode(self, noise: Tensor, mel: Tensor) -> Tensor:
        """Noise to audio, (B, F * hop_length); the inverse of `encode`.

        Raises:
            MelError: noise and mel do not belong together.
        """
        mel = self._checked_mel(mel)
        noise = self._batch(noise, 2)
        if tuple(noise.shape) != self.model.noise_shape(mel):
            raise MelError(f"noise of shape {tuple(noise.shape)} does not fit a mel of shape {tuple(mel.shape)}")
        step = self._steps.find(sampling=False)
        if step is None:
            return self._checked_audio(self.model.decode(noise, mel))
        return self._checked_audio(torch.cat(list(pieces(step, mel, from_tensor(noise, step.rate))), 1))

    @torch.inference_mode()
    def log_prob(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """Log-density (B,) in nats of audio given its mel (computed if not given), exactly as it stands.

        The density is that of real-valued audio in [-1, 1). To score 16-bit recordings add dequantisation noise
        first, or use `score`.

        Raises:
            AudioError: the length is no multiple of hop_length, or does not fit the mel.
        """
        audio, mel = self._aligned(self._batch(audio, 1), mel)
        return self.model.log_prob(audio, mel)

    def score(self, audio: Tensor, mel: Tensor | None = None, seed: int = 0) -> Tensor:
        """Nats per sample (B,) of 16-bit recordings: uniform dequantisation, the last incomplete frame left out.

        Audio that is not on the 16-bit grid (resampled, averaged, 24-bit) is rounded to it, so that what is scored is
        always a 16-bit recording.

        Args:
            mel: given mels are used from their first frame on and must cover the audio.

        Raises:
            AudioError: shorter than the mel's analysis window, or than the mel given.
        """
        audio, mel = self._as_recorded(audio, mel, seed)
        return self.log_prob(audio, mel) / audio.shape[-1]

    @torch.inference_mode()
    def score_by_frame(self, audio: Tensor, mel: Tensor | None = None, seed: int = 0) -> Tensor:
        """What each mel frame contributes to `score`: nats (B, F), whose sum is the score times its samples.

        Args, Raises:
            as `score`.
        """
        return self.model.log_prob_by_frame(*self._aligned(*self._as_recorded(audio, mel, seed)))

    def resynthesize(
        self, audio: Tensor, temperature: float | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Audio -> mel -> audio of the same length, (B, T)."""
        audio = self._batch(audio, 1)
        mel = self.mel_for(audio)
        return self.synthesize(mel, temperature, generator)[:, : audio.shape[-1]]

    @torch.inference_mode()
    def mel_for(self, audio: Tensor) -> Tensor:
        """The mel (B, n_mels, ceil(T / hop_length)) whose synthesis covers the audio."""
        padded = self._pad(self._batch(audio, 1))
        return self._front_end(padded)[..., : padded.shape[-1] // self.spec.hop_length]

    @torch.inference_mode()
    def prepare(self) -> None:
        """Make the weights ready for synthesis now, which the first synthesis otherwise does."""
        self._steps.find()

    def _as_recorded(self, audio: Tensor, mel: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
        """16-bit audio in whole frames with dequantisation noise, and its mel."""
        audio = (self._batch(audio, 1) / PCM16_STEP).round() * PCM16_STEP
        mel = self._front_end(audio) if mel is None else self._checked_mel(mel)
        frames = audio.shape[-1] // self.spec.hop_length
        noise = torch.Generator().manual_seed(seed)
        whole = audio[:, : frames * self.spec.hop_length].cpu()
        return dequantise(whole, PCM16_STEP, noise).to(self.device), mel[..., :frames]

    def _checked_audio(self, audio: Tensor) -> Tensor:
        if not torch.isfinite(audio).all():
            raise MelError("synthesis gives values that are not finite: mel or temperature are too large")
        return audio

    def _checked_lengths(self, mel: Tensor, lengths: Sequence[int] | None) -> Tensor | None:
        if lengths is None:
            return None
        wrong = [n for n in lengths if not 1 <= n <= mel.shape[2]]
        if wrong or len(lengths) != len(mel):
            have = f"a batch of {len(mel)} mels of up to {mel.shape[2]} frames"
            raise MelError(f"lengths {list(lengths)} do not fit {have}")
        return torch.as_tensor(list(lengths), device=self.device)

    def _pad(self, audio: Tensor) -> Tensor:
        return torch.nn.functional.pad(audio, (0, -audio.shape[-1] % self.spec.hop_length))

    def _aligned(self, audio: Tensor, mel: Tensor | None) -> tuple[Tensor, Tensor]:
        hop = self.spec.hop_length
        frames, rest = divmod(audio.shape[-1], hop)
        if rest or frames == 0:
            raise AudioError(f"{audio.shape[-1]} samples are not a whole number of frames of {hop} samples")
        mel = self._front_end(audio)[..., :frames] if mel is None else self._checked_mel(mel)
        if mel.shape[0] != audio.shape[0] or mel.shape[-1] != frames:
            have = f"{mel.shape[0]} mels of {mel.shape[-1]} frames"
            raise AudioError(f"{audio.shape[0]} recordings of {frames} frames do not fit {have}")
        return audio, mel

    def _checked_mel(self, mel: Tensor) -> Tensor:
        mel = self._batch(mel, 2)
        if mel.shape[1] != self.spec.n_mels or mel.shape[2] == 0:
            hint = "; it looks transposed" if mel.shape[2] == self.spec.n_mels else ""
            raise MelError(f"mel of shape {tuple(mel.shape)}: expected (B, {self.spec.n_mels}, F){hint}")
        if not torch.isfinite(mel).all():
            raise MelError("mel holds values that are NaN or infinite")
        return mel

    def _batch(self, x: Tensor, axes: int) -> Tensor:
        """With a batch axis before `axes` others, on the model's device and in its dtype."""
        x = torch.as_tensor(x)
        if x.ndim == axes:
            x = x[None]
        kind = AudioError if axes == 1 else MelError
        if x.ndim != axes + 1:
            raise kind(f"an array of shape {tuple(x.shape)} has {x.ndim} axes, expected {axes} or {axes + 1}")
        if not x.is_floating_point():
            raise kind(f"an array of {x.dtype}: expected floating-point numbers (audio in -1..1)")
        return x.to(self.device, self.dtype)
