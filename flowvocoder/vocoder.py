"""The class most users need: mel to audio, audio to latent and back, and the likelihood of a recording."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from flowvocoder.audio.arrays import Numbers
from flowvocoder.checkpoint import load_checkpoint
from flowvocoder.checks import as_latent, as_lengths, check_plausible, finite
from flowvocoder.config import Experiment
from flowvocoder.errors import ConfigError
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.hub import hub_name
from flowvocoder.inference import (
    gradients_if_required,
    own_precision,
    usable_device,
    with_gradients,
    without_gradients,
)
from flowvocoder.mel.spec import MelSpec
from flowvocoder.mel.spread import spread
from flowvocoder.mel.streaming import MelStream
from flowvocoder.mel.toolkits import Toolkit
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.denoiser import Denoiser, Mode
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.saving import SavedVoice
from flowvocoder.settings import number
from flowvocoder.streaming.engines import Engine, ModelSteps, Precision, check_engine, fastest_engine, reduced
from flowvocoder.streaming.noise import NoiseSource, Seeds, dequantised
from flowvocoder.streaming.pieces import from_tensor, pieces
from flowvocoder.streaming.session import Session
from flowvocoder.streaming.stream import Stream
from flowvocoder.synthesis import NoiseOf, Synthesis
from flowvocoder.threads import own_threads
from flowvocoder.units import PCM16_STEP
from flowvocoder.voice_card import BUNDLED_VOICE, VoiceCard, checkpoint_folder


class Vocoder(SavedVoice):
    """A trained flow vocoder, ready for inference.

    Shape:
        audio (B, T) or (T,) in [-1, 1); mel (B, n_mels, F) or (n_mels, F); latent (B, M, N), N blocks of M samples.
        Results always have the batch axis. B, F and N belong together: F * hop_length = N * M samples.

    Tensors, arrays, lists and pandas objects are taken; audio also as 16-bit integers.

    Args:
        model: the flow. Its weights are frozen.
        card: origin and tuned settings; None: unknown.
        postfilter: what audio goes through after the flow; None: one without networks.
        engine, precision: as in `from_pretrained`.
        experiment: what the model was trained with, which `save_pretrained` writes.

    Wherever something is drawn, `seed` is a number (item i of a batch is what it is alone with seed + i), one number
    per item, a CPU `torch.Generator` to draw them from, or None for PyTorch's global generator.

    It is a module whose `forward` is `synthesize`, and can be part of another. It stays in evaluation mode, and in 32
    bits where `half` or `bfloat16` ask for less: `precision` says what the networks compute in. Autocast and PyTorch's
    default dtype and device change nothing. Methods use one CPU thread, whatever PyTorch's number is, unless
    `flowvocoder.threads.set_threads` asks for more.

    Results are ordinary tensors. `mel`, `mel_for`, `encode`, `decode` and `log_prob` record gradients where an argument
    requires them, `synthesize` if it is told to.

    Example:
        >>> vocoder = Vocoder.from_pretrained()
        >>> audio = vocoder.synthesize(vocoder.mel(recording), temperature=0.7)
    """

    def __init__(
        self,
        model: FlowVocoder,
        card: VoiceCard | None = None,
        postfilter: PostFilter | None = None,
        engine: Engine = "eager",
        precision: Precision = "float32",
        experiment: Experiment | None = None,
    ):
        super().__init__(model, card, postfilter)
        check_engine(engine, precision)
        self._experiment, self.engine = experiment, engine
        self._steps, self._precision = ModelSteps(model, engine, precision), reduced(precision)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        device: str | torch.device = "cpu",
        engine: Engine | Literal["auto"] = "eager",
        precision: Precision = "float32",
        revision: str | None = None,
    ) -> "Vocoder":
        """Load a checkpoint.

        Args:
            path: its folder; the name of a voice of the package; or, on the Hugging Face Hub, `user/repo` (a folder
                here goes first) or `hf:user/repo@revision`. None or "bundled": the bundled voice.
            engine: what runs synthesis: `eager`; `numba`, which compiles pitch recursion and rounds of streams; or
                `compile`, which compiles steps of a size that comes back (a minute each), and on a GPU replays them,
                and whole mels of such a size, as CUDA graphs. `auto` is the fastest of the first two here; the
                attribute `engine` then says which, and `flowvocoder.streaming.engines.fastest_engine` why.
            precision: of most networks in synthesis; the rest, and encoding and likelihood, are float32.
            revision: branch, tag or commit of a repository on the hub.

        Raises:
            CheckpointError: it is missing, truncated, altered or of a newer format, or the hub has no such voice.
            ConfigError: engine or precision are unknown, or not installed.
        """
        path = hub_name(path, revision)
        device = usable_device(device)
        checkpoint = load_checkpoint(BUNDLED_VOICE if path is None else checkpoint_folder(path), device)
        voice = checkpoint.model, checkpoint.card, checkpoint.postfilter
        return cls(*voice, fastest_engine(device)[0] if engine == "auto" else engine, precision, checkpoint.experiment)

    def forward(self, mel: Numbers, *arguments: Any, **options: Any) -> Tensor:
        """As `synthesize`."""
        return self.synthesize(mel, *arguments, **options)

    @gradients_if_required
    def mel(self, audio: Numbers) -> Tensor:
        """Mel spectrogram, as the model wants it, of audio at `sample_rate`.

        Raises:
            AudioError: too short.
        """
        mel: Tensor = self._front_end(self._audio(audio))
        return mel

    def mel_stream(self) -> MelStream:
        """Frames of audio that is still coming in: what `mel_for` gives of the whole."""
        self._follow_model()
        return MelStream(self._front_end)

    def synthesize(
        self,
        mel: Numbers,
        temperature: float | None = None,
        *,
        seed: Seeds = None,
        lengths: Sequence[int] | None = None,
        gl_iters: int | None = None,
        low_band_iters: int | None = None,
        latency_ms: float | None = None,
        trust_mel: bool = False,
        convention: str | MelSpec | Toolkit | None = None,
        gradients: bool = False,
    ) -> Tensor:
        """Audio (B, F * hop_length) for a mel: the flow's sample, then the post-filter.

        An item of a batch comes out as it does alone, and as `stream` gives it, whatever the others are. This is to
        rounding, which low-band iterations amplify to 1e-3 at most.

        Args:
            temperature: standard deviation of the noise: 0 gives the most likely noise (buzzy), 1 samples the model's
                own distribution (hoarse where the model is unsure). None: the voice's own.
            seed: of the noise; see `Vocoder`.
            lengths: frames of each item where the others are padding; the audio after them is zeros.
            gl_iters: mel-consistency (Griffin-Lim) iterations; 0: the flow's sample as it is. None: the voice's own.
                The refiner of a voice that has one runs before the last two.
            low_band_iters: further ones below 2 kHz; with a guide, the first ones below 1 kHz, some of them guided.
                None: the voice's own; 0 if gl_iters is 0.
            latency_ms: run what a `stream` of this latency runs, in place of these iterations.
            trust_mel: take a mel that cannot be of a recording in its convention.
            convention: of the mel: a name such as "hifigan" or "coqui", or a definition. None: the voice's own.
            gradients: record them where the mel requires them. The whole mel then goes through the layers at once, in
                memory that grows with its length; the audio is the same to rounding, 1e-4.

        Raises:
            MelError: wrong number of bands, no frames, values that are not finite, lengths that do not fit, or a
                convention that this voice cannot serve.
            ImplausibleMelError: a mel of another kind, such as one scaled to 0..1.
            ConfigError: temperature or iterations are negative, a latency is too short for the voice or given beside
                iterations, there are not as many seeds as items, or no convention has this name.
        """
        arguments = mel, temperature, seed, lengths, (gl_iters, low_band_iters, latency_ms), trust_mel, convention
        if not gradients:
            return torch.cat(list(self._pieces(*arguments)), 1)
        audio: Tensor = with_gradients(self.device, lambda: self._begin(*arguments).whole(self.model))
        return audio

    def synthesize_pieces(
        self,
        mel: Numbers,
        temperature: float | None = None,
        *,
        seed: Seeds = None,
        lengths: Sequence[int] | None = None,
        gl_iters: int | None = None,
        low_band_iters: int | None = None,
        latency_ms: float | None = None,
        trust_mel: bool = False,
        convention: str | MelSpec | Toolkit | None = None,
    ) -> Iterator[Tensor]:
        """What `synthesize` gives, (B, T) after (B, T), in memory that does not grow with the length."""
        iterations = gl_iters, low_band_iters, latency_ms
        return self._pieces(mel, temperature, seed, lengths, iterations, trust_mel, convention)

    @without_gradients
    def _pieces(self, *arguments: Any) -> Iterator[Tensor]:
        synthesis, steps = self._begin(*arguments), self._steps
        step = steps.for_mel(synthesis.mel)
        yield from [synthesis.whole(self.model)] if step is None else synthesis.pieces(step, steps.recordings(step))

    def _begin(
        self,
        given: Numbers,
        temperature: float | None,
        seed: Seeds,
        frames: Sequence[int] | None,
        iterations: tuple[int | None, int | None, float | None],
        trust_mel: bool,
        convention: str | MelSpec | Toolkit | None,
    ) -> Synthesis:
        conversion, postfilter = self._serving(convention)
        mel = conversion.source.undo(self._mel(given, conversion.given))
        lengths = as_lengths(frames, mel)
        longer, noise = conversion.lengths(lengths), self._noise(len(mel), temperature, seed)
        settings = self.iterations(*iterations, False, postfilter)
        if not trust_mel:
            check_plausible(mel, conversion.given, lengths)
        moved, later = conversion.audio(lengths), conversion.mel(mel, lengths)
        filtering = postfilter, settings, self._precision, self._steps.compiled_rounds
        return Synthesis(later, noise, longer, mel.shape[2], moved, conversion, *filtering)

    @without_gradients
    def stream(
        self,
        temperature: float | None = None,
        seed: Seeds = None,
        gl_iters: int | None = None,
        low_band_iters: int | None = None,
        trust_mel: bool = False,
        convention: str | MelSpec | Toolkit | None = None,
        latency_ms: float | None = None,
    ) -> Stream:
        """Synthesis of a mel that is not there yet: `push` frames, get samples, `flush` at the end.

        The samples together are those of `synthesize` with the same seed and latency, whatever the chunks: to
        rounding, 1e-4 in the first minute, or ten times as much after low-band iterations. Later it is more, 1e-3 after
        20 minutes, since the phase of the excitation adds up rounding.

        Args:
            gl_iters, low_band_iters: as in `synthesize`, in place of a latency; 0 low-band ones unless requested, since
                each iteration delays the audio by an analysis window (n_fft samples).
            trust_mel, convention: as in `synthesize`.
            latency_ms: from a mel frame to its samples, rounded. None: what 47 ms more than the flow's allow.

        Raises:
            ConfigError: this model cannot stream; also as `synthesize`.
            MelError: this voice cannot serve the convention.
        """
        conversion, postfilter = self._serving(convention)
        settings = self.iterations(gl_iters, low_band_iters, latency_ms, True, postfilter)
        stages = postfilter.stages(settings, None, self._precision, self._steps.compiled_rounds)
        session = Session(self._steps.require(), self._noise(1, temperature, seed), stages, conversion.for_flow)
        behind = postfilter.delay(settings, self.look_ahead) - conversion.later
        return Stream(session, behind, conversion, self._weight, trust_mel)

    @property
    @without_gradients
    def look_ahead(self) -> int:
        """Samples that the flow alone is behind in a `stream`. Raises ConfigError: this model cannot stream."""
        step = self._steps.require()
        return step.delay * step.block

    @property
    @without_gradients
    def look_back(self) -> float:
        """Samples after the end of a frame that it can still change; infinite with a pitch predictor, which recurs.
        Raises ConfigError: this model cannot stream."""
        step = self._steps.require()
        return step.back * step.block

    def uncertainty(self, mel: Numbers, draws: int = 8, seed: int = 0, **options: Any) -> Tensor:
        """What a mel does not say: the `spread` (B, n_mels, F) of samples, dB. Options and errors as `synthesize`."""
        return spread((self.synthesize(mel, seed=seed + n, **options) for n in range(draws)), self.spec)

    @without_gradients
    def draw_noise(self, mel: Tensor, temperature: float | None = None, seed: Seeds = None) -> Tensor:
        """The noise (B, M, N) that `synthesize` decodes."""
        mel = self._mel(mel)
        return self._noise(len(mel), temperature, seed)(mel.shape[2]).transpose(1, 2).to(self._weight)

    def denoiser(self, mode: Mode = "silence") -> Denoiser:
        """What removes this voice's own tones from its audio, measured now. Raises ConfigError: an unknown mode."""
        self._follow_model()
        with own_precision(self.device):
            quiet = partial(self.synthesize, temperature=0.0, gl_iters=0, trust_mel=True)
            return Denoiser(quiet, self._front_end, mode)

    def iterations(
        self, gl: int | None, low: int | None, ms: float | None, streams: bool = False, of: PostFilter | None = None
    ) -> PostfilterSettings:
        """What `synthesize` or a stream runs for these arguments. Raises ConfigError as they do."""
        behind = 0 if ms is None else self.look_ahead
        return (of or self.postfilter).choose(self.card.postfilter, behind, gl, low, ms, streams)

    def _noise(self, items: int, temperature: float | None, seeds: Seeds) -> NoiseOf:
        scale = self.temperature if temperature is None else number("temperature", temperature)
        if not 0.0 <= scale < float("inf"):
            raise ConfigError(f"temperature must be 0 or above, not {scale}")
        rate = self.spec.hop_length // self.model.block
        source = NoiseSource(seeds, items, rate, self.model.block)
        return partial(source.draw, scale=scale, pinned=self.device.type == "cuda")

    @gradients_if_required
    def encode(self, audio: Numbers, mel: Numbers | None = None) -> tuple[Tensor, Tensor]:
        """Audio to (latent, mel). Audio is padded with zeros to whole frames; `decode` gives it back, zeros included.

        Args:
            mel: of as many frames; the one frame more that `mel` gives is left out. None: computed.

        Raises:
            AudioError: too short, or its length does not fit the mel given.
        """
        padded, mel = self._aligned(self._pad(self._audio(audio)), mel)
        return self.model.encode(padded, mel)[0], mel

    @gradients_if_required
    def decode(self, latent: Numbers, mel: Numbers) -> Tensor:
        """Latent to audio, (B, F * hop_length); the inverse of `encode`.

        Raises:
            MelError: latent and mel do not belong together.
        """
        mel = self._mel(mel)
        latent = as_latent(latent, self.model.latent_shape(mel), mel)
        step = None if torch.is_grad_enabled() else self._steps.for_mel(mel, sampling=False)
        if step is None:
            return finite(self.model.decode(latent, mel))
        with own_threads(1):  # an operation among several would spin beside pieces that are
            return finite(torch.cat(list(pieces(step, mel, from_tensor(latent, step.rate))), 1))

    @gradients_if_required
    def log_prob(self, audio: Numbers, mel: Numbers | None = None) -> Tensor:
        """Log-density (B,) in nats of audio given its mel (computed if not given), exactly as it stands.

        The density is that of real-valued audio in [-1, 1). To score 16-bit recordings add dequantisation noise
        first, or use `score`.

        Args:
            mel: of as many frames; the one frame more that `mel` gives is left out. None: computed.

        Raises:
            AudioError: the length is no multiple of hop_length, or does not fit the mel.
        """
        return self.model.log_prob(*self._aligned(self._audio(audio), mel))

    @without_gradients
    def score(self, audio: Numbers, mel: Numbers | None = None, seed: Seeds = 0) -> Tensor:
        """Nats per sample (B,) of 16-bit recordings: uniform dequantisation, the last incomplete frame left out.

        Audio that is not on the 16-bit grid (resampled, averaged, 24-bit) is rounded to it, so that what is scored is
        always a 16-bit recording.

        Args:
            mel: given mels are used from their first frame on and must cover the audio.
            seed: of the dequantisation noise; see `Vocoder`.

        Raises:
            AudioError: shorter than the mel's analysis window, or than the mel given.
        """
        audio, mel = self._as_recorded(audio, mel, seed)
        return self.log_prob(audio, mel) / audio.shape[-1]

    @without_gradients
    def score_by_frame(self, audio: Numbers, mel: Numbers | None = None, seed: Seeds = 0) -> Tensor:
        """What each frame adds to `score`: nats (B, F), whose sum is the score times its samples. Errors as `score`."""
        return self.model.log_prob_by_frame(*self._aligned(*self._as_recorded(audio, mel, seed)))

    def resynthesize(self, audio: Numbers, temperature: float | None = None, *, seed: Seeds = None) -> Tensor:
        """Audio -> mel -> audio of the same length, (B, T)."""
        given = self._audio(audio)
        return self.synthesize(self.mel_for(given), temperature, seed=seed, trust_mel=True)[:, : given.shape[-1]]

    @gradients_if_required
    def mel_for(self, audio: Numbers) -> Tensor:
        """The mel (B, n_mels, ceil(T / hop_length)) whose synthesis covers the audio."""
        padded = self._pad(self._audio(audio))
        return self._front_end(padded)[..., : padded.shape[-1] // self.spec.hop_length]

    @without_gradients
    def prepare(self) -> None:
        """Make the weights ready for synthesis now, which the first synthesis otherwise does."""
        self._steps.find()

    def _as_recorded(self, given: Numbers, mel: Numbers | None, seed: Seeds) -> tuple[Tensor, Tensor]:
        """16-bit audio in whole frames with dequantisation noise, and its mel."""
        audio = (self._audio(given) / PCM16_STEP).round() * PCM16_STEP
        mel = self._front_end(audio) if mel is None else self._mel(mel)
        frames = audio.shape[-1] // self.spec.hop_length
        return dequantised(audio[:, : frames * self.spec.hop_length], seed), mel[..., :frames]
